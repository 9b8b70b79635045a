//! Service addresses without a usable endpoint: a rule rejects what is for them, or no rule translates it any more and
//! it goes astray.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{
    BaseChain, Missing, Question, Rule, RuleVerdict, Ruleset, Side, Statement, Stop, Test,
    Translation, Value,
};
use crate::host::prefix::is_private;
use crate::model::{Detail, Device, Direction, NetNs, Proto, Tuple};
use crate::network::reach;
use crate::verdict::{Confidence, Outcome, Place, Verdict};

use super::Found;
use super::candidate::{Candidate, place_on};
use super::causes::{NAT_NO_BACKEND, by_code};
use super::groups::Group;
use super::owners;
use super::remedy::{Shell, command, text};
use super::routing;
use super::translation;
use super::translator;
use super::view::View;
use super::words;

/// A namespace that packets pass.
#[derive(Clone, Copy)]
struct Passed {
    netns: NetNs,
    /// The interface on which they come in; none in the sender's.
    came_in: Option<Device>,
}

impl Passed {
    /// Where it would translate destinations.
    fn hook(self) -> &'static str {
        match self.came_in {
            Some(_) => "PREROUTING",
            None => "OUTPUT",
        }
    }
}

/// Namespaces that packets pass one after the other.
fn passed(view: &View<'_>) -> Vec<Passed> {
    let mut list: Vec<Passed> = Vec::new();
    let steps = view.journeys(Direction::Forward).next().map(|j| &j.steps);
    for event in steps.into_iter().flatten().map(|s| &s.event) {
        let Some(netns) = event.device.map(|d| d.netns).or(event.netns) else {
            continue;
        };
        if !list.iter().any(|known| known.netns == netns) {
            let came_in = event
                .device
                .filter(|_| matches!(event.detail, Detail::Ingress));
            list.push(Passed { netns, came_in });
        }
    }
    list
}

/// The destination, where it may be a service's: a private address that no interface has, not translated yet.
fn service(view: &View<'_>) -> Option<IpAddr> {
    let tuple = view.tuple()?;
    if !is_private(tuple.dst)
        || translation::dnat(view).is_some()
        || is_endpoint(view.host, tuple.dst)
    {
        return None;
    }
    let first = passed(view).into_iter().next()?;
    let unowned = reach::owners(view.host, first.netns, tuple.dst).is_empty();
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
        .map(|at| Question::Chains { netns: at.netns })
        .collect()
}

/// The verdict's candidate, where the destination is a service without an endpoint.
#[must_use]
pub fn without_endpoint(view: &View<'_>, found: &Found<'_>) -> Option<Candidate> {
    let address = service(view).filter(|_| found.counts.reply.delivered == 0)?;
    let chosen = found.chosen();
    let refused = chosen.and_then(|group| Some((group, Refused::of(group)?)));
    if let Some((group, refused)) = refused {
        let (lack, rule) = rejected(view, (group, refused), address)?;
        // A rule for the address itself says that nothing is behind it; one for many may be for what they do not offer.
        let offered = match rule {
            Some(rule) if names(rule, address) != Some(true) || refused == Refused::Dropped => {
                offered(view, lack.at.netns, address)
            }
            _ => Vec::new(),
        };
        if !offered.is_empty() {
            return without_port(view, &found.verdict, lack.at, &offered);
        }
        return without_backend(view, &found.verdict, address, lack);
    }
    let astray = found.verdict.cause.as_deref().and_then(by_code)?;
    if NAT_NO_BACKEND.beats(astray).is_none()
        || chosen.is_some_and(|g| g.direction != Direction::Forward)
    {
        return None;
    }
    let at = translator(view, address)?;
    let journey = view.journeys(Direction::Forward).next()?;
    // Only rules that were read and could be followed to their end say that there is none.
    let without_rule = match translator::no_rule(view.host, journey, at.netns) {
        // A rule would translate it: why it did not is told by what the translator has to do with it.
        Some(false) => return None,
        Some(true) => true,
        None => false,
    };
    if without_rule {
        let offered = offered(view, at.netns, address);
        if !offered.is_empty() {
            return without_port(view, &found.verdict, at, &offered);
        }
    }
    let lack = untranslated(view, &found.verdict, address, (at, without_rule));
    without_backend(view, &found.verdict, address, lack)
}

/// How a rule refused what was for a service.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refused {
    Rejected,
    Dropped,
}

impl Refused {
    fn of(group: &Group<'_>) -> Option<Self> {
        match group.candidate.cause.code {
            "netfilter.reject" => Some(Self::Rejected),
            "netfilter.drop" => Some(Self::Dropped),
            _ => None,
        }
    }
}

