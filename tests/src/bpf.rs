//! Tiny BPF programs for labs, made without a compiler: a program that gives one fixed answer to every packet is two
//! instructions. `lab bpf` loads one under a name of its own and pins it, or attaches it where the usual tools need
//! more than `ip` and `tc`.
//!
//! What is attached stays without a process: with its interface, its cgroup, or the run's private bpffs it goes.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};

// Commands of bpf(2) (include/uapi/linux/bpf.h).
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_PROG_ATTACH: libc::c_long = 8;
/// bpf_redirect, with the interface in r1 and flags in r2.
const BPF_FUNC_REDIRECT: u64 = 23;
/// Longest name of a program, without the zero at its end.
const MAX_NAME: usize = 15;

/// What `lab bpf` is asked for.
#[derive(Clone, Debug, Args)]
pub struct Wanted {
    /// The program's kind, which says where it can stand.
    pub kind: Kind,
    /// What it answers: pass, drop, abort, tx, deny, `redirect:INTERFACE`, or a number.
    pub answer: String,
    /// Where it is attached: an interface, or a directory of a cgroup. For xdp and tc the file that it is pinned to,
    /// for `ip link set dev IF xdp pinned FILE` and `tc filter add dev IF ingress bpf da object-pinned FILE`.
    pub at: PathBuf,
    /// Its name.
    #[arg(long, default_value = "lab")]
    pub name: String,
}

/// Kinds of programs that can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// XDP, pinned.
    Xdp,
    /// A tc classifier, pinned.
    Tc,
    /// A tc classifier as a tcx program at ingress.
    TcxIngress,
    /// The same at egress.
    TcxEgress,
    /// What processes of a cgroup receive.
    CgroupIngress,
    /// What they send.
    CgroupEgress,
    /// Their connect(2) over IPv4.
    CgroupConnect4,
    /// Their connect(2) over IPv6.
    CgroupConnect6,
    /// Their sendto(2) over IPv4.
    CgroupSendmsg4,
}

/// How the kernel knows a kind: program type, attach type, where it is attached, and what its words mean.
struct Row {
    kind: Kind,
    program: u32,
    attach: u32,
    place: Place,
    words: &'static [(&'static str, u32)],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Pin,
    Interface,
    Cgroup,
}

const XDP_WORDS: &[(&str, u32)] = &[("abort", 0), ("drop", 1), ("pass", 2), ("tx", 3)];
/// TC_ACT_SHOT and TC_ACT_OK.
const TC_WORDS: &[(&str, u32)] = &[("drop", 2), ("pass", 0)];
/// Programs of cgroups say yes or no.
const CGROUP_WORDS: &[(&str, u32)] = &[("drop", 0), ("deny", 0), ("pass", 1)];

const fn row(
    kind: Kind,
    (program, attach): (u32, u32),
    place: Place,
    words: &'static [(&'static str, u32)],
) -> Row {
    Row {
        kind,
        program,
        attach,
        place,
        words,
    }
}

/// `enum bpf_prog_type` and `enum bpf_attach_type`.
const ROWS: &[Row] = &[
    row(Kind::Xdp, (6, 37), Place::Pin, XDP_WORDS),
    row(Kind::Tc, (3, 0), Place::Pin, TC_WORDS),
    row(Kind::TcxIngress, (3, 46), Place::Interface, TC_WORDS),
    row(Kind::TcxEgress, (3, 47), Place::Interface, TC_WORDS),
    row(Kind::CgroupIngress, (8, 0), Place::Cgroup, CGROUP_WORDS),
    row(Kind::CgroupEgress, (8, 1), Place::Cgroup, CGROUP_WORDS),
    row(Kind::CgroupConnect4, (18, 10), Place::Cgroup, CGROUP_WORDS),
    row(Kind::CgroupConnect6, (18, 11), Place::Cgroup, CGROUP_WORDS),
    row(Kind::CgroupSendmsg4, (18, 14), Place::Cgroup, CGROUP_WORDS),
];

