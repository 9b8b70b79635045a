//! linux/neighbour.h: states and flags of a neighbour entry.

use libc::{NUD_DELAY, NUD_PROBE, NUD_REACHABLE, NUD_STALE};
pub use libc::{NUD_FAILED, NUD_INCOMPLETE, NUD_NOARP, NUD_PERMANENT};

/// Flag of an entry of a bridge that stays on its port (NTF_STICKY, 4.20).
pub const NTF_STICKY: u8 = 1 << 6;

/// States by bit, as `ip neighbour` prints them.
pub const STATES: &[(u16, &str)] = &[
    (NUD_INCOMPLETE, "INCOMPLETE"),
    (NUD_REACHABLE, "REACHABLE"),
    (NUD_STALE, "STALE"),
    (NUD_DELAY, "DELAY"),
    (NUD_PROBE, "PROBE"),
    (NUD_FAILED, "FAILED"),
    (NUD_NOARP, "NOARP"),
    (NUD_PERMANENT, "PERMANENT"),
];

/// States in which a MAC is taken for valid (NUD_VALID, include/net/neighbour.h).
pub const VALID: u16 =
    NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_NOARP | NUD_PERMANENT;

/// States in which a MAC is used without asking (NUD_CONNECTED).
pub const CONNECTED: u16 = NUD_REACHABLE | NUD_NOARP | NUD_PERMANENT;

/// Nobody has answered: the entry has no MAC to send to.
pub const UNRESOLVED: u16 = NUD_INCOMPLETE | NUD_FAILED;

/// A state as `ip neighbour` prints it; `no entry` of none.
#[must_use]
pub fn words(state: u16) -> String {
    if state == 0 {
        return "no entry".to_owned();
    }
    let set = STATES.iter().filter(|(bit, _)| state & bit != 0);
    let names: Vec<&str> = set.map(|(_, name)| *name).collect();
    if names.is_empty() {
        format!("state {state:#x}")
    } else {
        names.join("|")
    }
}
