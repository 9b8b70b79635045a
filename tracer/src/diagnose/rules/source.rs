//! Checks of the source address at input: reverse-path filter and martians.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{InterfaceAddress, Link, NextHop as RouteHop, TableRoute};
use crate::model::{Detail, Device, Direction, Fate, IfIndex, NetNs, Proto, Step, Tuple};
use crate::network::links::peer_of;
use crate::network::route::{
    Change, CheckResult, Decision, Forged, InputEnd, Query, Tables, check_source, lookup, receive,
    route_spec, route_words, rule_words,
};
use crate::network::settings::conf;
use crate::uapi::if_arp::ARPHRD_LOOPBACK;
use crate::uapi::rtnetlink::RT_TABLE_MAIN;
use crate::verdict::Place;

use super::super::candidate::{Candidate, Specificity};
use super::super::causes::{ROUTE_MARTIAN, ROUTE_RP_FILTER};
use super::super::chain_commands::{default_program, program_of};
use super::super::loss::Loss;
use super::super::nat_commands;
use super::super::readdress;
use super::super::remedy::{Remedy, Shell, command, ip, sysctl, text};
use super::super::route_commands;
use super::super::routing;
use super::super::stray_source::Stray;
use super::super::words;
use super::nat;
use super::route::HOOK;

/// The reverse-path filter refused the source.
pub fn filtered(loss: &Loss<'_>) -> Option<Candidate> {
    let device = loss.device()?;
    if loss.reason() != "IP_RPFILTER" && refusal(loss)? != InputEnd::Source(Forged::ReversePath) {
        return None;
    }
    Some(
        reverse_path(
            loss.host,
            &Refusal {
                device,
                query: loss.routed(Some(device))?,
                mode: mode(loss.host, device),
                stray: Stray::of_packet(loss),
                answers: answers_what_left_by(loss, device),
                elsewhere: comes_elsewhere(loss, device),
                handed_by: handed_by(loss.steps(), device.netns),
            },
            loss.place(Some(HOOK)),
        )
        .explains(Specificity::Reason),
    )
}

/// Whether the packet answers one that left by an interface.
fn answers_what_left_by(loss: &Loss<'_>, device: Device) -> bool {
    let view = loss.view();
    let mut asked = view
        .journeys(Direction::Forward)
        .flat_map(|journey| &journey.steps);
    loss.journey.direction == Direction::Reply
        && asked.any(|step| {
            matches!(step.event.detail, Detail::Egress) && step.event.device == Some(device)
        })
}

/// Another interface of the namespace by which packets with the same source come in and pass.
fn comes_elsewhere(loss: &Loss<'_>, device: Device) -> Option<Device> {
    let source = loss.outermost()?.src;
    let passed = loss
        .trace
        .journeys
        .values()
        .filter(|journey| journey.fate == Fate::Delivered);
    let mut events = passed
        .flat_map(|journey| &journey.steps)
        .map(|step| &step.event);
    events.find_map(|event| {
        let other = event
            .device
            .filter(|d| d.netns == device.netns && *d != device)?;
        let came = matches!(event.detail, Detail::Ingress);
        (came && event.tuple.is_some_and(|tuple| tuple.src == source)).then_some(other)
    })
}

/// What routing makes of the packet by the facts, where the kernel does not name its reason.
fn refusal(loss: &Loss<'_>) -> Option<InputEnd> {
    let device = loss.device().filter(|_| loss.unnamed())?;
    let tables = Tables::of(loss.host, device.netns);
    Some(receive(&tables, &loss.routed(Some(device))?).end)
}

/// Why an address is impossible, by the name that new kernels (6.14) have for it.
fn impossible<'a>(loss: &Loss<'a>) -> Option<&'a str> {
    let tuple = loss.outermost()?;
    let local = tuple.src.is_loopback() || tuple.dst.is_loopback();
    Some(match refusal(loss) {
        None => loss.reason(),
        Some(InputEnd::Martian(_)) if local => "IP_LOCALNET",
        Some(InputEnd::Martian("destination")) => "IP_INVALID_DEST",
        Some(InputEnd::Source(Forged::Local)) => "IP_LOCAL_SOURCE",
        Some(InputEnd::Martian(_) | InputEnd::Source(Forged::Invalid)) => "IP_INVALID_SOURCE",
        Some(_) => return None,
    })
}

