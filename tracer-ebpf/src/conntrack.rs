//! What conntrack knows of a packet: what it was before translation.
//!
//! A host's own packet to a service address is translated in OUTPUT, before any interface sees it: by its headers
//! alone it could not be told from others.

use tracer_common::packet::flow_hash;
use tracer_common::tuple::{FAMILY_V4, FAMILY_V6, RawTuple};

use crate::kernel::{Probe, Ptr, field, offset};
use crate::maps::forget;
use crate::packet::Memory;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;
/// IPS_SRC_NAT and IPS_DST_NAT (include/uapi/linux/netfilter/nf_conntrack_common.h).
const TRANSLATED: u32 = 0x30;
/// From IP_CT_IS_REPLY on, ctinfo is of packets that go back.
const IS_REPLY: u64 = 3;

/// The packet's entry, when its connection is translated; else none.
#[inline(always)]
fn entry(nfct: u64) -> Ptr {
    let entry = Ptr(nfct & !7);
    if entry.is_null() || field!(Probe, u32, entry, ct_status) & TRANSLATED == 0 {
        return Ptr(0);
    }
    entry
}

/// Whether the packet's connection is translated.
#[inline(always)]
pub(crate) fn is_translated(skb: Ptr) -> bool {
    !entry(field!(Probe, u64, skb, skb_nfct)).is_null()
}

/// What a translated packet would be without translation, in its own direction; `None` for all others. Most packets
/// cost one read here, tracked ones two.
#[inline(always)]
pub(crate) fn original(skb: Ptr) -> Option<RawTuple> {
    let nfct = field!(Probe, u64, skb, skb_nfct);
    let entry = entry(nfct);
    if entry.is_null() {
        return None;
    }
    // the first of the two is the asker's
    let first = offset!(ct_hashes)? + offset!(hash_tuple)?;
    let at = Ptr(entry.0.wrapping_add(u64::from(first)));
    let mut tuple = RawTuple {
        proto: field!(Probe, u8, at, ct_proto),
        ..RawTuple::NONE
    };
    match field!(Probe, u16, at, ct_family) {
        AF_INET => {
            tuple.family = FAMILY_V4;
            tuple.src[0] = field!(Probe, u32, at, ct_src);
            tuple.dst[0] = field!(Probe, u32, at, ct_dst);
        }
        AF_INET6 => {
            tuple.family = FAMILY_V6;
            tuple.src = field!(Probe, address, at, ct_src);
            tuple.dst = field!(Probe, address, at, ct_dst);
        }
        _ => return None,
    }
    let source = u16::from_be(field!(Probe, u16, at, ct_sport));
    if tuple.proto == ICMP || tuple.proto == ICMP6 {
        // the type is one byte, and the identifier stands where ports have the source
        tuple.sport = u16::from(field!(Probe, u8, at, ct_dport));
        tuple.dport = source;
    } else {
        tuple.sport = source;
        tuple.dport = u16::from_be(field!(Probe, u16, at, ct_dport));
    }
    if nfct & 7 >= IS_REPLY {
        tuple.reverse();
    }
    Some(tuple)
}

/// [`flow_hash`] of [`original`]; zero for none.
#[inline(always)]
pub(crate) fn original_flow(skb: Ptr, generation: u32) -> u64 {
    match original(skb) {
        Some(tuple) => forget(flow_hash::<Memory>(&tuple, 0, generation)),
        None => 0,
    }
}
