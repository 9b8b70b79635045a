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
        if !is_small(socket.state) {
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

/// Whether it ends before the fields of a full socket.
#[inline(always)]
pub(crate) fn is_small(state: u8) -> bool {
    state == SMALL[0] || state == SMALL[1]
}

/// Id of the cgroup whose programs the kernel asks about a full socket's packets (sock_cgroup_ptr, linux/cgroup.h); zero
/// before 5.15, where the pointer was kept with other bits.
#[inline(always)]
pub(crate) fn cgroup<A: Access>(sk: Ptr) -> u64 {
    let cgroup = field!(A, ptr, sk, sk_cgroup).plain();
    if cgroup.is_null() {
        return 0;
    }
    let node = field!(A, ptr, cgroup, cgroup_kn).plain();
    if node.is_null() {
        return 0;
    }
    field!(A, u64, node, kernfs_id)
}

/// An IPv4 address in the socket's IPv6 clothes: ::ffff:a.b.c.d.
#[inline(always)]
fn is_mapped(address: &[u32; 4]) -> bool {
    let [a, b, c, _] = *address;
    a | b == 0 && c == 0xffff_u32.to_be()
}