/// Addresses that are impossible at this place.
pub fn martian(loss: &Loss<'_>) -> Option<Candidate> {
    let tuple = loss.outermost()?;
    let reason = impossible(loss)?;
    let why = match reason {
        "IP_LOCAL_SOURCE" => format!(
            "martian source: {} is an address of this namespace itself",
            tuple.src
        ),
        "IP_LOCALNET" => format!(
            "martian: a loopback address came in from outside ({} > {})",
            tuple.src, tuple.dst
        ),
        "IP_INVALID_SOURCE" => format!("martian source {}", tuple.src),
        "IP_INVALID_DEST" => format!("martian destination {}", tuple.dst),
        _ => return None,
    };
    let candidate = Candidate::new(
        &ROUTE_MARTIAN,
        loss.place(Some(HOOK)),
        format!("{why}{}", loss.at_words()),
    )
    .explains(Specificity::Reason);
    let netns = loss.netns()?;
    let shell = Shell::of(loss.host, Some(netns));
    if reason == "IP_LOCALNET" && tuple.dst.is_loopback() {
        let interface = loss
            .device()
            .map_or_else(|| "all".to_owned(), |d| loss.host.interface(d));
        let setting = sysctl(&format!("net/ipv4/conf/{interface}/route_localnet"));
        return Some(candidate.advise([
            shell.look("look first", command!["sysctl", setting]),
            shell.change("only where a DNAT to 127.0.0.1 is wanted: it exposes what listens on loopback", command!["sysctl -w", format!("{setting}=1")]).undone_by(command!["sysctl -w", format!("{setting}=0")]),
            text("better: let the server listen on the interface's address, and translate to that"),
        ]));
    }
    if reason == "IP_INVALID_DEST" {
        return Some(candidate.advise([text(format!(
            "fix what sends to {}: a variable that was never set, or a translation to nowhere",
            tuple.dst
        ))]));
    }
    if let Some((words, advice)) = nat::hairpin(loss) {
        let mut candidate = candidate;
        candidate.summary += &words;
        return Some(candidate.advise(advice));
    }
    let asker = loss
        .steps()
        .iter()
        .find_map(|s| s.event.device)
        .filter(|d| d.netns != netns);
    Some(candidate.advise(martian_advice(
        loss.host,
        netns,
        (tuple.src, tuple.dst),
        asker,
    )))
}

/// What to do about a source that cannot be answered on the way `to` somewhere. `sender`: an interface of the namespace that sends it.
#[must_use]
pub fn martian_advice(
    host: &Host,
    netns: NetNs,
    (source, to): (IpAddr, IpAddr),
    sender: Option<Device>,
) -> Vec<Remedy> {
    let mut list = vec![Shell::of(host, Some(netns)).look(
        "what this namespace makes of the source",
        command![..ip(source.is_ipv6()), "route get", source],
    )];
    let owner = sender.and_then(|sender| host.owners(source).find(|d| d.netns == sender.netns));
    if let Some(owner) = owner {
        let shell = Shell::of(host, Some(owner.netns));
        list.push(shell.look(
            "the sender has the address too: look",
            command![
                ..ip(source.is_ipv6()),
                "addr show dev",
                host.interface(owner)
            ],
        ));
        // Where a route makes the kernel choose it, the address itself may be right at both.
        if let Some(change) = unpreferred(host, owner.netns, (source, to)) {
            list.push(change);
            return list;
        }
        let on_loopback = |netns: NetNs| {
            let mut owners = host.owners(source).filter(|d| d.netns == netns);
            owners.any(|d| host.link(d).is_some_and(|l| l.arp_type == ARPHRD_LOOPBACK))
        };
        // As a service's address on all nodes: each is right to have it, and none to send with it.
        if let Some(went) = sender.filter(|_| on_loopback(netns) && on_loopback(owner.netns)) {
            list.push(not_of_a_service(host, went, (source, to)));
            return list;
        }
        list.extend(shared(host, netns, (source, to)));
        list.extend(readdress::remove(
            host,
            (owner, source),
            to,
            "take it away there",
        ));
    } else {
        list.push(text("the sender uses an address that cannot be answered: look for missing masquerading, a wrong SNAT rule (iptables -t nat -nvL, nft list ruleset) or a duplicate address"));
    }
    list
}

