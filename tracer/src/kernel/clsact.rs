//! Classifiers as filters of a clsact qdisc, for kernels without tcx (before 6.6).
//!
//! A filter does not die with the process: what tracer adds carries its name, so that the next run finds what a
//! killed one left (see [`Living`]), and the qdisc is removed by whoever leaves last when it was tracer's. Everything
//! here acts in the namespace in which [`Tc`] was opened.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use aya::programs::{SchedClassifier, loaded_links, loaded_programs};
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;

use super::attach::Side;
use crate::host::netlink::{Message, Netlink, Request, attributes, text_of, u32_of};
use crate::uapi::pkt_sched::{TC_H_CLSACT, TC_H_EGRESS, TC_H_INGRESS, TCA_BPF_ID, TCA_BPF_NAME};
use crate::uapi::rtnetlink::{
    RTM_DELQDISC, RTM_DELTFILTER, RTM_GETQDISC, RTM_GETTFILTER, RTM_NEWQDISC, RTM_NEWTFILTER,
    TCA_KIND, TCA_OPTIONS,
};

/// Name of our filters, and of those whose run added the qdisc.
const NAME: &str = "tracer";
const NAME_WITH_QDISC: &str = "tracer+qdisc";

// linux/rtnetlink.h, linux/pkt_sched.h, linux/pkt_cls.h
const TCA_CHAIN: u16 = 11;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
const ETH_P_ALL: u16 = 3;

impl Side {
    fn parent(self) -> u32 {
        match self {
            Self::Ingress => TC_H_INGRESS,
            Self::Egress => TC_H_EGRESS,
        }
    }
}

/// struct tcmsg.
#[derive(Clone, Copy, Debug, Default)]
struct Header {
    ifindex: u32,
    handle: u32,
    parent: u32,
    /// Priority in the upper half, protocol in network order in the lower.
    info: u32,
}

impl Header {
    const SIZE: usize = 20;

    fn bytes(self) -> Vec<u8> {
        [0, self.ifindex, self.handle, self.parent, self.info]
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect()
    }

    fn read(payload: &[u8]) -> Option<(Self, &[u8])> {
        let (header, rest) = payload.split_at_checked(Self::SIZE)?;
        let word = |at: usize| u32_of(header.get(at..)?);
        let header = Self {
            ifindex: word(4)?,
            handle: word(8)?,
            parent: word(12)?,
            info: word(16)?,
        };
        Some((header, rest))
    }
}

fn info(priority: u16, protocol: u16) -> u32 {
    u32::from(priority) << 16 | u32::from(protocol.to_be())
}

/// A filter that stands on an interface, or one priority's head (handle 0).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Filter {
    handle: u32,
    priority: u16,
    /// Whether ours may share its priority: a BPF classifier for all protocols.
    same_kind: bool,
    name: String,
    program: u32,
}

impl Filter {
    fn read(payload: &[u8]) -> Option<Self> {
        let (header, rest) = Header::read(payload)?;
        let mut filter = Self {
            handle: header.handle,
            priority: (header.info >> 16) as u16,
            same_kind: false,
            name: String::new(),
            program: 0,
        };
        let all = header.info & 0xffff == info(0, ETH_P_ALL);
        for (kind, value) in attributes(rest) {
            match kind {
                // Other chains are reached by a jump only.
                TCA_CHAIN if u32_of(value) != Some(0) => return None,
                TCA_KIND => filter.same_kind = all && text_of(value) == "bpf",
                TCA_OPTIONS => filter.options(value),
                _ => {}
            }
        }
        Some(filter)
    }

    fn options(&mut self, bytes: &[u8]) {
        for (kind, value) in attributes(bytes) {
            match kind {
                TCA_BPF_NAME => self.name = text_of(value),
                TCA_BPF_ID => self.program = u32_of(value).unwrap_or(0),
                _ => {}
            }
        }
    }

    fn is_ours(&self) -> bool {
        self.same_kind && self.handle != 0 && (self.name == NAME || self.name == NAME_WITH_QDISC)
    }
}

