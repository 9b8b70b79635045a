//! The classifiers: every packet of every interface, most of them not ours.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_skb_load_bytes};
use tracer_common::event::FLAG_MATCH_ORIGINAL;
use tracer_common::filter::{LOOK_SENT, RawFilter};
use tracer_common::hook::{TC_EGRESS, TC_INGRESS};
use tracer_common::packet::{Bytes, Link, NO_VLAN};
use tracer_common::prefilter::{Glance, Prefilters};

use crate::conntrack;
use crate::kernel::{Probe, Ptr, at_least_one, checkpoint, field, opaque, pin};
use crate::maps::{self, SNAPLEN, merge};
use crate::packet::{Linear, Memory};
use crate::skb::{self, Device, packets};
use crate::tag;
use crate::tracepoint::hop;
use crate::track::{Followed, Way, follow, follow_connection};

/// skb->pkt_type of a host's own copy of what it sends to many (include/uapi/linux/if_packet.h).
const PACKET_LOOPBACK: u32 = 5;

/// What a device's packets begin with.
pub(crate) trait LinkLayer {
    fn link<B: Bytes>(bytes: &B, ctx: *mut __sk_buff) -> Option<Link>;
}

/// An Ethernet header.
pub(crate) struct Ethernet;
/// The IP header: TUN, ipip.
pub(crate) struct Bare;

impl LinkLayer for Ethernet {
    #[inline(always)]
    fn link<B: Bytes>(bytes: &B, ctx: *mut __sk_buff) -> Option<Link> {
        // What the host sends to many comes back to it without a header (dev_loopback_xmit, net/core/dev.c).
        // SAFETY: a field of the context.
        if unsafe { (*ctx).pkt_type } == PACKET_LOOPBACK {
            return Bare::link(bytes, ctx);
        }
        let mut link = Link::ethernet(bytes, 0)?;
        // SAFETY: fields of the context.
        unsafe {
            if link.vlan == NO_VLAN && (*ctx).vlan_present != 0 {
                link.vlan = (*ctx).vlan_tci as u16 & 0x0fff;
            }
        }
        Some(link)
    }
}

impl LinkLayer for Bare {
    #[inline(always)]
    fn link<B: Bytes>(_: &B, _: *mut __sk_buff) -> Option<Link> {
        Some(Link {
            protocol: 0,
            vlan: NO_VLAN,
            at: 0,
        })
    }
}

/// Looks at one packet. Never changes it and never decides about it.
#[inline(always)]
pub(crate) fn observe<L: LinkLayer>(ctx: *mut __sk_buff, hook: u8) {
    let Some(filter) = maps::filter() else { return };
    let bytes = Linear::new(ctx);
    let Some(mut link) = L::link(&bytes, ctx) else {
        return;
    };
    merge(&mut link);
    // the context of a classifier is the skb itself
    let skb = Ptr(ctx as u64).plain();
    if !tag::is_tagged(skb) && !may_match(ctx, hook, &bytes, &link, skb, filter) {
        return;
    }
    // many ways lead here
    checkpoint();
    let mut followed = MaybeUninit::uninit();
    let followed: &mut Followed = maps::clear(&mut followed);
    if !follow(followed, &bytes, link, (skb, 0), filter) {
        let own = hook == TC_EGRESS;
        if !own || !follow_connection(followed, &bytes, link, skb, filter) {
            return;
        }
    }
    pin(followed);
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: a field of the context.
    let device = Device::numbered(field!(Probe, ptr, skb, skb_dev), unsafe { (*ctx).ifindex });
    if !filter.admits_netns::<Memory>(device.netns) {
        return;
    }
    let way = if hook == TC_INGRESS {
        Way::In
    } else {
        Way::Out
    };
    let place = (way, device.number());
    if !followed.is_own(skb, place, filter, now) {
        return;
    }
    followed.remember(skb, place, filter, now);
    if hook == TC_INGRESS {
        followed.make_current(skb, device.netns, now);
    }
    // SAFETY: fields of the context.
    let (segments, len) = unsafe { ((*ctx).gso_segs, (*ctx).len) };
    let size = (packets(segments), u64::from(len));
    hop(hook, followed, size, &device, now);
    send(ctx, hook, followed, skb, &device, link.at as u8, now);
}

/// Whether a packet without a tag is worth a look: nearly all are not asked for, and end here.
#[inline(always)]
fn may_match(
    ctx: *mut __sk_buff,
    hook: u8,
    bytes: &Linear,
    link: &Link,
    skb: Ptr,
    filter: &RawFilter,
) -> bool {
    let prefilters = Prefilters {
        asked: filter.prefilter(),
        learned: tag::prefilter(),
        tunnels: &filter.tunnels,
    };
    match prefilters.glance(bytes, link) {
        Glance::Admitted => return true,
        Glance::Foreign => return false,
        Glance::Refused => {}
    }
    (is_sent_here(ctx, hook) || filter.look_at & LOOK_SENT != 0) && conntrack::is_translated(skb)
}

/// Whether a socket of this host sends the packet: it may be translated before it is seen. Of all others the classifier at
/// ingress knew what they were.
#[inline(always)]
fn is_sent_here(ctx: *mut __sk_buff, hook: u8) -> bool {
    // SAFETY: a field of the context.
    hook == TC_EGRESS && unsafe { !(*ctx).__bindgen_anon_2.sk.is_null() }
}

#[inline(always)]
fn send(
    ctx: *mut __sk_buff,
    hook: u8,
    followed: &Followed,
    skb: Ptr,
    device: &Device,
    l3_offset: u8,
    now: u64,
) {
    let Some(mut record) = crate::tracepoint::open(hook, followed, now, false) else {
        return;
    };
    record.identify(&followed.tuple, followed.fingerprint, followed.flags);
    skb::describe::<Probe>(record.event(), skb);
    device.describe(record.event(), field!(Probe, ptr, skb, skb_dev));
    crate::tracepoint::socket_of::<Probe>(&mut record, skb);
    let by_original = followed.flags & FLAG_MATCH_ORIGINAL != 0;
    if (by_original || is_sent_here(ctx, hook) && conntrack::is_translated(skb))
        && let Some(original) = conntrack::original(skb)
    {
        let event = record.event();
        event.flags |= FLAG_MATCH_ORIGINAL;
        event.sk_tuple = original;
    }
    let room = u64::from(SNAPLEN.get());
    let len = opaque(u64::from(record.event().len));
    if let Some(len) = at_least_one(if len > room { room } else { len }) {
        let to = record.bytes();
        // SAFETY: `SNAPLEN` bytes were reserved and `len` is not more.
        if unsafe { bpf_skb_load_bytes(ctx.cast(), 0, to.cast(), len as u32) } == 0 {
            record.event().caplen = len as u16;
            record.event().l3_offset = l3_offset;
        }
    }
    record.send();
}