/// What a machine sends to its own service's address has that as its source, and keeps it where a rule then translates the
/// destination: the source translated too.
fn not_of_a_service(host: &Host, went: Device, (source, to): (IpAddr, IpAddr)) -> Remedy {
    let text = format!(
        "{source} is on the loopback interfaces of both, as a service's address is: let what leaves with it through {} have that interface's address (new connections)",
        words::interface(host, went)
    );
    if to != source {
        let flow = Tuple {
            proto: Proto::Tcp,
            src: source,
            sport: 0,
            dst: to,
            dport: 0,
            icmp_id: 0,
        };
        return nat_commands::masquerade(host, went, &flow, text);
    }
    // To what it was translated is not known.
    let v6 = source.is_ipv6();
    let program = program_of(&nat_commands::translators(host, went.netns, v6));
    let program = program.unwrap_or_else(|| default_program(v6).to_owned());
    let rule = |verb: &'static str| {
        let device = host.interface(went);
        command![
            program,
            "-t nat",
            verb,
            "POSTROUTING -s",
            source,
            "-o",
            device,
            "-j MASQUERADE"
        ]
    };
    Shell::of(host, Some(went.netns))
        .change(text, rule("-A"))
        .undone_by(rule("-D"))
}

/// The sender's route without the preference for a source.
fn unpreferred(host: &Host, netns: NetNs, (source, to): (IpAddr, IpAddr)) -> Option<Remedy> {
    let routes = &host.towards.get(&(netns, to))?.fact;
    let mut main = routes.iter().filter(|r| r.table == RT_TABLE_MAIN);
    let route = main.next().filter(|r| r.source == Some(source))?;
    let after = TableRoute {
        source: chosen_beside(host, netns, route, source),
        ..route.clone()
    };
    route_commands::replace(
        &Shell::of(host, Some(netns)),
        (host, netns),
        (route, &after),
        format!(
            "let the route to {to} not choose {source}, which the other end has too (new connections)"
        ),
    )
}

/// Another address of the interface by which the route leaves; `None`: the kernel chooses.
fn chosen_beside(host: &Host, netns: NetNs, route: &TableRoute, source: IpAddr) -> Option<IpAddr> {
    let ifindex = IfIndex(route.oif?);
    let own = host.addresses(Device { netns, ifindex });
    let mut others = own.iter().filter(|a| a.address != source && a.scope == 0);
    let fits = |a: &&InterfaceAddress| a.address.is_ipv4() == source.is_ipv4();
    others.find(fits).map(|a| a.address)
}

/// The address taken from the loopback interface of the namespace that refuses it: it was put there for what comes in, as a
/// balancer's address is.
fn shared(host: &Host, netns: NetNs, (source, to): (IpAddr, IpAddr)) -> Option<Remedy> {
    let mut owners = host.owners(source).filter(|d| d.netns == netns);
    let here = owners.find(|d| host.link(*d).is_some_and(|l| l.arp_type == ARPHRD_LOOPBACK))?;
    let text = "take it from the loopback interface of the one that refuses it, unless that serves the address (direct routing)";
    readdress::remove(host, (here, source), to, text)
}

/// The setting that counts for an interface: the larger of `all` and its own (IN_DEV_RPFILTER).
fn mode(host: &Host, device: Device) -> (String, u32) {
    let own = host.interface(device);
    let name = |interface: &str| format!("net/ipv4/conf/{interface}/rp_filter");
    let value = |interface: &str| -> Option<u32> {
        let read = host.sysctls.get(&(device.netns, name(interface)))?;
        read.fact.as_deref()?.parse().ok()
    };
    match (value("all"), value(&own)) {
        (Some(all), Some(one)) if all > one => (name("all"), all),
        (_, one) => (name(&own), one.unwrap_or(1)),
    }
}