/// Where it shows that nothing is behind a service, and why.
struct Lack {
    at: Passed,
    why: String,
    confidence: Confidence,
}

/// A rule refuses what is for it, and which.
fn rejected<'a>(
    view: &View<'a>,
    (group, refused): (&Group<'_>, Refused),
    address: IpAddr,
) -> Option<(Lack, Option<&'a Rule>)> {
    let netns = group.example.netns()?;
    let known = passed(view).into_iter().find(|at| at.netns == netns);
    let (why, confidence, rule) = refusal(view, refused, netns, address)?;
    let at = known.unwrap_or(Passed {
        netns,
        came_in: None,
    });
    let lack = Lack {
        at,
        why,
        confidence,
    };
    Some((lack, rule))
}

/// Nothing translates it where others like it are translated.
fn untranslated(
    view: &View<'_>,
    found: &Verdict,
    address: IpAddr,
    (at, without_rule): (Passed, bool),
) -> Lack {
    let sibling = sibling(view, at, address);
    let emptied = without_rule.then(|| emptied(view, at.netns)).flatten();
    let confidence = match (sibling, &emptied) {
        (None, None) => Confidence::Possible,
        _ => Confidence::Likely,
    };
    let like = sibling.map_or_else(String::new, |k| format!(" (it translates {k})"));
    let emptied = emptied.map_or_else(String::new, |chain| {
        format!(", and {chain}, which is for that, has no rule")
    });
    let what = if without_rule {
        "no rule translates it"
    } else {
        "it was not translated"
    };
    Lack {
        at,
        why: format!("{what}{like}{emptied}: {}", found.summary),
        confidence,
    }
}

