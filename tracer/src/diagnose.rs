//! Evidence to verdict: why a flow died, where, and what to type next. Pure functions over [`Trace`] and [`Host`]:
//! run again at every look, on a live trace or a replayed one.
//!
//! Each drop is put before the rules ([`rules`]); the most specific proposal wins ([`candidate`]). Losses with one
//! cause at one place are one group, and the first group on the path is the verdict ([`groups`]). A flow without a
//! loss is judged by what did not come ([`silent`]) or was never sent ([`local`]).

// Rules are read one at a time: each of their functions fits a screen (clippy.toml).
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

pub mod advertisements;
pub mod arbitration;
mod asked;
mod backends;
pub mod candidate;
pub mod causes;
mod ceased;
pub mod chain_commands;
pub mod checks;
pub mod deletion;
pub mod device_state;
mod enclosed;
pub mod ends;
pub mod explain;
pub mod gateways;
pub mod groups;
pub mod hooks;
pub mod idle;
pub mod layer2_commands;
mod left_over;
pub mod local;
pub mod local_ports;
pub mod loss;
pub mod lost_address;
pub mod missing_route;
pub mod mtu;
pub mod nat_commands;
pub mod needs;
pub mod neighbour_commands;
pub mod nfqueue;
pub mod obstacle;
pub mod off_link;
pub mod other_address;
pub mod other_source;
pub mod other_way;
pub mod outranked;
pub mod overlay;
pub mod overruled;
pub mod ovs;
pub mod own_link;
pub mod owners;
pub mod ports;
mod questions;
pub mod raising;
pub mod readdress;
pub mod recovered;
pub mod redirected;
pub mod remedy;
pub mod rewriter;
pub mod route_commands;
pub mod routers;
pub mod routing;
pub mod rules;
pub mod service;
mod shares;
pub mod silent;
pub mod source_address;
pub mod stale_source;
pub mod stall;
pub mod stray_source;
#[cfg(test)]
mod tests;
mod together;
pub mod traced;
pub mod translation;
pub mod translator;
pub mod unbound;
pub mod unruled;
mod unseen;
pub mod untracked;
pub mod untranslated_source;
pub mod uplinks;
pub mod view;
pub mod visits;
pub mod vlan_commands;
pub mod wireguard;
pub mod words;

pub use checks::questions as questions_of_checks;
pub use explain::explain;
pub use groups::{Group, LossGroup};
pub use questions::questions;

use std::collections::BTreeSet;

use crate::correlate::Trace;
use crate::host::Host;
use crate::model::{Detail, Direction, FlowId};
use crate::uapi::errno;
use crate::verdict::{Confidence, Evidence, Outcome, Place, Verdict};

use candidate::{Candidate, evidence};
use silent::Counts;
use view::View;

/// The answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnosis {
    /// One for each flow, in the trace's order.
    pub flows: Vec<Judged>,
    /// The worst of them; or why there are none.
    pub overall: Verdict,
}

/// The flows that the verdict of the whole may speak of: what was asked for and began in the trace.
#[must_use]
pub fn meant(trace: &Trace, host: &Host) -> BTreeSet<FlowId> {
    let views = trace.flows.iter().map(|flow| View { trace, host, flow });
    let meant = views.filter(|view| !view.is_aside() && BEGUN(view));
    meant.map(|view| view.flow.id).collect()
}

/// One flow's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The flow.
    pub flow: FlowId,
    /// What became of it.
    pub verdict: Verdict,
    /// What it lost, by cause and place.
    pub losses: Vec<LossGroup>,
}

