//! Routing on a packet's way: the route, the check of its source, the MAC of the next hop.

use crate::host::facts::Question;
use crate::model::{Device, IfIndex};
use crate::uapi::if_arp::ARPHRD_ETHER;
use crate::uapi::neighbour;

use super::super::route::{
    self, Answer, CheckResult, Decision, Forged, InputEnd, Query, Tables, Unknown, errno_words,
    lookup, receive, route_words, rule_words,
};
use super::{Check, Exit, Stage, Walk};

/// Where and as what a route is told.
const ROUTE: (Stage, &str) = (Stage::Route, "route");

impl Walk<'_, '_> {
    pub(super) fn receive(&mut self, device: Device) {
        let Some(mark) = self.mark else {
            let text = "the packet's mark is not known".to_owned();
            self.tell(Stage::Route, Check::undecided("route", text, "mark"));
            return;
        };
        let tables = Tables::of(self.host, self.leg.netns);
        let query = self.with_tos(Query::input(self.leg.routed(), device.ifindex, mark));
        let input = receive(&tables, &query);
        if let Some(check) = input.source.as_ref().and_then(|s| self.source(s)) {
            self.tell(Stage::Route, check);
        }
        self.local = match input.end {
            InputEnd::Local => Some(true),
            InputEnd::Forward => Some(false),
            _ => None,
        };
        match (&input.end, &input.route) {
            (InputEnd::Undecided(why), Some(route))
                if self.passed(Stage::Route)
                    && !matches!(route.decision, Decision::Undecided(_)) =>
            {
                // What is not known of the check of its source did not keep it.
                self.ask(why);
                let up = matches!(
                    self.leg.exit,
                    Exit::Up | Exit::Tunnel(_) | Exit::Stage(Stage::Input | Stage::Decapsulate)
                );
                self.routed_by(route, if up { "local" } else { "forward" });
            }
            (InputEnd::Undecided(why), _) => self.unknown(ROUTE, why),
            (InputEnd::Martian(which), _) => {
                let text = format!("no packet from outside may have such a {which}");
                self.tell(Stage::Route, Check::new("route", text, "martian"));
            }
            // The source's check has told it.
            (InputEnd::Source(_), _) => {}
            (InputEnd::NotForwarding, Some(route)) => {
                let text = format!(
                    "{}, and {} does not forward",
                    self.chosen(route),
                    self.host.interface(device)
                );
                self.tell(Stage::Route, Check::new("route", text, "refused"));
            }
            (end, Some(route)) => {
                let verdict = match end {
                    InputEnd::Local => "local",
                    InputEnd::Forward => "forward",
                    _ => "no-route",
                };
                self.routed_by(route, verdict);
            }
            (_, None) => {}
        }
    }

    pub(super) fn output_route(&mut self) {
        let tables = Tables::of(self.host, self.leg.netns);
        let query = self.output_query(self.leg.packet.mark);
        let route = lookup(&tables, &query);
        let verdict = match &route.decision {
            Decision::Undecided(why) => return self.unknown(ROUTE, &why.clone()),
            Decision::Route { route, .. } if route.kind == "local" => "local",
            Decision::Route { .. } | Decision::OnLink(_) => "send",
            _ => "no-route",
        };
        self.routed_by(&route, verdict);
    }

    fn output_query(&self, mark: Option<u32>) -> Query {
        let own = || Query::output(self.leg.routed(), mark.unwrap_or_default());
        self.with_tos(self.tunnel.unwrap_or_else(own))
    }

    fn with_tos(&self, query: Query) -> Query {
        match self.leg.packet.tos {
            Some(tos) => query.with_tos(tos),
            None => query,
        }
    }

    /// What routing decided; where the packet was seen to go out elsewhere, that is told.
    fn routed_by(&mut self, route: &Answer<'_>, verdict: &'static str) {
        let mut check = Check::new("route", self.chosen(route), verdict);
        if let Decision::Route { hops, .. } = &route.decision {
            let devices: Vec<u32> = hops.iter().filter_map(|hop| hop.oif).collect();
            match self.oif {
                Some(out) if !devices.is_empty() && !devices.contains(&out.ifindex.0) => {
                    check.undecided = Some("changed-since".to_owned());
                }
                None if verdict != "local" => {
                    self.oif = match devices.as_slice() {
                        [one] => Some(Device {
                            netns: self.leg.netns,
                            ifindex: IfIndex(*one),
                        }),
                        _ => None,
                    };
                }
                _ => {}
            }
        }
        if let Decision::OnLink(ifindex) = route.decision {
            let netns = self.leg.netns;
            self.oif = self.oif.or(Some(Device { netns, ifindex }));
        }
        self.tell(Stage::Route, check);
    }

