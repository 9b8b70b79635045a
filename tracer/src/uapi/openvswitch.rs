//! linux/openvswitch.h: what a flow of the kernel does with a packet (enum ovs_action_attr).

/// To a port.
pub const OUTPUT: u16 = 1;
/// To the daemon.
pub const USERSPACE: u16 = 2;
/// Looked up once more.
pub const RECIRC: u16 = 7;
/// Through a meter, which may end it.
pub const METER: u16 = 19;
/// Dropped, by a flow that says so (6.7).
pub const DROP: u16 = 24;

/// What they are called, by number from one on; as ovs-dpctl dump-flows writes them.
const NAMES: [&str; 25] = [
    "output",
    "userspace",
    "set",
    "push_vlan",
    "pop_vlan",
    "sample",
    "recirc",
    "hash",
    "push_mpls",
    "pop_mpls",
    "set",
    "ct",
    "trunc",
    "push_eth",
    "pop_eth",
    "ct_clear",
    "push_nsh",
    "pop_nsh",
    "meter",
    "clone",
    "check_pkt_len",
    "add_mpls",
    "dec_ttl",
    "drop",
    "psample",
];

/// The name of an action; `None` of one that is younger than this list, or of the kernel's own.
#[must_use]
pub fn name(action: u16) -> Option<&'static str> {
    let at = usize::from(action).checked_sub(1)?;
    NAMES.get(at).copied()
}

/// An action in words: its name, with the number that tells which port, look-up or meter.
#[must_use]
pub fn words(action: u16, value: u32) -> String {
    match (action, name(action)) {
        (OUTPUT, _) => format!("output to port {value}"),
        (RECIRC | METER, Some(name)) => format!("{name} {value}"),
        (_, Some(name)) => name.to_owned(),
        (_, None) => format!("action {action}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_at_their_numbers() {
        for (number, called) in [
            (OUTPUT, "output"),
            (USERSPACE, "userspace"),
            (RECIRC, "recirc"),
            (METER, "meter"),
            (DROP, "drop"),
        ] {
            assert_eq!(name(number), Some(called));
        }
        assert_eq!((name(0), name(26)), (None, None));
    }
}
