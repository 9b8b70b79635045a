//! What the kernel's own statistics say of programs (bpf_stats_enabled in kernel/bpf/syscall.c), and programs that do
//! nothing, whose statistics are the cost of the statistics.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};
use aya::programs::loaded_programs;
use nix::net::if_::if_nametoindex;
use tracer_common::hook::{Attach, HOOKS};

use super::network::{PASSED, inside};

// Commands, types and places of bpf(2) (include/uapi/linux/bpf.h).
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_RAW_TRACEPOINT_OPEN: libc::c_long = 17;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_PROG_TYPE_RAW_TRACEPOINT: u32 = 17;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_TCX_EGRESS: u32 = 47;

/// The fields of `union bpf_attr` for BPF_PROG_LOAD.
#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
}

/// Those for BPF_RAW_TRACEPOINT_OPEN.
#[repr(C)]
struct TracepointAttr {
    name: u64,
    prog_fd: u32,
    unused: u32,
}

/// Those for BPF_LINK_CREATE.
#[repr(C)]
struct LinkAttr {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
    unused: [u64; 4],
}

/// Programs that do nothing at each place where tracer has one: all tracepoints, and both sides of the interfaces that a
/// packet of the measured network passes.
pub(super) struct Empty {
    classifier: OwnedFd,
    tracepoint: OwnedFd,
    #[expect(dead_code, reason = "a program is attached while its link is open")]
    links: Vec<OwnedFd>,
}

impl Empty {
    /// Attaches them. A place that the kernel lacks (tcx before 6.6, younger tracepoints) has none.
    pub(super) fn attach() -> Result<Self> {
        // r0 = TCX_NEXT (-1); exit
        let classifier = load(BPF_PROG_TYPE_SCHED_CLS, [0xffff_ffff_0000_00b7, 0x95])?;
        // r0 = 0; exit
        let tracepoint = load(BPF_PROG_TYPE_RAW_TRACEPOINT, [0xb7, 0x95])?;
        let named = HOOKS.iter().filter(|row| row.attach == Attach::Tracepoint);
        let mut links: Vec<_> = named
            .filter_map(|row| open(&tracepoint, row.name).ok())
            .collect();
        for (namespace, interface) in PASSED {
            for side in [BPF_TCX_INGRESS, BPF_TCX_EGRESS] {
                links.extend(inside(namespace, || link(&classifier, interface, side))?.ok());
            }
        }
        Ok(Self {
            classifier,
            tracepoint,
            links,
        })
    }

    /// Their statistics: of the classifier and of the tracepoints' program.
    pub(super) fn statistics(&self) -> Result<[Statistics; 2]> {
        let of = |program: &OwnedFd| -> Result<Statistics> {
            let path = format!("/proc/self/fdinfo/{}", program.as_raw_fd());
            let (_, statistics) =
                parse(&fs::read_to_string(path)?).context("a program without statistics")?;
            Ok(statistics)
        };
        Ok([of(&self.classifier)?, of(&self.tracepoint)?])
    }
}

/// What the kernel has counted for a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Statistics {
    /// Nanoseconds, those of the statistics themselves included.
    pub(super) nanoseconds: u64,
    /// Calls.
    pub(super) calls: u64,
    /// Whether it is a tc classifier.
    pub(super) classifier: bool,
}

impl Statistics {
    /// What came since.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            nanoseconds: self.nanoseconds.saturating_sub(before.nanoseconds),
            calls: self.calls.saturating_sub(before.calls),
            classifier: self.classifier,
        }
    }

    /// The mean of a call, in nanoseconds.
    pub(super) fn each(self) -> Option<f64> {
        (self.calls > 0).then(|| self.nanoseconds as f64 / self.calls as f64)
    }
}

/// The programs that a process has open, by their ids.
pub(super) fn of_process(pid: u32) -> Result<BTreeMap<u32, Statistics>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // A descriptor may be closed meanwhile.
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        found.extend(parse(&text));
    }
    Ok(found)
}

/// Names of all programs, by their ids.
pub(super) fn names() -> BTreeMap<u32, String> {
    loaded_programs()
        .filter_map(Result::ok)
        .map(|info| (info.id(), full(info.name_as_str().unwrap_or("?"))))
        .collect()
}

/// A tracepoint program's name as it was before the kernel cut it after 15 bytes, where only one can be meant.
fn full(name: &str) -> String {
    let hook = name.split_once('_').and_then(|(kind, rest)| {
        let mut rows = HOOKS.iter().filter(|row| row.name.starts_with(rest));
        let row = rows.next().filter(|_| name.len() == 15)?;
        rows.next()
            .is_none()
            .then(|| format!("{kind}_{}", row.name))
    });
    hook.unwrap_or_else(|| name.to_owned())
}

/// What bpf_prog_show_fdinfo writes.
fn parse(text: &str) -> Option<(u32, Statistics)> {
    let number = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name))?;
        value.trim().parse::<u64>().ok()
    };
    let statistics = Statistics {
        nanoseconds: number("run_time_ns:")?,
        calls: number("run_cnt:")?,
        classifier: number("prog_type:")? == u64::from(BPF_PROG_TYPE_SCHED_CLS),
    };
    Some((u32::try_from(number("prog_id:")?).ok()?, statistics))
}

fn load(kind: u32, instructions: [u64; 2]) -> Result<OwnedFd> {
    let mut attr = LoadAttr {
        prog_type: kind,
        insn_cnt: 2,
        insns: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
    };
    call(BPF_PROG_LOAD, &mut attr).context("cannot load an empty program")
}

fn open(program: &OwnedFd, tracepoint: &str) -> Result<OwnedFd> {
    let name = std::ffi::CString::new(tracepoint)?;
    let mut attr = TracepointAttr {
        name: name.as_ptr() as u64,
        prog_fd: u32::try_from(program.as_raw_fd())?,
        unused: 0,
    };
    Ok(call(BPF_RAW_TRACEPOINT_OPEN, &mut attr)?)
}

fn link(program: &OwnedFd, interface: &str, side: u32) -> Result<OwnedFd> {
    let mut attr = LinkAttr {
        prog_fd: u32::try_from(program.as_raw_fd())?,
        target_ifindex: if_nametoindex(interface)?,
        attach_type: side,
        flags: 0,
        unused: [0; 4],
    };
    Ok(call(BPF_LINK_CREATE, &mut attr)?)
}

/// A command that gives a descriptor.
fn call<T>(command: libc::c_long, attr: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: `attr` is the command's own structure, and all that it points to lives until the caller returns; the
    // kernel reads as much as it is told and takes the rest as zero.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<T>()) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0);
    let fd = fd.ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just given this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::{Statistics, full, parse};

    #[test]
    fn names_that_the_kernel_has_cut_are_completed_when_they_can_be() {
        assert_eq!(full("btf_netif_recei"), "btf_netif_receive_skb");
        assert_eq!(full("btf_tcp_retrans"), "btf_tcp_retrans");
        assert_eq!(full("tc_ingress_l2"), "tc_ingress_l2");
    }

    #[test]
    fn statistics_are_read_from_a_program_s_descriptor_only() {
        let text = "pos:\t0\nprog_type:\t3\nprog_jited:\t1\nprog_id:\t17\nrun_time_ns:\t900\nrun_cnt:\t10\n";
        let found = Statistics {
            nanoseconds: 900,
            calls: 10,
            classifier: true,
        };
        assert_eq!(parse(text), Some((17, found)));
        assert_eq!(found.each(), Some(90.0));
        assert_eq!(parse("pos:\t0\nmap_type:\t27\n"), None);
    }
}
