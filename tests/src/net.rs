//! A machine's worth of namespaces that leaves nothing behind: what is made inside is seen by its processes alone,
//! and the kernel itself takes it down when they end, however they end.
//!
//! There is a mount namespace with a private /run (so /run/netns, and the locks of iptables, are its own), a network
//! namespace, and a PID namespace. The first process in the PID namespace is this executable again, which reads its
//! orders from a pipe that only its starter holds: it ends when the starter does, and with it the kernel kills every
//! process of the lab and so the last users of its network namespaces. /proc stays the machine's: tracer sees what it
//! would see outside.

use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigHandler, Signal, signal};

use crate::cgroup;

/// A directory in the private /run for what a run writes.
pub const SCRATCH: &str = "/run/lab";
/// The run's own bpffs.
const PINS: &str = "/run/bpf";

/// Namespaces that this process is the first in.
#[derive(Debug)]
pub struct Sandbox {
    orders: Receiver<String>,
}

impl Sandbox {
    /// Enters namespaces of its own. Gives the sandbox in the process that is first in it, and an exit status in the
    /// process that made it, when the first one has ended.
    ///
    /// To be called once, before any thread is started, by a process whose stdin is a pipe.
    ///
    /// # Errors
    /// The kernel refuses: the caller is not root, or namespaces are not allowed here.
    pub fn enter() -> Result<Result<Self, ExitCode>> {
        if std::process::id() != 1 {
            return Self::make().map(Err);
        }
        let (sender, orders) = mpsc::channel();
        thread::spawn(move || {
            for order in io::stdin().lock().lines().map_while(Result::ok) {
                // Nobody waits for orders any more when the work is done.
                let _ = sender.send(order);
            }
            std::process::exit(1);
        });
        ip(&["link", "set", "lo", "up"])?;
        Ok(Ok(Self { orders }))
    }

    /// The next line that the starter writes. Waits for it; the process ends here when the starter has.
    #[must_use]
    pub fn order(&self) -> Option<String> {
        self.orders.recv().ok()
    }

    /// A process that has unshared its PID namespace can start no thread any more, and only its children are inside:
    /// the work is done by the first of them.
    fn make() -> Result<ExitCode> {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWPID)
            .context("cannot make namespaces: labs need root (CAP_SYS_ADMIN)")?;
        let nothing = None::<&str>;
        mount(
            nothing,
            "/",
            nothing,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            nothing,
        )
        .context("cannot make the mounts private")?;
        mount(
            Some("tmpfs"),
            "/run",
            Some("tmpfs"),
            MsFlags::empty(),
            Some("mode=0755"),
        )
        .context("cannot mount a private /run")?;
        for directory in ["/run/netns", "/run/lock", SCRATCH, PINS] {
            std::fs::create_dir(directory).with_context(|| format!("cannot make {directory}"))?;
        }
        mount(Some("bpf"), PINS, Some("bpf"), MsFlags::empty(), nothing)
            .context("cannot mount a private bpffs")?;
        // A shell starts jobs in the background with SIGINT ignored, and children inherit that: an interrupted tracer
        // would not end.
        // SAFETY: the default action runs no code of ours.
        unsafe { signal(Signal::SIGINT, SigHandler::SigDfl) }.context("cannot reset SIGINT")?;
        let room = cgroup::room();
        let mut first = Command::new(std::env::current_exe()?);
        first.args(std::env::args_os().skip(1));
        first.envs(room.iter().map(|room| (cgroup::VARIABLE, room)));
        let status = first.status();
        // A run that mounted a /proc of its own leaves one that shows nothing any more.
        while std::fs::read_link("/proc/self").is_err()
            && umount2("/proc", MntFlags::MNT_DETACH).is_ok()
        {}
        if let Some(room) = room {
            cgroup::clear(&room);
        }
        let status = status.context("cannot start the first process of the lab")?;
        Ok(status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .map_or(ExitCode::FAILURE, ExitCode::from))
    }

    /// Makes a network namespace with `lo` up, whose interfaces use an IPv6 address at once: duplicate address detection
    /// takes up to two seconds, in which a network that was just built does not work.
    ///
    /// # Errors
    /// `ip` fails.
    pub fn add_namespace(&self, name: &str) -> Result<()> {
        ip(&["netns", "add", name])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        let accept_dad = "/proc/sys/net/ipv6/conf/default/accept_dad";
        let trust_addresses = format!("test ! -e {accept_dad} || echo 0 >{accept_dad}");
        ip(&["netns", "exec", name, "sh", "-c", &trust_addresses])
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .context("cannot run `ip`: install iproute2")?;
    ensure!(
        output.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// The path of an executable, looked up as a shell does, in the directories of system tools too.
#[must_use]
pub fn find_command(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(name.into()).filter(|path: &PathBuf| path.is_file());
    }
    std::env::split_paths(&search_path())
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}

/// PATH with this executable's own directory, for `lab bpf`, and those of system tools, which a user's PATH may lack.
#[must_use]
pub fn search_path() -> std::ffi::OsString {
    let own = std::env::var_os("PATH").unwrap_or_default();
    let beside = std::env::current_exe().ok();
    let beside = beside
        .as_deref()
        .and_then(Path::parent)
        .map(Path::to_path_buf);
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"]
        .map(|path| Path::new(path).to_path_buf());
    let all = std::env::split_paths(&own).chain(beside).chain(system);
    std::env::join_paths(all).unwrap_or(own)
}
