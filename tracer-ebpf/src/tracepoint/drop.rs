//! The ends of packets: kfree_skb (drops) and consume_skb.

use tracer_common::event::{FLAG_TAGGED, KNOWN_SK};
use tracer_common::hook::{CONSUME_SKB, KFREE_SKB};

use crate::kernel::{Access, Args, Probe, Ptr, offset};
use crate::maps;
use crate::skb::segments;
use crate::sock::{cgroup, is_small};
use crate::tag;
use crate::tracepoint::{Seen, socket_at, socket_of};
use crate::track::Way;

/// `kfree_skb(skb, location[, reason[, rx_sk]])`
#[inline(always)]
pub(crate) fn kfree_skb<A: Access>(args: Args<A>) {
    let Some(filter) = maps::filter() else { return };
    let skb = args.ptr(0);
    let mut seen = Seen::NONE;
    if !seen.look_at_lost::<A>(skb, filter) {
        return;
    }
    let reason = match offset!(kfree_skb_reason) {
        Some(number) => args.value(number) as u32,
        None => 0,
    };
    let location = args.ptr(1).plain().0;
    // a packet of ours that no hook saw before it died was never tagged: its drop is sent all the same
    if let Some(mut record) = seen.record(KFREE_SKB, true) {
        let rx_sk = match offset!(kfree_skb_rx_sk) {
            Some(number) => args.ptr(number).plain(),
            None => Ptr(0),
        };
        if rx_sk.is_null() {
            socket_of::<Probe>(&mut record, seen.skb);
        } else {
            socket_at(&mut record, rx_sk);
        }
        let event = record.event();
        if event.known & KNOWN_SK != 0 && !is_small(event.sk_state) {
            event.arg1 = cgroup::<Probe>(Ptr(event.sk));
        }
        record.event().location = location;
        record.event().reason = reason;
        record.stack(args.ctx);
        record.send();
    } else {
        seen.count_drop(location, reason);
    }
    tag::clear(seen.skb);
}

/// `consume_skb(skb[, location])`
#[inline(always)]
pub(crate) fn consume_skb<A: Access>(args: Args<A>) {
    let skb = args.ptr(0);
    let Some(tag) = tag::find(skb.plain()) else {
        return;
    };
    let Some(filter) = maps::filter() else { return };
    if tag.flags & tag::SAMPLED == 0 {
        tag::clear(skb.plain());
        return;
    }
    let mut seen = Seen::NONE;
    if !seen.look::<A>(skb, Way::Within, filter) {
        tag::clear(skb.plain());
        return;
    }
    if seen.followed.flags & FLAG_TAGGED == 0 {
        return;
    }
    if segments::<Probe>(seen.skb) > 1 {
        tag::was_cut(seen.now);
    }
    if let Some(mut record) = seen.record(CONSUME_SKB, false) {
        socket_of::<Probe>(&mut record, seen.skb);
        if let Some(2..) = offset!(consume_skb_args) {
            record.event().location = args.ptr(1).plain().0;
        }
        record.send();
    }
    tag::clear(seen.skb);
}
