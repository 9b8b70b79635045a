//! Puts the classifiers on interfaces and takes them off again: as a tcx link where the kernel has them, else as a
//! clsact filter (`clsact`).
//!
//! Placed so that a packet is seen before other programs at ingress and after them at egress. A tcx link lives as long
//! as its descriptor: nothing stays behind when tracer is killed. Not here: which interfaces there are (`host`).

use std::collections::BTreeMap;
use std::io;
use std::thread;

use aya::Ebpf;
use aya::programs::links::LinkOrder;
use aya::programs::tc::{SchedClassifierLink, TcAttach, TcAttachType};
use aya::programs::{Program, ProgramError, SchedClassifier};
use nix::errno::Errno;
use tracer_common::names;

use super::load;
use crate::host::namespaces::NetnsFd;
use crate::model::Device;

/// An interface to watch.
#[derive(Debug)]
pub struct Target<'a> {
    /// Which.
    pub device: Device,
    /// ARPHRD_* type: decides whether packets begin with an Ethernet header.
    pub arp_type: u16,
    /// Its namespace.
    pub namespace: &'a NetnsFd,
}

/// What became of one interface.
#[derive(Debug)]
pub struct Outcome {
    /// Which.
    pub device: Device,
    /// How it is watched, or why it is not.
    pub result: Result<Method, AttachError>,
}

/// How a classifier is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A tcx link (6.6 and newer).
    Tcx,
}

impl Method {
    /// Its name in the completeness block.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
        }
    }
}

/// Why an interface is not watched.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// It went away meanwhile.
    #[error("the interface is gone")]
    Gone,
    /// Its namespace cannot be entered.
    #[error("its namespace cannot be entered: {0}")]
    Namespace(io::Error),
    /// The kernel refused the program.
    #[error("{0}")]
    Refused(String),
}

impl AttachError {
    fn program(error: &ProgramError) -> Self {
        match errno(error) {
            Some(Errno::ENODEV) => Self::Gone,
            _ => Self::Refused(load::reason(error)),
        }
    }
}

/// What the packets of a device begin with; decides the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkLayer {
    Ethernet,
    Bare,
}

impl LinkLayer {
    /// Ethernet and loopback have an Ethernet header; TUN, PPP, ipip, GRE and what is not known have none that the
    /// programs could read, and are read from the network header.
    fn of(arp_type: u16) -> Self {
        match arp_type {
            libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => Self::Ethernet,
            _ => Self::Bare,
        }
    }

    fn program(self, side: Side) -> &'static str {
        match (self, side) {
            (Self::Ethernet, Side::Ingress) => names::TC_INGRESS_L2,
            (Self::Ethernet, Side::Egress) => names::TC_EGRESS_L2,
            (Self::Bare, Side::Ingress) => names::TC_INGRESS_L3,
            (Self::Bare, Side::Egress) => names::TC_EGRESS_L3,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Ingress,
    Egress,
}

/// The attachments of one interface.
struct Attached {
    /// Held for their `Drop`, which detaches.
    _links: [SchedClassifierLink; 2],
}

/// All attachments.
#[derive(Default)]
pub(super) struct Interfaces {
    attached: BTreeMap<Device, Attached>,
}

impl Interfaces {
    /// How many interfaces are watched.
    pub(super) fn len(&self) -> usize {
        self.attached.len()
    }

    /// Attaches to all targets; those already watched are left as they are. Works on a thread of its own, which
    /// visits each namespace once: whatever happens there, the caller's thread stays where it is.
    pub(super) fn attach(&mut self, ebpf: &mut Ebpf, targets: &[Target<'_>]) -> Vec<Outcome> {
        let mut by_namespace: BTreeMap<_, Vec<&Target<'_>>> = BTreeMap::new();
        for target in targets {
            let group = by_namespace.entry(target.namespace.netns()).or_default();
            group.push(target);
        }
        let work = || {
            let mut outcomes = Vec::with_capacity(targets.len());
            for group in by_namespace.values() {
                self.attach_namespace(ebpf, group, &mut outcomes);
            }
            outcomes
        };
        match thread::scope(|scope| scope.spawn(work).join()) {
            Ok(outcomes) => outcomes,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    fn attach_namespace(
        &mut self,
        ebpf: &mut Ebpf,
        group: &[&Target<'_>],
        outcomes: &mut Vec<Outcome>,
    ) {
        let Some(first) = group.first() else { return };
        let inside = first.namespace.enter(|| {
            for target in group {
                outcomes.push(Outcome {
                    device: target.device,
                    result: self.attach_one(ebpf, target),
                });
            }
        });
        if let Err(error) = inside {
            let outcome = |target: &&Target<'_>| Outcome {
                device: target.device,
                result: Err(AttachError::Namespace(io::Error::from(error.kind()))),
            };
            outcomes.extend(group.iter().map(outcome));
        }
    }

    fn attach_one(&mut self, ebpf: &mut Ebpf, target: &Target<'_>) -> Result<Method, AttachError> {
        if self.attached.contains_key(&target.device) {
            return Ok(Method::Tcx);
        }
        let layer = LinkLayer::of(target.arp_type);
        let mut place = |side: Side| {
            let program = classifier(ebpf, layer.program(side))?;
            tcx(program, target.device.ifindex.0, side)
        };
        let placed = place(Side::Ingress).and_then(|ingress| Ok([ingress, place(Side::Egress)?]));
        let links = placed.map_err(|error| AttachError::program(&error))?;
        self.attached
            .insert(target.device, Attached { _links: links });
        Ok(Method::Tcx)
    }

    /// Takes the programs off one interface.
    pub(super) fn detach(&mut self, device: Device) {
        self.attached.remove(&device);
    }

    /// Takes the programs off all interfaces.
    pub(super) fn detach_all(&mut self) {
        self.attached.clear();
    }
}

/// The classifier of that name, loaded by now.
fn classifier<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier, ProgramError> {
    let program: &mut Program = ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?;
    load::load_classifier(program)?;
    program.try_into()
}

fn tcx(
    program: &mut SchedClassifier,
    ifindex: u32,
    side: Side,
) -> Result<SchedClassifierLink, ProgramError> {
    let (attach_type, order) = match side {
        Side::Ingress => (TcAttachType::Ingress, LinkOrder::first()),
        Side::Egress => (TcAttachType::Egress, LinkOrder::last()),
    };
    let link = program.attach(ifindex, TcAttach::Tcx { attach_type, order })?;
    program.take_link(link)
}

/// What the kernel said, where it was the kernel.
fn errno(error: &ProgramError) -> Option<Errno> {
    match error {
        ProgramError::SyscallError(call) => call.io_error.raw_os_error().map(Errno::from_raw),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_follows_the_link_layer() {
        for (arp_type, layer) in [
            (1, LinkLayer::Ethernet),
            (772, LinkLayer::Ethernet),
            (65534, LinkLayer::Bare),
            (768, LinkLayer::Bare),
            (512, LinkLayer::Bare),
        ] {
            assert_eq!(LinkLayer::of(arp_type), layer, "{arp_type}");
        }
    }
}
