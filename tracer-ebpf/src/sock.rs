//! Fields of struct sock.

use tracer_common::event::{KNOWN_SK, RawEvent};
use tracer_common::tuple::{FAMILY_V4, FAMILY_V6, RawTuple};

use crate::kernel::{Access, Ptr, field};
use crate::skb::netns;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const TCP: u8 = 6;
/// TCP_TIME_WAIT and TCP_NEW_SYN_RECV: small sockets that end before sk_protocol.
const SMALL: [u8; 2] = [6, 12];
/// SOCK_RAW.
const RAW: u16 = 3;

/// What a socket says of itself.
pub(crate) struct Socket {
    /// `src` is the local end.
    pub(crate) tuple: RawTuple,
    pub(crate) netns: u32,
    state: u8,
    kind: u16,
}

impl Socket {
    /// The socket at `sk`, which must not be null; `None` when it is not an internet socket.
    #[inline(always)]
    pub(crate) fn read<A: Access>(sk: Ptr) -> Option<Self> {
        let mut socket = Self::common::<A>(sk)?;
        let full = socket.state != SMALL[0] && socket.state != SMALL[1];
        if full {
            socket.tuple.proto = field!(A, u16, sk, sk_protocol) as u8;
            socket.kind = field!(A, u16, sk, sk_type);
        }
        Some(socket)
    }

    /// The part that sockets share with struct request_sock: TCP.
    #[inline(always)]
    pub(crate) fn common<A: Access>(sk: Ptr) -> Option<Self> {
        let family = field!(A, u16, sk, sk_family);
        let mut tuple = RawTuple {
            sport: field!(A, u16, sk, sk_num),
            dport: u16::from_be(field!(A, u16, sk, sk_dport)),
            proto: TCP,
            ..RawTuple::default()
        };
        if family == AF_INET6 {
            tuple.family = FAMILY_V6;
            tuple.src = field!(A, address, sk, sk_v6_saddr);
            tuple.dst = field!(A, address, sk, sk_v6_daddr);
            if is_mapped(&tuple.dst) || is_mapped(&tuple.src) {
                tuple.family = FAMILY_V4;
                tuple.src = [tuple.src[3], 0, 0, 0];
                tuple.dst = [tuple.dst[3], 0, 0, 0];
            }
        } else if family == AF_INET {
            tuple.family = FAMILY_V4;
            tuple.src[0] = field!(A, u32, sk, sk_saddr);
            tuple.dst[0] = field!(A, u32, sk, sk_daddr);
        } else {
            return None;
        }
        let netns = netns::<A>(field!(A, ptr, sk, sk_net));
        Some(Self {
            tuple,
            netns,
            state: field!(A, u8, sk, sk_state),
            kind: 0,
        })
    }

    /// A raw or ping socket: it has no port of its own, or an ICMP identifier.
    #[inline(always)]
    pub(crate) fn takes_all(&self) -> bool {
        self.kind == RAW || self.tuple.proto == 1 || self.tuple.proto == 58
    }

    /// Fills in the event's fields about a socket.
    #[inline(always)]
    pub(crate) fn describe(&self, event: &mut RawEvent, sk: Ptr) {
        event.sk = sk.plain().0;
        event.sk_tuple = self.tuple;
        event.sk_netns = self.netns;
        event.sk_state = self.state;
        event.sk_proto = self.tuple.proto;
        event.known |= KNOWN_SK;
    }
}

/// An IPv4 address in the socket's IPv6 clothes: ::ffff:a.b.c.d.
#[inline(always)]
fn is_mapped(address: &[u32; 4]) -> bool {
    let [a, b, c, _] = *address;
    a | b == 0 && c == 0xffff_u32.to_be()
}
