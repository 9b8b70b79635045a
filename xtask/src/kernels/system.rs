//! The root file system of a guest with another processor than this machine's, below target/kernels: Debian's packages,
//! unpacked, with what the labs of the sample type in.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::apt::Apt;

/// Programs that labs call, and those that they need.
const PACKAGES: [&str; 23] = [
    "bash",
    "bridge-utils",
    "bsdextrautils",
    "conntrack",
    "coreutils",
    "dash",
    "ethtool",
    "findutils",
    "gawk",
    "grep",
    "iproute2",
    "ipset",
    "iptables",
    "iputils-arping",
    "iputils-ping",
    "kmod",
    "mount",
    "nftables",
    "procps",
    "python3",
    "sed",
    "socat",
    "util-linux",
];
/// What update-alternatives would have linked: iptables over nf_tables, as Debian installs it.
const IPTABLES: [&str; 8] = [
    "iptables",
    "iptables-save",
    "iptables-restore",
    "ip6tables",
    "ip6tables-save",
    "ip6tables-restore",
    "arptables",
    "ebtables",
];
/// Written where no script of a package wrote it.
const FILES: [(&str, &str); 2] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n",
    ),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
];
/// Where the guest mounts something, or writes.
const FOLDERS: [&str; 10] = [
    "boot", "dev", "proc", "root", "run", "sys", "tmp", "var/lib", "var/log", "var/tmp",
];

/// The directory with all of it, made where it is not there.
pub(super) fn of(apt: &Apt, folder: PathBuf) -> Result<PathBuf> {
    if folder.is_dir() {
        return Ok(folder);
    }
    let made = folder.with_extension("part");
    if made.exists() {
        fs::remove_dir_all(&made)?;
    }
    fs::create_dir_all(&made)?;
    fill(apt, &made).context("cannot make a root file system")?;
    fs::rename(&made, &folder)?;
    Ok(folder)
}

fn fill(apt: &Apt, root: &Path) -> Result<()> {
    apt.unpack_system(&PACKAGES, root)?;
    for name in FOLDERS {
        fs::create_dir_all(root.join(name))?;
    }
    for (name, text) in FILES {
        fs::write(root.join(name), text)?;
    }
    for name in IPTABLES {
        let link = root.join("usr/sbin").join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink("xtables-nft-multi", link)?;
        }
    }
    Ok(())
}
