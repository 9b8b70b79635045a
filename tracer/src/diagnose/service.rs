//! Service addresses without a usable endpoint: a rule rejects what is for them, or no rule translates it any more and
//! it goes astray.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{
    BaseChain, Missing, Question, Rule, RuleVerdict, Ruleset, Side, Statement, Stop, Test,
    Translation, Value,
};
use crate::model::{Detail, Device, Direction, NetNs, Proto};
use crate::network::reach;
use crate::verdict::{Confidence, Outcome, Place, Verdict};

use super::Found;
use super::candidate::{Candidate, place_on};
use super::causes::{NAT_NO_BACKEND, by_code};
use super::owners;
use super::remedy::{Shell, command, text};
use super::routing;
use super::translation;
use super::translator;
use super::view::View;
use super::words;

/// Namespaces that packets pass one after the other, with the interface on which they come in; none for the sender's.
fn passed(view: &View<'_>) -> Vec<(NetNs, Option<Device>)> {
    let mut list: Vec<(NetNs, Option<Device>)> = Vec::new();
    let steps = view.journeys(Direction::Forward).next().map(|j| &j.steps);
    for event in steps.into_iter().flatten().map(|s| &s.event) {
        let Some(netns) = event.device.map(|d| d.netns).or(event.netns) else {
            continue;
        };
        if !list.iter().any(|(known, _)| *known == netns) {
            let came_in = event
                .device
                .filter(|_| matches!(event.detail, Detail::Ingress));
            list.push((netns, came_in));
        }
    }
    list
}

/// The destination, where it may be a service's: a private address that no interface has, not translated yet.
fn service(view: &View<'_>) -> Option<IpAddr> {
    let tuple = view.tuple()?;
    let private = match tuple.dst {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            // RFC 1918, and RFC 6598's shared space
            v4.is_private() || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(v6) => v6.is_unique_local(),
    };
    if !private || translation::dnat(view).is_some() || is_endpoint(view.host, tuple.dst) {
        return None;
    }
    let (netns, _) = passed(view).into_iter().next()?;
    let unowned = reach::owners(view.host, netns, tuple.dst).is_empty();
    unowned.then_some(tuple.dst)
}

/// Whether rules that were read translate to the address: it is an endpoint of a service, and none itself.
fn is_endpoint(host: &Host, address: IpAddr) -> bool {
    let rules = host
        .filters
        .values()
        .flat_map(|read| &read.fact.chains)
        .flat_map(|chain| &chain.rules);
    rules.flat_map(Rule::statements).any(|statement| {
        matches!(statement, Statement::Translate(Translation { side: Side::Destination, addresses: Some((first, last)), .. }) if *first <= address && address <= *last)
    })
}

/// Chains to read while nobody owns the destination.
#[must_use]
pub fn questions(view: &View<'_>) -> Vec<Question> {
    if service(view).is_none() {
        return Vec::new();
    }
    passed(view)
        .into_iter()
        .map(|(netns, _)| Question::Chains { netns })
        .collect()
}

