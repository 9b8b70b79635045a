//! What changed of the host while it was traced, in words: on the way of the flows first, and there nearest to the first loss,
//! because that is where a cause is looked for.

use std::collections::BTreeSet;

use super::{ChangeReport, Clock};
use crate::correlate::Trace;
use crate::diagnose::Diagnosis;
use crate::host::Host;
use crate::host::changes::{ChainId, Change, Changed, Course, LinkState};
use crate::host::facts::{Link, Routed, RoutingChange};
use crate::model::{Device, Fate, FlowId, IfIndex, Journey, KtimeNs, Mac, NetNs};
use crate::network::route;
use crate::verdict::Verdict;

/// Most changes of a report.
const MOST: usize = 64;

/// The changes: those on the way of the flows that the verdict is about, on that of others, elsewhere; in each part nearest to the
/// first loss first, without a loss the newest.
pub(super) fn read(
    trace: &Trace,
    host: &Host,
    diagnosis: &Diagnosis,
    clock: Clock,
) -> Vec<ChangeReport> {
    if host.changes.iter().next().is_none() {
        return Vec::new();
    }
    let meant = meant(diagnosis);
    let of_verdict = namespaces(trace, |flow| meant.contains(&flow));
    let of_any = namespaces(trace, |_| true);
    let loss = first_loss(trace, |flow| meant.contains(&flow));
    let loss = loss.or_else(|| first_loss(trace, |_| true));
    let mut all: Vec<&Change> = host.changes.iter().collect();
    let now = loss.unwrap_or(trace.now);
    all.sort_by_key(|change| {
        let aside = !of_verdict.contains(&change.netns);
        let elsewhere = !of_any.contains(&change.netns);
        (elsewhere, aside, change.at.0.abs_diff(now.0))
    });
    all.truncate(MOST);
    all.into_iter()
        .map(|change| ChangeReport {
            on_path: of_any.contains(&change.netns),
            at_ns: clock.since_start(change.at),
            after_ns: change.after.map(|after| clock.since_start(after)),
            to_first_loss_ns: loss.map(|loss| difference(change.at, loss)),
            node: host.node(change.netns).map(str::to_owned),
            namespace: host.namespace(change.netns),
            kind: kind(&change.what).to_owned(),
            change: course(change).to_owned(),
            text: words(host, change),
        })
        .collect()
}

fn difference(at: KtimeNs, loss: KtimeNs) -> i64 {
    let by = i64::try_from(at.0.abs_diff(loss.0)).unwrap_or(i64::MAX);
    if at < loss { -by } else { by }
}

/// The flows that the verdict of the whole is about.
fn meant(diagnosis: &Diagnosis) -> BTreeSet<FlowId> {
    let overall = &diagnosis.overall;
    let same =
        |verdict: &Verdict| (verdict.outcome, &verdict.cause) == (overall.outcome, &overall.cause);
    let meant = diagnosis
        .flows
        .iter()
        .filter(|judged| same(&judged.verdict));
    meant.map(|judged| judged.flow).collect()
}

/// Where packets of these flows were seen.
fn namespaces(trace: &Trace, of: impl Fn(FlowId) -> bool) -> BTreeSet<NetNs> {
    let flows = trace.flows.iter().filter(|flow| of(flow.id));
    let hops = flows
        .flat_map(|flow| [&flow.forward, &flow.reply])
        .flat_map(|path| &path.hops)
        .map(|hop| hop.device.netns);
    let journeys = trace.journeys.values().filter(|journey| of(journey.flow));
    let steps = journeys.flat_map(|journey| &journey.steps);
    let steps = steps.filter_map(|step| step.event.netns);
    hops.chain(steps).collect()
}

/// When the first packet of these flows was lost, of those that are kept.
fn first_loss(trace: &Trace, of: impl Fn(FlowId) -> bool) -> Option<KtimeNs> {
    let lost = |journey: &Journey| match journey.fate {
        Fate::Dropped { step } | Fate::Vanished { step } => {
            journey.steps.get(step).map(|step| step.event.at)
        }
        _ => None,
    };
    let journeys = trace.journeys.values().filter(|journey| of(journey.flow));
    journeys.filter_map(lost).min()
}

fn course(change: &Change) -> &'static str {
    match change.course {
        Course::Came => "came",
        Course::Went => "went",
        Course::Changed => "changed",
    }
}

fn kind(what: &Changed) -> &'static str {
    match what {
        Changed::Namespace => "namespace",
        Changed::Link(_) | Changed::LinkState(..) => "link",
        Changed::Address(..) => "address",
        Changed::Routing(RoutingChange {
            what: Routed::Route(_),
            ..
        }) => "route",
        Changed::Routing(_) => "rule",
        Changed::Chain(_) | Changed::Policy(..) | Changed::Rule(..) | Changed::MoreRules(_) => {
            "chain"
        }
        Changed::Sysctl(..) => "sysctl",
    }
}

