//! What was read of the host beside the losses, in words: routes, neighbours, sysctls, chains, and the interfaces
//! of the paths.

mod words;

use std::collections::{BTreeMap, BTreeSet};

use super::Clock;
use crate::correlate::Trace;
use crate::diagnose::device_state;
use crate::host::Host;
use crate::host::facts::{CgroupProgram, ConntrackCounters, Ruleset};
use crate::model::{Device, KtimeNs, NetNs};
use crate::network::route;
use crate::report::ContextEntry;

/// Most entries of one kind.
const ENTRIES: usize = 64;
/// Most rules shown of a base chain.
const STOPS: usize = 48;

/// All of it, bounded by kind; newest facts win where there are too many.
pub(super) fn read(trace: &Trace, host: &Host, clock: Clock) -> Vec<ContextEntry> {
    let context = Context { host, clock };
    let devices = devices(trace);
    let mut groups = [
        context.routes(),
        context.policy_rules(),
        context.routes_towards(),
        context.neighbors(),
        context.sysctls(),
        context.ipsec_policies(),
        context.forwarding(),
        context.sockets(),
        context.chains(),
        context.device_states(),
        context.cgroups(),
        context.connections(),
        context.conntrack_counters(),
        context.links(&devices),
        context.addresses(&devices),
        context.unread(),
    ];
    for group in &mut groups {
        group.dedup();
        let surplus = group.len().saturating_sub(ENTRIES);
        group.drain(..surplus);
    }
    groups.concat()
}

/// The interfaces of all paths.
fn devices(trace: &Trace) -> BTreeSet<Device> {
    trace
        .flows
        .iter()
        .flat_map(|flow| [&flow.forward, &flow.reply])
        .flat_map(|path| &path.hops)
        .map(|hop| hop.device)
        .collect()
}

/// Where entries come from: one function for each kind of facts.
struct Context<'a> {
    host: &'a Host,
    clock: Clock,
}

