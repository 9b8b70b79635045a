//! Of many packets or flows: how many the verdict of the whole is about, and what tells the flows that fail from those
//! that do not. A fact is only told when it holds for every flow that fails and for no other one.

use std::fmt::Display;
use std::net::IpAddr;

use crate::model::{Device, Direction, Proto, Transport, Tuple};
use crate::verdict::{Outcome, Verdict};

use super::recovered::first_packet;
use super::translation;
use super::view::View;
use super::words;

/// Adds to the verdict of the whole its share of the flows that are meant; of one flow alone its share of the packets.
pub(super) fn tell(meant: &[(&View<'_>, &Verdict)], overall: &mut Verdict) {
    let without = without_discovery(meant, overall);
    let meant = without.as_deref().unwrap_or(meant);
    if overall.outcome <= Outcome::Delivered {
        return;
    }
    if let [(view, _)] = meant {
        let packets = overall.packets;
        let some_came = [Direction::Forward, Direction::Reply]
            .iter()
            .filter_map(|direction| view.flow.fates.get(direction))
            .any(|fates| fates.delivered > 0);
        if some_came && packets.affected > 0 && packets.affected < packets.seen {
            overall.summary += &format!("; {} of {} packets", packets.affected, packets.seen);
        }
        return;
    }
    let (failing, well): (Vec<_>, Vec<_>) = meant
        .iter()
        .partition(|(_, verdict)| verdict.outcome > Outcome::Delivered);
    let alike = failing
        .iter()
        .filter(|(_, verdict)| verdict.outcome == overall.outcome && verdict.cause == overall.cause)
        .count();
    let unfollowed = meant
        .first()
        .is_some_and(|(view, _)| view.trace.unfollowed.packets > 0);
    overall.summary += &match meant.len() {
        all if unfollowed => format!("; {alike} of {all} flows that were followed"),
        2 if alike == 2 => "; both flows".to_owned(),
        all if alike == all => format!("; all {all} flows"),
        all => format!("; {alike} of {all} flows"),
    };
    let of = |flows: &[(&View<'_>, &Verdict)]| -> Vec<Facts> {
        flows.iter().map(|(view, _)| Facts::of(view)).collect()
    };
    let separating = separating(&of(&failing), &of(&well), |device| {
        meant
            .first()
            .map_or_else(String::new, |(view, _)| words::interface(view.host, device))
    });
    if alike == failing.len() {
        let who = if alike == 1 { "the only one" } else { "all" };
        if !separating.is_empty() {
            overall.summary += &format!(", {who} {}", separating.join(" and "));
        }
    } else {
        overall.summary += &format!(", {} more fail otherwise", failing.len() - alike);
        if !separating.is_empty() {
            overall.summary += &format!("; all that fail: {}", separating.join(" and "));
        }
    }
}

/// The same without neighbour discovery, which an expression for ICMPv6 lets in too, where the verdict is about another flow:
/// questions for a neighbour are no flows beside those that need it.
fn without_discovery<'a>(
    meant: &[(&'a View<'a>, &'a Verdict)],
    overall: &Verdict,
) -> Option<Vec<(&'a View<'a>, &'a Verdict)>> {
    let is_discovery = |view: &View<'_>| {
        let first = view.kept().find_map(first_packet);
        first.is_some_and(|packet| matches!(packet.transport, Transport::Neighbor { .. }))
    };
    let others: Vec<_> = meant
        .iter()
        .filter(|(view, _)| !is_discovery(view))
        .copied()
        .collect();
    let about_others = others
        .iter()
        .any(|(_, verdict)| (verdict.outcome, &verdict.cause) == (overall.outcome, &overall.cause));
    (about_others && others.len() < meant.len()).then_some(others)
}

/// What a flow can be told by from others. `None`: not known.
struct Facts {
    proto: Option<Proto>,
    family: Option<&'static str>,
    /// Where a service's address led.
    backend: Option<String>,
    to: Option<IpAddr>,
    port: Option<u16>,
    from: Option<IpAddr>,
    /// Interfaces that its packets passed or died at on the way there, in order.
    passed: Vec<Device>,
    /// The length of its longest packet on the way there.
    longest: Option<u32>,
}

impl Facts {
    fn of(view: &View<'_>) -> Self {
        let asked = view.tuple();
        let steps = || {
            view.journeys(Direction::Forward)
                .flat_map(|journey| &journey.steps)
        };
        let mut passed: Vec<Device> = Vec::new();
        let hops = view.flow.forward.hops.iter().map(|hop| hop.device);
        for device in hops.chain(steps().filter_map(|step| step.event.device)) {
            if !passed.contains(&device) {
                passed.push(device);
            }
        }
        let lengths = steps().filter_map(|step| step.event.packet.as_ref());
        let family = |t: Tuple| if t.dst.is_ipv6() { "IPv6" } else { "IPv4" };
        Self {
            proto: asked.map(|t| t.proto),
            family: asked.map(family),
            backend: translation::dnat(view).map(|change| words::destination(&change.after)),
            to: asked.map(|t| t.dst),
            port: asked.filter(has_port).map(|t| t.dport),
            from: asked.map(|t| t.src),
            passed,
            longest: lengths.map(|packet| packet.ip_len).max(),
        }
    }
}

fn has_port(tuple: &Tuple) -> bool {
    tuple.dport != 0
}

/// What all that fail have and none of the others; of those that follow from each other the first.
fn separating(failing: &[Facts], well: &[Facts], name: impl Fn(Device) -> String) -> Vec<String> {
    fn said<T: PartialEq + Clone + Display>(
        (failing, well): (&[Facts], &[Facts]),
        words: &str,
        of: fn(&Facts) -> Option<T>,
    ) -> Option<String> {
        Some(format!("{words} {}", common(failing, well, of)?))
    }
    let both = (failing, well);
    // Addresses, ports and lengths differ with these.
    let kind = said(both, "over", |f| {
        f.proto.map(|proto| proto.to_string().to_uppercase())
    })
    .or_else(|| said(both, "over", |f| f.family));
    if let Some(kind) = kind {
        return vec![kind];
    }
    let place = said(both, "to backend", |f| f.backend.clone())
        .or_else(|| said(both, "to", |f| f.to))
        .or_else(|| said(both, "to port", |f| f.port))
        .or_else(|| {
            let device = through(failing, well)?;
            Some(format!("through {}", name(device)))
        });
    let source = said(both, "from", |f| f.from);
    place
        .into_iter()
        .chain(source)
        .chain(longer(failing, well))
        .collect()
}

/// The value that all that fail share and that no other flow has. Of one flow that fails alone that is only told where
/// others have a value in common: else each flow has its own, and it separates nothing.
fn common<T: PartialEq>(
    failing: &[Facts],
    well: &[Facts],
    of: fn(&Facts) -> Option<T>,
) -> Option<T> {
    let value = failing.first().and_then(of)?;
    let others: Vec<T> = well.iter().map(of).collect::<Option<_>>()?;
    let shared = failing.len() > 1
        || others.len() == 1
        || (1..)
            .zip(&others)
            .any(|(next, one)| others.iter().skip(next).any(|other| other == one));
    let separates = !others.is_empty()
        && !others.contains(&value)
        && failing.iter().all(|f| of(f).as_ref() == Some(&value));
    (shared && separates).then_some(value)
}

/// The first interface that all that fail came to and none of the others.
fn through(failing: &[Facts], well: &[Facts]) -> Option<Device> {
    if well.is_empty() || well.iter().any(|facts| facts.passed.is_empty()) {
        return None;
    }
    let mut passed = failing.first()?.passed.iter();
    passed
        .find(|device| {
            failing.iter().all(|f| f.passed.contains(device))
                && !well.iter().any(|f| f.passed.contains(device))
        })
        .copied()
}

/// Where each flow that fails has sent a larger packet than any other flow.
fn longer(failing: &[Facts], well: &[Facts]) -> Option<String> {
    let longest =
        |flows: &[Facts]| -> Option<Vec<u32>> { flows.iter().map(|facts| facts.longest).collect() };
    let shortest = longest(failing)?.into_iter().min()?;
    let most = longest(well)?.into_iter().max()?;
    (shortest > most).then(|| {
        format!("with packets of {shortest} bytes or more (those of the other flows have at most {most})")
    })
}
