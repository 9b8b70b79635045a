//! What TCP sent and what of it was acknowledged, from the segments of a flow.

use std::collections::BTreeMap;

use crate::model::{Direction, Event, Fate, Journey, Packet, Segment, Sending, Transport};
use crate::uapi::tcp::{ACK, FIN, RST, SYN};

/// Takes a segment in: what it carries, and what it says of the other direction.
pub(super) fn note(sending: &mut BTreeMap<Direction, Sending>, journey: &Journey, fate: &Fate) {
    let Some(back) = journey.direction.opposite() else {
        return;
    };
    let mut seen = journey.steps.iter().map(|step| &step.event);
    let Some((event, packet)) = seen.find_map(|e| Some((e, e.packet.as_ref()?))) else {
        return;
    };
    let Transport::Tcp {
        seq,
        ack,
        flags,
        payload,
        ..
    } = packet.transport
    else {
        return;
    };
    if flags & FIN != 0 {
        let end = seq.wrapping_add(payload).wrapping_add(1);
        sending.entry(journey.direction).or_default().fin = Some(end);
    }
    if let Some(segment) = segment(journey, fate, (event, packet)) {
        sending.entry(journey.direction).or_default().sent(segment);
    }
    let last = journey.steps.last().map_or(event.at, |step| step.event.at);
    if flags & RST != 0 {
        sending.entry(back).or_default().reset = Some(last);
    } else if flags & ACK != 0 {
        sending.entry(back).or_default().acknowledged(ack, last);
    }
}

/// The numbers that a segment takes, where the other end has to acknowledge them. A FIN is left out: who closes a
/// connection often does not wait for that.
fn segment(journey: &Journey, fate: &Fate, seen: (&Event, &Packet)) -> Option<Segment> {
    let (event, packet) = seen;
    let Transport::Tcp {
        seq,
        flags,
        payload,
        ..
    } = packet.transport
    else {
        return None;
    };
    let syn = flags & SYN != 0;
    let length = payload + u32::from(syn);
    if length == 0 || flags & RST != 0 {
        return None;
    }
    let headers = packet.ip_len.saturating_sub(payload);
    let steps = journey.steps.iter().rev();
    Some(Segment {
        seq,
        end: seq.wrapping_add(length),
        size: headers + payload.div_ceil(u32::from(event.segments.max(1))),
        syn,
        copies: 1,
        left: u32::from(matches!(fate, Fate::Left { .. })),
        first: event.at,
        last: event.at,
        device: steps
            .map(|step| step.event.device)
            .find_map(|device| device),
    })
}
