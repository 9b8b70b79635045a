//! What a thread may still do once it has what it needs: which capabilities it holds, which files it can open, which system
//! calls it can make. Each restriction is of the calling thread and of those that it starts later; none can be taken back.
//!
//! A fault in what parses packets, recordings or the files of others then finds nothing to use. All threads share one
//! memory, so this is no wall between them: it takes away what code that was made to misbehave could ask the kernel for.
//!
//! Not here: who is restricted when (`app`, `source::live`). docs/security.md says what each restriction stops.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use caps::{CapSet, Capability, CapsHashSet};
use landlock::{
    ABI, Access, AccessFs, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// What a thread does from now on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role<'a> {
    /// Reads, correlates and shows what others made: on descriptors that are open already.
    Work,
    /// The same, and ends commands that it started, which may run as somebody else.
    Command,
    /// Opens files for others: those to be read, and new ones in directories.
    Files {
        /// Files.
        read: &'a [PathBuf],
        /// Directories.
        write: &'a [PathBuf],
    },
    /// Enters namespaces, asks the kernel, attaches programs, looks through /proc.
    Machine,
}

/// Takes from the calling thread all that its role does not need. Gives what could not be done, in words.
pub(crate) fn restrict(role: Role<'_>) -> Vec<String> {
    let mut missing = Vec::new();
    let mut note = |what: &str, done: Result<(), String>| {
        missing.extend(done.err().map(|why| format!("{what}: {why}")));
    };
    note("capabilities", keep(role.capabilities()));
    let alone = nix::sys::prctl::set_no_new_privs();
    note("no_new_privs", alone.map_err(|error| error.to_string()));
    if let Some(rules) = role.files() {
        note("Landlock", landlock(&rules));
    }
    note("seccomp", seccomp(role));
    missing
}

impl Role<'_> {
    fn capabilities(self) -> &'static [Capability] {
        use Capability::{
            CAP_BPF, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_KILL, CAP_NET_ADMIN, CAP_PERFMON,
            CAP_SYS_ADMIN, CAP_SYS_PTRACE,
        };
        match self {
            Self::Work => &[],
            Self::Command => &[CAP_KILL],
            // Files of whoever started this as root, in directories of their own.
            Self::Files { .. } => &[CAP_DAC_OVERRIDE],
            // setns and BPF commands; rules, routes and filters; programs and their links; /proc/PID/ns and the files of
            // runtimes, which belong to others.
            Self::Machine => &[
                CAP_SYS_ADMIN,
                CAP_NET_ADMIN,
                CAP_BPF,
                CAP_PERFMON,
                CAP_SYS_PTRACE,
                CAP_DAC_READ_SEARCH,
            ],
        }
    }

    /// What Landlock leaves: paths, each with what may be done there. `None` where it would take too much: a thread under
    /// Landlock may not look into processes outside (`hook_ptrace_access_check` of security/landlock/task.c), so that it finds no
    /// namespaces in /proc.
    fn files(self) -> Option<Vec<(PathBuf, BitFlags<AccessFs>)>> {
        let terminals = [("/dev/tty", device()), ("/dev/null", device())];
        let terminals = terminals.map(|(path, access)| (PathBuf::from(path), access));
        match self {
            Self::Machine => None,
            Self::Work | Self::Command => Some(terminals.to_vec()),
            Self::Files { read, write } => {
                let read = read
                    .iter()
                    .map(|file| (file.clone(), AccessFs::ReadFile.into()));
                let write = write.iter().map(|directory| (directory.clone(), making()));
                Some(terminals.into_iter().chain(read).chain(write).collect())
            }
        }
    }
}

/// The newest rights that are asked for, where the kernel knows them: those of Linux 6.10 (requests to devices).
const RIGHTS: ABI = ABI::V5;

fn device() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev
}

/// Making, writing, emptying and replacing files.
fn making() -> BitFlags<AccessFs> {
    AccessFs::MakeReg
        | AccessFs::ReadFile
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::RemoveFile
        | AccessFs::Refer
}