/// The verdict's candidate, where the destination is a service without an endpoint.
#[must_use]
pub fn without_endpoint(view: &View<'_>, found: &Found<'_>) -> Option<Candidate> {
    let (counts, chosen, found) = (&found.counts, found.chosen(), &found.verdict);
    let address = service(view).filter(|_| counts.reply.delivered == 0)?;
    let rejected = chosen.filter(|g| g.candidate.cause.code == "netfilter.reject");
    let (netns, came_in, why, confidence) = match rejected {
        Some(group) => {
            let netns = group.example.netns()?;
            let came_in = passed(view)
                .into_iter()
                .find(|(ns, _)| *ns == netns)
                .and_then(|(_, device)| device);
            let (why, confidence) = refusal(view, netns, address)?;
            (netns, came_in, why, confidence)
        }
        None => {
            let astray = found.cause.as_deref().and_then(by_code)?;
            if NAT_NO_BACKEND.beats(astray).is_none()
                || chosen.is_some_and(|g| g.direction != Direction::Forward)
            {
                return None;
            }
            let (netns, came_in) = translator(view, address)?;
            let journey = view.journeys(Direction::Forward).next()?;
            let none = translator::no_rule(view.host, journey, netns);
            // A rule would translate it: why it did not is told by what the translator has to do with it.
            if none == Some(false) {
                return None;
            }
            let sibling = sibling(view, netns, came_in, address);
            let offered = none.map(|_| offered(view, netns, address));
            if let Some(offered) = offered.filter(|list| !list.is_empty()) {
                return without_port(view, found, (netns, came_in), &offered);
            }
            let emptied = none.and_then(|_| emptied(view, netns));
            let confidence = if sibling.is_some() || emptied.is_some() {
                Confidence::Likely
            } else {
                Confidence::Possible
            };
            let like = sibling.map_or_else(String::new, |k| format!(" (it translates {k})"));
            // Only rules that were read and could be followed to their end say that there is none.
            let what = match none {
                Some(_) => "no rule translates it",
                None => "it was not translated",
            };
            let emptied = emptied.map_or_else(String::new, |chain| {
                format!(", and {chain}, which is for that, has no rule")
            });
            (
                netns,
                came_in,
                format!("{what}{like}{emptied}: {}", found.summary),
                confidence,
            )
        }
    };
    let name = view.host.namespace(netns);
    let to = view.tuple().map(|t| words::destination(&t))?;
    let summary = format!("no backend for service address {to} on {name}: {why}");
    let candidate = proposal(view, found.outcome, (netns, came_in), summary)
        .sure(confidence)
        .because(
            "address",
            format!("no interface that was seen has {address}, and {name} translates destinations"),
        )
        .because(
            "other-loss",
            (confidence != Confidence::Certain).then(|| {
                format!(
                    "could also be {}: {}",
                    found.cause.as_deref().unwrap_or("another cause"),
                    found.summary
                )
            }),
        );
    let shell = Shell::of(view.host, Some(netns));
    let six = if address.is_ipv6() { "6" } else { "" };
    Some(candidate.advise([
        shell.look("look first: the service's rules (nftables, iptables-nft)", command!["nft list ruleset"].piped_to(command!["grep -F", address])),
        shell.look("the same of legacy tables", command![format!("ip{six}tables-legacy-save"), "-t nat"].piped_to(command!["grep -F", address])),
        text(format!(
            "start a backend: has the service of {address} ready endpoints (kubectl get endpointslices -A), and do its selector and ports fit?"
        )),
        text("with endpoints in place: does the program that writes the rules (kube-proxy, the balancer) still run on this node?"),
    ]))
}

/// The chain without a rule in which whoever translates services does so.
fn emptied(view: &View<'_>, netns: NetNs) -> Option<String> {
    let read = &view.host.filters.get(&netns)?.fact;
    let mut bases = read.base.iter().filter(|c| translates(c));
    bases.find_map(|base| {
        let own = read.chains.iter().find(|chain| chain.is(base))?;
        let mut led = own.rules.iter().flat_map(Rule::statements);
        led.find_map(|statement| match statement {
            Statement::Verdict(RuleVerdict::Jump(to) | RuleVerdict::Goto(to)) => {
                let owner = owners::of(&base.table, to, "").filter(|owner| owner.serves())?;
                let mut beside = read.chains.iter().filter(|chain| chain.beside(base));
                let empty = beside
                    .any(|c| c.name == *to && c.rules.is_empty() && c.missing == Missing::Nothing);
                empty.then(|| format!("chain {}/{to} of {}", base.table, owner.name))
            }
            _ => None,
        })
    })
}

/// The hook at which destinations are translated of what came in, or of what a namespace sends itself.
fn hook_of(came_in: Option<Device>) -> &'static str {
    match came_in {
        Some(_) => "PREROUTING",
        None => "OUTPUT",
    }
}

/// A proposal at the hook where the namespace would have translated it.
fn proposal(
    view: &View<'_>,
    found: Outcome,
    (netns, came_in): (NetNs, Option<Device>),
    summary: String,
) -> Candidate {
    let place = Place {
        interface: came_in.map(|d| view.host.interface(d)),
        hook: Some(hook_of(came_in).to_owned()),
        ..place_on(view.host, netns)
    };
    let outcome = match found {
        Outcome::Rejected | Outcome::Unanswered => found,
        _ => NAT_NO_BACKEND.outcome,
    };
    Candidate::new(&NAT_NO_BACKEND, place, summary).leads_to(outcome)
}