    /// The route, and the policy rule that led to it where it is not one that every namespace has.
    fn chosen(&self, answer: &Answer<'_>) -> String {
        let route = match &answer.decision {
            Decision::Route { route, .. } | Decision::RefusedByRoute(_, route, _) => {
                route_words(self.host, self.leg.netns, route)
            }
            Decision::RefusedByRule(rule, _) => {
                return format!("rule {}: {}", rule.priority, rule_words(rule));
            }
            Decision::OnLink(_) => "the destination is taken to be on the link".to_owned(),
            Decision::Nothing | Decision::Undecided(_) => "no route".to_owned(),
        };
        let told = answer
            .decision
            .rule()
            .filter(|rule| !matches!(rule.priority, 0 | 32766 | 32767));
        match (told, answer.decision.errno()) {
            (Some(rule), _) => format!("{route} (rule {}: {})", rule.priority, rule_words(rule)),
            (None, Some(error)) if answer.decision.route().is_none() => errno_words(error),
            (None, _) => route,
        }
    }

    fn source(&self, check: &route::Check<'_>) -> Option<Check> {
        let mode = *check.mode.as_ref().ok()?;
        let text = format!(
            "mode {mode}: the way back to {} is {}",
            self.leg.before.src,
            self.chosen(&check.back)
        );
        match &check.result {
            CheckResult::Passes if mode == 0 => None,
            CheckResult::Passes => Some(Check::new("rp-filter", text, "accept")),
            CheckResult::Refused(Forged::ReversePath) => {
                Some(Check::new("rp-filter", text, "drop"))
            }
            CheckResult::Refused(Forged::Local) => {
                let text = format!("{} is an address of this namespace", self.leg.before.src);
                Some(Check::new("rp-filter", text, "drop"))
            }
            CheckResult::Refused(Forged::Invalid) => {
                let text = format!("{} is no address of a host", self.leg.before.src);
                Some(Check::new("rp-filter", text, "drop"))
            }
            CheckResult::Undecided(_) => None,
        }
    }

    /// Asks what has to be read, where it is that.
    fn ask(&mut self, why: &Unknown) {
        if let Unknown::Unread(question) = why {
            self.found.missing.push(question.clone());
        }
    }

    /// That facts do not tell, and why.
    pub(super) fn unknown(&mut self, (stage, hook): (Stage, &'static str), why: &Unknown) {
        self.ask(why);
        let code = match why {
            Unknown::Unread(_) => "unread",
            Unknown::Unmodelled(_) => "not-modelled",
        };
        self.tell(stage, Check::undecided(hook, why.to_string(), code));
    }

    pub(super) fn neighbour(&mut self) {
        let Some(out) = self.oif else {
            return;
        };
        let Some(link) = self.link(out) else {
            return;
        };
        // Ethernet alone has neighbours, and what is sent to many needs none.
        if link.arp_type != ARPHRD_ETHER || link.noarp || self.leg.routed().dst.is_multicast() {
            return;
        }
        let tables = Tables::of(self.host, self.leg.netns);
        let query = self.output_query(self.mark);
        let next = match lookup(&tables, &query).decision {
            Decision::OnLink(_) => query.tuple.dst,
            Decision::Route { route, .. } if route.kind == "broadcast" => return,
            Decision::Route { hops, .. } => match hops.as_slice() {
                [hop] => hop.gateway.unwrap_or(self.leg.routed().dst),
                _ => return,
            },
            _ => return,
        };
        let Some(entry) = self.host.neighbor(out, next) else {
            let (device, address) = (out, next);
            self.found
                .missing
                .push(Question::Neighbor { device, address });
            return;
        };
        let words = neighbour::words(entry.state);
        let (text, verdict) = match entry.mac {
            Some(mac) if entry.state & neighbour::VALID != 0 => (
                format!("{next} dev {} lladdr {mac} {words}", link.name),
                "resolved",
            ),
            _ => (format!("{next} dev {} {words}", link.name), "unresolved"),
        };
        let check = Check::new("neighbor", text, verdict);
        self.tell(Stage::Neighbour, check);
    }
}
