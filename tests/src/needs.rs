//! What a lab needs and this machine may lack: commands, options of the kernel, and mounted file systems.
//!
//! Options come from the kernel's configuration where it can be read. Where it cannot, the feature is tried in a
//! network namespace of its own; what can be neither read nor tried is taken to be there, and the lab will tell.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::net::find_command;

const KERNEL: &str = "kernel:";
const MOUNT: &str = "mount:";

/// Commands that only work where the option is set.
const PROBES: [(&str, &str); 8] = [
    ("CONFIG_VETH", "ip link add probe type veth"),
    ("CONFIG_BRIDGE", "ip link add probe type bridge"),
    (
        "CONFIG_VXLAN",
        "ip link add probe type vxlan id 1 dstport 4789",
    ),
    (
        "CONFIG_MACVLAN",
        "ip link add base type veth && ip link add link base probe type macvlan",
    ),
    ("CONFIG_TUN", "ip tuntap add dev probe mode tun"),
    ("CONFIG_NF_TABLES", "nft add table ip probe"),
    (
        "CONFIG_NET_SCH_TBF",
        "tc qdisc add dev lo root tbf rate 1mbit burst 10k limit 10k",
    ),
    ("CONFIG_NET_SCH_NETEM", "tc qdisc add dev lo root netem"),
];

/// The first need that is not met, in words.
#[must_use]
pub fn unmet(needs: &[String]) -> Option<String> {
    needs.iter().find_map(|need| {
        if let Some(option) = need.strip_prefix(KERNEL) {
            return (has_option(option) == Some(false))
                .then(|| format!("needs a kernel with {option}"));
        }
        if let Some(kind) = need.strip_prefix(MOUNT) {
            return (!is_mounted(kind)).then(|| format!("needs a mounted {kind}"));
        }
        find_command(need)
            .is_none()
            .then(|| format!("needs the command `{need}`"))
    })
}

fn is_mounted(kind: &str) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts
        .lines()
        .any(|line| line.split(' ').nth(2) == Some(kind))
}

fn has_option(option: &str) -> Option<bool> {
    match kernel_config() {
        Some(config) => Some(is_set(&config, option)),
        None => PROBES
            .iter()
            .find(|(name, _)| *name == option)
            .map(|(_, probe)| works(probe)),
    }
}

/// A module counts: what makes the device or the rule loads it.
fn is_set(config: &str, option: &str) -> bool {
    config
        .lines()
        .filter_map(|line| line.strip_prefix(option)?.strip_prefix('='))
        .any(|value| value == "y" || value == "m")
}

fn kernel_config() -> Option<String> {
    if Path::new("/proc/config.gz").exists() {
        let output = Command::new("gzip")
            .args(["-dc", "/proc/config.gz"])
            .output()
            .ok()?;
        return output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    std::fs::read_to_string(format!("/boot/config-{}", release.trim())).ok()
}

fn works(probe: &str) -> bool {
    Command::new("unshare")
        .args(["--net", "sh", "-ec", probe])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_set_as_built_in_or_module() {
        let config = "CONFIG_VXLAN=m\nCONFIG_VETH=y\n# CONFIG_TUN is not set\nCONFIG_VETH_X=y\nCONFIG_HZ=100\n";
        let set = [
            "CONFIG_VXLAN",
            "CONFIG_VETH",
            "CONFIG_TUN",
            "CONFIG_VET",
            "CONFIG_HZ",
        ]
        .map(|option| is_set(config, option));
        assert_eq!(set, [true, true, false, false, false]);
    }

    #[test]
    fn a_missing_command_is_named() {
        let needs = ["sh".to_owned(), "no-such-command-here".to_owned()];
        assert_eq!(
            unmet(&needs).as_deref(),
            Some("needs the command `no-such-command-here`")
        );
    }
}
