//! A fault that ended while the trace ran: what was lost lies together in time, and what was sent after it, to the same
//! destination, arrived. Whoever reads the verdict then is not to mend what stands no more.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::changes::Changed;
use crate::model::{Fate, KtimeNs, NetNs, Proto};
use crate::verdict::{Advice, AdviceKind, Outcome, Verdict};

use super::translation;
use super::view::View;
use super::words;

/// How much has to arrive after the last loss before it is told.
const ENOUGH: usize = 2;
/// Kind of the evidence that says that the host is no more what it was when it lost the packet.
const DOUBT: &str = "doubt";
/// Losses that come with load: what is to be done against them is the same when they have stopped.
const OF_LOAD: &[&str] = &[
    "conntrack.full",
    "conntrack.insert-failed",
    "device.full",
    "fragment.timeout",
    "netfilter.queue",
    "ovs.meter",
    "ovs.upcall-lost",
    "qdisc.full",
    "socket.backlog-full",
    "socket.buffer-full",
    "socket.no-local-port",
    "wire.lost",
];

/// What is not so any more where another flow to the same end arrives.
const OF_ONE_END: &str = "socket.none";

/// What was lost, and what came after it.
struct Span {
    first: KtimeNs,
    last: KtimeNs,
    /// How many arrived since.
    since: usize,
    what: &'static str,
    /// Where those that were lost had been.
    passed: Vec<NetNs>,
}

/// Says of a verdict that what it tells is over, and takes back the advice to change something.
pub(super) fn tell(meant: &[(&View<'_>, &Verdict)], overall: &mut Verdict) {
    let Some((view, _)) = meant.first() else {
        return;
    };
    let of_load = |cause: &str| OF_LOAD.contains(&cause);
    if overall.outcome <= Outcome::Delivered || overall.cause.as_deref().is_some_and(of_load) {
        return;
    }
    let span = match meant {
        [(view, _)] => of_packets(view),
        _ => of_flows(meant, overall),
    };
    let Some(span) = span else { return };
    let doubted = overall.evidence.iter().any(|e| e.kind == DOUBT);
    let listens = overall.cause.as_deref() == Some(OF_ONE_END);
    if !doubted && !listens && !changed(view.host, &span) {
        return;
    }
    let lasted = words::duration(span.last.since(span.first));
    overall.summary += &format!(
        "; it is over: all within {lasted}, and the {} {} since then arrived",
        span.since, span.what
    );
    overall
        .advice
        .retain(|advice| advice.kind == AdviceKind::Look);
    let over = "change nothing: it works again; find out what changed while it was traced, who did it, and whether it comes back";
    overall
        .advice
        .insert(0, Advice::new(AdviceKind::Look, over, None));
}

/// Flows that fail, of which later ones to the same service from the same host arrive.
fn of_flows(meant: &[(&View<'_>, &Verdict)], overall: &Verdict) -> Option<Span> {
    let alike =
        |verdict: &Verdict| (verdict.outcome, &verdict.cause) == (overall.outcome, &overall.cause);
    let failing = || meant.iter().filter(|(_, verdict)| alike(verdict));
    let first = failing().map(|(view, _)| view.flow.first).min()?;
    let last = failing().map(|(view, _)| view.flow.last).max()?;
    let mut kinds: Vec<Kind> = failing()
        .map(|(view, _)| kind(view))
        .collect::<Option<_>>()?;
    kinds.sort_unstable();
    kinds.dedup();
    let mut since = 0;
    for wanted in kinds {
        let of_kind = meant
            .iter()
            .filter(|(view, verdict)| !alike(verdict) && kind(view) == Some(wanted));
        let others: Vec<_> = of_kind
            .filter(|(view, _)| view.flow.last >= first)
            .collect();
        // in between none came through, and after it all do
        let over = others
            .iter()
            .all(|(view, verdict)| verdict.outcome == Outcome::Delivered && view.flow.first > last);
        if others.is_empty() || !over {
            return None;
        }
        since += others.len();
    }
    let passed = failing()
        .flat_map(|(view, _)| view.kept())
        .flat_map(|journey| &journey.steps)
        .filter_map(|step| step.event.netns)
        .collect();
    (since >= ENOUGH).then_some(Span {
        first,
        last,
        since,
        what: "flows",
        passed,
    })
}

/// Packets of one flow, of which later ones of that length arrive.
fn of_packets(view: &View<'_>) -> Option<Span> {
    let losses = view.losses().lost;
    let direction = losses.first()?.journey.direction;
    let lost = || {
        losses
            .iter()
            .filter(|loss| loss.journey.direction == direction)
    };
    let first = lost().map(|loss| loss.event.at).min()?;
    let last = lost().map(|loss| loss.event.at).max()?;
    let longest = lost().map(|loss| loss.event.len).max()?;
    let arrived = view
        .journeys(direction)
        .filter(|journey| journey.fate == Fate::Delivered)
        .filter_map(|journey| Some((journey.steps.first()?, journey.steps.last()?.event.at)));
    let mut since = 0;
    for (begun, ended) in arrived {
        if begun.event.at > last {
            since += usize::from(begun.event.len >= longest);
        } else if ended >= first {
            return None;
        }
    }
    let passed = lost()
        .flat_map(|loss| loss.steps())
        .filter_map(|step| step.event.netns)
        .collect();
    (since >= ENOUGH).then_some(Span {
        first,
        last,
        since,
        what: "packets",
        passed,
    })
}

/// Who asks whom for what: behind a service, which of its ends.
type Kind = (Proto, IpAddr, IpAddr, u16);

fn kind(view: &View<'_>) -> Option<Kind> {
    let asked = view.tuple()?;
    let end = translation::dnat(view).map_or(asked, |change| change.after);
    Some((asked.proto, asked.src, end.dst, end.dport))
}

/// Whether something changed where the packets passed, after the first was lost.
fn changed(host: &Host, span: &Span) -> bool {
    host.changes.iter().any(|change| {
        let something = !matches!(change.what, Changed::Namespace | Changed::Link(_));
        something && change.at > span.first && span.passed.contains(&change.netns)
    })
}
