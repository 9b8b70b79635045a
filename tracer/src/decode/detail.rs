//! The hook's own part of a record.

use tracer_common::event::{KNOWN_CT, KNOWN_DEV, KNOWN_DST, LAST_ACTION, RawEvent};
use tracer_common::hook;
use tracer_common::stats::site;

use crate::host::Host;
use crate::model::{
    Detail, DropInfo, FibEvent, Frame, Mac, NeighborEvent, SwitchAction, raw_address,
};
use crate::uapi::fib::LOOPBACK_IFINDEX;
use crate::uapi::netdevice::{IFF_UP, LINK_STATE_NOCARRIER};

use super::{function, text};

/// "A connection tracking entry is attached" in [`RawEvent::ct_info`].
const CT_ATTACHED: u32 = 8;
/// `ct_info` of a packet without an entry that is to have none (IP_CT_UNTRACKED, linux/netfilter/nf_conntrack_common.h).
const CT_UNTRACKED: u32 = 7;

/// OVS_PACKET_CMD_MISS (uapi/linux/openvswitch.h).
const CMD_MISS: u64 = 1;

/// Functions between the place that frees a packet and the tracepoint: not part of a stack that is shown.
const FREEING: &[&str] = &[
    "bpf_",
    "__bpf_",
    "kfree_skb",
    "__kfree_skb",
    "sk_skb_reason_drop",
    "__sk_skb_reason_drop",
    "skb_release_",
    "__traceiter_",
    "trace_",
    "perf_trace_",
    "stack_trace_",
    "get_perf_callchain",
    "consume_skb",
];

/// Free a list of packets.
const LISTS: [&str; 2] = ["kfree_skb_list", "kfree_skb_list_reason"];

/// What a record's hook says.
pub(super) fn detail(raw: &RawEvent, bytes: &[u8], stack: &[u8], host: &Host) -> Detail {
    match raw.hook {
        hook::TC_INGRESS | hook::NETIF_RECEIVE_SKB => Detail::Ingress,
        hook::TC_EGRESS | hook::NET_DEV_QUEUE | hook::NET_DEV_START_XMIT => Detail::Egress,
        hook::NET_DEV_XMIT => Detail::Refused {
            code: signed(raw.arg0),
        },
        hook::KFREE_SKB => Detail::Drop(Box::new(drop_info(raw, stack, host))),
        hook::CONSUME_SKB => Detail::Consumed {
            function: function(raw.location, host),
        },
        hook::NEIGH_CREATE
        | hook::NEIGH_UPDATE
        | hook::NEIGH_TIMER_HANDLER
        | hook::NEIGH_EVENT_SEND_DONE => Detail::Neighbor(neighbor(raw, bytes)),
        hook::FIB_TABLE_LOOKUP | hook::FIB6_TABLE_LOOKUP => Detail::Fib(FibEvent {
            table: low(raw.arg0),
            error: low(signed(raw.arg1).unsigned_abs()),
            iif: raw.skb_iif,
            oif: raw.ifindex,
            local: raw.skb_iif <= LOOPBACK_IFINDEX && raw.pid != 0,
        }),
        hook::ICMP_SEND => Detail::IcmpSend {
            icmp_type: byte(raw.arg0),
            code: byte(raw.arg1),
        },
        hook::TCP_SEND_RESET => Detail::ResetSent {
            reason: host.reset_reason(raw.reason).map(str::to_owned),
        },
        hook::TCP_RECEIVE_RESET => Detail::ResetReceived,
        hook::TCP_RETRANSMIT_SKB => Detail::Retransmit {
            error: Some(signed(raw.arg0)),
            syn_ack: false,
        },
        hook::TCP_RETRANSMIT_SYNACK => Detail::Retransmit {
            error: None,
            syn_ack: true,
        },
        hook::TCP_PROBE | hook::SK_DATA_READY => Detail::SocketReached,
        hook::SOCK_RECV_LENGTH | hook::SKB_COPY_DATAGRAM_IOVEC => Detail::SocketRead {
            length: signed(raw.arg0),
        },
        hook::UDP_FAIL_QUEUE_RCV_SKB => Detail::SocketFull {
            code: signed(raw.arg0),
        },
        hook::SOCK_RCVQUEUE_FULL => Detail::SocketFull { code: 0 },
        hook::INET_SK_ERROR_REPORT => Detail::SocketError {
            errno: low(signed(raw.arg0).unsigned_abs()),
        },
        hook::TCP_BAD_CSUM => Detail::BadChecksum,
        hook::XDP_EXCEPTION => Detail::XdpException {
            action: low(raw.arg0),
        },
        hook::OVS_ACTION => Detail::SwitchAction(SwitchAction {
            kind: u16::from_le_bytes([byte(raw.arg0), byte(raw.arg0 >> 8)]),
            value: low(raw.arg1),
            last: raw.arg0 & LAST_ACTION != 0,
        }),
        hook::OVS_UPCALL => Detail::Upcall {
            missed: (raw.arg0 != 0).then_some(raw.arg0 == CMD_MISS),
        },
        _ => Detail::Unknown,
    }
}

