//! Routing: no route, routes that refuse, forwarding off.

use std::net::IpAddr;

use crate::host::facts::NextHop;
use crate::model::{Detail, Device, Direction, Event, FibEvent, NetNs};
use crate::network::route::{self, Decision, Tables, route_words};
use crate::verdict::Confidence;

use super::super::candidate::{Candidate, Specificity};
use super::super::causes::{
    Cause, ROUTE_BLACKHOLE, ROUTE_FORWARDING, ROUTE_NONE, ROUTE_PROHIBIT, ROUTE_UNREACHABLE,
};
use super::super::loss::Loss;
use super::super::remedy::{Remedy, Shell, command, sysctl, text};
use super::super::routing;
use super::l2::unredirected::taken_by_the_stack;
use super::refusal::Refusal;
use super::source;
use crate::uapi::errno;

/// `where.hook` of this family.
pub(super) const HOOK: &str = "route";

/// The cause that an errno of a lookup stands for.
#[must_use]
pub fn cause_of_errno(error: u32, v6: bool) -> Option<&'static Cause> {
    match error {
        errno::EAGAIN | errno::ENETUNREACH => Some(&ROUTE_NONE),
        errno::EINVAL => Some(&ROUTE_BLACKHOLE),
        errno::EACCES => Some(&ROUTE_PROHIBIT),
        // A miss in IPv6 ends at the null entry, whose error this is.
        errno::EHOSTUNREACH if v6 => Some(&ROUTE_NONE),
        errno::EHOSTUNREACH => Some(&ROUTE_UNREACHABLE),
        _ => None,
    }
}

/// The cause that an errno of RTM_GETROUTE stands for, which tells IPv6's kinds apart.
#[must_use]
pub fn cause_of_answer(error: u32) -> Option<&'static Cause> {
    cause_of_errno(error, false)
}

/// The route, or its absence, discarded the packet.
pub fn lookup(loss: &Loss<'_>) -> Option<Candidate> {
    let dst = loss.dst()?;
    let lookup = routing::lookup_before(loss.trace, loss.event, dst);
    let cause = refused_by(loss, lookup)?;
    if cause == &ROUTE_UNREACHABLE && !loss.v6() && forwarding_is_off(loss) == Some(true) {
        return None;
    }
    let came_in = loss.came_in().or(loss.device());
    let query = loss.routed(came_in)?;
    let from = came_in.map(|d| (query.tuple.src, loss.host.interface(d)));
    let from_whom = loss
        .netns()
        .and_then(|ns| source::handed_by(loss.steps(), ns));
    let mut refusal = Refusal::new(cause, loss.host, loss.netns(), query)
        .handed_by(from_whom.map(|device| device.netns));
    // Without the rules themselves: a lookup that only the local table saw was ended by one.
    let by_rule = refusal.by.is_none()
        && refusal.cause == &ROUTE_NONE
        && !loss.v6()
        && routing::stopped_by_rule(loss.trace, loss.event, dst);
    if by_rule {
        refusal.cause = &ROUTE_UNREACHABLE;
    }
    let answer = loss
        .netns()
        .and_then(|ns| routing::answer(loss.host, ns, dst));
    let tunnel = loss.tunnel();
    let around = tunnel.map_or_else(String::new, |t| format!(", the remote end of {t}"));
    let summary = format!("{}{}{around}", refusal.words(), loss.at_words());
    let candidate = Candidate::new(refusal.cause, loss.place(Some(HOOK)), summary)
        .explains(Specificity::Fact)
        .sure(if by_rule {
            Confidence::Likely
        } else {
            Confidence::Certain
        })
        .because("route", refusal.evidence())
        .because("route", lookup.map(|lookup| looked_up(dst, lookup)))
        .because("route", answer.map(|a| routing::answer_words(loss.host, a)))
        .because(
            "route",
            by_rule.then(|| {
                "only the local table was searched: a policy rule (ip rule) ended the lookup"
                    .to_owned()
            }),
        )
        .because("icmp", untold(loss, refusal.cause));
    let shell = Shell::of(loss.host, loss.netns());
    let back = (refusal.cause == &ROUTE_NONE)
        .then(|| back_where_it_came(loss))
        .flatten();
    Some(candidate.advise(back).advise(refusal.advice(&shell, from)))
}

