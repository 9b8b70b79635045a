//! What must be so before anything is loaded: rights, and what the kernel was built and booted with.
//!
//! [`Conditions`] are read from the machine; [`Conditions::problems`] judges them and can be tested anywhere. Each
//! problem says what is wrong and what to do. Not here: whether a single program loads (`load`).

mod memory;

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use aya::maps::MapType;
use aya::sys::is_map_supported;
use nix::sched::{CloneFlags, setns};

use super::btf;
use crate::host::namespaces::NetnsFd;
use crate::model::Release;

/// The first kernel with ring buffers (457f44363a88, bpf: Implement BPF ring buffer).
const OLDEST: Release = Release(5, 8);

/// A right that tracer needs, by its number in the kernel (include/uapi/linux/capability.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Capability {
    /// Attaching to interfaces.
    NetAdmin = 12,
    /// Entering namespaces.
    SysAdmin = 21,
    /// Programs that read kernel memory.
    Perfmon = 38,
    /// Loading programs and maps.
    Bpf = 39,
}

impl Capability {
    /// All that are needed, with what each is for.
    pub const NEEDED: [(Self, &str); 4] = [
        (Self::Bpf, "to load its programs"),
        (Self::Perfmon, "to read packets in the kernel"),
        (Self::NetAdmin, "to attach to interfaces"),
        (Self::SysAdmin, "to enter network namespaces"),
    ];
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        })
    }
}

/// Capabilities of this process as the kernel writes them: one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(pub u64);

impl Capabilities {
    fn has(self, capability: Capability) -> bool {
        self.0 >> (capability as u8) & 1 == 1
    }

    /// What is missing. CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON (bpf_capable, perfmon_capable in
    /// include/linux/capability.h).
    #[must_use]
    pub fn missing(self) -> Vec<Capability> {
        let granted = |capability| {
            let implied = matches!(capability, Capability::Bpf | Capability::Perfmon);
            self.has(capability) || (implied && self.has(Capability::SysAdmin))
        };
        let needed = Capability::NEEDED.iter().map(|(capability, _)| *capability);
        needed.filter(|capability| !granted(*capability)).collect()
    }
}

/// Why tracer cannot work here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Rights are missing.
    #[error("privileges are missing: {}", list(.missing))]
    Capabilities {
        /// Which.
        missing: Vec<Capability>,
        /// Whether the user is root all the same (a container with a bounding set).
        root: bool,
    },
    /// The kernel is too old.
    #[error("this kernel is {found}; tracer needs {OLDEST} or newer")]
    TooOld {
        /// What runs.
        found: Release,
    },
    /// The kernel has no ring buffers although it is new enough.
    #[error("this kernel has no BPF ring buffers")]
    NoRingBuffer,
    /// The kernel does not show its types.
    #[error("this kernel does not provide its types: {path} is missing", path = RUNNING_BTF)]
    NoBtf,
    /// Locked down so far that no program may read kernel memory.
    #[error("the kernel is locked down (confidentiality): programs may not read its memory")]
    Lockdown,
    /// There is no /proc to find namespaces in.
    #[error("/proc is not mounted: tracer finds namespaces there")]
    NoProc,
    /// What this process may allocate does not suffice.
    #[error("memory is limited to {} MiB by {by}: tracer needs {} MiB", limit >> 20, least >> 20)]
    Memory {
        /// The limit, in bytes.
        limit: u64,
        /// What is needed at least, in bytes.
        least: u64,
        /// What sets it.
        by: String,
    },
    /// Rights here are none on the machine.
    #[error("this is a user namespace of its own: its root has no rights on the machine")]
    UserNamespace,
    /// Namespaces cannot be entered although the right is there.
    #[error("the setns system call is refused: {why}")]
    SetnsRefused {
        /// What the kernel said.
        why: String,
    },
    /// The bpf system call does not exist or is forbidden.
    #[error("the bpf system call is refused: {why}")]
    BpfRefused {
        /// What the kernel said.
        why: String,
    },
}

const RUNNING_BTF: &str = "/sys/kernel/btf/vmlinux";