/// The priority for our filter: the first at ingress, the last at egress, next to others of its kind if need be
/// (the kernel then puts it behind them), else the nearest that is free.
fn priority(filters: &[Filter], side: Side) -> u16 {
    let free = |priority: &u16| {
        filters
            .iter()
            .filter(|filter| filter.priority == *priority)
            .all(|filter| filter.same_kind)
    };
    match side {
        Side::Ingress => (1..=u16::MAX).find(free).unwrap_or(1),
        Side::Egress => (1..=u16::MAX).rev().find(free).unwrap_or(u16::MAX),
    }
}

/// What stands at ingress of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Qdisc {
    Clsact,
    /// The older qdisc with ingress filters only: it and clsact exclude each other.
    Ingress,
}

impl Qdisc {
    /// The interface and its qdisc at ingress; other qdiscs are none.
    fn read(message: Message<'_>) -> Option<(u32, Self)> {
        let (header, rest) = Header::read(message.payload)?;
        let (_, kind) = attributes(rest).find(|(kind, _)| *kind == TCA_KIND)?;
        match text_of(kind).as_str() {
            "clsact" => Some((header.ifindex, Self::Clsact)),
            "ingress" => Some((header.ifindex, Self::Ingress)),
            _ => None,
        }
    }
}

/// A filter that tracer added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Added {
    side: Side,
    priority: u16,
    handle: u32,
}

/// What tracer added to one interface.
#[derive(Clone, Debug)]
pub(super) struct Filters {
    ifindex: u32,
    added: Vec<Added>,
    /// The qdisc is tracer's, this run's or another's that still runs.
    own_qdisc: bool,
}

/// Traffic control of one namespace.
pub(super) struct Tc {
    netlink: Netlink,
    /// Interfaces that have a qdisc at ingress; read once, since the kernel only lists those of all interfaces.
    qdiscs: HashMap<u32, Qdisc>,
}

impl Tc {
    /// In the calling thread's namespace.
    pub(super) fn open() -> io::Result<Self> {
        let mut netlink = Netlink::open(NETLINK_ROUTE)?;
        let request = Request::all(RTM_GETQDISC, &Header::default().bytes());
        let qdiscs = netlink.ask(&request, Qdisc::read)?.into_iter().collect();
        Ok(Self { netlink, qdiscs })
    }

    /// Attaches both classifiers to an interface; of a failure nothing stays.
    pub(super) fn attach(
        &mut self,
        ifindex: u32,
        classifiers: [(Side, &SchedClassifier); 2],
        living: &mut Living,
    ) -> io::Result<Filters> {
        let mut filters = Filters {
            ifindex,
            added: Vec::new(),
            own_qdisc: self.prepare(ifindex, living)?,
        };
        for (side, classifier) in classifiers {
            match self.add(&filters, side, classifier) {
                Ok(added) => filters.added.push(added),
                Err(error) => {
                    // The first error tells more than what the clearing up may meet.
                    let _ = self.remove(&filters);
                    return Err(error);
                }
            }
        }
        Ok(filters)
    }

    /// Sees to it that the interface has a clsact qdisc without leftovers; whether the qdisc is tracer's.
    fn prepare(&mut self, ifindex: u32, living: &mut Living) -> io::Result<bool> {
        match self.qdiscs.get(&ifindex) {
            Some(Qdisc::Ingress) => {
                return Err(io::Error::other(
                    "its ingress qdisc leaves no place for egress programs (tc qdisc show)",
                ));
            }
            Some(Qdisc::Clsact) => {}
            None => match self.add_qdisc(ifindex) {
                Ok(()) => return Ok(true),
                // Another program was faster.
                Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
                Err(error) => return Err(error),
            },
        }
        let mut own = false;
        for side in [Side::Ingress, Side::Egress] {
            for filter in self.filters(ifindex, side)? {
                if filter.is_ours() {
                    own |= filter.name == NAME_WITH_QDISC;
                    if !living.uses(filter.program) {
                        let left = Added {
                            side,
                            priority: filter.priority,
                            handle: filter.handle,
                        };
                        self.delete(ifindex, left)?;
                    }
                }
            }
        }
        Ok(own)
    }

