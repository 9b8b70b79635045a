//! Installs what is missing; does nothing, quickly, when nothing is. Everything that can be kept in the workspace is
//! (target/tools); the rest is toolchains, by rustup, and programs that labs use, by the distribution.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::{cargo, exists, is_root, program, run as run_command};
use crate::workspace::{Toolchain, tools};

/// A tool of ours: name, version, and what else cargo is told.
type Tool = (&'static str, &'static str, &'static [&'static str]);

/// Reads the LLVM of the nightly that tracer-ebpf/rust-toolchain.toml pins.
const LINKER: Tool = ("bpf-linker", "0.10.3", &[]);
/// Quick enough as a debug build, which takes a third of the time.
const DENY: Tool = ("cargo-deny", "0.20.2", &["--debug"]);
/// The demo's own of the programs below.
const OF_DEMO: [&str; 5] = ["bridge", "ip", "iptables-nft", "ping", "sysctl"];

/// Programs that labs and tests use, and the Debian package of each.
const PROGRAMS: [(&str, &str); 22] = [
    ("arptables-nft", "iptables"),
    ("bridge", "iproute2"),
    ("conntrack", "conntrack"),
    ("ebtables-nft", "iptables"),
    ("ethtool", "ethtool"),
    ("gzip", "gzip"),
    ("ip", "iproute2"),
    ("ipset", "ipset"),
    ("iptables-legacy", "iptables"),
    ("iptables-nft", "iptables"),
    ("ipvsadm", "ipvsadm"),
    ("nft", "nftables"),
    ("ping", "iputils-ping"),
    ("python3", "python3"),
    ("shellcheck", "shellcheck"),
    ("socat", "socat"),
    ("ss", "iproute2"),
    ("sysctl", "procps"),
    ("tc", "iproute2"),
    ("tcpdump", "tcpdump"),
    ("tshark", "tshark"),
    ("wg", "wireguard-tools"),
];

/// Installs all that is missing.
pub(crate) fn run() -> Result<()> {
    for toolchain in [Toolchain::host()?, Toolchain::ebpf()?] {
        install_toolchain(&toolchain)?;
    }
    for (name, version, flags) in [LINKER, DENY] {
        install_tool(name, version, flags)?;
    }
    install_programs(&PROGRAMS)
}

/// Installs what building and the demo need, and no more.
pub(crate) fn for_demo() -> Result<()> {
    install_toolchain(&Toolchain {
        components: Vec::new(),
        ..Toolchain::host()?
    })?;
    install_toolchain(&Toolchain::ebpf()?)?;
    let (name, version, flags) = LINKER;
    install_tool(name, version, flags)?;
    let programs: Vec<_> = PROGRAMS
        .into_iter()
        .filter(|(name, _)| OF_DEMO.contains(name))
        .collect();
    install_programs(&programs)
}

fn install_toolchain(toolchain: &Toolchain) -> Result<()> {
    let Toolchain {
        channel,
        components,
    } = toolchain;
    let installed = Command::new("rustup")
        .args(["component", "list", "--installed", "--toolchain", channel])
        .output()
        .context("cannot run rustup: install it as https://rustup.rs says")?;
    let installed = String::from_utf8_lossy(&installed.stdout).into_owned();
    let missing = |component: &&String| {
        !installed
            .lines()
            .any(|line| line.starts_with(component.as_str()))
    };
    if !installed.is_empty() && !components.iter().any(|component| missing(&component)) {
        return Ok(());
    }
    let mut arguments = vec![
        "toolchain",
        "install",
        channel,
        "--profile",
        "minimal",
        "--no-self-update",
    ];
    arguments.extend(
        components
            .iter()
            .flat_map(|component| ["--component", component.as_str()]),
    );
    run_command(program("rustup", arguments))
}

/// Installs a tool of this version into the workspace, unless it is there.
pub(crate) fn install_tool(name: &str, version: &str, flags: &[&str]) -> Result<()> {
    let installed = Command::new(tools().join("bin").join(name))
        .arg("--version")
        .output();
    let wanted = format!("{name} {version}");
    if installed.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim() == wanted) {
        return Ok(());
    }
    let mut command = cargo(["install", name, "--version", version, "--locked", "--root"]);
    command.arg(tools()).args(flags);
    run_command(command)
}

fn install_programs(wanted: &[(&str, &str)]) -> Result<()> {
    let wanted = wanted.iter().copied();
    let missing: Vec<(&str, &str)> = wanted.filter(|(name, _)| !exists(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
    let packages: BTreeSet<&str> = missing.iter().map(|(_, package)| *package).collect();
    if !Path::new("/etc/debian_version").exists() {
        eprintln!(
            "Labs and tests need programs that are missing here; install {} (Debian calls them {}).",
            names.join(", "),
            packages.into_iter().collect::<Vec<_>>().join(" ")
        );
        return Ok(());
    }
    if !is_root() {
        eprintln!(
            "Labs and tests need programs that are missing here; as root: apt-get install {}",
            packages.into_iter().collect::<Vec<_>>().join(" ")
        );
        return Ok(());
    }
    run_command(apt(["update", "-q"]))?;
    let mut install = apt(["install", "-q", "-y", "--no-install-recommends"]);
    install.args(packages);
    run_command(install)
}

fn apt<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = program("apt-get", arguments);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}
