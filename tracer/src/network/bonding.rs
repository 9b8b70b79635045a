//! Bonds and teams as far as their modes and the states of their slaves tell: by which slave a packet goes out, and at
//! which one comes in what the bond takes.

use crate::host::Host;
use crate::host::facts::Link;
use crate::model::{Device, IfIndex};

use super::links::{self, members};

/// By which slaves a bond sends a packet.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice<'a> {
    /// By this one.
    One(&'a Link),
    /// By one of these: a hash of its headers decides, the turn, or in a team its daemon.
    OneOf(Vec<&'a Link>),
    /// A copy by each (`broadcast`).
    Each(Vec<&'a Link>),
    /// None of these carries packets.
    Nobody(Vec<&'a Link>),
}

/// Whether it is a bond or a team.
#[must_use]
pub fn is_bond(link: &Link) -> bool {
    matches!(link.kind.as_str(), "bond" | "team")
}

/// By which slaves it sends (`__bond_start_xmit`, drivers/net/bonding/bond_main.c). One that is the active slave is
/// taken whatever its link: a bond without a monitor does not see that it is down.
#[must_use]
pub fn choice<'a>(host: &'a Host, bond: &Link) -> Choice<'a> {
    let mode = mode(bond);
    let active = bond.bond.as_ref().and_then(|b| b.active);
    let active = active.and_then(|ifindex| {
        host.link(Device {
            ifindex: IfIndex(ifindex),
            ..bond.device
        })
    });
    let all: Vec<&Link> = members(host, bond).collect();
    let usable: Vec<&Link> = all.iter().copied().filter(|l| can_send(host, l)).collect();
    match (mode, active, usable.as_slice()) {
        (Some("active-backup"), Some(active), _) => Choice::One(active),
        (Some("active-backup"), None, _) if bond.bond.is_some() => Choice::Nobody(all),
        (Some("broadcast"), _, [_, ..]) => Choice::Each(usable),
        (_, _, [one]) => Choice::One(one),
        (_, _, [_, ..]) => Choice::OneOf(usable),
        (_, _, []) => Choice::Nobody(all),
    }
}

/// Whether a slave sends (`bond_slave_can_tx`, include/net/bonding.h).
fn can_send(host: &Host, slave: &Link) -> bool {
    let told = slave.slave.is_none_or(|state| state.active && state.up);
    told && links::carries(host, slave)
}

/// Whether a bond drops what comes in at a slave (`bond_should_deliver_exact_match`,
/// drivers/net/bonding/bond_main.c).
#[must_use]
pub fn is_backup(slave: &Link) -> bool {
    slave.slave.is_some_and(|state| !state.active)
}

/// The mode, where it is known.
fn mode(bond: &Link) -> Option<&str> {
    bond.bond.as_ref()?.mode.as_deref()
}

/// A bond with its mode: `bond0 (active-backup)`.
#[must_use]
pub fn words(bond: &Link) -> String {
    let kind = mode(bond).unwrap_or(&bond.kind);
    format!("{} ({kind})", bond.name)
}

/// Why a slave carries nothing, as far as its own link tells.
#[must_use]
pub fn trouble(slave: &Link) -> String {
    let why = match slave.slave {
        _ if !slave.up => "is down",
        _ if !slave.carrier => "has no carrier",
        Some(state) if !state.up => "is down as its bond finds",
        Some(state) if !state.active => "is a backup",
        _ => "is not chosen",
    };
    format!("{} {why}", slave.name)
}
