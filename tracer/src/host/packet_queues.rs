//! Queues of packets for processes (NFQUEUE) in a namespace, read-only: /proc/net/netfilter/nfnetlink_queue, and who has
//! their sockets open.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use super::facts::{Holder, PacketQueue};
use super::processes;

/// Of the namespace of the thread that opens it.
const QUEUES: &str = "/proc/thread-self/net/netfilter/nfnetlink_queue";
/// Sockets of netlink, with their port ids and inodes.
const SOCKETS: &str = "/proc/thread-self/net/netlink";
/// NETLINK_NETFILTER, linux/netlink.h.
const NETFILTER: u32 = 12;

/// All queues of the calling thread's namespace.
pub(super) fn read() -> io::Result<Vec<PacketQueue>> {
    let text = match fs::read_to_string(QUEUES) {
        // Without the file nobody can have a queue open.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read?,
    };
    let mut queues: Vec<(PacketQueue, u32)> = text.lines().filter_map(queue_of).collect();
    if !queues.is_empty() {
        let sockets = fs::read_to_string(SOCKETS)?;
        with_holders(&mut queues, &inodes(&sockets));
    }
    Ok(queues.into_iter().map(|(queue, _)| queue).collect())
}

/// One line, and the port id of its socket: number, port id, waiting, copy mode, copy range, dropped, dropped for want of
/// room at the socket, id of the last packet, 1 (seq_show, net/netfilter/nfnetlink_queue.c).
pub(super) fn queue_of(line: &str) -> Option<(PacketQueue, u32)> {
    let mut words = line.split_whitespace();
    let number = words.next()?.parse().ok()?;
    let port = words.next()?.parse().ok()?;
    let waiting = words.next()?.parse().ok()?;
    let mut dropped = words.skip(2);
    let queue = PacketQueue {
        number,
        waiting,
        dropped: dropped.next()?.parse().ok()?,
        undelivered: dropped.next()?.parse().ok()?,
        holders: Vec::new(),
    };
    Some((queue, port))
}

/// Inodes of netfilter's sockets by port id: sk, protocol, port id, …, inode as the last (netlink_native_seq_show).
pub(super) fn inodes(text: &str) -> BTreeMap<u32, u64> {
    let socket = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let protocol: u32 = words.get(1)?.parse().ok()?;
        let port = words.get(2)?.parse().ok()?;
        let inode = words.get(9)?.parse().ok()?;
        (protocol == NETFILTER).then_some((port, inode))
    };
    text.lines().filter_map(socket).collect()
}

fn with_holders(queues: &mut [(PacketQueue, u32)], inodes: &BTreeMap<u32, u64>) {
    let proc = Path::new("/proc");
    let wanted: BTreeSet<u64> = queues
        .iter()
        .filter_map(|(_, port)| inodes.get(port).copied())
        .collect();
    let held = processes::holding_sockets(proc, wanted);
    for (queue, port) in queues {
        let found = inodes.get(port).and_then(|inode| held.get(inode));
        let holders = found.into_iter().flatten().map(|process| Holder {
            process: process.clone(),
            state: processes::state(proc, process.pid),
        });
        queue.holders = holders.collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_a_queue_and_its_socket() {
        let read = queue_of("    3   4711     5 2   128     7     9       42  1");
        let queue = PacketQueue {
            number: 3,
            waiting: 5,
            dropped: 7,
            undelivered: 9,
            holders: Vec::new(),
        };
        assert_eq!(read, Some((queue, 4711)));
        assert_eq!(queue_of(""), None);
    }

    #[test]
    fn sockets_of_netfilter_are_found_by_their_port_id() {
        let text = "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n\
            000000001a2b3c4d 0   4711       00000111 0        0        0     2        0        100\n\
            000000001a2b3c4e 12  4711       00000000 0        0        0     2        0        101\n";
        assert_eq!(inodes(text), BTreeMap::from([(4711, 101)]));
    }
}
