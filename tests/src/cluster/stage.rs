//! The process that a cluster lives in: the first in its namespaces. When it ends, however it ends, the kernel ends all
//! others and takes namespaces and mounts away; its parent removes the control groups then.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use crate::cgroup;
use crate::net::Sandbox;

/// What it runs, and with what.
const LAN: &str = include_str!("lan.sh");
const FILES: [(&str, &str); 4] = [
    ("node.sh", include_str!("node.sh")),
    ("proxy.sh", include_str!("proxy.sh")),
    ("settled.sh", include_str!("settled.sh")),
    ("shop.yaml", include_str!("shop.yaml")),
];

/// The folder of the cluster's programs, and what is in it.
#[derive(Clone, Debug)]
pub struct Folder(pub PathBuf);

impl Folder {
    /// What a running cluster writes, on a file system that the machine and all nodes see.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.0.join("run")
    }

    /// The first process of the cluster, by its id on the machine.
    #[must_use]
    pub fn pid(&self) -> PathBuf {
        self.run().join("pid")
    }

    /// Made when all is up.
    #[must_use]
    pub fn ready(&self) -> PathBuf {
        self.run().join("ready")
    }

    /// What programs and scripts of the cluster find in their environment.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 4] {
        let path = |name: &str| self.0.join(name).display().to_string();
        let own = ["run/bin", "bin", "root/usr/bin", "root/usr/sbin"].map(path);
        let system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        [
            ("PATH", format!("{}:{system}", own.join(":"))),
            ("KUBECONFIG", path("run/kubeconfig")),
            ("RUN", path("run")),
            ("FOLDER", self.0.display().to_string()),
        ]
    }
}

/// Brings the cluster up within a sandbox, and keeps it until the starter ends.
///
/// # Errors
/// A part of it does not come up.
pub fn serve(sandbox: &Sandbox, folder: &Folder) -> Result<()> {
    // /proc still is the machine's.
    let own = fs::read_link("/proc/self").context("/proc is not mounted")?;
    fs::write(folder.pid(), own.display().to_string())?;
    let group = std::env::var_os(cgroup::VARIABLE).map(PathBuf::from);
    let group = group
        .as_deref()
        .and_then(Path::file_name)
        .context("the unified hierarchy of control groups is not mounted")?;
    ensure!(
        Path::new("/sys/fs/cgroup/cpuset").is_dir(),
        "the cluster's kubelets need control groups of version 1: mount them, or boot with systemd.unified_cgroup_hierarchy=0"
    );
    let scripts = folder.run().join("scripts");
    fs::create_dir_all(&scripts)?;
    for (name, text) in FILES {
        let file = scripts.join(name);
        fs::write(&file, text)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    }
    let status = Command::new("sh")
        .args(["-euc", LAN])
        .envs(folder.environment())
        .env("SCRIPTS", &scripts)
        .env("GROUP", group)
        .current_dir(folder.run())
        .status()
        .context("cannot start sh")?;
    ensure!(status.success(), "the cluster did not come up");
    reap()?;
    fs::write(folder.ready(), "")?;
    while sandbox.order().is_some() {}
    Ok(())
}

/// The first process gets the orphans of all others: from now on the kernel takes those that end.
fn reap() -> Result<()> {
    // SAFETY: no code of ours runs, and nothing in this process waits for a child any more.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn) }.context("cannot ignore SIGCHLD")?;
    while let Ok(ended) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if ended == WaitStatus::StillAlive {
            break;
        }
    }
    Ok(())
}
