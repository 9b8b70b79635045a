//! The two calls of bpf(2) that measuring needs and aya does not offer for a program loaded elsewhere.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};
use aya::programs::loaded_programs;

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
/// Calls in one measurement; the kernel gives their mean.
const REPEAT: u32 = 200_000;
/// Measurements; the smallest is the one that nothing disturbed.
const ROUNDS: usize = 20;

/// A tc program in the kernel.
pub(super) struct Program(OwnedFd);

/// The fields of `union bpf_attr` for BPF_PROG_LOAD (include/uapi/linux/bpf.h).
#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
}

/// Those for BPF_PROG_TEST_RUN.
#[repr(C)]
struct TestRunAttr {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}

impl Program {
    /// One that returns TC_ACT_UNSPEC and does nothing else.
    pub(super) fn empty() -> Result<Self> {
        // r0 = -1; exit
        let instructions: [u64; 2] = [0xffff_ffff_0000_00b7, 0x95];
        let mut attr = LoadAttr {
            prog_type: BPF_PROG_TYPE_SCHED_CLS,
            insn_cnt: 2,
            insns: instructions.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
        };
        // SAFETY: instructions and licence outlive the call; the kernel reads as much as `size_of` says and takes the
        // rest as zero.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_PROG_LOAD,
                &raw mut attr,
                size_of::<LoadAttr>(),
            )
        };
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0);
        let fd = fd
            .ok_or_else(io::Error::last_os_error)
            .context("cannot load an empty program")?;
        // SAFETY: the kernel has just given this descriptor to us alone.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// One that somebody has loaded, by its name.
    pub(super) fn loaded(name: &str) -> Result<Self> {
        let info = loaded_programs()
            .filter_map(Result::ok)
            .filter(|info| info.name_as_str() == Some(name))
            .last()
            .with_context(|| format!("no program {name} is loaded"))?;
        Ok(Self(info.fd()?.as_fd().try_clone_to_owned()?))
    }

    /// What one call for this frame takes.
    pub(super) fn nanoseconds(&self, frame: &[u8]) -> Result<u32> {
        let mut best = u32::MAX;
        for _ in 0..ROUNDS {
            let mut attr = TestRunAttr {
                prog_fd: u32::try_from(self.0.as_raw_fd())?,
                retval: 0,
                data_size_in: u32::try_from(frame.len())?,
                data_size_out: 0,
                data_in: frame.as_ptr() as u64,
                data_out: 0,
                repeat: REPEAT,
                duration: 0,
            };
            // SAFETY: the frame outlives the call; the kernel writes only into `attr`, within the size it is told.
            let done = unsafe {
                libc::syscall(
                    libc::SYS_bpf,
                    BPF_PROG_TEST_RUN,
                    &raw mut attr,
                    size_of::<TestRunAttr>(),
                )
            };
            if done != 0 {
                return Err(io::Error::last_os_error()).context("cannot run the program");
            }
            best = best.min(attr.duration);
        }
        Ok(best)
    }
}
