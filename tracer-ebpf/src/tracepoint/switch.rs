//! Open vSwitch (net/openvswitch, tracepoints since 5.14): what a flow does with a packet, and what is handed to its daemon.

use tracer_common::event::LAST_ACTION;
use tracer_common::filter::RawFilter;
use tracer_common::hook::{OVS_ACTION, OVS_UPCALL};

use crate::kernel::{Access, Args, Probe, Ptr, field, offset};
use crate::maps;
use crate::skb::is_cloned;
use crate::tag;
use crate::tracepoint::Seen;
use crate::track::Way;

/// Header of an attribute (struct nlattr, uapi/linux/netlink.h): its length, its type, and then its value.
const LENGTH: u32 = 0;
const TYPE: u32 = 2;
const VALUE: u32 = 4;

/// Looks at a packet within Open vSwitch, which a classifier has tagged where it came in. Two kinds have no tag: what the daemon
/// sends back has a new buffer, which came in by no interface (ovs_packet_cmd_execute), and what goes several ways is
/// cloned for each.
#[inline(always)]
fn look<A: Access>(seen: &mut Seen, skb: Ptr, filter: &RawFilter) -> bool {
    let plain = skb.plain();
    if plain.is_null() {
        return false;
    }
    let wanted = match tag::find(plain) {
        Some(tag) => tag.flags & tag::SAMPLED != 0,
        None => field!(A, u32, skb, skb_iif) == 0 || is_cloned::<A>(skb),
    };
    // forgotten, or the verifier walks all that follows twice
    maps::forget(u64::from(wanted)) != 0 && seen.look::<A>(skb, Way::Within, filter)
}

/// `ovs_do_execute_action(dp, skb, key, action, remaining)`: before each action of a flow.
#[inline(always)]
pub(crate) fn action<A: Access>(args: Args<A>) {
    let Some(filter) = maps::filter() else { return };
    let mut seen = Seen::NONE;
    if !look::<A>(&mut seen, args.ptr(1), filter) {
        return;
    }
    let action = args.ptr(3).plain();
    let length = u64::from(Probe::u16(action, LENGTH));
    // as in nla_is_last
    let last = length == args.value(4) & 0xffff_ffff;
    if let Some(mut record) = seen.record(OVS_ACTION, false) {
        let event = record.event();
        event.arg0 = u64::from(Probe::u16(action, TYPE)) | if last { LAST_ACTION } else { 0 };
        if length >= u64::from(VALUE) + 4 {
            event.arg1 = u64::from(Probe::u32(action, VALUE));
        }
        record.send();
    }
}

/// `ovs_dp_upcall(dp, skb, key, info)`: no flow matches, or a flow wants the daemon to see the packet.
#[inline(always)]
pub(crate) fn upcall<A: Access>(args: Args<A>) {
    let Some(filter) = maps::filter() else { return };
    let mut seen = Seen::NONE;
    if !look::<A>(&mut seen, args.ptr(1), filter) {
        return;
    }
    let command = match offset!(upcall_cmd) {
        Some(offset) => Probe::u8(args.ptr(3).plain(), offset),
        None => 0,
    };
    if let Some(mut record) = seen.record(OVS_UPCALL, false) {
        record.event().arg0 = u64::from(command);
        record.send();
    }
}
