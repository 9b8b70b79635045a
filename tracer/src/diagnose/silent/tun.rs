//! Packets that were handed to a TUN device, whose other end is a process of this host.

use crate::host::facts::Link;
use crate::model::{Detail, Device, Event, Journey, KtimeNs, Process};
use crate::uapi::if_arp::ARPHRD_ETHER;
use crate::verdict::{Confidence, Outcome};

use super::super::candidate::Candidate;
use super::super::causes::{Cause, DEVICE_FULL, KERNEL_OTHER};
use super::super::device_state;
use super::super::remedy::{Shell, command, text};
use super::super::rules::neighbor;
use super::super::view::{View, last_seen};
use super::super::words;
use super::{place_of, waiting};

/// A daemon passes on what it read so soon.
const PASSED_ON_NS: u64 = 50_000_000;

/// Handed to a TUN device. A process of this host is at the other end: it read the packet and passed on nothing that
/// belongs to it, or has not read it. `None` for other devices.
pub(super) fn explain(view: &View<'_>, journey: &Journey) -> Option<Candidate> {
    let last = last_seen(journey)?;
    let device = last.device?;
    let link = view.host.link(device).filter(|l| l.kind == "tun")?;
    if is_machine(view, link) {
        return None;
    }
    let handed = Handed {
        view,
        last,
        link,
        at: words::interface(view.host, device),
    };
    match reader(journey) {
        Some((process, read)) => handed
            .waits_for_neighbour(process, read)
            .or_else(|| Some(handed.read(process))),
        None => handed.unread(),
    }
}

/// Whether the process behind a device takes what it reads for itself, as a virtual machine does: whole frames, and nothing of
/// them is seen to go on from there.
fn is_machine(view: &View<'_>, link: &Link) -> bool {
    let went_on = |journey: &Journey| {
        let mut steps = journey.steps.iter();
        let handed = |device: Option<Device>| device == Some(link.device);
        steps.any(|step| handed(step.event.device) && matches!(step.event.detail, Detail::Egress))
            && steps.any(|step| {
                let placed = matches!(step.event.detail, Detail::Ingress | Detail::Egress);
                placed && !handed(step.event.device)
            })
    };
    link.arp_type == ARPHRD_ETHER && !view.trace.journeys.values().any(went_on)
}

/// Whether a machine behind a device of this host has read the packet.
pub(super) fn is_taken(view: &View<'_>, journey: &Journey) -> bool {
    let device = last_seen(journey).and_then(|last| last.device);
    let link = device.and_then(|device| view.host.link(device));
    let machine = link.is_some_and(|link| link.kind == "tun" && is_machine(view, link));
    machine && reader(journey).is_some()
}

/// The process that read a packet last, and when.
fn reader(journey: &Journey) -> Option<(&Process, KtimeNs)> {
    let mut events = journey.steps.iter().rev().map(|s| &s.event);
    events.find_map(|event| match event {
        Event {
            detail: Detail::SocketRead { .. },
            process: Some(process),
            at,
            ..
        } => Some((process, *at)),
        _ => None,
    })
}

/// A packet that was handed to the device.
struct Handed<'a> {
    view: &'a View<'a>,
    last: &'a Event,
    link: &'a Link,
    /// The device, in words.
    at: String,
}

impl Handed<'_> {
    fn candidate(&self, cause: &'static Cause, summary: String) -> Candidate {
        let place = place_of(self.view.host, Some(self.last), "device");
        Candidate::new(cause, place, summary).leads_to(Outcome::Vanished)
    }

    /// A process read it, and what it made of it waits for a neighbour: that has other headers, but waits in the same
    /// namespace.
    fn waits_for_neighbour(&self, who: &Process, read: KtimeNs) -> Option<Candidate> {
        let (trace, host) = (self.view.trace, self.view.host);
        let waits = neighbor::pending(trace).find(|n| {
            n.device.netns == self.link.device.netns
                && neighbor::asked_between(trace, *n, read, read.0 + PASSED_ON_NS)
        })?;
        Some(
            waiting::stuck_at(trace, host, waits)
                .sure(Confidence::Likely)
                .because(
                    "process",
                    format!(
                        "{who} read the packet from {}; right then {} was asked for",
                        self.at, waits.address
                    ),
                ),
        )
    }

    /// A process read it, and what it made of it is not recognised.
    fn read(&self, who: &Process) -> Candidate {
        let summary = format!(
            "vanished: {who} read it from the TUN device {}, and nothing of it was seen after that",
            self.at
        );
        self.candidate(&KERNEL_OTHER, summary)
            .sure(Confidence::Possible)
            .because(
                "process",
                format!("{who} has {} open and read the packet; it discarded it, or sends it on in a form that this trace cannot recognise (encrypted)", self.link.name),
            )
            .advise([
                Shell::of(self.view.host, None).look(
                    format!("what {} sends, and to whom", who.comm),
                    command!["ss -anp"].piped_to(command!["grep", format!("pid={},", who.pid)]),
                ),
                text(format!(
                    "look at the log and the configuration of {}: does it know a peer for this destination?",
                    who.comm
                )),
                text("trace its own packets: tracer 'udp and host PEER'"),
            ])
    }

    /// No process read it.
    fn unread(&self) -> Option<Candidate> {
        let host = self.view.host;
        let holders = device_state::of(host, self.link.device)?.holders.as_ref()?;
        let first = holders.first()?;
        let names: Vec<String> = holders.iter().map(device_state::holder).collect();
        let summary = format!(
            "vanished: it waits in the ring of the TUN device {}, which {} has open and does not read",
            self.at,
            names.join(" and ")
        );
        let candidate = self
            .candidate(&DEVICE_FULL, summary)
            .sure(Confidence::Likely)
            .because(
                "process",
                "no process was seen to read it from the device".to_owned(),
            )
            .advise([Shell::of(host, Some(self.link.device.netns)).look(
                "look first",
                command!["ip -s -d link show dev", self.link.name],
            )])
            .advise(device_state::held_up(
                host,
                first,
                "what the process that has it open is doing",
            ));
        Some(candidate.advise([text(format!("fix or restart {}", first.process.comm))]))
    }
}