/// What the check of a source on an interface depends on, beside routes.
pub fn conf_of_check(interface: &str) -> impl Iterator<Item = String> {
    let keys = |interface: &str| {
        ["rp_filter", "src_valid_mark", "accept_local"].map(|key| conf(false, interface, key))
    };
    keys("all").into_iter().chain(keys(interface))
}

/// A packet that the filter refuses.
pub struct Refusal<'a> {
    /// The interface to which it came.
    pub device: Device,
    /// The packet.
    pub query: Query,
    /// The setting that counts, by its path, and its value.
    pub mode: (String, u32),
    /// Its sender, where it sent it by another interface than the one that has the address.
    pub stray: Option<Stray<'a>>,
    /// It answers what left by this interface: a mark or a rule led that there, and leads nothing else.
    pub answers: bool,
    /// Others with its source come by this interface, and pass.
    pub elsewhere: Option<Device>,
    /// The interface of another namespace by which it was handed over.
    pub handed_by: Option<Device>,
}

/// The interface by which the packet left another namespace the last time.
#[must_use]
pub fn handed_by(steps: &[Step], netns: NetNs) -> Option<Device> {
    let mut events = steps.iter().rev().map(|step| &step.event);
    let out = events.find(|event| {
        let elsewhere = event.device.is_some_and(|device| device.netns != netns);
        elsewhere && matches!(event.detail, Detail::Egress)
    });
    out?.device
}

impl Refusal<'_> {
    /// What the check of the source says, with these tables.
    fn check(&self, tables: &Tables<'_>, query: &Query) -> CheckResult {
        let forward = lookup(tables, query).decision;
        check_source(tables, query, &forward).result
    }

    /// Whether it would take the packet with the address of the interface by which it left, as far as is known.
    fn takes_mended(&self, host: &Host, stray: &Stray<'_>) -> bool {
        let tables = Tables::of(host, self.device.netns);
        stray.mended(self.query.tuple).is_none_or(|tuple| {
            let query = Query {
                tuple,
                ..self.query
            };
            !matches!(self.check(&tables, &query), CheckResult::Refused(_))
        })
    }

    /// By the mark that the packet has the way back is right; the filter looks at it only where src_valid_mark says so
    /// (__fib_validate_source, net/ipv4/fib_frontend.c).
    fn heeds_no_mark(&self, host: &Host) -> Option<u32> {
        let mark = self.query.mark.filter(|mark| *mark != 0)?;
        let tables = Tables::of(host, self.device.netns);
        let name = self.mark_setting(host);
        let heeding = tables.after(Change::Sysctl(&name, "1"));
        let refused = self.check(&tables, &self.query);
        let is_refused = matches!(refused, CheckResult::Refused(Forged::ReversePath));
        let passes = self.check(&heeding, &self.query) == CheckResult::Passes;
        (is_refused && passes).then_some(mark)
    }

    fn mark_setting(&self, host: &Host) -> String {
        conf(false, &host.interface(self.device), "src_valid_mark")
    }

    fn heed_mark(&self, host: &Host, mark: u32) -> Remedy {
        let name = sysctl(&self.mark_setting(host));
        let set = |value: u32| command!["sysctl -w", format!("{name}={value}")];
        Shell::of(host, Some(self.device.netns))
            .change(
                format!("let the filter look at the mark {mark:#x}, by which the way back is right: it stays strict"),
                set(1),
            )
            .undone_by(set(0))
    }

    /// What to change: the sender where it uses the address of another interface, then the filter.
    fn changes(&self, host: &Host, by_rule: Option<&str>) -> Vec<Remedy> {
        let (device, source) = (self.device, self.query.tuple.src);
        let shell = Shell::of(host, Some(device.netns));
        let why = match by_rule {
            Some(rule) => Some(format!(
                "as hosts with several uplinks need it: policy rule {rule} leads the answer elsewhere"
            )),
            None if self.answers => Some(format!(
                "since what it answers left by {}, although routes lead elsewhere",
                host.interface(device)
            )),
            None => self.elsewhere.map(|other| {
                format!(
                    "since packets from {source} come by {} too, to which routes lead",
                    host.interface(other)
                )
            }),
        };
        let way = misleading(host, &self.query.tuple, device)
            .or_else(|| routed_back((host, device), source, self.handed_by));
        let alone = way.is_none() && self.stray.is_none();
        let loosened = loosen((host, device, &shell), &self.mode, (why.as_deref(), alone));
        if let Some(mark) = self.heeds_no_mark(host) {
            return vec![self.heed_mark(host, mark), loosened];
        }
        if let Some(stray) = &self.stray {
            let mut list = stray.remedies(self.takes_mended(host, stray));
            // Else the answer is refused where the packet came from.
            list.extend(stray.takes_answers().then_some(loosened));
            return list;
        }
        // A policy rule leads answers elsewhere on purpose (several uplinks): a route in the main table is then not even asked.
        // Where only some packets leave by this interface, it would lead the others there too.
        if why.is_some() && self.mode.1 != 2 {
            return vec![loosened];
        }
        way.into_iter().chain([loosened]).collect()
    }
}

