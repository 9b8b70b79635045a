//! Rules that filter by the way back (`fib saddr … oif`, `rpfilter`): what is wrong is mostly that way, and not the rule.

use crate::host::Host;
use crate::host::facts::{BaseChain, Rule, Ruleset};
use crate::model::{Device, Tuple};
use crate::network::route::{Decision, Query, Tables, lookup, route_words};

use super::super::super::candidate::Candidate;
use super::super::super::loss::Loss;
use super::super::super::remedy::{Remedy, Shell, command, ip};
use super::super::super::route_commands;
use super::super::super::stray_source::Stray;

/// Whether a rule filters by the way back.
pub(super) fn asks(text: &str) -> bool {
    ["fib saddr", "rpfilter"]
        .iter()
        .any(|word| text.contains(word))
}

/// Whether one of the rules does.
pub fn is_asked(rules: &Ruleset) -> bool {
    let of = |base: &BaseChain| {
        rules
            .beside(base)
            .any(|(_, rule): (_, &Rule)| asks(&rule.text))
    };
    rules.base.iter().any(of)
}

/// Adds what to look at and to change about the way back of a packet that such a rule dropped: the sender, where it uses
/// the address of another of its interfaces, else the route that leads answers elsewhere.
pub(super) fn explain(candidate: Candidate, loss: &Loss<'_>, shell: &Shell) -> Candidate {
    let Some(tuple) = loss.tuple() else {
        return candidate;
    };
    let ip = ip(tuple.src.is_ipv6());
    let came_in = loss.came_in();
    let came = came_in.map_or_else(String::new, |d| {
        format!(": it came in through {}", loss.host.interface(d))
    });
    let look = shell.look(
        format!("the rule filters by the way back; where would an answer go{came}"),
        command![..ip, "route get", tuple.src],
    );
    let candidate = candidate.advise([look]);
    if let Some(stray) = Stray::of_packet(loss) {
        let mended = stray.mended(tuple).zip(came_in);
        let fits = mended.is_some_and(|(tuple, came_in)| may_lead_back(loss.host, tuple, came_in));
        let changes = stray.remedies(fits);
        return stray.told(candidate).advise(changes);
    }
    candidate.advise(came_in.and_then(|came_in| misleading(loss, came_in, shell)))
}

/// Whether an answer would leave where the packet came in, as far as is known.
fn may_lead_back(host: &Host, tuple: Tuple, came_in: Device) -> bool {
    let tables = Tables::of(host, came_in.netns);
    match lookup(&tables, &Query::output(tuple.reversed(), 0)).decision {
        Decision::Route { hops, .. } => {
            let mut hops = hops.iter();
            hops.any(|hop| hop.oif == Some(came_in.ifindex.0))
        }
        Decision::Undecided(_) => true,
        _ => false,
    }
}

/// The route that leads answers elsewhere deleted, where without it they go back to where the packet came from.
fn misleading(loss: &Loss<'_>, came_in: Device, shell: &Shell) -> Option<Remedy> {
    let (host, netns) = (loss.host, came_in.netns);
    let tables = Tables::of(host, netns);
    let back = Query::output(loss.outermost()?.reversed(), 0);
    let route = match lookup(&tables, &back).decision {
        Decision::Route { route, .. } => route,
        _ => return None,
    };
    let leads = match lookup(&tables.without(route), &back).decision {
        Decision::Route { hops, .. } => hops.iter().any(|hop| hop.oif == Some(came_in.ifindex.0)),
        _ => false,
    };
    if !leads {
        return None;
    }
    route_commands::delete(
        shell,
        (host, netns),
        route,
        format!(
            "delete the route {}, if it should not match: answers then leave through {}, and the rule lets the packet pass",
            route_words(host, netns, route),
            host.interface(came_in)
        ),
    )
}
