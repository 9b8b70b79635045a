//! Route lookups, and the ICMP errors that come of some.

use aya_ebpf::helpers::generated::bpf_get_current_task;
use tracer_common::filter::RawFilter;
use tracer_common::hook::{FIB_TABLE_LOOKUP, FIB6_TABLE_LOOKUP, ICMP_SEND};
use tracer_common::tuple::{FAMILY_V4, FAMILY_V6, RawTuple};

use crate::budget::Class;
use crate::emit::Record;
use crate::kernel::{Access, Args, Probe, Ptr, field, offset};
use crate::maps;
use crate::packet::Memory;
use crate::skb::netns;
use crate::tag::{self, RECENT, is_same};
use crate::tracepoint::{Seen, judge_loosely, now};
use crate::track::Way;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// Interface from which lookups of this host itself come (LOOPBACK_IFINDEX).
const LOOPBACK: u32 = 1;
const UDP: u8 = 17;
/// ping of iputils connects a UDP socket to this port to learn its source address, and gives up when that fails: the
/// only lookup of an echo request that is never sent (main in ping/ping.c).
const PING_PROBE_PORT: u16 = 1025;

/// What was looked up.
struct Flow {
    tuple: RawTuple,
    oif: u32,
    iif: u32,
    mark: u32,
}

/// What a lookup says beside its addresses: nearly all are refused by it.
struct Kind {
    iif: u32,
    proto: u8,
    sport: u16,
    dport: u16,
}

impl Kind {
    /// Whether the addresses are worth a look.
    #[inline(always)]
    fn is_worth(&mut self, filter: &RawFilter) -> bool {
        // lookups without an input interface only ask for an address's type
        if self.iif == 0 {
            return false;
        }
        if self.iif == LOOPBACK && self.proto == UDP && self.dport == PING_PROBE_PORT {
            // whatever is asked about this destination may be meant
            self.proto = 0;
            self.sport = 0;
            self.dport = 0;
        }
        let ports = self.sport | self.dport;
        filter.kinds.may_ask_by(self.proto, ports)
            || tag::prefilter().kinds.may_ask_by(self.proto, ports)
    }
}

/// The namespace of the task that runs: the lookup's own in a system call.
#[inline(always)]
fn task_netns() -> u32 {
    // SAFETY: a helper without arguments.
    let task = Ptr(unsafe { bpf_get_current_task() });
    let proxy = field!(Probe, ptr, task, task_nsproxy);
    if proxy.is_null() {
        0
    } else {
        netns::<Probe>(field!(Probe, ptr, proxy, nsproxy_net))
    }
}

#[inline(always)]
fn record(
    hook: u8,
    flow: &mut Flow,
    netns: impl FnOnce() -> u32,
    filter: &RawFilter,
) -> Option<Record> {
    if !(filter.prefilter().may_ask_for(&flow.tuple) || tag::prefilter().may_ask_for(&flow.tuple)) {
        return None;
    }
    let netns = netns();
    if !filter.admits_netns::<Memory>(netns) {
        return None;
    }
    let flags = judge_loosely(&mut flow.tuple, filter);
    if flags == 0 || !may_be_for_own(flow) {
        return None;
    }
    let mut record = Record::paid(hook, now(), Class::Side)?;
    record.identify(&flow.tuple, 0, flags);
    let event = record.event();
    event.ifindex = flow.oif;
    event.skb_iif = flow.iif;
    event.mark = flow.mark;
    event.sk_netns = netns;
    Some(record)
}

/// Whether it may be about a packet that is followed: a lookup for one that came in says nothing of its ports, and follows
/// its reception on the same CPU. One of its addresses may be translated already.
#[inline(always)]
fn may_be_for_own(flow: &Flow) -> bool {
    if flow.iif == LOOPBACK || flow.tuple.sport | flow.tuple.dport != 0 {
        return true;
    }
    let packet = tag::current();
    now().wrapping_sub(packet.time) < RECENT
        && (is_same(&packet.tuple.src, &flow.tuple.src)
            || is_same(&packet.tuple.dst, &flow.tuple.dst))
}

/// The gateway and, where the lookup chose one, the output interface of a next hop.
#[inline(always)]
fn next_hop(record: &mut Record, hop: Ptr) {
    let dev = field!(Probe, ptr, hop, nhc_dev);
    if !dev.is_null() && record.event().ifindex == 0 {
        record.event().ifindex = field!(Probe, u32, dev, dev_ifindex);
    }
    // the gateway is uninitialised where the family says that there is none
    match field!(Probe, u8, hop, nhc_gw_family) {
        AF_INET => {
            record.event().sk_tuple.family = FAMILY_V4;
            record.event().sk_tuple.dst[0] = field!(Probe, u32, hop, nhc_gw);
        }
        AF_INET6 => {
            record.event().sk_tuple.family = FAMILY_V6;
            record.event().sk_tuple.dst = [0; 4];
            if let Some(offset) = offset!(nhc_gw) {
                record.event().sk_tuple.dst = Probe::address(hop, offset);
            }
        }
        _ => {}
    }
}