/// Where an answer would go.
struct WayBack {
    /// In words, for the summary.
    summary: String,
    /// The route and the rule, as far as they were read.
    evidence: Option<String>,
    /// The policy rule that leads elsewhere than the main table, in words.
    rule: Option<String>,
}

/// Where an answer would go, asked as the kernel asks for the check; without the facts for that, as RTM_GETROUTE told.
fn way_back(host: &Host, refusal: &Refusal<'_>) -> Option<WayBack> {
    let (device, query) = (refusal.device, &refusal.query);
    let tables = Tables::of(host, device.netns);
    let forward = lookup(&tables, query).decision;
    let netns = device.netns;
    let through = |oif: Option<u32>| {
        let other = oif.filter(|oif| *oif != device.ifindex.0).map(IfIndex);
        other.map_or_else(String::new, |ifindex| {
            let name = host.interface(Device { netns, ifindex });
            format!(": an answer would leave through {name}")
        })
    };
    let none = || WayBack {
        summary: ": no route leads back to it".to_owned(),
        evidence: None,
        rule: None,
    };
    match check_source(&tables, query, &forward).back.decision {
        Decision::Route { rule, route, hops } => Some(WayBack {
            summary: through(hops.iter().find_map(|hop| hop.oif)),
            evidence: Some(format!(
                "the way back is {}, by policy rule {}: {}",
                route_words(host, netns, route),
                rule.priority,
                rule_words(rule)
            )),
            rule: (rule.table != RT_TABLE_MAIN)
                .then(|| format!("{}: {}", rule.priority, rule_words(rule))),
        }),
        Decision::Undecided(_) => {
            let told = routing::answer(host, netns, query.tuple.src)?;
            Some(match &told.result {
                Ok(route) => WayBack {
                    summary: through(route.oif),
                    evidence: None,
                    rule: None,
                },
                Err(_) => none(),
            })
        }
        _ => Some(none()),
    }
}

