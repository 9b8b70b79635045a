//! The kernel's exact counters: which place and which tuple a row is about.

use tracer_common::hook;
use tracer_common::stats::{HopCount, HopKey};

use crate::decode;
use crate::model::{Device, IfIndex, KtimeNs, NetNs, Proto, Side, Tuple};

use super::flow::{Counted, Dropped};
use super::path::HookCount;

/// What a row counts.
pub(super) enum What {
    /// Packets that came to a place.
    Passed(Counted),
    /// Drops of which no event was sent.
    Dropped(Dropped),
}

/// A row's tuple, whether it counts echo replies, and the rest; `None` for hooks that are no hops and for ICMP that
/// is not echo (errors are no packets of the path).
pub(super) fn meaning(row: &(HopKey, HopCount)) -> Option<(Tuple, bool, What)> {
    let (key, count) = row;
    let tuple = decode::tuple(&key.tuple)?;
    let echo_reply = match (tuple.proto, key.tuple.sport) {
        (Proto::Icmp, 0) | (Proto::Icmp6, 129) => true,
        (Proto::Icmp, 3 | 4 | 5 | 11 | 12) | (Proto::Icmp6, 1..=4) => return None,
        _ => false,
    };
    let device = Device {
        netns: NetNs(key.netns),
        ifindex: IfIndex(key.ifindex),
    };
    if key.hook == hook::KFREE_SKB {
        let dropped = Dropped {
            device: (key.ifindex != 0).then_some(device),
            reason: key.reason,
            site: key.site,
            packets: count.packets,
        };
        return Some((tuple, echo_reply, What::Dropped(dropped)));
    }
    let side = match key.hook {
        hook::TC_INGRESS | hook::NETIF_RECEIVE_SKB => Side::Ingress,
        hook::TC_EGRESS | hook::NET_DEV_QUEUE | hook::NET_DEV_START_XMIT => Side::Egress,
        _ => return None,
    };
    let counted = Counted {
        device,
        side,
        hook: key.hook,
        asked: key.asked != 0,
        count: HookCount {
            packets: count.packets,
            bytes: count.bytes,
            last: KtimeNs(count.last_ns),
        },
    };
    Some((tuple, echo_reply, What::Passed(counted)))
}