impl Problem {
    /// What to do about it.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        let hint = |text: &str| vec![text.to_owned()];
        match self {
            Self::Capabilities { missing, root } => {
                let mut hints: Vec<String> = Capability::NEEDED
                    .iter()
                    .filter(|(capability, _)| missing.contains(capability))
                    .map(|(capability, use_of_it)| format!("{capability} is needed {use_of_it}"))
                    .collect();
                hints.push(if *root {
                    "root in this container is not enough: use a privileged container, or run it on the node itself".to_owned()
                } else {
                    "run it as root, for example with sudo".to_owned()
                });
                hints
            }
            Self::TooOld { .. } => hint("boot a newer kernel; tcpdump works on this one"),
            Self::NoRingBuffer => hint("the kernel must be built with CONFIG_BPF_SYSCALL"),
            Self::NoBtf => vec![
                "pass the types of exactly this kernel with --btf FILE: raw BTF, or its vmlinux with a .BTF section"
                    .to_owned(),
                "in a container, mount the host's /sys; otherwise the kernel lacks CONFIG_DEBUG_INFO_BTF".to_owned(),
            ],
            Self::Lockdown => {
                hint("boot with lockdown=integrity or without lockdown; /sys/kernel/security/lockdown shows the mode")
            }
            Self::NoProc => hint(
                "mount it: `mount -t proc proc /proc`; a container has to share the PID namespace of its node",
            ),
            Self::Memory { .. } => {
                hint("raise that limit; `tracer replay` of a recording needs less, and no rights")
            }
            Self::UserNamespace => {
                hint("run it as root of the machine: not in a rootless container, nor behind `unshare -U`")
            }
            Self::BpfRefused { .. } | Self::SetnsRefused { .. } => hint(
                "a container's seccomp profile or a security module may forbid it: run privileged (seccomp=unconfined)",
            ),
        }
    }
}

fn list(capabilities: &[Capability]) -> String {
    let names: Vec<String> = capabilities.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// What the machine says of itself.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// Effective user is 0.
    pub root: bool,
    /// Effective capabilities; `None` when they cannot be read.
    pub capabilities: Option<Capabilities>,
    /// Kernel release as uname gives it.
    pub release: String,
    /// Contents of /sys/kernel/security/lockdown, empty where there is none.
    pub lockdown: String,
    /// Whether the kernel shows BTF, or a file of it was given.
    pub btf: bool,
    /// Whether /proc is there.
    pub proc: bool,
    /// Whether users here are those of the machine.
    pub users_of_the_machine: bool,
    /// The narrowest limit of memory, in bytes, what is needed under it, and what sets it.
    pub memory: Option<(u64, u64, String)>,
    /// Why this thread may not enter a namespace, if so.
    pub refused_setns: Option<String>,
    /// Whether a ring buffer can be made, or why the call failed.
    pub ring_buffer: Result<bool, String>,
}

impl Conditions {
    /// Reads them. `btf_given`: types come from a file.
    #[must_use]
    pub fn read(btf_given: bool) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self {
            root: nix::unistd::geteuid().is_root(),
            capabilities: effective(&read("/proc/self/status")),
            release: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            lockdown: read("/sys/kernel/security/lockdown"),
            proc: Path::new("/proc/self/status").exists(),
            users_of_the_machine: is_initial(&read("/proc/self/uid_map")),
            memory: memory::limit(),
            refused_setns: enters_its_own().err().map(|error| error.to_string()),
            btf: btf_given || Path::new(btf::RUNNING).join("vmlinux").exists(),
            ring_buffer: is_map_supported(MapType::RingBuf)
                .map_err(|error| error.io_error.to_string()),
        }
    }

    /// Everything that stands in the way, rights first: without them the rest cannot be judged.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        if !self.proc {
            return vec![Problem::NoProc];
        }
        let missing = self
            .capabilities
            .map_or_else(Vec::new, Capabilities::missing);
        if !missing.is_empty() {
            let root = self.root;
            return vec![Problem::Capabilities { missing, root }];
        }
        let mut problems = Vec::new();
        let release = Release::parse(&self.release);
        if let Some(found) = release.filter(|found| *found < OLDEST) {
            problems.push(Problem::TooOld { found });
        } else {
            match &self.ring_buffer {
                Ok(true) => {}
                Ok(false) => problems.push(Problem::NoRingBuffer),
                Err(_) if !self.users_of_the_machine => problems.push(Problem::UserNamespace),
                Err(why) => problems.push(Problem::BpfRefused { why: why.clone() }),
            }
        }
        if let Some((limit, least, by)) = self
            .memory
            .clone()
            .filter(|(limit, least, _)| limit < least)
        {
            problems.insert(0, Problem::Memory { limit, least, by });
        }
        if let Some(why) = self.refused_setns.clone() {
            problems.push(Problem::SetnsRefused { why });
        }
        if self.lockdown.contains("[confidentiality]") {
            problems.push(Problem::Lockdown);
        }
        if !self.btf {
            problems.push(Problem::NoBtf);
        }
        problems
    }
}

/// Whether a map of users (/proc/self/uid_map) is that of the initial user namespace, which has all of them as they are.
fn is_initial(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Enters the namespace in which the thread is: nothing changes, and what forbids to enter any shows.
fn enters_its_own() -> io::Result<()> {
    let own = NetnsFd::current()?;
    setns(&own, CloneFlags::CLONE_NEWNET)?;
    Ok(())
}

/// The line `CapEff:` of /proc/self/status.
fn effective(status: &str) -> Option<Capabilities> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok().map(Capabilities)
}