/// Keeps these capabilities, as far as the thread holds them.
fn keep(wanted: &[Capability]) -> Result<(), String> {
    let words = |error: caps::errors::CapsError| error.to_string();
    let held = caps::read(None, CapSet::Permitted).map_err(words)?;
    let kept: CapsHashSet = wanted
        .iter()
        .copied()
        .filter(|one| held.contains(one))
        .collect();
    // Kernels without ambient capabilities are older than any that is traced; there may be none to take.
    caps::clear(None, CapSet::Ambient).map_err(words)?;
    caps::clear(None, CapSet::Inheritable).map_err(words)?;
    caps::set(None, CapSet::Effective, &kept).map_err(words)?;
    caps::set(None, CapSet::Permitted, &kept).map_err(words)
}

fn landlock(rules: &[(PathBuf, BitFlags<AccessFs>)]) -> Result<(), String> {
    let apply = || -> Result<RulesetStatus, RulesetError> {
        let mut ruleset = Ruleset::default()
            .handle_access(AccessFs::from_all(RIGHTS))?
            .create()?;
        for (path, access) in rules {
            // What is not there cannot be opened anyway.
            if let Ok(at) = PathFd::new(path) {
                ruleset = ruleset.add_rule(PathBeneath::new(at, fitting(path, *access)))?;
            }
        }
        Ok(ruleset.restrict_self()?.ruleset)
    };
    match apply() {
        Ok(RulesetStatus::FullyEnforced) => Ok(()),
        Ok(RulesetStatus::PartiallyEnforced) => {
            Err("the kernel knows a part of it only".to_owned())
        }
        Ok(RulesetStatus::NotEnforced) => Err("the kernel has none".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Rights of directories say nothing of a file.
fn fitting(path: &Path, access: BitFlags<AccessFs>) -> BitFlags<AccessFs> {
    if path.is_dir() {
        access
    } else {
        access & AccessFs::from_file(RIGHTS)
    }
}

/// libc has no name for it on 64-bit ARM with musl (include/uapi/asm-generic/unistd.h).
#[cfg(target_arch = "aarch64")]
const KEXEC_FILE_LOAD: libc::c_long = 294;
#[cfg(not(target_arch = "aarch64"))]
const KEXEC_FILE_LOAD: libc::c_long = libc::SYS_kexec_file_load;

/// Refused to every thread: to start programs, to look into other processes, to change the machine.
const NEVER: &[libc::c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    KEXEC_FILE_LOAD,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mknodat,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_personality,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_setfsgid,
    libc::SYS_setfsuid,
    libc::SYS_setgid,
    libc::SYS_setgroups,
    libc::SYS_sethostname,
    libc::SYS_setregid,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_setreuid,
    libc::SYS_settimeofday,
    libc::SYS_setuid,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_umount2,
    libc::SYS_userfaultfd,
];

/// Refused where nothing is asked of the kernel: sockets, namespaces, programs, owners and modes of files.
const ONLY_OF_THE_MACHINE: &[libc::c_long] = &[
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_bpf,
    libc::SYS_connect,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_linkat,
    libc::SYS_listen,
    libc::SYS_perf_event_open,
    libc::SYS_setns,
    libc::SYS_socket,
    libc::SYS_symlinkat,
    libc::SYS_syslog,
    libc::SYS_unshare,
];

fn seccomp(role: Role<'_>) -> Result<(), String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let more = match role {
        Role::Machine => &[],
        Role::Work | Role::Command | Role::Files { .. } => ONLY_OF_THE_MACHINE,
    };
    // A call without conditions is refused whatever its arguments are.
    let refused: BTreeMap<i64, Vec<seccompiler::SeccompRule>> = NEVER
        .iter()
        .chain(more)
        .map(|number| (*number, Vec::new()))
        .collect();
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| words(&error))?;
    let refusal = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(refused, SeccompAction::Allow, refusal, arch)
        .map_err(|error| words(&error))?;
    let program: BpfProgram = filter
        .try_into()
        .map_err(|error: seccompiler::BackendError| words(&error))?;
    seccompiler::apply_filter(&program).map_err(|error| words(&error))
}