/// The reverse-path filter refuses a source on an interface.
#[must_use]
pub fn reverse_path(host: &Host, refusal: &Refusal<'_>, place: Place) -> Candidate {
    let (device, source) = (refusal.device, refusal.query.tuple.src);
    let (name, mode) = &refusal.mode;
    let setting = sysctl(name);
    let shell = Shell::of(host, Some(device.netns));
    let answer = routing::answer(host, device.netns, source);
    let way = way_back(host, refusal);
    let by_rule = way.as_ref().and_then(|way| way.rule.clone());
    let kind = if *mode == 2 { "loose" } else { "strict" };
    let mut candidate = Candidate::new(
        &ROUTE_RP_FILTER,
        place,
        format!(
            "reverse-path filter (rp_filter) refused source {source} on {}{}",
            words::interface(host, device),
            way.as_ref().map_or("", |way| way.summary.as_str())
        ),
    )
    .explains(Specificity::Linked)
    .because("sysctl", format!("{setting} = {mode} ({kind})"))
    .because("route", way.and_then(|way| way.evidence))
    .because("route", answer.map(|a| routing::answer_words(host, a)));
    if let Some(mark) = refusal.heeds_no_mark(host) {
        candidate.summary +=
            &format!("; its mark {mark:#x} leads back, and is not looked at (src_valid_mark = 0)");
        let asked =
            format!("src_valid_mark = 0: the way back is asked for without the mark {mark:#x}");
        candidate = candidate.because("sysctl", asked);
    } else if let Some(stray) = &refusal.stray {
        candidate = stray.told(candidate);
    }
    candidate
        .advise([
            shell.look(
                "where an answer would go",
                command![..ip(source.is_ipv6()), "route get", source],
            ),
            shell.look(
                "look first: the larger of both counts",
                command![
                    "sysctl net.ipv4.conf.all.rp_filter",
                    sysctl(&conf(false, &host.interface(device), "rp_filter"))
                ],
            ),
        ])
        .advise(refusal.changes(host, by_rule.as_deref()))
}

/// How a source behind an interface is reached.
enum NextHop {
    /// It is on the link.
    Direct,
    /// Through this address; whether a route has it although no network of the link does (`onlink`).
    By(IpAddr, bool),
    /// The link has many machines, and none is known to lead there.
    Unknown,
}

/// By the machine at the other end that has it, by a route of any table, by who handed the packet over, or directly where the
/// link has no other machine.
fn next_hop(host: &Host, device: Device, source: IpAddr, handed_by: Option<Device>) -> NextHop {
    let faces = |link: &Link| peer_of(host, link.device).is_some_and(|peer| peer.device == device);
    let own = host.addresses(device);
    let on_link = |address: &IpAddr| {
        own.iter()
            .any(|own| routing::holds(own.address, own.prefix, *address))
    };
    if on_link(&source) {
        return NextHop::Direct;
    }
    let mut ends = host.links();
    let other = ends.find(|l| host.is_local(l.device.netns, source) && faces(l));
    if let Some(other) = other {
        let mut addresses = host.addresses(other.device).iter().map(|a| a.address);
        let there = addresses.find(|a| a.is_ipv4() == source.is_ipv4() && on_link(a));
        return there.map_or(NextHop::Direct, |there| NextHop::By(there, false));
    }
    let towards = host.towards.get(&(device.netns, source));
    let mut routes = towards.iter().flat_map(|read| &read.fact);
    let led = routes.find_map(|route| {
        let hops = route.hops();
        let hop = hops.iter().find(|hop| hop.oif == Some(device.ifindex.0))?;
        Some((hop.gateway?, hop.flags & RouteHop::ONLINK != 0))
    });
    // An address that no network here holds is on the link all the same, as that of a pod is on its node.
    let before = || {
        let addresses = host.addresses(handed_by?).iter().filter(|a| a.scope == 0);
        let mut addresses = addresses
            .map(|a| a.address)
            .filter(|a| a.is_ipv4() == source.is_ipv4());
        let first = addresses.clone().next();
        let near = addresses.find(on_link);
        near.or(first).map(|a| (a, near.is_none()))
    };
    let led = led.or_else(before);
    let alone = host.link(device).is_some_and(|link| link.noarp);
    match led {
        Some((gateway, onlink)) => NextHop::By(gateway, onlink),
        None if alone => NextHop::Direct,
        None => NextHop::Unknown,
    }
}

