//! What must be so before anything is loaded: rights, and what the kernel was built and booted with.
//!
//! [`Conditions`] are read from the machine; [`Conditions::problems`] judges them and can be tested anywhere. Each
//! problem says what is wrong and what to do. Not here: whether a single program loads (`load`).

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use aya::maps::MapType;
use aya::sys::is_map_supported;

use super::btf;
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
            Self::BpfRefused { .. } => hint(
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
            btf: btf_given || Path::new(btf::RUNNING).join("vmlinux").exists(),
            ring_buffer: is_map_supported(MapType::RingBuf)
                .map_err(|error| error.io_error.to_string()),
        }
    }

    /// Everything that stands in the way, rights first: without them the rest cannot be judged.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
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
                Err(why) => problems.push(Problem::BpfRefused { why: why.clone() }),
            }
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
            btf: true,
            ring_buffer: Ok(true),
        }
    }

    #[test]
    fn a_good_machine_has_no_problem() {
        assert_eq!(good().problems(), []);
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