/// The rules translate the address for other ports, and not for the one that was asked.
fn without_port(
    view: &View<'_>,
    found: &Verdict,
    (netns, came_in): (NetNs, Option<Device>),
    offered: &[String],
) -> Option<Candidate> {
    let tuple = view.tuple()?;
    let (name, list) = (view.host.namespace(netns), offered.join(", "));
    let asked = match tuple.dport {
        0 => tuple.proto.to_string(),
        port => format!("{port}/{}", tuple.proto),
    };
    let summary = format!(
        "{} is a service's address, and the service has no {asked}: {name} translates {list} of it",
        tuple.dst
    );
    let shell = Shell::of(view.host, Some(netns));
    let rules = command!["nft list ruleset"].piped_to(command!["grep -F", tuple.dst]);
    let ask = match tuple.proto {
        Proto::Icmp | Proto::Icmp6 => format!(
            "no machine has a service's address, so that nothing answers a ping: ask {list} of {}",
            tuple.dst
        ),
        _ => format!("ask a port that the service has: {list}"),
    };
    let candidate = proposal(view, found.outcome, (netns, came_in), summary)
        .sure(Confidence::Certain)
        .because(
            "rule",
            format!("rules of {name} speak of {} with {list} alone", tuple.dst),
        )
        .because(
            "other-loss",
            format!("what became of it: {}", found.summary),
        );
    Some(candidate.advise([
        shell.look("the service's rules (nftables, iptables-nft)", rules),
        text(ask),
        text("or add the port to the service (kubectl edit service: ports)"),
    ]))
}

/// What rules translate of an address, or lead to where it is translated: `80/tcp`. Empty where a rule takes all
/// ports, or the one that was asked.
fn offered(view: &View<'_>, netns: NetNs, address: IpAddr) -> Vec<String> {
    let read = view.host.filters.get(&netns).map(|dated| &dated.fact);
    let (Some(read), Some(asked)) = (read, view.tuple()) else {
        return Vec::new();
    };
    let mut list: Vec<String> = Vec::new();
    for base in read.base.iter().filter(|base| translates(base)) {
        for (_, rule) in read.beside(base) {
            if !leads(rule) || names(rule, address) != Some(true) {
                continue;
            }
            let ports = rule.tests().find_map(|test| match test {
                Test::Port {
                    side: Some(Side::Destination),
                    ranges,
                    not: false,
                } => Some(ranges),
                _ => None,
            });
            let proto = rule.tests().find_map(|test| match test {
                Test::Protocol { number, not: false } => Some(protocol(*number)),
                _ => None,
            });
            let (Some(ports), Some(proto)) = (ports, proto) else {
                return Vec::new();
            };
            for (first, last) in ports {
                // it has the port, and no endpoint behind it
                if asked.proto == proto && (*first..=*last).contains(&asked.dport) {
                    return Vec::new();
                }
                let port = if first == last {
                    format!("{first}/{proto}")
                } else {
                    format!("{first}-{last}/{proto}")
                };
                if !list.contains(&port) {
                    list.push(port);
                }
            }
        }
    }
    list
}

fn protocol(number: u8) -> Proto {
    match number {
        6 => Proto::Tcp,
        17 => Proto::Udp,
        132 => Proto::Sctp,
        other => Proto::Other(other),
    }
}

/// Whether a rule translates, or leads to where it is done.
fn leads(rule: &Rule) -> bool {
    rule.statements().any(|statement| {
        matches!(
            statement,
            Statement::Translate(_)
                | Statement::Verdict(RuleVerdict::Jump(_) | RuleVerdict::Goto(_))
        )
    })
}

