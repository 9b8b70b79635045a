//! TCP: resets, retransmissions, segments that reached their connection.

use tracer_common::hook::{
    TCP_BAD_CSUM, TCP_PROBE, TCP_RECEIVE_RESET, TCP_RETRANSMIT_SKB, TCP_RETRANSMIT_SYNACK,
    TCP_SEND_RESET,
};

use crate::kernel::{Access, Args, Probe, Ptr, offset};
use crate::maps;
use crate::sock::Socket;
use crate::tracepoint::{Seen, by_socket, delivery, is_sampled, signed, socket_at};
use crate::track::Way;

/// `tcp_send_reset(sk, skb[, reason])`: either pointer may be null; the skb is the segment that is answered.
#[inline(always)]
pub(crate) fn send_reset<A: Access>(args: Args<A>) {
    let Some(filter) = maps::filter() else { return };
    let sk = args.ptr(0).plain();
    let skb = args.ptr(1).plain();
    let record = if skb.is_null() {
        match read(sk) {
            Some(mut socket) => by_socket(TCP_SEND_RESET, &mut socket, sk, filter),
            None => None,
        }
    } else {
        delivery::refused(TCP_SEND_RESET, skb, sk, filter)
    };
    if let Some(mut record) = record {
        if let Some(number) = offset!(tcp_send_reset_reason) {
            record.event().reason = args.value(number) as u32;
        }
        record.send();
    }
}

#[inline(always)]
fn read(sk: Ptr) -> Option<Socket> {
    if sk.is_null() {
        None
    } else {
        Socket::read::<Probe>(sk)
    }
}

/// `tcp_receive_reset(sk)`
#[inline(always)]
pub(crate) fn receive_reset<A: Access>(args: Args<A>) {
    let Some(filter) = maps::filter() else { return };
    let sk = args.ptr(0).plain();
    if let Some(mut socket) = read(sk)
        && let Some(record) = by_socket(TCP_RECEIVE_RESET, &mut socket, sk, filter)
    {
        record.send();
    }
}

/// `tcp_retransmit_skb(sk, skb[, err])`: the skb is the one in the socket's queue, without an IP header.
#[inline(always)]
pub(crate) fn retransmit_skb<A: Access>(args: Args<A>) {
    let Some(filter) = maps::filter() else { return };
    let sk = args.ptr(0).plain();
    if let Some(mut socket) = read(sk)
        && let Some(mut record) = by_socket(TCP_RETRANSMIT_SKB, &mut socket, sk, filter)
    {
        record.event().skb = args.ptr(1).plain().0;
        if let Some(number) = offset!(tcp_retransmit_err) {
            record.event().arg0 = signed(args.value(number));
        }
        record.send();
    }
}

/// `tcp_retransmit_synack(sk, req)`: the request has the tuple, the listener only the port.
#[inline(always)]
pub(crate) fn retransmit_synack<A: Access>(args: Args<A>) {
    let Some(filter) = maps::filter() else { return };
    let request = args.ptr(1).plain();
    if let Some(mut socket) = Socket::common::<Probe>(request)
        && let Some(record) = by_socket(TCP_RETRANSMIT_SYNACK, &mut socket, request, filter)
    {
        record.send();
    }
}

/// `tcp_probe(sk, skb)`
#[inline(always)]
pub(crate) fn probe<A: Access>(args: Args<A>) {
    let Some(filter) = maps::filter() else { return };
    let skb = args.ptr(1);
    if !is_sampled(skb) {
        return;
    }
    let mut seen = Seen::NONE;
    if !seen.look::<A>(skb, Way::Within, filter) {
        return;
    }
    let sk = args.ptr(0).plain();
    delivery::remember_socket(sk);
    if let Some(mut record) = seen.record(TCP_PROBE, false) {
        socket_at(&mut record, sk);
        record.send();
    }
}

/// `tcp_bad_csum(skb)`
#[inline(always)]
pub(crate) fn bad_csum<A: Access>(args: Args<A>) {
    let Some(filter) = maps::filter() else { return };
    let mut seen = Seen::NONE;
    if !seen.look::<A>(args.ptr(0), Way::Within, filter) {
        return;
    }
    if let Some(record) = seen.record(TCP_BAD_CSUM, false) {
        record.send();
    }
}
