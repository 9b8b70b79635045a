//! The processes at the ends of a flow: who sends, and who reads what arrives, where that is on a traced machine.

use crate::host::facts::Question;
use crate::model::{Detail, Direction, Fate, NetNs, Process};

use super::view::View;

/// Flows, the first ones, about whose processes is asked.
const FLOWS: usize = 16;
/// Journeys of a direction that are looked at.
const FEW: usize = 4;

/// A process, and the namespace in which it was seen at work.
pub type End = (NetNs, Process);

/// Who sends packets of a direction, from its own system call: no interface has received them before.
#[must_use]
pub fn sender(view: &View<'_>, direction: Direction) -> Option<End> {
    view.journeys(direction).take(FEW).find_map(|journey| {
        let first = &journey.steps.first()?.event;
        let sent = !matches!(first.detail, Detail::Ingress);
        let process = first.process.clone().filter(|_| sent)?;
        Some((first.device.map(|d| d.netns).or(first.netns)?, process))
    })
}

/// Who reads packets of a direction, behind the last interface: before that a program reads what it passes on (a TUN device's).
#[must_use]
pub fn reader(view: &View<'_>, direction: Direction) -> Option<End> {
    let delivered = view
        .journeys(direction)
        .filter(|j| matches!(j.fate, Fate::Delivered));
    delivered.take(FEW).find_map(|journey| {
        let last = journey.steps.iter().rev().map(|step| &step.event);
        let mut arrived =
            last.take_while(|event| !matches!(event.detail, Detail::Ingress | Detail::Egress));
        let read = arrived.find(|event| matches!(event.detail, Detail::SocketRead { .. }))?;
        let netns = read.netns.or(read.device.map(|d| d.netns))?;
        Some((netns, read.process.clone()?))
    })
}

/// Who sends the flow's packets and who receives them; each tells itself on the way back too.
#[must_use]
pub fn of_flow(view: &View<'_>) -> (Option<End>, Option<End>) {
    let sends = sender(view, Direction::Forward).or_else(|| reader(view, Direction::Reply));
    let receives = reader(view, Direction::Forward).or_else(|| sender(view, Direction::Reply));
    (sends, receives)
}

/// The containers and units of these processes, while they are there.
#[must_use]
pub fn questions(view: &View<'_>) -> Vec<Question> {
    let is_early = view
        .trace
        .flows
        .iter()
        .take(FLOWS)
        .any(|flow| flow.id == view.flow.id);
    if !is_early {
        return Vec::new();
    }
    let (sends, receives) = of_flow(view);
    sends
        .into_iter()
        .chain(receives)
        .map(|(netns, process)| Question::ProcessOwner {
            netns,
            pid: process.pid,
        })
        .collect()
}