/// The rule that rejects, as far as it tells that it does so for want of endpoints.
fn refusal(view: &View<'_>, netns: NetNs, address: IpAddr) -> Option<(String, Confidence)> {
    let read = view.host.filters.get(&netns).map(|dated| &dated.fact);
    let rules = read.into_iter().flat_map(|read| {
        let base = read.base.iter().filter(|c| !c.is_nat());
        base.flat_map(|base| read.stops(base, usize::MAX))
    });
    let rule = rules
        .filter(|(_, r)| r.stop() == Some(Stop::Reject))
        .find(|(_, r)| names(r, address) != Some(false));
    let said = rule.is_some_and(|(chain, r)| {
        let words = format!("{chain} {}", r.text).to_lowercase();
        ["endpoint", "kube", "backend"]
            .iter()
            .any(|w| words.contains(w))
    });
    let translates = chains(view, netns).any(translates);
    let about = rule.is_some_and(|(_, r)| names(r, address) == Some(true));
    let confidence = match (said, translates) {
        (true, _) => Confidence::Certain,
        (false, true) if about => Confidence::Possible,
        _ => return None,
    };
    let rule = rule.map_or_else(
        || "a rule rejects it".to_owned(),
        |(chain, r)| format!("a rule of chain {chain} rejects it ({})", r.text),
    );
    Some((rule, confidence))
}

/// Whether a rule speaks of a destination address; `None` when of none.
fn names(rule: &Rule, address: IpAddr) -> Option<bool> {
    rule.tests().find_map(|test| match test {
        Test::Address {
            side: Side::Destination,
            ranges,
            not: false,
        } => Some(ranges.iter().any(|(a, b)| *a <= address && address <= *b)),
        _ => None,
    })
}

fn chains<'a>(view: &View<'a>, netns: NetNs) -> impl Iterator<Item = &'a BaseChain> {
    view.host
        .filters
        .get(&netns)
        .into_iter()
        .flat_map(|c| &c.fact.base)
}

/// A chain that can translate destinations.
fn translates(chain: &BaseChain) -> bool {
    chain.is_nat() && matches!(chain.hook.as_str(), "PREROUTING" | "OUTPUT")
}

/// The first namespace on the way that translates destinations, unless the address is one of its neighbours'.
fn translator(view: &View<'_>, address: IpAddr) -> Option<(NetNs, Option<Device>)> {
    passed(view).into_iter().find(|(netns, came_in)| {
        let hook = hook_of(*came_in);
        let on_link = view
            .host
            .links()
            .filter(|l| l.device.netns == *netns)
            .flat_map(|l| view.host.addresses(l.device))
            .any(|a| routing::holds(a.address, a.prefix, address));
        !on_link && chains(view, *netns).any(|c| translates(c) && c.hook == hook)
    })
}

/// A service address near this one that the namespace translates.
fn sibling(
    view: &View<'_>,
    netns: NetNs,
    came_in: Option<Device>,
    address: IpAddr,
) -> Option<IpAddr> {
    let hook = hook_of(came_in);
    let prefix = if address.is_ipv6() { 64 } else { 16 };
    let near = |first: &IpAddr| routing::holds(*first, prefix, address);
    let read = &view.host.filters.get(&netns)?.fact;
    let base = read.base.iter().filter(|c| translates(c) && c.hook == hook);
    base.flat_map(|base| destinations(read, base)).find(near)
}

/// Destinations for which the table of a chain translates, or leads to where it does.
fn destinations(read: &Ruleset, base: &BaseChain) -> Vec<IpAddr> {
    let rules = read.beside(base).filter(|(_, rule)| leads(rule));
    let tested = rules
        .flat_map(|(_, r)| r.tests())
        .flat_map(|test| match test {
            Test::Address {
                side: Side::Destination,
                ranges,
                not: false,
            } => ranges.iter().map(|(first, _)| *first).collect(),
            _ => Vec::new(),
        });
    let maps = read
        .sets
        .iter()
        .filter(|s| s.family == base.family && s.table == base.table);
    let keys = maps.flat_map(|map| &map.elements).filter_map(|element| {
        element.verdict.as_ref()?;
        element.key.iter().find_map(|(first, _)| match first {
            Value::Address(address) => Some(*address),
            _ => None,
        })
    });
    tested.chain(keys).collect()
}
