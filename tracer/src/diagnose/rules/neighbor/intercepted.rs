//! Questions for a neighbour, or its answers, that something takes where they come in, before any stack sees them: an XDP program,
//! or a tc filter that hands all over to an interface which is down. Neither tells of it: no event shows the frame.

use crate::correlate::Trace;
use crate::host::Host;
use crate::host::facts::{Attachment, Link, Question};
use crate::model::{Detail, Device, Event, Transport};
use crate::network::neighbour::Answer;
use crate::verdict::Confidence;

use super::super::super::candidate::{Candidate, Specificity, place_at};
use super::super::super::causes::{TC_DROP, XDP_DROP};
use super::super::super::device_state;
use super::super::super::words;
use super::super::filter;
use super::{Unresolved, summary};

/// Those who should answer, at other interfaces.
pub(super) fn owners<'a>(who: Unresolved, told: &Answer<'a>) -> Vec<&'a Link> {
    let links = told.answerers.iter().map(|answerer| answerer.link);
    links.filter(|link| link.device != who.device).collect()
}

/// Both ends.
fn ends(who: Unresolved, told: &Answer<'_>) -> Vec<Device> {
    let owners = owners(who, told).into_iter().map(|link| link.device);
    owners.chain([who.device]).collect()
}

/// What to read of both ends.
pub(super) fn questions(who: Unresolved, told: &Answer<'_>) -> Vec<Question> {
    if owners(who, told).is_empty() {
        return Vec::new();
    }
    let states = ends(who, told).into_iter();
    states
        .map(|device| Question::DeviceState { device })
        .collect()
}

/// What takes frames where they come in.
struct Taker<'a> {
    device: Device,
    attachment: &'a Attachment,
    /// The interface that is down, to which it hands them over; `None`: a program of XDP, which may do anything.
    down: Option<&'a Link>,
}

fn takers<'a>(host: &'a Host, device: Device) -> Vec<Taker<'a>> {
    let xdp = device_state::at(host, device, "xdp").map(|attachment| Taker {
        device,
        attachment,
        down: None,
    });
    let redirects = device_state::at(host, device, "tc-ingress").filter_map(|attachment| {
        let mut to = device_state::redirects(device, attachment).filter_map(|to| host.link(to));
        let down = Some(to.find(|link| !link.up)?);
        Some(Taker {
            device,
            attachment,
            down,
        })
    });
    xdp.chain(redirects).collect()
}

/// Whether question or answer was seen where it came in, behind XDP.
fn is_seen(trace: &Trace, who: Unresolved, device: Device) -> bool {
    let steps = trace.journeys.values().flat_map(|j| &j.steps);
    let events = steps.map(|s| &s.event).chain(&trace.beside);
    let about = |event: &Event| {
        let transport = event.packet.as_ref().map(|packet| packet.transport);
        matches!(transport, Some(Transport::Neighbor { target, .. }) if target == who.address)
    };
    let mut here = events.filter(|e| e.device == Some(device));
    here.any(|e| matches!(e.detail, Detail::Ingress) && about(e))
}

/// The only thing at either end that can have taken it, where all settings say that the owner answers.
pub(super) fn explained(
    (trace, host): (&Trace, &Host),
    who: Unresolved,
    told: &Answer<'_>,
) -> Option<Candidate> {
    let owner = *owners(who, told).first()?;
    let found: Vec<Taker<'_>> = ends(who, told)
        .into_iter()
        .flat_map(|device| takers(host, device))
        .filter(|taker| taker.down.is_some() || !is_seen(trace, who, taker.device))
        .collect();
    let [taker] = found.as_slice() else {
        return None;
    };
    let (cause, hook) = match taker.down {
        Some(_) => (&TC_DROP, "tc-ingress"),
        None => (&XDP_DROP, "xdp"),
    };
    let at = words::interface(host, taker.device);
    let what = device_state::attachment(host, taker.device, taker.attachment);
    let what = match taker.down {
        Some(to) => format!("{what} takes what comes in there, and {} is down", to.name),
        None => format!("{what} stands there, and nothing that it lets pass was seen"),
    };
    let raise = taker.down.map(|to| filter::raise(host, to.device));
    let off = device_state::advice(host, taker.device, taker.attachment);
    Some(
        Candidate::new(
            cause,
            place_at(host, taker.device, hook),
            format!("{}; {at}: {what}", summary(host, who)),
        )
        .explains(Specificity::Linked)
        .sure(Confidence::Likely)
        .because(
            "neighbor",
            format!(
                "{} has {} and should answer, as far as its settings were read",
                words::interface(host, owner.device),
                who.address
            ),
        )
        .because("program", format!("{at}: {what}"))
        .advise(raise)
        .advise(off),
    )
}
