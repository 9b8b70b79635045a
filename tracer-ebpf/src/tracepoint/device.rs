//! Packets at devices: reception, queueing, transmission, XDP.

use tracer_common::event::FLAG_TAGGED;
use tracer_common::filter::{LOOK_RECEIVED, LOOK_SENT};
use tracer_common::hook::{
    NET_DEV_QUEUE, NET_DEV_START_XMIT, NET_DEV_XMIT, NETIF_RECEIVE_SKB, XDP_EXCEPTION,
};

use crate::budget::Class;
use crate::emit::Record;
use crate::kernel::{Access, Args, Probe};
use crate::maps;
use crate::packet::Memory;
use crate::skb::Device;
use crate::tag;
use crate::tracepoint::{Seen, is_sampled, now, signed, socket_of};
use crate::track::Way;

/// `netif_receive_skb(skb)`: `data` is at the network header, which skb->network_header may not be yet.
#[inline(always)]
pub(crate) fn netif_receive_skb<A: Access>(args: Args<A>) {
    let Some(filter) = maps::filter() else { return };
    let skb = args.ptr(0);
    // forgotten, or the verifier walks all that follows twice
    let anyway = maps::forget(u64::from(filter.look_at & LOOK_RECEIVED));
    if !is_sampled(skb) && anyway == 0 {
        return;
    }
    let mut seen = Seen::NONE;
    if !seen.look::<A>(skb, Way::In, filter) {
        return;
    }
    seen.remember(filter);
    seen.followed
        .make_current(seen.skb, seen.device.netns, seen.now);
    if maps::forget(anyway) != 0 {
        seen.count(NETIF_RECEIVE_SKB);
    }
    if let Some(record) = seen.record(NETIF_RECEIVE_SKB, false) {
        record.send();
    }
}

/// `net_dev_queue(skb)`
#[inline(always)]
pub(crate) fn net_dev_queue<A: Access>(args: Args<A>) {
    let Some(filter) = maps::filter() else { return };
    let skb = args.ptr(0);
    let anyway = maps::forget(u64::from(filter.look_at & LOOK_SENT));
    if !is_sampled(skb) && anyway == 0 {
        return;
    }
    let mut seen = Seen::NONE;
    if !seen.look::<A>(skb, Way::Out, filter) {
        return;
    }
    seen.remember(filter);
    if maps::forget(anyway) != 0 {
        seen.count(NET_DEV_QUEUE);
    }
    if let Some(mut record) = seen.record(NET_DEV_QUEUE, false) {
        socket_of::<Probe>(&mut record, seen.skb);
        record.send();
    }
}

/// `net_dev_start_xmit(skb, dev)`: a known packet was sent as an event when it was queued; a new one is a
/// segment or a fragment that came to be in between.
#[inline(always)]
pub(crate) fn net_dev_start_xmit<A: Access>(args: Args<A>) {
    let Some(filter) = maps::filter() else { return };
    let skb = args.ptr(0);
    let anyway = maps::forget(u64::from(filter.look_at & LOOK_SENT != 0 || tag::has_cut()));
    if !is_sampled(skb) && anyway == 0 {
        return;
    }
    let mut seen = Seen::NONE;
    if !seen.look::<A>(skb, Way::Out, filter) {
        return;
    }
    let known = seen.followed.is_tagged();
    seen.remember(filter);
    if maps::forget(anyway) != 0 {
        seen.count(NET_DEV_START_XMIT);
    }
    if known {
        return;
    }
    if let Some(mut record) = seen.record(NET_DEV_START_XMIT, false) {
        socket_of::<Probe>(&mut record, seen.skb);
        record.send();
    }
}

/// `net_dev_xmit(skb, rc, dev, len)`: the driver may have freed the skb, so only its address is used.
#[inline(always)]
pub(crate) fn net_dev_xmit<A: Access>(args: Args<A>) {
    let rc = args.value(1) as u32;
    if rc == 0 {
        return;
    }
    let skb = args.ptr(0).plain();
    let Some(tag) = tag::find(skb) else { return };
    let Some(filter) = maps::filter() else { return };
    let dev = args.ptr(2).plain();
    let device = Device::at(dev);
    if !filter.admits_netns::<Memory>(device.netns) {
        return;
    }
    let now = now();
    let class = if tag.flags & tag::SAMPLED != 0 {
        Class::of_packet(tag.flags)
    } else {
        Class::Drop
    };
    if let Some(mut record) = Record::paid(NET_DEV_XMIT, now, class) {
        let event = record.event();
        event.skb = skb.0;
        event.fingerprint = tag.fingerprint;
        event.flags = FLAG_TAGGED;
        event.arg0 = signed(u64::from(rc));
        event.len = args.value(3) as u32;
        device.describe(event, dev);
        record.send();
    }
}

/// `xdp_exception(dev, prog, act)`: no packet is given; rare enough to be told of every device.
#[inline(always)]
pub(crate) fn xdp_exception<A: Access>(args: Args<A>) {
    let Some(filter) = maps::filter() else { return };
    let dev = args.ptr(0).plain();
    let device = Device::at(dev);
    if !filter.admits_netns::<Memory>(device.netns) {
        return;
    }
    if let Some(mut record) = Record::paid(XDP_EXCEPTION, now(), Class::Rare) {
        record.event().arg0 = args.value(2) & 0xffff_ffff;
        device.describe(record.event(), dev);
        record.send();
    }
}