fn drop_info(raw: &RawEvent, stack: &[u8], host: &Host) -> DropInfo {
    let knows = |bit| raw.known & bit != 0;
    let place = function(raw.location, host);
    let mut stack = frames(stack, place.as_deref(), host);
    // On kernels before 6.3 they free one by one by kfree_skb, which then tells of them and not of their caller.
    let listed = place.as_deref().is_some_and(|name| LISTS.contains(&name));
    let function = match place {
        Some(_) if listed && !stack.is_empty() => stack.remove(0).name.or(place),
        _ => place,
    };
    DropInfo {
        reason_code: raw.reason,
        site: site(raw.location),
        reason: host
            .drop_reason(raw.reason)
            .map(|name| name.trim_start_matches("SKB_DROP_REASON_").to_owned()),
        stack,
        function,
        listed,
        dst_error: knows(KNOWN_DST).then_some(raw.dst_error.unsigned_abs()),
        no_carrier: knows(KNOWN_DEV).then_some(raw.dev_state & LINK_STATE_NOCARRIER != 0),
        device_up: knows(KNOWN_DEV).then_some(raw.dev_flags & IFF_UP != 0),
        mtu: knows(KNOWN_DEV).then_some(raw.mtu),
        qdisc: text(&raw.qdisc).filter(|_| knows(KNOWN_DEV)),
        ct_status: knows(KNOWN_CT).then_some(raw.ct_status),
        ct_attached: Some(knows(KNOWN_CT) || raw.ct_info & CT_ATTACHED != 0),
        ct_untracked: raw.ct_info == CT_UNTRACKED,
        mark: raw.mark,
        cgroup: Some(raw.arg1).filter(|id| *id != 0),
    }
}

/// Callers of the freeing function: what comes before it (the tracepoint's own frames) and itself are left out.
fn frames(stack: &[u8], function: Option<&str>, host: &Host) -> Vec<Frame> {
    let all = stack.as_chunks().0.iter().filter_map(|chunk| {
        let addr = u64::from_ne_bytes(*chunk);
        (addr != 0).then(|| Frame {
            addr,
            name: self::function(addr, host),
        })
    });
    let mut frames: Vec<Frame> = all.collect();
    let freeing = |frame: &Frame| {
        frame
            .name
            .as_deref()
            .is_some_and(|name| FREEING.iter().any(|prefix| name.starts_with(prefix)))
    };
    // The first frame is tracer's own program, which the symbols may not have yet.
    let leading = frames
        .iter()
        .take_while(|frame| frame.name.is_none() || freeing(frame))
        .count();
    let surplus = frames.iter().take(leading).rposition(freeing);
    frames.drain(..surplus.map_or(0, |last| last + 1));
    if function.is_some()
        && frames
            .first()
            .is_some_and(|first| first.name.as_deref() == function)
    {
        frames.remove(0);
    }
    frames
}

fn neighbor(raw: &RawEvent, bytes: &[u8]) -> NeighborEvent {
    let update = raw.hook == hook::NEIGH_UPDATE;
    NeighborEvent {
        address: raw_address(raw.tuple.dst, raw.tuple.family),
        state: byte(raw.arg0),
        new_state: update.then_some(byte(raw.arg1)),
        mac: bytes.get(..6).and_then(mac),
        new_mac: bytes.get(8..14).and_then(mac).filter(|_| update),
    }
}

fn mac(bytes: &[u8]) -> Option<Mac> {
    let mac: [u8; 6] = bytes.try_into().ok()?;
    (mac != [0; 6]).then_some(Mac(mac))
}

fn signed(value: u64) -> i64 {
    i64::from_ne_bytes(value.to_ne_bytes())
}

fn low(value: u64) -> u32 {
    u32::try_from(value & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

fn byte(value: u64) -> u8 {
    u8::try_from(value & 0xff).unwrap_or(u8::MAX)
}
