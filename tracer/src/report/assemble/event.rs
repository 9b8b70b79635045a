//! An event in words, as it happens.

use tracer_common::event::{
    FLAG_BY_SOCKET, FLAG_CLONED, FLAG_MATCH_FORWARD, FLAG_MATCH_INNER, FLAG_MATCH_LEARNED,
    FLAG_MATCH_ORIGINAL, FLAG_MATCH_QUOTED, FLAG_MATCH_REPLY, FLAG_NEIGHBOR_AUX, FLAG_TAGGED,
};

use super::Clock;
use super::journeys::{detail, hook, packet_text, stack, tuple};
use crate::correlate::Sighting;
use crate::host::Host;
use crate::model::Detail;
use crate::report::event::{DropReport, EventReport, ProcessReport};

/// Flags of a record and their names.
const FLAGS: [(u32, &str); 10] = [
    (FLAG_MATCH_FORWARD, "asked"),
    (FLAG_MATCH_REPLY, "reply"),
    (FLAG_MATCH_LEARNED, "learned"),
    (FLAG_MATCH_INNER, "inner"),
    (FLAG_MATCH_QUOTED, "quoted"),
    (FLAG_MATCH_ORIGINAL, "original"),
    (FLAG_TAGGED, "tagged"),
    (FLAG_BY_SOCKET, "by-socket"),
    (FLAG_NEIGHBOR_AUX, "neighbor"),
    (FLAG_CLONED, "cloned"),
];

/// What was just seen, in words.
#[must_use]
pub fn event_report<'a>(sighting: &'a Sighting<'_>, host: &'a Host) -> EventReport<'a> {
    let event = &sighting.event;
    let set = FLAGS.iter().filter(|(bit, _)| event.flags & bit != 0);
    EventReport {
        at_ns: Clock::of(host).since_start(event.at),
        cpu: event.cpu,
        hook: hook(event),
        node: event.netns.and_then(|netns| host.node(netns)),
        namespace: event.netns.map(|netns| host.namespace_name(netns)),
        interface: event.device.map(|device| host.interface_name(device)),
        ifindex: event.device.map(|device| device.ifindex.0),
        journey: sighting.journey.map(|journey| journey.id.0),
        flow: sighting.journey.map(|journey| journey.flow.0),
        direction: sighting.journey.map(|journey| journey.direction.name()),
        tuple: tuple(event).map(|tuple| tuple.to_string()),
        length: event.len,
        segments: event.segments,
        headers: event.packet.as_ref().map(packet_text),
        flags: set.map(|(_, name)| *name).collect(),
        rewrites: sighting
            .rewrites()
            .iter()
            .map(ToString::to_string)
            .collect(),
        drop: match &event.detail {
            Detail::Drop(info) => Some(DropReport {
                lost: sighting.is_loss(),
                reason: info.reason.as_deref(),
                function: info.function.as_deref(),
                stack: stack(event, host),
            }),
            _ => None,
        },
        detail: detail(event),
        process: event.process.as_ref().map(|process| ProcessReport {
            pid: process.pid,
            comm: &process.comm,
        }),
    }
}