impl Context<'_> {
    /// An entry; without a namespace where it is of the machine, without a time where it holds for the whole trace.
    fn entry(
        &self,
        kind: &str,
        netns: impl Into<Option<NetNs>>,
        at: impl Into<Option<KtimeNs>>,
        text: String,
    ) -> ContextEntry {
        let netns = netns.into();
        ContextEntry {
            kind: kind.into(),
            node: netns
                .and_then(|netns| self.host.node(netns))
                .map(str::to_owned),
            namespace: netns.map(|netns| self.host.namespace(netns)),
            text,
            at_ns: at.into().map(|at| self.clock.since_start(at)),
        }
    }

    fn routes(&self) -> Vec<ContextEntry> {
        let answers = self.host.routes.iter();
        answers
            .map(|dated| {
                let text = words::route(&dated.fact, self.host);
                self.entry("route", dated.fact.netns, dated.at, text)
            })
            .collect()
    }

    fn policy_rules(&self) -> Vec<ContextEntry> {
        let mut list = Vec::new();
        for ((netns, _), dated) in &self.host.rules {
            list.extend(dated.fact.iter().map(|rule| {
                let text = format!("{}: {}", rule.priority, route::rule_words(rule));
                self.entry("rule", *netns, dated.at, text)
            }));
        }
        list
    }

    fn routes_towards(&self) -> Vec<ContextEntry> {
        let mut list = Vec::new();
        for ((netns, dst), dated) in &self.host.towards {
            list.extend(dated.fact.iter().map(|route| {
                let words = route::route_words(self.host, *netns, route);
                self.entry("table", *netns, dated.at, format!("holds {dst}: {words}"))
            }));
        }
        list
    }

    fn neighbors(&self) -> Vec<ContextEntry> {
        let entries = self.host.neighbors.iter();
        entries
            .map(|dated| {
                let text = words::neighbor(&dated.fact, self.host);
                self.entry("neighbor", dated.fact.device.netns, dated.at, text)
            })
            .collect()
    }

    fn sysctls(&self) -> Vec<ContextEntry> {
        let values = self.host.sysctls.iter();
        values
            .map(|((netns, name), dated)| {
                let text = match &dated.fact {
                    Some(value) => format!("{name} = {value}"),
                    None => format!("{name} cannot be read"),
                };
                self.entry("sysctl", *netns, dated.at, text)
            })
            .collect()
    }

    fn ipsec_policies(&self) -> Vec<ContextEntry> {
        let mut list = Vec::new();
        for (netns, dated) in &self.host.xfrm {
            let policies = dated.fact.iter().map(ToString::to_string);
            list.extend(policies.map(|text| self.entry("policy", *netns, dated.at, text)));
        }
        list
    }

    fn forwarding(&self) -> Vec<ContextEntry> {
        let answers = self.host.forwarding.iter();
        answers
            .map(|dated| {
                let text = words::forwarding(&dated.fact, self.host);
                self.entry("fdb", dated.fact.device.netns, dated.at, text)
            })
            .collect()
    }

    fn sockets(&self) -> Vec<ContextEntry> {
        let mut list = Vec::new();
        for ((netns, proto, port), dated) in &self.host.sockets {
            let mut texts: Vec<String> = dated.fact.iter().map(words::socket).collect();
            if texts.is_empty() {
                texts.push("no socket".into());
            }
            list.extend(texts.into_iter().map(|text| {
                let text = format!("{proto} port {port}: {text}");
                self.entry("socket", *netns, dated.at, text)
            }));
        }
        list
    }

    fn chains(&self) -> Vec<ContextEntry> {
        let mut list = Vec::new();
        for (netns, dated) in &self.host.filters {
            list.extend(self.chains_of(*netns, dated.at, &dated.fact));
        }
        list
    }

    /// The base chains of a namespace, each with the rules that can end a packet's way.
    fn chains_of(&self, netns: NetNs, at: KtimeNs, ruleset: &Ruleset) -> Vec<ContextEntry> {
        if ruleset.base.is_empty() {
            return vec![self.entry("chain", netns, at, "no base chains".into())];
        }
        let mut list = Vec::new();
        for base in &ruleset.base {
            list.push(self.entry("chain", netns, at, words::chain(base)));
            let stops = ruleset.stops(base, STOPS);
            list.extend(stops.iter().map(|(chain, rule)| {
                self.entry("rule", netns, at, words::rule(base, chain, rule))
            }));
        }
        list
    }

    /// What stands on interfaces.
    fn device_states(&self) -> Vec<ContextEntry> {
        let mut list = Vec::new();
        for (device, dated) in &self.host.device_states {
            let name = self.host.interface(*device);
            let state = &dated.fact;
            let mut add = |kind: &str, text: String| {
                list.push(self.entry(kind, device.netns, dated.at, text));
            };
            for attachment in &state.programs {
                let words = device_state::attachment(self.host, *device, attachment);
                add("program", format!("{} of {name}: {words}", attachment.hook));
            }
            for qdisc in &state.qdiscs {
                add("qdisc", format!("{name}: {}", device_state::qdisc(qdisc)));
            }
            for holder in state.holders.iter().flatten() {
                let holder = device_state::holder(holder);
                add("process", format!("{name} is open in {holder}"));
            }
            if state.holders.as_ref().is_some_and(Vec::is_empty) {
                add("process", format!("no process has {name} open"));
            }
        }
        list
    }

    /// Programs of cgroups.
    fn cgroups(&self) -> Vec<ContextEntry> {
        let Some(dated) = &self.host.cgroups else {
            return Vec::new();
        };
        let words = |p: &CgroupProgram| {
            let program = device_state::program(&p.program);
            format!("{} of cgroup {}: {program}", p.hook, p.cgroup)
        };
        let programs = dated.fact.programs.iter();
        programs
            .map(|p| self.entry("program", None, dated.at, words(p)))
            .collect()
    }

    fn connections(&self) -> Vec<ContextEntry> {
        let answers = self.host.connections.iter();
        answers
            .map(|dated| {
                let text = words::connection(&dated.fact);
                self.entry("conntrack", dated.fact.netns, dated.at, text)
            })
            .collect()
    }

    fn conntrack_counters(&self) -> Vec<ContextEntry> {
        let counters = self.host.conntrack.iter();
        counters
            .map(|(netns, dated)| {
                let ConntrackCounters {
                    invalid,
                    insert_failed,
                    drop,
                    early_drop,
                } = dated.fact;
                let text = format!(
                    "invalid {invalid}, insert_failed {insert_failed}, drop {drop}, early_drop {early_drop}"
                );
                self.entry("conntrack", *netns, dated.at, text)
            })
            .collect()
    }

    fn links(&self, devices: &BTreeSet<Device>) -> Vec<ContextEntry> {
        let links = devices.iter().filter_map(|device| self.host.link(*device));
        links
            .map(|link| self.entry("link", link.device.netns, None, words::link(link)))
            .collect()
    }

    fn addresses(&self, devices: &BTreeSet<Device>) -> Vec<ContextEntry> {
        let mut list = Vec::new();
        for device in devices {
            let name = self.host.interface(*device);
            list.extend(self.host.addresses(*device).iter().map(|address| {
                self.entry(
                    "address",
                    device.netns,
                    None,
                    words::address(&name, address),
                )
            }));
        }
        list
    }

    /// One line for each reason: what a kernel lacks is missing for every packet and namespace alike.
    fn unread(&self) -> Vec<ContextEntry> {
        let mut parts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (what, why) in &self.host.unread {
            parts.entry(why).or_default().push(what);
        }
        let words = |(why, list): (&str, Vec<&str>)| {
            let first = list.first().copied().unwrap_or_default();
            let more = match list.len().saturating_sub(1) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            self.entry("unread", None, None, format!("{first}{more}: {why}"))
        };
        parts.into_iter().map(words).collect()
    }
}
