//! IPsec policies of a namespace, as NETLINK_XFRM lists them: one that blocks what a host sends leaves no packet and no
//! event, only EPERM in the sender (xfrm_lookup_with_ifid, net/xfrm/xfrm_policy.c).

use std::io;
use std::net::IpAddr;

use netlink_sys::protocols::NETLINK_XFRM;

use super::facts::{XfrmDirection, XfrmPolicy};
use super::netlink::{Message, Netlink, Request};

// Of linux/xfrm.h.
const XFRM_MSG_GETPOLICY: u16 = 0x15;
/// sizeof(struct xfrm_userpolicy_id), which a dump takes and ignores.
const POLICY_ID: usize = 64;
const XFRM_POLICY_BLOCK: u8 = 1;

/// The policies of the calling thread's namespace.
///
/// # Errors
/// Those of the netlink socket; EPROTONOSUPPORT where the kernel has no xfrm.
pub(super) fn policies() -> io::Result<Vec<XfrmPolicy>> {
    let mut socket = Netlink::open(NETLINK_XFRM)?;
    socket.ask(
        &Request::all(XFRM_MSG_GETPOLICY, &[0; POLICY_ID]),
        policy_of,
    )
}

/// Reads struct `xfrm_userpolicy_info`: selector (56 bytes), limits and counters (96), priority, index, direction,
/// action.
pub(super) fn policy_of(message: Message<'_>) -> Option<XfrmPolicy> {
    let bytes = message.payload;
    let byte = |at: usize| bytes.get(at).copied();
    let word = |at: usize| -> Option<u32> {
        let raw = bytes.get(at..at.checked_add(4)?)?;
        Some(u32::from_ne_bytes(raw.try_into().ok()?))
    };
    let port = |at: usize| -> Option<u16> {
        let raw = bytes.get(at..at.checked_add(2)?)?;
        Some(u16::from_be_bytes(raw.try_into().ok()?))
    };
    let family = u16::from_ne_bytes(bytes.get(40..42)?.try_into().ok()?);
    let v6 = i32::from(family) == libc::AF_INET6;
    let address = |at: usize| -> Option<IpAddr> {
        if v6 {
            let raw = <[u8; 16]>::try_from(bytes.get(at..at.checked_add(16)?)?).ok()?;
            Some(raw.into())
        } else {
            let raw = <[u8; 4]>::try_from(bytes.get(at..at.checked_add(4)?)?).ok()?;
            Some(raw.into())
        }
    };
    // a mask of zero is any port
    let masked = |at: usize, mask: usize| Some((port(mask)? != 0).then_some(port(at)?));
    let direction = match byte(160)? {
        0 => XfrmDirection::In,
        1 => XfrmDirection::Out,
        2 => XfrmDirection::Forward,
        _ => return None,
    };
    Some(XfrmPolicy {
        dst: address(0)?,
        src: address(16)?,
        dport: masked(32, 34)?,
        sport: masked(36, 38)?,
        dst_prefix: byte(42)?,
        src_prefix: byte(43)?,
        protocol: byte(44)?,
        priority: word(152)?,
        index: word(156)?,
        direction,
        blocks: byte(161)? == XFRM_POLICY_BLOCK,
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use super::*;
    use crate::host::netlink::messages;

    #[test]
    fn a_policy_that_blocks_tcp_to_a_network() {
        let mut payload = [0; 168];
        payload[..4].copy_from_slice(&[10, 9, 0, 0]);
        payload[16..20].copy_from_slice(&[10, 1, 0, 2]);
        payload[32..36].copy_from_slice(&[0x01, 0xbb, 0xff, 0xff]);
        payload[40..42].copy_from_slice(&2u16.to_ne_bytes());
        payload[42..45].copy_from_slice(&[16, 32, 6]);
        payload[156..160].copy_from_slice(&97u32.to_ne_bytes());
        payload[160..162].copy_from_slice(&[1, 1]);
        let bytes = Request::one(0x13, &payload).bytes();
        let policy = policy_of(messages(&bytes).next().unwrap()).unwrap();
        assert_eq!(
            policy.to_string(),
            "src 10.1.0.2/32 dst 10.9.0.0/16 proto tcp dport 443 dir out action block index 97 priority 0"
        );
        let short = Request::one(0x13, &payload[..100]).bytes();
        assert_eq!(policy_of(messages(&short).next().unwrap()), None);
    }
}
