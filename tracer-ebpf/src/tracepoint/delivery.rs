//! Packets at sockets: queued, read by a process, refused for want of room, answered by an error.

use tracer_common::event::FLAG_BY_SOCKET;
use tracer_common::filter::RawFilter;
use tracer_common::hook::{
    INET_SK_ERROR_REPORT, SK_DATA_READY, SKB_COPY_DATAGRAM_IOVEC, SOCK_RCVQUEUE_FULL,
    SOCK_RECV_LENGTH, UDP_FAIL_QUEUE_RCV_SKB,
};
use tracer_common::tuple::RawTuple;

use crate::budget::Class;
use crate::emit::Record;
use crate::kernel::{Access, Args, Probe, Ptr, field, offset};
use crate::maps::{self, Shared};
use crate::packet::Memory;
use crate::sock::Socket;
use crate::tag::{self, Current, RECENT, SAMPLED, is_same};
use crate::tracepoint::{Seen, by_socket, is_sampled, now, signed, socket_at, socket_of};
use crate::track::Way;

/// -EAGAIN.
const NOTHING_YET: u64 = -11_i64 as u64;

const SOCKET_BITS: u32 = 12;

/// Sockets that were given a packet of ours, by address: their readers are told. A later one takes an earlier one's
/// place.
static SOCKETS: Shared<[u64; 1 << SOCKET_BITS]> = Shared::new([0; 1 << SOCKET_BITS]);

#[inline(always)]
fn slot(sk: Ptr) -> *mut u64 {
    let hash = (sk.0 >> 6).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SOCKET_BITS);
    // SAFETY: the hash has SOCKET_BITS bits.
    unsafe { SOCKETS.as_ptr().cast::<u64>().add(hash as usize) }
}

/// From now on the reads of this socket are told.
#[inline(always)]
pub(crate) fn remember_socket(sk: Ptr) {
    // SAFETY: a static.
    unsafe { slot(sk).write_volatile(sk.0) };
}

#[inline(always)]
fn is_remembered(sk: Ptr) -> bool {
    // SAFETY: a static.
    unsafe { slot(sk).read_volatile() == sk.0 }
}

/// Whether the packet that this CPU received last is on its way to `socket`.
#[inline(always)]
fn is_for(current: &Current, socket: &Socket, now: u64) -> bool {
    let packet = &current.tuple;
    let own = &socket.tuple;
    if now.wrapping_sub(current.time) > RECENT || packet.proto != own.proto {
        return false;
    }
    if current.netns != 0 && socket.netns != 0 && current.netns != socket.netns {
        return false;
    }
    // the port, or the peer where the packet's destination was translated on its way
    socket.takes_all()
        || packet.dport == own.sport
        || (own.dport != 0 && packet.sport == own.dport && is_same(&packet.src, &own.dst))
}

/// A record about the packet that this CPU received last, given to `socket`.
#[inline(always)]
fn by_current(hook: u8, socket: &Socket, sk: Ptr, filter: &RawFilter) -> Option<Record> {
    let current = tag::current();
    if current.time == 0 {
        return None;
    }
    let now = now();
    if !is_for(current, socket, now) || !filter.admits_netns::<Memory>(socket.netns) {
        return None;
    }
    remember_socket(sk);
    let class = if current.flags & SAMPLED != 0 {
        Class::of_packet(current.flags)
    } else {
        Class::Side
    };
    let mut record = Record::paid(hook, now, class)?;
    record.identify(&current.tuple, current.fingerprint, FLAG_BY_SOCKET);
    record.event().skb = current.skb;
    socket.describe(record.event(), sk);
    Some(record)
}

/// `sk_data_ready(sk)`: no skb is given; it comes right after the packet on the same CPU.
#[inline(always)]
pub(crate) fn sk_data_ready<A: Access>(args: Args<A>) {
    if tag::current().time == 0 {
        return;
    }
    let Some(filter) = maps::filter() else { return };
    let sk = args.ptr(0);
    if let Some(socket) = Socket::read::<A>(sk)
        && let Some(record) = by_current(SK_DATA_READY, &socket, sk.plain(), filter)
    {
        record.send();
    }
}