/// Lifts two limits of this process: open files (each attachment is one), and locked memory, against which
/// kernels before 5.11 count maps (97306be45fbe, bpf: switch to memcg-based memory accounting).
///
/// # Errors
/// What the kernel says; maps and links may still fit.
pub(super) fn lift_limits() -> io::Result<()> {
    use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u64 = (1 << 41) - 1;

    fn good() -> Conditions {
        Conditions {
            root: true,
            capabilities: Some(Capabilities(ALL)),
            release: "6.12.117+deb12-cloud-amd64".to_owned(),
            lockdown: "none [integrity] confidentiality\n".to_owned(),
            proc: true,
            users_of_the_machine: true,
            memory: None,
            refused_setns: None,
            btf: true,
            ring_buffer: Ok(true),
        }
    }

    #[test]
    fn a_good_machine_has_no_problem() {
        assert_eq!(good().problems(), []);
    }

    #[test]
    fn what_a_container_takes_away_is_named() {
        let found = |conditions: Conditions| {
            let problems = conditions.problems();
            let told = problems
                .iter()
                .map(|problem| format!("{problem}; {}", problem.hints().join("; ")));
            told.collect::<Vec<_>>().join("\n")
        };
        let refused = || Err("Operation not permitted".to_owned());
        insta::assert_snapshot!(found(Conditions { proc: false, capabilities: None, ..good() }), @"/proc is not mounted: tracer finds namespaces there; mount it: `mount -t proc proc /proc`; a container has to share the PID namespace of its node");
        insta::assert_snapshot!(found(Conditions { users_of_the_machine: false, ring_buffer: refused(), ..good() }), @"this is a user namespace of its own: its root has no rights on the machine; run it as root of the machine: not in a rootless container, nor behind `unshare -U`");
        insta::assert_snapshot!(found(Conditions { refused_setns: Some("EPERM".to_owned()), ..good() }), @"the setns system call is refused: EPERM; a container's seccomp profile or a security module may forbid it: run privileged (seccomp=unconfined)");
        let memory = |limit| Some((limit, 64 << 20, "/sys/fs/cgroup/memory.max".to_owned()));
        insta::assert_snapshot!(found(Conditions { memory: memory(30 << 20), ..good() }), @"memory is limited to 30 MiB by /sys/fs/cgroup/memory.max: tracer needs 64 MiB; raise that limit; `tracer replay` of a recording needs less, and no rights");
        assert_eq!(
            found(Conditions {
                memory: memory(64 << 20),
                ..good()
            }),
            ""
        );
    }

    #[test]
    fn missing_rights_are_named_and_nothing_else() {
        let conditions = Conditions {
            root: false,
            capabilities: Some(Capabilities(1 << 39)),
            btf: false,
            ring_buffer: Err("Operation not permitted".to_owned()),
            ..good()
        };
        let missing = vec![
            Capability::Perfmon,
            Capability::NetAdmin,
            Capability::SysAdmin,
        ];
        let expected = Problem::Capabilities {
            missing,
            root: false,
        };
        assert_eq!(
            expected.to_string(),
            "privileges are missing: CAP_PERFMON, CAP_NET_ADMIN, CAP_SYS_ADMIN"
        );
        assert!(expected.hints().iter().any(|hint| hint.contains("sudo")));
        assert_eq!(conditions.problems(), [expected]);
    }

    #[test]
    fn sys_admin_stands_for_bpf_and_perfmon() {
        let rights = Capabilities(1 << 21 | 1 << 12);
        assert_eq!(rights.missing(), []);
        assert_eq!(Capabilities(1 << 21).missing(), [Capability::NetAdmin]);
    }

    #[test]
    fn each_condition_is_a_problem_of_its_own() {
        let problems = |conditions: Conditions| conditions.problems();
        let old = Conditions {
            release: "5.4.0-150-generic".to_owned(),
            ring_buffer: Ok(false),
            ..good()
        };
        assert_eq!(
            problems(old),
            [Problem::TooOld {
                found: Release(5, 4)
            }]
        );
        let without = Conditions {
            ring_buffer: Ok(false),
            ..good()
        };
        assert_eq!(problems(without), [Problem::NoRingBuffer]);
        let why = "Operation not permitted".to_owned();
        let refused = Conditions {
            ring_buffer: Err(why.clone()),
            ..good()
        };
        assert_eq!(problems(refused), [Problem::BpfRefused { why }]);
        let lockdown = "none integrity [confidentiality]\n".to_owned();
        let locked = Conditions {
            lockdown,
            btf: false,
            ..good()
        };
        assert_eq!(problems(locked), [Problem::Lockdown, Problem::NoBtf]);
    }

    #[test]
    fn capabilities_are_read_from_the_status_file() {
        let status = "Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t000001ffffffffff\n";
        assert_eq!(effective(status), Some(Capabilities(ALL)));
        assert_eq!(effective("Name:\tx\n"), None);
    }
}