/// The answer to a source routed through the interface by which it came in, where the next hop there is known. `handed_by`: the
/// interface of another namespace by which it was handed over.
#[must_use]
pub fn routed_back(
    (host, device): (&Host, Device),
    source: IpAddr,
    handed_by: Option<Device>,
) -> Option<Remedy> {
    let way = match next_hop(host, device, source, handed_by) {
        NextHop::Direct => Vec::new(),
        NextHop::By(gateway, false) => vec!["via".to_owned(), gateway.to_string()],
        NextHop::By(gateway, true) => {
            vec!["via".to_owned(), gateway.to_string(), "onlink".to_owned()]
        }
        NextHop::Unknown => return None,
    };
    let shell = Shell::of(host, Some(device.netns));
    let (ip, interface) = (ip(source.is_ipv6()), host.interface(device));
    let own = host_route(host, device.netns, source);
    // A route to this very address is replaced, and not only covered.
    let verb = if own.is_some() { "replace" } else { "add" };
    let change = shell.change(
        format!("best, if {source} belongs behind {interface}: route the answer there"),
        command![..ip, "route", verb, source, ..way, "dev", interface],
    );
    Some(match own {
        Some(own) => change.undone_by(command![..ip, "route replace", ..own.split_whitespace()]),
        None => change.undone_by(command![..ip, "route del", source, "dev", interface]),
    })
}

/// The route deleted that leads answers elsewhere, where without it another one that names their network leads back to where
/// the packet came from. What a default route leads there says nothing of who belongs there.
#[must_use]
pub fn misleading(host: &Host, tuple: &Tuple, came_in: Device) -> Option<Remedy> {
    let netns = came_in.netns;
    let tables = Tables::of(host, netns);
    let back = Query::output(tuple.reversed(), 0);
    let Decision::Route { route, .. } = lookup(&tables, &back).decision else {
        return None;
    };
    let leads = match lookup(&tables.without(route), &back).decision {
        Decision::Route { route, hops, .. } => {
            let there = |oif| oif == Some(came_in.ifindex.0);
            route.length > 0 && hops.iter().any(|hop| there(hop.oif))
        }
        _ => false,
    };
    if !leads {
        return None;
    }
    route_commands::delete(
        &Shell::of(host, Some(netns)),
        (host, netns),
        route,
        format!(
            "delete the route {}, if it should not match: answers then leave through {}, and the filter lets the packet pass",
            route_words(host, netns, route),
            host.interface(came_in)
        ),
    )
}

/// The filter made loose, or turned off. Where the setting of all interfaces is the one that counts, it is enough to make
/// this one's own larger.
fn loosen(
    (host, device, shell): (&Host, Device, &Shell),
    (setting, mode): &(String, u32),
    (why, alone): (Option<&str>, bool),
) -> Remedy {
    let (setting, mode) = (sysctl(setting), *mode);
    let set = |name: &str, value: u32| command!["sysctl -w", format!("{name}={value}")];
    if mode == 2 {
        let text = "or turn the filter off: forged sources come in then";
        let change = shell.change(text, set(&setting, 0));
        return change.undone_by(set(&setting, mode));
    }
    let path = format!("net/ipv4/conf/{}/rp_filter", host.interface(device));
    let read = host.sysctls.get(&(device.netns, path.clone()));
    let own = read.and_then(|read| read.fact.as_deref()?.parse().ok());
    let text = match why {
        Some(why) => format!("filter loosely, {why}; any route back will do"),
        None if alone => "filter loosely: any route back will do".to_owned(),
        None => "or filter loosely: any route back will do".to_owned(),
    };
    let name = sysctl(&path);
    let change = shell.change(text, set(&name, 2));
    change.undone_by(set(&name, own.unwrap_or(mode)))
}

/// The route of the main table to one address alone that another one takes the place of, as `ip route` takes it, where it
/// was read.
fn host_route(host: &Host, netns: NetNs, source: IpAddr) -> Option<String> {
    let towards = host.towards.get(&(netns, source))?;
    let bits = if source.is_ipv4() { 32 } else { 128 };
    let own = |route: &&TableRoute| {
        // One with a metric stays beside another without.
        (route.length, route.prefix, route.table, route.metric) == (bits, source, RT_TABLE_MAIN, 0)
    };
    route_spec(host, netns, towards.fact.iter().find(own)?)
}