/// One line, without the place.
fn words(host: &Host, change: &Change) -> String {
    let how = |thing: String, came: &str| match change.course {
        Course::Came => format!("{thing} {came}"),
        Course::Went => format!("{thing} is gone"),
        Course::Changed => format!("{thing} changed"),
    };
    match &change.what {
        Changed::Namespace => how(host.namespace(change.netns), "appeared"),
        Changed::Link(name) => how(format!("interface {name}"), "appeared"),
        Changed::LinkState(device, state) => link_words(host, *device, state),
        Changed::Address(device, address, length) => {
            let thing = format!("{address}/{length} on {}", host.interface(*device));
            how(thing, "was added")
        }
        Changed::Routing(routing) => {
            let thing = match &routing.what {
                Routed::Route(route) => {
                    let words = route::route_words(host, change.netns, route);
                    format!("route {words}")
                }
                Routed::Rule(v6, rule) => {
                    let family = if *v6 { "IPv6 rule" } else { "rule" };
                    format!("{family} {}: {}", rule.priority, route::rule_words(rule))
                }
            };
            how(thing, "was added")
        }
        Changed::Chain(chain) => how(format!("chain {}", chain_words(chain)), "was added"),
        Changed::Policy(chain, drops) => {
            let policy = if *drops { "drop" } else { "accept" };
            format!("policy of chain {} is now {policy}", chain_words(chain))
        }
        Changed::Rule(chain, text) => {
            let to = chain_words(chain);
            match change.course {
                Course::Went => format!("rule of chain {to} is gone: {text}"),
                _ => format!("rule was added to chain {to}: {text}"),
            }
        }
        Changed::MoreRules(more) => format!("{more} more rules of packet filters changed"),
        Changed::Sysctl(path, before, now) => {
            let value = |value: &Option<String>| match value {
                Some(value) => value.clone(),
                None => "not readable".to_owned(),
            };
            let name = path.replace('/', ".");
            format!("{name} was {}, is now {}", value(before), value(now))
        }
    }
}

fn link_words(host: &Host, device: Device, state: &LinkState) -> String {
    let name = host.interface(device);
    let mac = |mac: &Option<Mac>| mac.map_or_else(|| "none".to_owned(), |mac| mac.to_string());
    match state {
        LinkState::Up(true) => format!("{name} was set up"),
        LinkState::Up(false) => format!("{name} was set down"),
        LinkState::Carrier(true) => format!("{name} has a carrier again"),
        LinkState::Carrier(false) => format!("{name} lost its carrier"),
        LinkState::Mtu(before, now) => format!("MTU of {name} was {before}, is now {now}"),
        LinkState::Mac(before, now) => {
            format!("MAC of {name} was {}, is now {}", mac(before), mac(now))
        }
        LinkState::Master(None) => format!("{name} belongs to no bridge, bond or VRF any more"),
        LinkState::Master(Some(number)) => {
            let master = Device {
                ifindex: IfIndex(*number),
                ..device
            };
            let kind = host.link(master).map_or("", |link: &Link| &link.kind);
            let kind = if kind.is_empty() { "interface" } else { kind };
            format!("{name} belongs to {kind} {} now", host.interface(master))
        }
    }
}

/// `filter/FORWARD`, `inet fw/forward`.
fn chain_words(chain: &ChainId) -> String {
    let ChainId {
        engine: _,
        family,
        table,
        chain,
    } = chain;
    match family.as_str() {
        "ip" | "ip6" => format!("{table}/{chain}"),
        family => format!("{family} {table}/{chain}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::diagnose;
    use crate::host::facts::{Fact, Run, TableRoute};

    fn host() -> Host {
        let mut host = Host::default();
        let run = Run {
            started_ktime: KtimeNs(1_000),
            ..Run::default()
        };
        host.apply(KtimeNs(2_000), Fact::Run(Box::new(run)));
        let mut link = Link::new(device(), "eth1");
        link.up = true;
        host.apply(KtimeNs(2_000), Fact::Link(link));
        host
    }

    fn device() -> Device {
        Device {
            netns: NetNs(7),
            ifindex: IfIndex(3),
        }
    }

    fn told(host: &Host, now: u64) -> Vec<String> {
        let trace = Trace {
            now: KtimeNs(now),
            ..Trace::default()
        };
        let diagnosis = diagnose(&trace, host);
        let all = read(&trace, host, &diagnosis, Clock::of(host));
        all.into_iter()
            .map(|change| {
                format!(
                    "{} {} {}: {}",
                    change.at_ns, change.kind, change.change, change.text
                )
            })
            .collect()
    }

    #[test]
    fn what_came_and_went_is_told_in_words() {
        let mut host = host();
        let mut route = TableRoute::new("unicast", 254, [10, 2, 0, 0].into(), 24);
        route.gateway = Some([10, 1, 0, 2].into());
        route.oif = Some(3);
        let routing = RoutingChange {
            netns: NetNs(7),
            gone: true,
            what: Routed::Route(route),
        };
        host.apply(KtimeNs(3_000), Fact::Routing(Box::new(routing)));
        let mut link = Link::new(device(), "eth1");
        link.mtu = 1400;
        host.apply(KtimeNs(5_000), Fact::Link(link));
        host.apply(KtimeNs(6_000), Fact::LinkGone(device()));
        insta::assert_snapshot!(told(&host, 6_000).join("\n"), @r"
        5000 link went: interface eth1 is gone
        4000 link changed: eth1 was set down
        4000 link changed: MTU of eth1 was 0, is now 1400
        2000 route went: route 10.2.0.0/24 via 10.1.0.2 dev eth1 is gone
        ");
    }

    #[test]
    fn what_was_there_when_the_trace_began_is_no_change() {
        assert_eq!(told(&host(), 9_000), Vec::<String>::new());
    }
}