    /// Takes off what `attach` put on, and the qdisc if it was tracer's and nobody uses it.
    pub(super) fn remove(&mut self, filters: &Filters) -> io::Result<()> {
        let mut result = Ok(());
        for added in &filters.added {
            result = result.and(self.delete(filters.ifindex, *added));
        }
        if filters.own_qdisc && self.is_empty(filters.ifindex)? {
            result = result.and(self.delete_qdisc(filters.ifindex));
        }
        result
    }

    fn is_empty(&mut self, ifindex: u32) -> io::Result<bool> {
        Ok(self.filters(ifindex, Side::Ingress)?.is_empty()
            && self.filters(ifindex, Side::Egress)?.is_empty())
    }

    fn add_qdisc(&mut self, ifindex: u32) -> io::Result<()> {
        let header = Header {
            ifindex,
            handle: CLSACT_HANDLE,
            parent: TC_H_CLSACT,
            info: 0,
        };
        let request =
            Request::create(RTM_NEWQDISC, &header.bytes()).attribute(TCA_KIND, b"clsact\0");
        self.netlink.ask(&request, |_| None::<()>).map(|_| ())
    }

    fn delete_qdisc(&mut self, ifindex: u32) -> io::Result<()> {
        let header = Header {
            ifindex,
            handle: CLSACT_HANDLE,
            parent: TC_H_CLSACT,
            info: 0,
        };
        let request = Request::one(RTM_DELQDISC, &header.bytes());
        gone_is_fine(self.netlink.ask(&request, |_| None::<()>))
    }

    fn filters(&mut self, ifindex: u32, side: Side) -> io::Result<Vec<Filter>> {
        let header = Header {
            ifindex,
            parent: side.parent(),
            ..Header::default()
        };
        let request = Request::all(RTM_GETTFILTER, &header.bytes());
        self.netlink
            .ask(&request, |message| Filter::read(message.payload))
    }

    fn add(
        &mut self,
        filters: &Filters,
        side: Side,
        classifier: &SchedClassifier,
    ) -> io::Result<Added> {
        let existing = self.filters(filters.ifindex, side)?;
        let priority = priority(&existing, side);
        let header = Header {
            ifindex: filters.ifindex,
            handle: 0,
            parent: side.parent(),
            info: info(priority, ETH_P_ALL),
        };
        let name = if filters.own_qdisc {
            NAME_WITH_QDISC
        } else {
            NAME
        };
        let program = classifier
            .fd()
            .map_err(io::Error::other)?
            .as_fd()
            .as_raw_fd();
        let options = [
            (TCA_BPF_FD, program.to_ne_bytes().to_vec()),
            (TCA_BPF_NAME, format!("{name}\0").into_bytes()),
            (
                TCA_BPF_FLAGS,
                TCA_BPF_FLAG_ACT_DIRECT.to_ne_bytes().to_vec(),
            ),
        ];
        let request = Request::create(RTM_NEWTFILTER, &header.bytes())
            .attribute(TCA_KIND, b"bpf\0")
            .nested(TCA_OPTIONS, &options);
        // The kernel chooses the handle and echoes what it made.
        let echoed = self.netlink.ask(&request, |message| {
            let (header, _) = Header::read(message.payload)?;
            (message.kind == RTM_NEWTFILTER).then_some(header)
        })?;
        let made = echoed
            .first()
            .ok_or_else(|| io::Error::other("the kernel did not say which filter it added"))?;
        Ok(Added {
            side,
            priority: (made.info >> 16) as u16,
            handle: made.handle,
        })
    }

    fn delete(&mut self, ifindex: u32, added: Added) -> io::Result<()> {
        let header = Header {
            ifindex,
            handle: added.handle,
            parent: added.side.parent(),
            info: info(added.priority, ETH_P_ALL),
        };
        let request = Request::one(RTM_DELTFILTER, &header.bytes()).attribute(TCA_KIND, b"bpf\0");
        gone_is_fine(self.netlink.ask(&request, |_| None::<()>))
    }
}

