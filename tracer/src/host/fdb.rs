//! Forwarding databases of bridges and VXLAN devices, read by rtnetlink for one MAC.

use std::io;

use netlink_sys::protocols::NETLINK_ROUTE;

use super::facts::{FdbEntry, Forwarding};
use super::netlink::{Message, Netlink, Request, address_of, attributes, u16_of, u32_of};
use crate::model::{Device, Mac};
use crate::uapi::neighbour::NTF_STICKY;

const AF_BRIDGE: u8 = libc::AF_BRIDGE as u8;
/// NDA_MASTER (linux/neighbour.h): the bridge that an entry belongs to; as a filter, whose entries to list.
const NDA_MASTER: u16 = 9;

/// What the device knows of a MAC, in the calling thread's namespace. All entries are listed and those of others
/// left out: a question for one entry (5.0) wants to know beforehand where it stands.
pub(super) fn read(device: Device, mac: Mac) -> io::Result<Forwarding> {
    let mut socket = Netlink::open(NETLINK_ROUTE)?;
    // struct ndmsg: family, pad (3), ifindex (4), state (2), flags, type
    let mut header = [0; 12];
    if let Some(family) = header.first_mut() {
        *family = AF_BRIDGE;
    }
    let entries = socket.ask(&Request::all(libc::RTM_GETNEIGH, &header), |message| {
        let found = entry_of(message)?;
        // A VXLAN device that is a port of a bridge stands in two tables.
        let table = found.master.unwrap_or(found.entry.port);
        let here = table == device.ifindex.0;
        (here && (found.entry.default || found.mac == mac)).then_some(found.entry)
    })?;
    Ok(Forwarding {
        device,
        mac,
        entries,
    })
}

pub(super) struct Found {
    mac: Mac,
    master: Option<u32>,
    entry: FdbEntry,
}

/// Reads RTM_NEWNEIGH of AF_BRIDGE.
pub(super) fn entry_of(message: Message<'_>) -> Option<Found> {
    let (header, rest) = message.payload.split_first_chunk::<12>()?;
    let [family, _, _, _, i0, i1, i2, i3, _, _, flags, _] = *header;
    if family != AF_BRIDGE {
        return None;
    }
    let state = u16_of(header.get(8..10)?)?;
    let (mut mac, mut master, mut remote) = (None, None, None);
    for (kind, value) in attributes(rest) {
        match kind {
            libc::NDA_LLADDR => mac = <[u8; 6]>::try_from(value).ok(),
            libc::NDA_DST => remote = address_of(value),
            NDA_MASTER => master = u32_of(value),
            _ => {}
        }
    }
    let mac = mac?;
    Some(Found {
        mac: Mac(mac),
        master,
        entry: FdbEntry {
            port: u32::from_ne_bytes([i0, i1, i2, i3]),
            default: mac == [0; 6],
            remote,
            state,
            sticky: flags & NTF_STICKY != 0,
        },
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use super::*;
    use crate::host::netlink::messages;

    fn parsed(family: u8, attributes: &[(u16, &[u8])]) -> Option<Found> {
        flagged(family, 0, attributes)
    }

    fn flagged(family: u8, flags: u8, attributes: &[(u16, &[u8])]) -> Option<Found> {
        let header = [family, 0, 0, 0, 5, 0, 0, 0, 0x40, 0, flags, 0];
        let bytes = attributes
            .iter()
            .fold(
                Request::one(libc::RTM_NEWNEIGH, &header),
                |r, (kind, value)| r.attribute(*kind, value),
            )
            .bytes();
        entry_of(messages(&bytes).next().unwrap())
    }

    #[test]
    fn an_entry_names_its_port_its_bridge_and_its_remote_end() {
        let found = parsed(
            AF_BRIDGE,
            &[
                (libc::NDA_LLADDR, &[2, 0, 0, 0, 0, 1]),
                (NDA_MASTER, &7u32.to_ne_bytes()),
                (libc::NDA_DST, &[10, 0, 0, 9]),
                (999, &[1]),
            ],
        )
        .unwrap();
        assert_eq!(found.mac, Mac([2, 0, 0, 0, 0, 1]));
        assert_eq!((found.entry.port, found.master), (5, Some(7)));
        assert_eq!(found.entry.remote, Some([10, 0, 0, 9].into()));
        assert!(!found.entry.default && !found.entry.is_own());
    }

    #[test]
    fn a_sticky_entry_is_told_from_others() {
        let mac: (u16, &[u8]) = (libc::NDA_LLADDR, &[2, 0, 0, 0, 0, 1]);
        assert!(flagged(AF_BRIDGE, NTF_STICKY, &[mac]).unwrap().entry.sticky);
        // NTF_MASTER
        assert!(!flagged(AF_BRIDGE, 4, &[mac]).unwrap().entry.sticky);
    }

    #[test]
    fn all_zeros_is_the_default_and_a_neighbour_is_no_entry() {
        let zero: (u16, &[u8]) = (libc::NDA_LLADDR, &[0; 6]);
        assert!(parsed(AF_BRIDGE, &[zero]).unwrap().entry.default);
        assert!(parsed(libc::AF_INET as u8, &[zero]).is_none());
    }
}