/// `union bpf_attr` of BPF_PROG_LOAD.
#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; MAX_NAME + 1],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// That of BPF_OBJ_PIN.
#[repr(C)]
struct PinAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// That of BPF_PROG_ATTACH.
#[repr(C)]
struct AttachAttr {
    target: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

/// Loads the program, and pins or attaches it.
///
/// # Errors
/// A word is not known, or the kernel refuses.
pub fn put(wanted: &Wanted) -> Result<()> {
    let row = ROWS
        .iter()
        .find(|row| row.kind == wanted.kind)
        .context("a kind without a row")?;
    // Before 5.11 programs count as locked memory, of which little is allowed. Whoever may not raise the limit finds out by
    // the load, where that matters.
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
    let program = load(row, &instructions(row, &wanted.answer)?, &wanted.name)?;
    match row.place {
        Place::Pin => pin(&program, &wanted.at),
        Place::Interface => {
            let target = interface(&wanted.at.to_string_lossy())?;
            attach(&program, target, row.attach)
        }
        Place::Cgroup => {
            let directory = File::open(&wanted.at)
                .with_context(|| format!("cannot open {}", wanted.at.display()))?;
            attach(&program, u32::try_from(directory.as_raw_fd())?, row.attach)
        }
    }
    .with_context(|| format!("at {}", wanted.at.display()))
}

/// The program that gives this answer.
fn instructions(row: &Row, answer: &str) -> Result<Vec<u64>> {
    const EXIT: u64 = 0x95;
    // Opcode 0xb7 is `mov64 register, immediate`: the register is bits 8 to 11, the immediate the upper half.
    let set = |register: u64, value: u32| u64::from(value) << 32 | register << 8 | 0xb7;
    if let Some(name) = answer.strip_prefix("redirect:") {
        let call = BPF_FUNC_REDIRECT << 32 | 0x85;
        return Ok(vec![set(1, interface(name)?), set(2, 0), call, EXIT]);
    }
    let value = row
        .words
        .iter()
        .find(|(word, _)| *word == answer)
        .map(|(_, value)| *value)
        .or_else(|| answer.parse().ok())
        .with_context(|| format!("`{answer}` is no answer of such a program"))?;
    Ok(vec![set(0, value), EXIT])
}

fn interface(name: &str) -> Result<u32> {
    nix::net::if_::if_nametoindex(name).with_context(|| format!("no interface {name} here"))
}

fn load(row: &Row, instructions: &[u64], name: &str) -> Result<OwnedFd> {
    ensure!(
        name.len() <= MAX_NAME && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'),
        "`{name}` is no name for a program: at most {MAX_NAME} letters, digits and underscores"
    );
    let mut prog_name = [0; MAX_NAME + 1];
    for (to, from) in prog_name.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    let mut attr = LoadAttr {
        prog_type: row.program,
        insn_cnt: u32::try_from(instructions.len())?,
        insns: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name,
        prog_ifindex: 0,
        // Pinned ones get theirs where they are attached.
        expected_attach_type: if row.place == Place::Cgroup {
            row.attach
        } else {
            0
        },
    };
    let fd = call(BPF_PROG_LOAD, &mut attr).context("cannot load the program")?;
    // SAFETY: the kernel has just given this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd)?) })
}

fn pin(program: &OwnedFd, at: &Path) -> Result<()> {
    let path = CString::new(at.as_os_str().as_bytes())?;
    let mut attr = PinAttr {
        pathname: path.as_ptr() as u64,
        bpf_fd: u32::try_from(program.as_raw_fd())?,
        file_flags: 0,
    };
    call(BPF_OBJ_PIN, &mut attr).context("cannot pin the program")?;
    Ok(())
}

fn attach(program: &OwnedFd, target: u32, attach_type: u32) -> Result<()> {
    let mut attr = AttachAttr {
        target,
        attach_bpf_fd: u32::try_from(program.as_raw_fd())?,
        attach_type,
        attach_flags: 0,
    };
    call(BPF_PROG_ATTACH, &mut attr).context("cannot attach the program")?;
    Ok(())
}

fn call<T>(command: libc::c_long, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is the command's own structure, and all that it points to lives until the caller returns; the
    // kernel reads as much as it is told and takes the rest as zero.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    fn row_of(kind: Kind) -> &'static Row {
        ROWS.iter().find(|row| row.kind == kind).unwrap()
    }

    #[test]
    fn every_kind_has_its_row() {
        for kind in Kind::value_variants() {
            assert_eq!(
                ROWS.iter().filter(|row| row.kind == *kind).count(),
                1,
                "{kind:?}"
            );
        }
    }

    #[test]
    fn answers_are_words_of_their_kind_or_numbers() {
        let answer = |kind, word| instructions(row_of(kind), word).map(|i| i.first().copied());
        assert_eq!(answer(Kind::Xdp, "drop").unwrap(), Some(0x1_0000_00b7));
        assert_eq!(answer(Kind::Tc, "drop").unwrap(), Some(0x2_0000_00b7));
        assert_eq!(
            answer(Kind::CgroupEgress, "3").unwrap(),
            Some(0x3_0000_00b7)
        );
        assert!(answer(Kind::Tc, "tx").is_err());
    }
}
