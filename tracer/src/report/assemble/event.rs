//! An event in words, as it happens.

use tracer_common::event::{
    FLAG_BY_SOCKET, FLAG_CLONED, FLAG_MATCH_FORWARD, FLAG_MATCH_INNER, FLAG_MATCH_LEARNED,
    FLAG_MATCH_ORIGINAL, FLAG_MATCH_QUOTED, FLAG_MATCH_REPLY, FLAG_NEIGHBOR_AUX, FLAG_TAGGED,
};

use super::Clock;
use super::journeys::step_words;
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
pub fn event_report(sighting: &Sighting<'_>, host: &Host) -> EventReport {
    let event = &sighting.event;
    let words = step_words(event, host, Clock::of(host));
    let set = FLAGS.iter().filter(|(bit, _)| event.flags & bit != 0);
    EventReport {
        at_ns: words.at_ns,
        cpu: event.cpu,
        hook: words.hook,
        node: words.node,
        namespace: words.namespace,
        interface: words.interface,
        ifindex: event.device.map(|device| device.ifindex.0),
        journey: sighting.journey.map(|journey| journey.id.0),
        flow: sighting.journey.map(|journey| journey.flow.0),
        direction: sighting
            .journey
            .map(|journey| journey.direction.name().into()),
        tuple: words.tuple,
        length: words.length,
        segments: event.segments,
        headers: words.headers,
        flags: set.map(|(_, name)| (*name).to_owned()).collect(),
        rewrites: sighting
            .rewrites()
            .iter()
            .map(ToString::to_string)
            .collect(),
        drop: match &event.detail {
            Detail::Drop(info) => Some(DropReport {
                lost: sighting.is_loss(),
                reason: info.reason.clone(),
                function: info.function.clone(),
                stack: words.stack,
            }),
            _ => None,
        },
        detail: words.detail,
        process: event.process.as_ref().map(|process| ProcessReport {
            pid: process.pid,
            comm: process.comm.clone(),
        }),
    }
}
