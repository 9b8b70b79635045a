//! Sysctls of interfaces, as the kernel combines those of an interface with those for all.

use crate::host::Host;
use crate::host::facts::Question;
use crate::model::{Device, NetNs};

/// How the value for all interfaces and that of one make the one that counts (include/linux/inetdevice.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combined {
    /// The larger (IN_DEV_MAXCONF), or either is set (IN_DEV_ORCONF).
    Larger,
    /// The interface's own (IN_DEV_CONF_GET).
    Own,
}

/// A setting that counts, with the sysctl that it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Path below /proc/sys, with slashes.
    pub name: String,
    /// Value.
    pub value: u32,
}

/// Path of an interface's sysctl.
#[must_use]
pub fn conf(v6: bool, interface: &str, key: &str) -> String {
    let family = if v6 { "ipv6" } else { "ipv4" };
    format!("net/{family}/conf/{interface}/{key}")
}

/// A sysctl's value, or the question for it when it was not read. A sysctl that does not exist counts as zero.
///
/// # Errors
/// The question to be asked.
pub fn value(host: &Host, netns: NetNs, name: &str) -> Result<u32, Question> {
    let key = (netns, name.to_owned());
    let read = host
        .sysctls
        .get(&key)
        .ok_or(Question::Sysctl { netns, name: key.1 })?;
    let text = read.fact.as_deref().unwrap_or_default();
    Ok(text.parse().unwrap_or_default())
}

/// The setting that counts on an interface.
///
/// # Errors
/// What has to be asked first.
pub fn setting(
    host: &Host,
    device: Device,
    (v6, key): (bool, &str),
    combined: Combined,
) -> Result<Setting, Vec<Question>> {
    let read = |interface: &str| {
        let name = conf(v6, interface, key);
        value(host, device.netns, &name).map(|value| Setting { name, value })
    };
    let own = read(&host.interface(device));
    if combined == Combined::Own {
        return own.map_err(|question| vec![question]);
    }
    match (read("all"), own) {
        (Ok(all), Ok(own)) if all.value > own.value => Ok(all),
        (Ok(_), Ok(own)) => Ok(own),
        (all, own) => Err(all.err().into_iter().chain(own.err()).collect()),
    }
}
