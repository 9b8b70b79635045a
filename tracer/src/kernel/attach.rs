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

use super::clsact::{Filters, Living, Tc};
use super::load;
use crate::host::discovery::{Depth, discover};
use crate::host::namespaces::NetnsFd;
use crate::model::{Device, NetNs};

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
    /// Filters of a clsact qdisc.
    Clsact,
}

impl Method {
    /// Its name in the completeness block.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
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
    Namespace(String),
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

    fn netlink(error: &io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENODEV) => Self::Gone,
            _ => Self::Refused(error.to_string()),
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

/// Into the stack, or out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Ingress,
    Egress,
}

/// The attachments of one interface.
enum Attached {
    /// Detached when dropped.
    Tcx { _links: [SchedClassifierLink; 2] },
    /// To be removed in its namespace.
    Clsact(Filters),
}

impl Attached {
    fn method(&self) -> Method {
        match self {
            Self::Tcx { .. } => Method::Tcx,
            Self::Clsact(_) => Method::Clsact,
        }
    }
}

/// All attachments.
#[derive(Default)]
pub(super) struct Interfaces {
    attached: BTreeMap<Device, Attached>,
    /// The kernel has no tcx: told by the first that was refused.
    no_tcx: bool,
    living: Living,
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
            let mut tc = None;
            for target in group {
                outcomes.push(Outcome {
                    device: target.device,
                    result: self.attach_one(ebpf, target, &mut tc),
                });
            }
        });
        if let Err(error) = inside {
            let outcome = |target: &&Target<'_>| Outcome {
                device: target.device,
                result: Err(AttachError::Namespace(error.to_string())),
            };
            outcomes.extend(group.iter().map(outcome));
        }
    }

    /// `tc` is opened for the first interface of the namespace that needs it.
    fn attach_one(
        &mut self,
        ebpf: &mut Ebpf,
        target: &Target<'_>,
        tc: &mut Option<Tc>,
    ) -> Result<Method, AttachError> {
        if let Some(attached) = self.attached.get(&target.device) {
            return Ok(attached.method());
        }
        let layer = LinkLayer::of(target.arp_type);
        let ifindex = target.device.ifindex.0;
        let tcx = match self.no_tcx {
            true => None,
            false => attach_tcx(ebpf, layer, ifindex)?,
        };
        self.no_tcx = tcx.is_none();
        let attached = match tcx {
            Some(links) => Attached::Tcx { _links: links },
            None => Attached::Clsact(self.attach_clsact(ebpf, layer, ifindex, tc)?),
        };
        let method = attached.method();
        self.attached.insert(target.device, attached);
        Ok(method)
    }

    fn attach_clsact(
        &mut self,
        ebpf: &mut Ebpf,
        layer: LinkLayer,
        ifindex: u32,
        tc: &mut Option<Tc>,
    ) -> Result<Filters, AttachError> {
        let sides = [Side::Ingress, Side::Egress];
        for side in sides {
            classifier(ebpf, layer.program(side)).map_err(|error| AttachError::program(&error))?;
        }
        let loaded = |side| match ebpf.program(layer.program(side)) {
            Some(Program::SchedClassifier(program)) => Some((side, program)),
            _ => None,
        };
        let [Some(ingress), Some(egress)] = sides.map(loaded) else {
            return Err(AttachError::program(&ProgramError::NotLoaded));
        };
        let tc = match tc {
            Some(tc) => tc,
            None => tc.insert(Tc::open().map_err(|error| AttachError::netlink(&error))?),
        };
        tc.attach(ifindex, [ingress, egress], &mut self.living)
            .map_err(|error| AttachError::netlink(&error))
    }

    /// Takes the programs off one interface, whose namespace is `namespace`; without it filters stay until
    /// [`Interfaces::detach_all`].
    pub(super) fn detach(&mut self, device: Device, namespace: Option<&NetnsFd>) {
        match self.attached.remove(&device) {
            Some(Attached::Clsact(filters)) => match namespace {
                Some(namespace) => remove(namespace, &[filters]),
                None => drop(self.attached.insert(device, Attached::Clsact(filters))),
            },
            Some(Attached::Tcx { .. }) | None => {}
        }
    }

    /// Takes the programs off all interfaces.
    pub(super) fn detach_all(&mut self) {
        let mut by_namespace: BTreeMap<NetNs, Vec<Filters>> = BTreeMap::new();
        for (device, attached) in std::mem::take(&mut self.attached) {
            if let Attached::Clsact(filters) = attached {
                by_namespace.entry(device.netns).or_default().push(filters);
            }
        }
        // No handle was kept, so that namespaces could go away meanwhile: they are looked for once more, as far as
        // need be.
        for depth in [Depth::Processes, Depth::Threads, Depth::Descriptors] {
            if by_namespace.is_empty() {
                return;
            }
            for (netns, sighting) in discover(depth) {
                if by_namespace.contains_key(&netns)
                    && let Ok(namespace) = NetnsFd::open(&sighting.path)
                    && namespace.netns() == netns
                    && let Some(filters) = by_namespace.remove(&netns)
                {
                    remove(&namespace, &filters);
                }
            }
        }
    }
}

/// Removes filters in their namespace, on a thread of its own. What cannot be removed is left to the next run.
fn remove(namespace: &NetnsFd, filters: &[Filters]) {
    let work = || {
        namespace.enter(|| {
            let mut tc = Tc::open()?;
            filters.iter().try_for_each(|filters| tc.remove(filters))
        })
    };
    let _ = thread::scope(|scope| scope.spawn(work).join());
}

/// The classifier of that name, loaded by now.
fn classifier<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier, ProgramError> {
    let program: &mut Program = ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?;
    load::load_classifier(program)?;
    program.try_into()
}

/// Attaches both programs by tcx; `None` when the kernel has no tcx.
fn attach_tcx(
    ebpf: &mut Ebpf,
    layer: LinkLayer,
    ifindex: u32,
) -> Result<Option<[SchedClassifierLink; 2]>, AttachError> {
    let mut link = |side: Side| {
        let program = classifier(ebpf, layer.program(side))?;
        let (attach_type, order) = match side {
            Side::Ingress => (TcAttachType::Ingress, LinkOrder::first()),
            Side::Egress => (TcAttachType::Egress, LinkOrder::last()),
        };
        let link = program.attach(ifindex, TcAttach::Tcx { attach_type, order })?;
        program.take_link(link)
    };
    let links = link(Side::Ingress).and_then(|ingress| Ok([ingress, link(Side::Egress)?]));
    match links {
        Ok(links) => Ok(Some(links)),
        // Before 6.6 the attach type is out of range (bpf_prog_attach_check_attach_type).
        Err(error) if errno(&error) == Some(Errno::EINVAL) => Ok(None),
        Err(error) => Err(AttachError::program(&error)),
    }
}

/// What the kernel said, where it was the kernel.
pub(super) fn errno(error: &ProgramError) -> Option<Errno> {
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