/// A route for an answer through the interface by which its request came in.
fn back_where_it_came(loss: &Loss<'_>) -> Option<Remedy> {
    let (netns, dst) = (loss.netns()?, loss.dst()?);
    let view = loss.view();
    let answers = loss.journey.direction == Direction::Reply;
    let mut requests = view.journeys(Direction::Forward).filter(|_| answers);
    requests.find_map(|request| {
        let mut events = request.steps.iter().map(|step| &step.event);
        let here = |event: &&Event| event.device.is_some_and(|device| device.netns == netns);
        let entered = |event: &Event| matches!(event.detail, Detail::Ingress);
        let at = events.position(|event| here(&event) && entered(event))?;
        let came = request.steps.get(at)?.event.device?;
        let handed_by = source::handed_by(request.steps.get(..at)?, netns);
        source::routed_back((loss.host, came), dst, handed_by)
    })
}

/// The cause that the error of the route stands for: the packet's own, or that of the lookup before.
fn refused_by(loss: &Loss<'_>, lookup: Option<&FibEvent>) -> Option<&'static Cause> {
    let own = loss.info.dst_error.filter(|e| *e != 0);
    let error = own.or_else(|| lookup.map(|f| f.error).filter(|e| *e != 0));
    match (loss.function(), loss.reason(), error) {
        // Forwarding off ends here too, and has a rule of its own.
        (_, "IP_INADDRERRORS", _) => None,
        ("ip6_pkt_prohibit" | "ip6_pkt_prohibit_out", ..) => Some(&ROUTE_PROHIBIT),
        (_, _, Some(errno::EHOSTUNREACH)) => Some(&ROUTE_UNREACHABLE),
        (_, _, Some(e)) => cause_of_errno(e, loss.v6()),
        (_, "IP_INNOROUTES", None) => Some(&ROUTE_NONE),
        _ => None,
    }
}

fn looked_up(dst: IpAddr, lookup: &FibEvent) -> String {
    let result = match lookup.error {
        0 => "found".to_owned(),
        error => routing::errno_words(error),
    };
    format!("lookup of {dst} in table {}: {result}", lookup.table)
}

/// Refusals that the sender should have been told, and was not.
fn untold(loss: &Loss<'_>, cause: &Cause) -> Option<String> {
    let silent = cause == &ROUTE_BLACKHOLE || loss.told().is_some();
    (!silent).then(|| {
        "no ICMP error was built about this packet: the sender was not told (rate limit: icmp_ratelimit)"
            .to_owned()
    })
}

/// Sysctls that decide whether a packet from this interface is forwarded; the last one is the interface's own.
#[must_use]
pub fn forwarding_sysctls(interface: &str, v6: bool) -> Vec<String> {
    if v6 {
        // ip6_forward reads `all` (net/ipv6/ip6_output.c).
        vec!["net/ipv6/conf/all/forwarding".to_owned()]
    } else {
        vec![
            "net/ipv4/ip_forward".to_owned(),
            format!("net/ipv4/conf/{interface}/forwarding"),
        ]
    }
}

/// Values of the forwarding sysctls, as read.
fn forwarding_values(loss: &Loss<'_>) -> Option<Vec<(String, String)>> {
    let netns: NetNs = loss.netns()?;
    let device: Device = loss.came_in().or(loss.device())?;
    let names = forwarding_sysctls(&loss.host.interface(device), loss.v6());
    Some(
        names
            .into_iter()
            .filter_map(|name| {
                let value = loss
                    .host
                    .sysctls
                    .get(&(netns, name.clone()))?
                    .fact
                    .clone()?;
                Some((name, value))
            })
            .collect(),
    )
}

fn forwarding_is_off(loss: &Loss<'_>) -> Option<bool> {
    let values = forwarding_values(loss).filter(|v| !v.is_empty())?;
    Some(values.iter().any(|(_, value)| value == "0"))
}

/// The route by which a packet that is forwarded would leave through the interface on which it came, for the router that sent it.
fn leads_back(loss: &Loss<'_>) -> Option<String> {
    let (netns, came_in) = (loss.netns()?, loss.came_in().or(loss.device())?);
    let query = loss.routed(Some(came_in))?;
    let Decision::Route { route, hops, .. } =
        route::lookup(&Tables::of(loss.host, netns), &query).decision
    else {
        return None;
    };
    let back = |hop: &NextHop| hop.gateway.is_some() && hop.oif == Some(came_in.ifindex.0);
    let all = !hops.is_empty() && hops.iter().all(back);
    all.then(|| route_words(loss.host, netns, route))
}

/// Not for this namespace, which does not forward.
pub fn forwarding(loss: &Loss<'_>) -> Option<Candidate> {
    let off = forwarding_is_off(loss);
    let named = loss.reason() == "IP_INADDRERRORS"
        && matches!(loss.function(), "ip_error" | "ip6_forward" | "ip6_input");
    let unnamed = loss.unnamed()
        && off == Some(true)
        && (loss.function() == "ip6_forward"
            || loss.function() == "ip_error" && loss.info.dst_error == Some(errno::EHOSTUNREACH));
    if !named && !unnamed {
        return None;
    }
    let values = forwarding_values(loss).unwrap_or_default();
    // ip_forward sets every interface; where it is on, the interface alone was turned off.
    let culprit = values
        .iter()
        .find(|(_, v)| v == "0")
        .map(|(n, _)| n.clone());
    let fallback = forwarding_sysctls("all", loss.v6()).into_iter().next();
    let name = culprit.clone().or(fallback)?;
    let shell = Shell::of(loss.host, loss.netns());
    let dst = loss.dst_words();
    let state = culprit.map_or_else(String::new, |n| format!(" ({} = 0)", sysctl(&n)));
    let summary = format!(
        "forwarding is off{}: {dst} is not its address and it may not pass it on{state}",
        loss.at_words()
    );
    let mut candidate = Candidate::new(&ROUTE_FORWARDING, loss.place(Some(HOOK)), summary)
        .explains(Specificity::Fact);
    for (name, value) in &values {
        candidate = candidate.because("sysctl", format!("{} = {value}", sysctl(name)));
    }
    // A namespace whose interfaces hand each other all that comes in needs no forwarding.
    if let Some(misled) = taken_by_the_stack(loss) {
        let (kind, text) = misled.evidence;
        candidate.summary += &format!("; {}", misled.words);
        return Some(candidate.because(kind, text).advise(misled.advice));
    }
    let back = leads_back(loss);
    if off == Some(false) {
        candidate.confidence = Confidence::Likely;
        candidate = candidate.because(
            "doubt",
            "forwarding is on now: it was changed since, or another setting refuses".to_owned(),
        );
    }
    let forward = match back {
        Some(way) => text(format!(
            "to let it forward does not help: {way} would send the packet back where it came from"
        )),
        None => shell
            .change(
                "let it forward: it then routes between all its interfaces that allow it",
                command!["sysctl -w", format!("{}=1", sysctl(&name))],
            )
            .undone_by(command!["sysctl -w", format!("{}=0", sysctl(&name))]),
    };
    Some(candidate.advise([
        shell.look("look first", command!["sysctl", sysctl(&name)]),
        forward,
        text(format!(
            "if {dst} should not come here at all, correct the route or service that sent it"
        )),
    ]))
}