fn without_backend(
    view: &View<'_>,
    found: &Verdict,
    address: IpAddr,
    lack: Lack,
) -> Option<Candidate> {
    let Lack {
        at,
        why,
        confidence,
    } = lack;
    let name = view.host.namespace(at.netns);
    let to = view.tuple().map(|t| words::destination(&t))?;
    let summary = format!("no backend for service address {to} on {name}: {why}");
    let candidate = proposal(view, found.outcome, at, summary)
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
    let shell = Shell::of(view.host, Some(at.netns));
    let six = if address.is_ipv6() { "6" } else { "" };
    Some(candidate.advise([
        shell.look("look first: the service's rules (nftables, iptables-nft)", command!["nft list ruleset"].piped_to(command!["grep -F", address])),
        shell.look("the same of legacy tables", command![format!("ip{six}tables-legacy-save"), "-t nat"].piped_to(command!["grep -F", address])),
        text(format!(
            "start a backend: has the service of {address} ready endpoints (kubectl get endpointslices -A), and do its selector and ports fit?"
        )),
        text(format!(
            "or no service has {address} (any more): ask the one that there is now (kubectl get services -A)"
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

/// A proposal at the hook where the namespace would have translated it.
fn proposal(view: &View<'_>, found: Outcome, at: Passed, summary: String) -> Candidate {
    let place = Place {
        interface: at.came_in.map(|d| view.host.interface(d)),
        hook: Some(at.hook().to_owned()),
        ..place_on(view.host, at.netns)
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
    at: Passed,
    offered: &[String],
) -> Option<Candidate> {
    let tuple = view.tuple()?;
    let (name, list) = (view.host.namespace(at.netns), offered.join(", "));
    let asked = match tuple.dport {
        0 => tuple.proto.to_string(),
        port => format!("{port}/{}", tuple.proto),
    };
    let summary = format!(
        "{} is a service's address, and the service has no {asked}: {name} translates {list} of it",
        tuple.dst
    );
    let shell = Shell::of(view.host, Some(at.netns));
    let rules = command!["nft list ruleset"].piped_to(command!["grep -F", tuple.dst]);
    let ask = match tuple.proto {
        Proto::Icmp | Proto::Icmp6 => format!(
            "no machine has a service's address, so that nothing answers a ping: ask {list} of {}",
            tuple.dst
        ),
        _ => format!("ask a port that the service has: {list}"),
    };
    let candidate = proposal(view, found.outcome, at, summary)
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
                if !add_port(&mut list, &asked, proto, (*first, *last)) {
                    return Vec::new();
                }
            }
        }
        for (proto, port) in mapped(read, base, address) {
            if !add_port(&mut list, &asked, proto, (port, port)) {
                return Vec::new();
            }
        }
    }
    list
}

/// Adds ports to those that a service has; whether the one that was asked is none of them. It would have that one, and no endpoint
/// behind it.
fn add_port(
    list: &mut Vec<String>,
    asked: &Tuple,
    proto: Proto,
    (first, last): (u16, u16),
) -> bool {
    if asked.proto == proto && (first..=last).contains(&asked.dport) {
        return false;
    }
    let port = if first == last {
        format!("{first}/{proto}")
    } else {
        format!("{first}-{last}/{proto}")
    };
    if !list.contains(&port) {
        list.push(port);
    }
    true
}

/// Protocols and ports of an address for which a verdict map beside a chain has an element: address, protocol, port.
fn mapped(read: &Ruleset, base: &BaseChain, address: IpAddr) -> impl Iterator<Item = (Proto, u16)> {
    let maps = read
        .sets
        .iter()
        .filter(|s| s.family == base.family && s.table == base.table);
    let elements = maps.flat_map(|map| &map.elements);
    elements.filter_map(move |element| {
        element.verdict.as_ref()?;
        let [
            (Value::Address(to), _),
            (Value::Number(proto), _),
            (Value::Number(port), _),
        ] = &element.key[..]
        else {
            return None;
        };
        let proto = protocol(u8::try_from(*proto).ok()?);
        (*to == address).then_some((proto, u16::try_from(*port).ok()?))
    })
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

/// The rule that refuses, as far as it tells that it does so for want of endpoints. Of those that drop, only one by which whoever
/// translates services drops what is for an address that no service has.
fn refusal<'a>(
    view: &View<'a>,
    refused: Refused,
    netns: NetNs,
    address: IpAddr,
) -> Option<(String, Confidence, Option<&'a Rule>)> {
    let read = view.host.filters.get(&netns).map(|dated| &dated.fact);
    let mut rules = read.into_iter().flat_map(|read| {
        let base = read.base.iter().filter(|c| !c.is_nat());
        base.flat_map(|base| {
            let stops = read.stops(base, usize::MAX).into_iter();
            stops.map(move |(chain, rule)| (base, chain, rule))
        })
    });
    if refused == Refused::Dropped {
        let (_, chain, rule) = rules.find(|(base, chain, rule)| {
            let owner = owners::of(&base.table, chain, &rule.text);
            let drops = rule.stop() == Some(Stop::Drop) && names(rule, address) == Some(true);
            drops && owner.is_some_and(owners::Owner::serves)
        })?;
        let words = format!(
            "no rule translates it, and one of chain {chain} drops it ({})",
            rule.text
        );
        return Some((words, Confidence::Certain, Some(rule)));
    }
    let rule = rules
        .filter(|(.., r)| r.stop() == Some(Stop::Reject))
        .find(|(.., r)| names(r, address) != Some(false));
    let said = rule.is_some_and(|(base, chain, r)| {
        let words = format!("{} {chain} {}", base.table, r.text).to_lowercase();
        ["endpoint", "kube", "backend"]
            .iter()
            .any(|w| words.contains(w))
    });
    let translates = chains(view, netns).any(translates);
    let about = rule.is_some_and(|(.., r)| names(r, address) == Some(true));
    let confidence = match (said, translates) {
        (true, _) => Confidence::Certain,
        (false, true) if about => Confidence::Possible,
        _ => return None,
    };
    let words = rule.map_or_else(
        || "a rule rejects it".to_owned(),
        |(_, chain, r)| format!("a rule of chain {chain} rejects it ({})", r.text),
    );
    Some((words, confidence, rule.map(|(.., rule)| rule)))
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
fn translator(view: &View<'_>, address: IpAddr) -> Option<Passed> {
    passed(view).into_iter().find(|at| {
        let on_link = view
            .host
            .links()
            .filter(|l| l.device.netns == at.netns)
            .flat_map(|l| view.host.addresses(l.device))
            .any(|a| routing::holds(a.address, a.prefix, address));
        !on_link && chains(view, at.netns).any(|c| translates(c) && c.hook == at.hook())
    })
}

/// A service address near this one that the namespace translates.
fn sibling(view: &View<'_>, at: Passed, address: IpAddr) -> Option<IpAddr> {
    let prefix = if address.is_ipv6() { 64 } else { 16 };
    let near = |first: &IpAddr| routing::holds(*first, prefix, address);
    let read = &view.host.filters.get(&at.netns)?.fact;
    let base = read.base.iter();
    base.filter(|c| translates(c) && c.hook == at.hook())
        .flat_map(|base| destinations(read, base))
        .find(near)
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
