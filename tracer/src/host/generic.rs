//! Generic netlink: families are known by name, and the kernel tells their numbers.

use std::io;

use netlink_sys::protocols::NETLINK_GENERIC;

use super::netlink::{Netlink, Request, attributes, u16_of};

// Of linux/genetlink.h.
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
/// sizeof(struct genlmsghdr): command, version, reserved (2).
pub(super) const HEADER: usize = 4;

/// A socket in the calling thread's namespace, and the number of a family.
///
/// # Errors
/// Those of the socket; ENOENT where no such family is loaded.
pub(super) fn open(family: &str) -> io::Result<(Netlink, u16)> {
    let mut socket = Netlink::open(NETLINK_GENERIC)?;
    let mut name = family.as_bytes().to_vec();
    name.push(0);
    let request = Request::one(GENL_ID_CTRL, &[CTRL_CMD_GETFAMILY, 1, 0, 0])
        .attribute(CTRL_ATTR_FAMILY_NAME, &name);
    let found = socket.ask(&request, |message| {
        attributes(message.payload.get(HEADER..)?)
            .find(|(kind, _)| *kind == CTRL_ATTR_FAMILY_ID)
            .and_then(|(_, value)| u16_of(value))
    })?;
    let number = found.into_iter().next();
    let number = number.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    Ok((socket, number))
}
