//! The kernel's side of Open vSwitch by generic netlink (linux/openvswitch.h): what it counts, and to which sockets it hands
//! what no flow matches.

use std::fs;
use std::io;

use netlink_sys::protocols::NETLINK_GENERIC;

use crate::host::facts::OvsDatapath;
use crate::host::generic;
use crate::host::netlink::{Message, Request, attributes, text_of, u32_of};

// Of linux/openvswitch.h.
const OVS_CMD_GET: u8 = 3;
const OVS_DP_ATTR_NAME: u16 = 1;
const OVS_DP_ATTR_STATS: u16 = 3;
const OVS_DP_ATTR_PER_CPU_PIDS: u16 = 8;
const OVS_VPORT_ATTR_NAME: u16 = 3;
const OVS_VPORT_ATTR_UPCALL_PID: u16 = 5;
/// struct genlmsghdr and struct `ovs_header`.
const HEADER: usize = 8;
/// Of the namespace of the thread that opens it.
const SOCKETS: &str = "/proc/thread-self/net/netlink";

/// The datapath of the port with this name, in the calling thread's namespace; `None` where Open vSwitch is not loaded or has
/// no such port.
///
/// # Errors
/// Those of the netlink socket.
pub(super) fn of_port(name: &str) -> io::Result<Option<OvsDatapath>> {
    let Some((mut socket, [datapaths, ports])) = generic::open(["ovs_datapath", "ovs_vport"])?
    else {
        return Ok(None);
    };
    for (number, datapath, per_cpu) in socket.ask(&list(datapaths, 0), datapath_of)? {
        let found = socket.ask(&list(ports, number), port_of)?;
        let Some((_, of_port)) = found.into_iter().find(|(port, _)| port == name) else {
            continue;
        };
        let to: Vec<u32> = per_cpu
            .into_iter()
            .chain(of_port)
            .filter(|port| *port != 0)
            .collect();
        let sockets = fs::read_to_string(SOCKETS)?;
        let (listened, overflowed) = listening(&sockets, &to);
        return Ok(Some(OvsDatapath {
            listened,
            overflowed,
            ..datapath
        }));
    }
    Ok(None)
}

/// All objects of a family: command, version, then the datapath's number (0: any).
fn list(family: u16, datapath: u32) -> Request {
    let mut header = vec![OVS_CMD_GET, 1, 0, 0];
    header.extend(datapath.to_ne_bytes());
    Request::all(family, &header)
}

/// Its number, itself, and the ports of the sockets that get what a processor does not match.
fn datapath_of(message: Message<'_>) -> Option<(u32, OvsDatapath, Vec<u32>)> {
    let number = u32_of(message.payload.get(4..)?)?;
    let mut found = OvsDatapath {
        name: String::new(),
        missed: 0,
        lost: 0,
        listened: None,
        overflowed: 0,
    };
    let mut sockets = Vec::new();
    for (kind, value) in attributes(message.payload.get(HEADER..)?) {
        match kind {
            OVS_DP_ATTR_NAME => found.name = text_of(value),
            // struct ovs_dp_stats: hit, missed, lost, flows
            OVS_DP_ATTR_STATS => {
                let word = |number: usize| {
                    let bytes = value.get(number * 8..)?.first_chunk()?;
                    Some(u64::from_ne_bytes(*bytes))
                };
                found.missed = word(1).unwrap_or(0);
                found.lost = word(2).unwrap_or(0);
            }
            OVS_DP_ATTR_PER_CPU_PIDS => sockets = numbers(value),
            _ => {}
        }
    }
    Some((number, found, sockets))
}

/// A port's name, and the ports of the sockets that get what none of its flows matches.
fn port_of(message: Message<'_>) -> Option<(String, Vec<u32>)> {
    let mut found = (String::new(), Vec::new());
    for (kind, value) in attributes(message.payload.get(HEADER..)?) {
        match kind {
            OVS_VPORT_ATTR_NAME => found.0 = text_of(value),
            OVS_VPORT_ATTR_UPCALL_PID => found.1 = numbers(value),
            _ => {}
        }
    }
    Some(found)
}

fn numbers(value: &[u8]) -> Vec<u32> {
    let (words, _) = value.as_chunks();
    words.iter().map(|word| u32::from_ne_bytes(*word)).collect()
}

/// Whether one of the sockets is there, and what did not fit into them: sk, protocol, port id, groups, rmem, wmem, dump,
/// locks, drops, inode (netlink_native_seq_show, net/netlink/af_netlink.c).
fn listening(text: &str, to: &[u32]) -> (Option<bool>, u64) {
    if to.is_empty() {
        return (None, 0);
    }
    let mut there = false;
    let mut drops = 0;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
        let own = number(1) == u64::try_from(NETLINK_GENERIC).ok()
            && number(2).is_some_and(|port| to.iter().any(|to| u64::from(*to) == port));
        if own {
            there = true;
            drops += number(8).unwrap_or(0);
        }
    }
    (Some(there), drops)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_found_by_their_port_id() {
        let text = "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n\
            000000001a2b3c4d 16  4711       00000000 212992   0        0     2        7        100\n\
            000000001a2b3c4e 15  4712       00000000 0        0        0     2        0        101\n";
        assert_eq!(listening(text, &[4711]), (Some(true), 7));
        assert_eq!(listening(text, &[4712]), (Some(false), 0));
        assert_eq!(listening(text, &[]), (None, 0));
    }
}