/// `sock_recv_length(sk, ret, flags)`
#[inline(always)]
pub(crate) fn sock_recv_length<A: Access>(args: Args<A>) {
    let typed = args.ptr(0);
    let sk = typed.plain();
    let length = signed(args.value(1));
    // who asks whether there is something may ask all the time, and reads nothing
    if length == NOTHING_YET || !is_remembered(sk) {
        return;
    }
    let Some(filter) = maps::filter() else { return };
    let Some(socket) = Socket::read::<A>(typed) else {
        return;
    };
    if !filter.admits_netns::<Memory>(socket.netns) {
        return;
    }
    if let Some(mut record) = Record::paid(SOCK_RECV_LENGTH, now(), Class::Side) {
        record.identify(&socket.tuple, 0, FLAG_BY_SOCKET);
        socket.describe(record.event(), sk);
        record.event().arg0 = length;
        record.send();
    }
}

/// `skb_copy_datagram_iovec(skb, len)`
#[inline(always)]
pub(crate) fn skb_copy_datagram_iovec<A: Access>(args: Args<A>) {
    let Some(filter) = maps::filter() else { return };
    let skb = args.ptr(0);
    if !is_sampled(skb) {
        return;
    }
    let mut seen = Seen::NONE;
    if !seen.look::<A>(skb, Way::Within, filter) {
        return;
    }
    if let Some(mut record) = seen.record(SKB_COPY_DATAGRAM_IOVEC, false) {
        socket_of::<Probe>(&mut record, seen.skb);
        record.event().arg0 = signed(args.value(1));
        record.send();
    }
}

/// `udp_fail_queue_rcv_skb(rc, sk[, skb])`
#[inline(always)]
pub(crate) fn udp_fail_queue_rcv_skb<A: Access>(args: Args<A>) {
    let Some(filter) = maps::filter() else { return };
    let sk = args.ptr(1).plain();
    let record = match offset!(udp_fail_skb) {
        Some(number) => refused(UDP_FAIL_QUEUE_RCV_SKB, args.ptr(number).plain(), sk, filter),
        None => match Socket::read::<Probe>(sk) {
            Some(socket) => by_current(UDP_FAIL_QUEUE_RCV_SKB, &socket, sk, filter),
            None => None,
        },
    };
    if let Some(mut record) = record {
        record.event().arg0 = signed(args.value(0));
        record.send();
    }
}

/// `sock_rcvqueue_full(sk, skb)`
#[inline(always)]
pub(crate) fn sock_rcvqueue_full<A: Access>(args: Args<A>) {
    let Some(filter) = maps::filter() else { return };
    let sk = args.ptr(0).plain();
    if let Some(record) = refused(SOCK_RCVQUEUE_FULL, args.ptr(1).plain(), sk, filter) {
        record.send();
    }
}

/// A record of a packet that a socket did not take.
#[inline(always)]
pub(crate) fn refused(hook: u8, skb: Ptr, sk: Ptr, filter: &RawFilter) -> Option<Record> {
    let mut seen = Seen::NONE;
    if !seen.look::<Probe>(skb, Way::Within, filter) {
        return None;
    }
    let mut record = seen.record(hook, false)?;
    socket_at(&mut record, sk);
    Some(record)
}

/// `inet_sk_error_report(sk)`
#[inline(always)]
pub(crate) fn inet_sk_error_report<A: Access>(args: Args<A>) {
    let Some(filter) = maps::filter() else { return };
    let sk = args.ptr(0).plain();
    let Some(mut socket) = Socket::read::<Probe>(sk) else {
        return;
    };
    let has_port = socket.tuple != RawTuple::default() && socket.tuple.sport != 0;
    if has_port && let Some(mut record) = by_socket(INET_SK_ERROR_REPORT, &mut socket, sk, filter) {
        record.event().arg0 = u64::from(field!(Probe, u32, sk, sk_err));
        record.send();
    }
}