/// `fib_table_lookup(table, flowi4, fib_nh_common, err)`
#[inline(always)]
pub(crate) fn fib_table_lookup<A: Access>(args: Args<A>) {
    let Some(filter) = maps::filter() else { return };
    let key = args.ptr(1);
    let mut kind = Kind {
        iif: field!(A, u32, key, flow4_iif),
        proto: field!(A, u8, key, flow4_proto),
        sport: 0,
        dport: 0,
    };
    // the same bytes are ICMP's type and code
    if has_ports(kind.proto) {
        kind.sport = u16::from_be(field!(A, u16, key, flow4_sport));
        kind.dport = u16::from_be(field!(A, u16, key, flow4_dport));
    }
    if !kind.is_worth(filter) {
        return;
    }
    let mut flow = Flow {
        tuple: RawTuple {
            family: FAMILY_V4,
            proto: kind.proto,
            sport: kind.sport,
            dport: kind.dport,
            ..RawTuple::NONE
        },
        oif: field!(A, u32, key, flow4_oif),
        iif: kind.iif,
        mark: field!(A, u32, key, flow4_mark),
    };
    flow.tuple.src[0] = field!(A, u32, key, flow4_saddr);
    flow.tuple.dst[0] = field!(A, u32, key, flow4_daddr);
    let Some(mut record) = record(FIB_TABLE_LOOKUP, &mut flow, task_netns, filter) else {
        return;
    };
    record.event().arg0 = args.value(0) & 0xffff_ffff;
    let error = args.value(3) as i32;
    record.event().arg1 = i64::from(error) as u64;
    let hop = args.ptr(2).plain();
    if !hop.is_null() && error == 0 {
        next_hop(&mut record, hop);
    }
    record.send();
}

/// `fib6_table_lookup(net, fib6_result, fib6_table, flowi6)`
#[inline(always)]
pub(crate) fn fib6_table_lookup<A: Access>(args: Args<A>) {
    let Some(filter) = maps::filter() else { return };
    let key = args.ptr(3);
    let mut kind = Kind {
        iif: field!(A, u32, key, flow6_iif),
        proto: field!(A, u8, key, flow6_proto),
        sport: 0,
        dport: 0,
    };
    if has_ports(kind.proto) {
        kind.sport = u16::from_be(field!(A, u16, key, flow6_sport));
        kind.dport = u16::from_be(field!(A, u16, key, flow6_dport));
    }
    if !kind.is_worth(filter) {
        return;
    }
    let mut flow = Flow {
        tuple: RawTuple {
            src: field!(A, address, key, flow6_saddr),
            dst: field!(A, address, key, flow6_daddr),
            sport: kind.sport,
            dport: kind.dport,
            family: FAMILY_V6,
            proto: kind.proto,
            pad: [0; 2],
        },
        oif: field!(A, u32, key, flow6_oif),
        iif: kind.iif,
        mark: field!(A, u32, key, flow6_mark),
    };
    let net = args.ptr(0).plain();
    let Some(mut record) = record(FIB6_TABLE_LOOKUP, &mut flow, || netns::<Probe>(net), filter)
    else {
        return;
    };
    let result = args.ptr(1).plain();
    let table = args.ptr(2).plain();
    record.event().arg0 = u64::from(field!(Probe, u32, table, fib6_table_id));
    let error = fib6_error(net, result);
    record.event().arg1 = i64::from(error) as u64;
    if error == 0
        && let Some(common) = offset!(fib6_nh_common)
    {
        let hop = field!(Probe, ptr, result, fib6_result_nh);
        if !hop.is_null() {
            next_hop(&mut record, Ptr(hop.0.wrapping_add(u64::from(common))));
        }
    }
    record.send();
}

/// The error of an IPv6 lookup: that of the route's type (fib6_prop in net/ipv6/route.c), and ENETUNREACH for the
/// entry that stands for "no route".
#[inline(always)]
fn fib6_error(net: Ptr, result: Ptr) -> i32 {
    let route = field!(Probe, ptr, result, fib6_result_f6i);
    if offset!(net_fib6_null).is_some() && route == field!(Probe, ptr, net, net_fib6_null) {
        return -101;
    }
    match field!(Probe, u8, result, fib6_result_type) {
        6 => -22,
        7 => -113,
        8 => -13,
        9 => -11,
        _ => 0,
    }
}

#[inline(always)]
fn has_ports(proto: u8) -> bool {
    matches!(proto, 6 | 17 | 132)
}

/// `icmp_send(skb, type, code)`: the skb is the packet that the error is about.
#[inline(always)]
pub(crate) fn icmp_send<A: Access>(args: Args<A>) {
    let Some(filter) = maps::filter() else { return };
    let mut seen = Seen::NONE;
    if !seen.look::<A>(args.ptr(0), Way::Within, filter) {
        return;
    }
    seen.remember(filter);
    if let Some(mut record) = seen.record(ICMP_SEND, false) {
        record.event().arg0 = args.value(1) & 0xffff_ffff;
        record.event().arg1 = args.value(2) & 0xffff_ffff;
        record.send();
    }
}