/// Judges every flow.
#[must_use]
pub fn diagnose(trace: &Trace, host: &Host) -> Diagnosis {
    let views: Vec<View<'_>> = trace
        .flows
        .iter()
        .map(|flow| View { trace, host, flow })
        .collect();
    let mut flows: Vec<Judged> = views.iter().map(judge).collect();
    backends::compare(&views, &mut flows);
    let worst = |meant: &dyn Fn(&View<'_>) -> bool| {
        views
            .iter()
            .zip(&flows)
            .filter(|(view, _)| !view.is_aside() && meant(view))
            .map(|(_, judged)| &judged.verdict)
            // Of equals the first flow's: max_by_key would take the last.
            .reduce(|worst, next| {
                if rank(next) > rank(worst) {
                    next
                } else {
                    worst
                }
            })
    };
    let of = |meant: Meant| worst(&meant).map(|flow| (meant, Some(flow)));
    let (meant, worst) = of(BEGUN)
        .or_else(|| of(MEANT))
        .unwrap_or_else(|| (ANY, worst(&ANY)));
    let of_flow = |flow: &Verdict| {
        let mut verdict = flow.clone();
        let all = views.iter().zip(&flows);
        let meant: Vec<_> = all
            .filter(|(view, _)| !view.is_aside() && meant(view))
            .map(|(view, judged)| (view, &judged.verdict))
            .collect();
        shares::tell(&meant, &mut verdict);
        ceased::tell(&meant, &mut verdict);
        together::tell(&meant, &mut verdict);
        verdict
    };
    let mut overall = match (worst, unseen::not_sent(trace, host, &views)) {
        (Some(flow), Some(unsent)) if rank(flow) >= rank(&unsent) => of_flow(flow),
        (_, Some(unsent)) => unsent,
        (Some(flow), None) => of_flow(flow),
        (None, None) => unseen::no_traffic(trace, host),
    };
    name_node(&mut overall.summary, overall.place.as_ref());
    for judged in &mut flows {
        let verdict = &mut judged.verdict;
        name_node(&mut verdict.summary, verdict.place.as_ref());
        for loss in &mut judged.losses {
            name_node(&mut loss.summary, Some(&loss.place));
        }
    }
    Diagnosis { flows, overall }
}

/// Flows of which the verdict of the whole speaks: what was asked for and began in the trace, or where there is nothing else,
/// before it, or all.
type Meant = fn(&View<'_>) -> bool;
const BEGUN: Meant = |view| !view.is_chatter() && !left_over::is_left_over(view);
const MEANT: Meant = |view| !view.is_chatter();
const ANY: Meant = |_| true;

/// Of several nodes the summary names the one first: names of namespaces repeat on all.
fn name_node(summary: &mut String, place: Option<&Place>) {
    if let Some(node) = place.and_then(|place| place.node.as_deref()) {
        summary.insert_str(0, &format!("{node}: "));
    }
}

/// Worse verdicts are higher: by outcome, then by how many packets met it.
fn rank(verdict: &Verdict) -> (Outcome, Confidence, u64) {
    (
        verdict.outcome,
        verdict.confidence,
        verdict.packets.affected,
    )
}

/// The verdict of one flow.
fn judge(view: &View<'_>) -> Judged {
    let found = Found::of(view);
    let mut verdict = match explanation(view, &found) {
        Some(candidate) => silent::from_candidate(view, candidate, &found.verdict),
        None => found.verdict.clone(),
    };
    translator::tell(view, &found, &mut verdict);
    unbound::tell(view, &found, &mut verdict);
    let others = (0..).zip(&found.groups);
    let others = others.filter(|(n, _)| Some(*n) != found.chosen);
    let lines = others.map(|(_, group)| group.line());
    verdict.evidence.extend(lines);
    let recovered = found.recovered;
    if recovered > 0 {
        verdict.evidence.push(evidence(
            "other-loss",
            format!(
                "{} lost on the way and sent again with success",
                words::count(recovered, "packet")
            ),
        ));
    }
    if verdict.outcome != Outcome::Delivered {
        verdict.evidence.extend(socket_errors(view));
    }
    let told = uplinks::told(view).filter(|told| !verdict.evidence.contains(told));
    verdict.evidence.extend(told);
    Judged {
        flow: view.flow.id,
        verdict,
        losses: found.groups.iter().map(Group::summary).collect(),
    }
}

/// What the losses of a flow, or its silence, say of it.
pub struct Found<'a> {
    /// Fates of both directions.
    pub counts: Counts,
    /// The losses by cause and place.
    pub groups: Vec<Group<'a>>,
    /// How many packets were lost and sent again with success.
    pub recovered: u64,
    /// The verdict that they give.
    pub verdict: Verdict,
    /// Which of the groups decides.
    chosen: Option<usize>,
}

