//! A process that gets its own connections back: it takes what rules redirect to it, opens the connection that was meant, and
//! that one is redirected to it again. So does a transparent proxy (a service mesh's sidecar) whose own connections no rule
//! exempts: each request opens connections until something runs out, and nobody answers.

use crate::model::{Direction, Process, Proto};
use crate::verdict::Confidence;

use super::super::candidate::{Candidate, place_on};
use super::super::causes::SOCKET_UNANSWERED;
use super::super::ends::{self, End};
use super::super::remedy::{Shell, command, text};
use super::super::translation::{self, Change};
use super::super::view::View;
use super::super::words;
use super::{Counts, Silence};

/// Connections that are looked at.
const MOST: usize = 64;

/// The translation that leads a flow to a process of the same namespace.
fn redirected(view: &View<'_>) -> Option<Change> {
    let change = translation::dnat(view)?;
    let own = change.after.dst.is_loopback() || view.host.is_local(change.netns, change.after.dst);
    own.then_some(change)
}

/// Flows to the same destination that are redirected to the same place.
fn alike<'a>(view: &View<'a>, to: &Change) -> impl Iterator<Item = View<'a>> {
    let View { trace, host, .. } = *view;
    let ends = |change: &Change| {
        (
            change.netns,
            change.before.dst,
            change.before.dport,
            change.after.dst,
            change.after.dport,
        )
    };
    let wanted = ends(to);
    trace
        .flows
        .iter()
        .take(MOST)
        .map(move |flow| View { trace, host, flow })
        .filter(move |other| redirected(other).is_some_and(|change| ends(&change) == wanted))
}

/// Who reads one of these connections and opens another one.
fn reads_and_opens(list: &[(Option<End>, Option<End>)]) -> Option<Process> {
    let readers = list.iter().filter_map(|(_, reader)| reader.as_ref());
    let mut both = readers.filter(|reader| {
        let mut senders = list.iter().filter_map(|(sender, _)| sender.as_ref());
        senders.any(|sender| sender == *reader)
    });
    both.next().map(|(_, process)| process.clone())
}

/// The verdict's candidate, for a connection to which no data came back.
pub(super) fn returned(view: &View<'_>, _: &Counts) -> Option<Silence> {
    let data = |direction| {
        let sending = view.flow.sending.get(&direction);
        sending.and_then(|s| s.last_data)
    };
    if view.tuple()?.proto != Proto::Tcp || data(Direction::Reply).is_some() {
        return None;
    }
    let change = redirected(view)?;
    let processes: Vec<_> = alike(view, &change)
        .map(|view| ends::of_flow(&view))
        .collect();
    let process = reads_and_opens(&processes)?;
    let at = view.host.namespace(change.netns);
    let (meant, led) = (
        words::destination(&change.before),
        words::destination(&change.after),
    );
    let comm = &process.comm;
    let summary = format!(
        "no answer from {meant}: {comm} on {at} gets its own connections back: it takes what is redirected to {led}, opens {meant} itself, and that is redirected to it again"
    );
    let shell = Shell::of(view.host, Some(change.netns));
    let candidate = Candidate::new(
        &SOCKET_UNANSWERED,
        place_on(view.host, change.netns),
        summary,
    )
    .sure(Confidence::Certain)
    .because(
        "socket",
        format!("{process} reads one of these connections and opened another one"),
    )
    .because(
        "flow",
        format!(
            "{} to {meant} are redirected to {led}",
            words::count(processes.len() as u64, "connection")
        ),
    )
    .advise([
        Shell::of(view.host, None).look(
            format!("look first: as which user {comm} runs"),
            command!["ps -o pid,uid,args -p", process.pid],
        ),
        shell.look(
            "and which users, groups or marks the rules exempt before they redirect",
            command!["nft list ruleset"],
        ),
        text(format!(
            "exempt what {comm} sends, before the rule that redirects: by its user (iptables: -m owner --uid-owner UID -j RETURN; nft: meta skuid UID return), which no other program of the pod may have, or by a mark that it sets"
        )),
    ]);
    Some(Silence::of_requests(view, candidate))
}