/// Somebody else, or the interface's end, was faster.
fn gone_is_fine(result: io::Result<Vec<()>>) -> io::Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENODEV | Errno::ENOENT | Errno::EINVAL) => Ok(()),
            _ => Err(error),
        },
    }
}

/// Which classifiers belong to a tracer that runs.
///
/// Links die with their process, filters do not. The programs of one run share their maps: a filter whose program
/// shares no map with a program that a link holds was left by a run that is no more. (Process numbers would not do:
/// tracers in containers do not see each other's.) Tracepoints are attached before interfaces for that reason.
#[derive(Debug, Default)]
pub(super) struct Living(Option<HashSet<u32>>);

impl Living {
    fn uses(&mut self, program: u32) -> bool {
        self.0
            .get_or_insert_with(programs_of_the_living)
            .contains(&program)
    }
}

fn programs_of_the_living() -> HashSet<u32> {
    let linked: HashSet<u32> = loaded_links()
        .filter_map(|link| Some(link.ok()?.program_id()))
        .collect();
    let programs: Vec<(u32, Vec<u32>)> = loaded_programs()
        .filter_map(|program| {
            let program = program.ok()?;
            Some((program.id(), program.map_ids().ok()??))
        })
        .collect();
    let maps: HashSet<u32> = programs
        .iter()
        .filter(|(program, _)| linked.contains(program))
        .flat_map(|(_, maps)| maps.iter().copied())
        .collect();
    programs
        .into_iter()
        .filter(|(_, its)| its.iter().any(|map| maps.contains(map)))
        .map(|(program, _)| program)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(priority: u16, same_kind: bool) -> Filter {
        Filter {
            handle: 1,
            priority,
            same_kind,
            name: String::new(),
            program: 0,
        }
    }

    #[test]
    fn first_at_ingress_and_last_at_egress() {
        let none = [];
        assert_eq!(priority(&none, Side::Ingress), 1);
        assert_eq!(priority(&none, Side::Egress), u16::MAX);
        let other = [
            filter(1, false),
            filter(2, false),
            filter(u16::MAX, false),
            filter(100, true),
        ];
        assert_eq!(priority(&other, Side::Ingress), 3);
        assert_eq!(priority(&other, Side::Egress), u16::MAX - 1);
        let alike = [filter(1, true), filter(u16::MAX, true)];
        assert_eq!(priority(&alike, Side::Ingress), 1);
        assert_eq!(priority(&alike, Side::Egress), u16::MAX);
    }

    #[test]
    fn a_filter_is_ours_by_name_and_kind() {
        let answer = |name: &str, protocol: u16, handle: u32| {
            let header = Header {
                ifindex: 7,
                handle,
                parent: TC_H_INGRESS,
                info: info(9, protocol),
            };
            let options = [
                (TCA_BPF_NAME, format!("{name}\0").into_bytes()),
                (TCA_BPF_ID, 42u32.to_ne_bytes().to_vec()),
            ];
            let request = Request::one(RTM_NEWTFILTER, &header.bytes())
                .attribute(TCA_KIND, b"bpf\0")
                .nested(TCA_OPTIONS, &options);
            Filter::read(request.payload())
        };
        let ours = answer(NAME, ETH_P_ALL, 1);
        let expected = Filter {
            handle: 1,
            priority: 9,
            same_kind: true,
            name: NAME.to_owned(),
            program: 42,
        };
        assert_eq!(ours, Some(expected));
        let is_ours = |filter: Option<Filter>| filter.is_some_and(|filter| filter.is_ours());
        assert!(is_ours(ours));
        assert!(is_ours(answer(NAME_WITH_QDISC, ETH_P_ALL, 1)));
        assert!(!is_ours(answer("other", ETH_P_ALL, 1)));
        assert!(!is_ours(answer(NAME, 0x0800, 1)));
        assert!(!is_ours(answer(NAME, ETH_P_ALL, 0)));
    }
}
