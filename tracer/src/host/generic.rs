//! Generic netlink: families are known by name, and the kernel tells their numbers.

use std::io;

use netlink_sys::protocols::NETLINK_GENERIC;

use super::netlink::{Message, Netlink, Request, attributes, u16_of};

// Of linux/genetlink.h.
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
/// sizeof(struct genlmsghdr): command, version, reserved (2).
pub(super) const HEADER: usize = 4;

/// A socket in the calling thread's namespace, and the numbers of families; `None` where one of them is not loaded.
///
/// # Errors
/// Those of the socket.
pub(super) fn open<const N: usize>(families: [&str; N]) -> io::Result<Option<(Netlink, [u16; N])>> {
    let mut socket = Netlink::open(NETLINK_GENERIC)?;
    let mut numbers = [0; N];
    for (number, name) in numbers.iter_mut().zip(families) {
        let Some(found) = family(&mut socket, name)? else {
            return Ok(None);
        };
        *number = found;
    }
    Ok(Some((socket, numbers)))
}

fn family(socket: &mut Netlink, name: &str) -> io::Result<Option<u16>> {
    let mut text = name.as_bytes().to_vec();
    text.push(0);
    let request = Request::one(GENL_ID_CTRL, &[CTRL_CMD_GETFAMILY, 1, 0, 0])
        .attribute(CTRL_ATTR_FAMILY_NAME, &text);
    let number = |message: Message<'_>| {
        attributes(message.payload.get(HEADER..)?)
            .find(|(kind, _)| *kind == CTRL_ATTR_FAMILY_ID)
            .and_then(|(_, value)| u16_of(value))
    };
    match socket.ask(&request, number) {
        Ok(found) => Ok(found.into_iter().next()),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}