impl<'a> Found<'a> {
    /// Puts the losses of a flow before the rules; where there are none that matter, its silence before the symptoms.
    #[must_use]
    pub fn of(view: &View<'a>) -> Self {
        let losses = view.losses();
        let counts = Counts {
            forward: view.counts(Direction::Forward, &losses),
            reply: view.counts(Direction::Reply, &losses),
        };
        let groups = groups::of(&losses);
        let incidental: Vec<bool> = groups
            .iter()
            .map(|g| g.is_incidental(&counts.forward, &counts.reply))
            .collect();
        let chosen = groups::decisive(&groups, &incidental);
        let verdict = match chosen.and_then(|n| groups.get(n)) {
            Some(group) => groups::verdict(view, group, counts.of(group.direction)),
            None => silent::verdict(view, &counts),
        };
        Self {
            counts,
            groups,
            recovered: losses.recovered.len() as u64,
            verdict,
            chosen,
        }
    }

    /// The losses that decide, where there are some.
    #[must_use]
    pub fn chosen(&self) -> Option<&Group<'a>> {
        self.groups.get(self.chosen?)
    }
}

/// What may be behind a loss or a silence, and beyond the place where it showed.
type Explain = fn(&View<'_>, &Found<'_>) -> Option<Candidate>;

/// In this order, each with its name.
const EXPLANATIONS: &[(&str, Explain)] = &[
    (
        "a next hop that an ICMP redirect named",
        redirected::followed,
    ),
    (
        "a policy rule that leads it away from the route to its destination",
        overruled::taken,
    ),
    ("an address that a host has no more", lost_address::gone),
    (
        "what is on the own link and goes to a router",
        off_link::taken,
    ),
    (
        "a default route where the destination is on an own link",
        own_link::given_away,
    ),
    (
        "a frame that left with a MAC of its own host",
        rules::l2::past_routing::left_with_it,
    ),
    (
        "a TUN device that is down, with which the route went",
        missing_route::gone_with_its_device,
    ),
    (
        "a default route where a route of its own is missing",
        missing_route::taken,
    ),
    (
        "a route that names the wrong machine",
        missing_route::misled,
    ),
    (
        "a route that stands before the one to its destination",
        outranked::taken,
    ),
    ("a table to which no policy rule leads", unruled::taken),
    (
        "a source address that is not answered",
        source_address::refused,
    ),
    (
        "a private source that no rule translates",
        untranslated_source::kept,
    ),
    (
        "an answer from another address than was asked",
        other_address::answered,
    ),
    ("an answer that took another way", other_way::taken),
    ("an answer that takes another uplink", uplinks::parted),
    ("a service without an endpoint", service::without_endpoint),
];

/// Expressions for packets that belong to the flows, and that the expression which was asked for may not name.
#[must_use]
pub fn expected(trace: &Trace, host: &Host) -> Vec<String> {
    other_address::expected(trace, host)
}

/// The first explanation whose cause beats that of the verdict.
fn explanation(view: &View<'_>, found: &Found<'_>) -> Option<Candidate> {
    EXPLANATIONS
        .iter()
        .filter_map(|(_, explain)| explain(view, found))
        .find(|candidate| found.is_beaten_by(candidate))
}

impl Found<'_> {
    /// Whether an explanation goes further than the verdict that was found.
    fn is_beaten_by(&self, explanation: &Candidate) -> bool {
        let known = self.verdict.cause.as_deref().and_then(causes::by_code);
        known.is_none_or(|cause| explanation.cause.beats(cause).is_some())
    }
}

/// Errors that the flow's sockets were given.
fn socket_errors(view: &View<'_>) -> Option<Evidence> {
    let error = view.events().find_map(|e| match e.detail {
        Detail::SocketError { errno } if errno != 0 => e
            .socket
            .and_then(|s| s.tuple)
            .or(e.tuple)
            .is_some_and(|t| view.owns(&t))
            .then_some(errno),
        _ => None,
    })?;
    let name = errno::name(i64::from(error)).unwrap_or_else(|| format!("errno {error}"));
    Some(evidence("socket", format!("the socket was given {name}")))
}
