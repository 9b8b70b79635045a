//! Which packets are followed: by the filter, by a learned flow, or by their tag.

use tracer_common::event::{
    FLAG_MATCH_INNER, FLAG_MATCH_LEARNED, FLAG_MATCH_ORIGINAL, FLAG_MATCH_QUOTED,
    FLAG_NEIGHBOR_AUX, FLAG_TAGGED,
};
use tracer_common::filter::{Asked, RawFilter};
use tracer_common::packet::{Bytes, Header, Link, flow_hash, is_wrapping};
use tracer_common::tuple::RawTuple;

use crate::budget::{self, Class};
use crate::conntrack;
use crate::kernel::{Probe, Ptr, checkpoint, field};
use crate::maps::{forget, stat};
use crate::packet::Memory;
use crate::tag::{self, Mark};

/// A packet that is followed, as it is at this hook. Words only, for `Barrier::merge`.
pub(crate) struct Followed {
    pub(crate) tuple: RawTuple,
    pub(crate) fingerprint: u64,
    /// FLAG_*.
    pub(crate) flags: u32,
    /// SAMPLED, TEACHES.
    pub(crate) tag: u32,
    /// The tuple may be learned.
    is_flow: u32,
    /// As in `Header`.
    datagram: u32,
    /// [`flow_hash`] of the tuple.
    flow: u64,
    /// Where only a tag says that it is ours: the hash that its tuple had there; else zero.
    tagged_as: u64,
}

/// How a packet comes to a hook.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From a device.
    In,
    /// To a device.
    Out,
    /// Anywhere else.
    Within,
}

/// A packet that is rewritten within the stack without conntrack is seen before and after on one CPU, in nanoseconds.
const ONE_PASS: u64 = 20_000_000;

/// Looks at the packet's headers from the outside in, down to one tunnel's inner packet. Whether it is followed;
/// as what stands in `followed`, which was [`Followed::NONE`] before. `asked`: FLAG_MATCH_* that it has whatever its
/// headers say. Changes nothing else.
#[inline(always)]
pub(crate) fn follow<B: Bytes>(
    followed: &mut Followed,
    bytes: &B,
    link: Link,
    (skb, asked): (Ptr, u32),
    filter: &RawFilter,
) -> bool {
    let (wanted, tagged, flow) = match tag::find(skb) {
        Some(tag) => (tag.fingerprint, tag.flags, tag.flow),
        None => (0, 0, 0),
    };
    let wanted = B::forget(wanted);
    let flow = B::forget(flow);
    let tagged = B::forget(u64::from(tagged)) as u32;
    let mut link = link;
    let mut inside = 0;
    let levels = B::opaque(u64::from(LEVELS)) as u32;
    let mut level = 0;
    while level < levels {
        level += 1;
        inside = B::forget(u64::from(inside)) as u32;
        followed.flags = B::forget(u64::from(followed.flags)) as u32;
        B::merge(&mut link);
        let mut header = Header::EMPTY;
        if !header.read(bytes, link.protocol, link.at) {
            // Else the tag is stale: what was followed as IP can be read as IP, so the buffer is another packet's now.
            if wanted != 0 && level == 1 && is_wrapping(link.protocol) {
                stat(|stats| stats.unreadable += 1);
            }
            break;
        }
        B::pin(&mut header);
        let mut flags = judge(bytes, &mut header, filter, link.vlan, inside);
        if flags == 0 && level == 1 {
            flags = asked;
        }
        let flags = B::forget(u64::from(flags)) as u32;
        let error = B::forget(u64::from(header.is_error())) != 0;
        B::meet();
        if inside & FLAG_MATCH_QUOTED != 0 {
            // the event is about the error, which the level before this one left in `followed`
            if flags != 0 {
                followed.flags = flags | inside;
            }
            break;
        }
        if wanted != 0 || flags != 0 || error {
            let fingerprint = B::forget(header.fingerprint(bytes));
            B::meet();
            let same = fingerprint == wanted;
            if same || flags != 0 || (error && followed.flags == 0) {
                followed.tuple = header.tuple;
                followed.fingerprint = fingerprint;
                followed.is_flow = u32::from(header.is_flow());
                followed.datagram = header.datagram;
                followed.flow = flow_hash::<B>(&header.tuple, 0, filter.generation);
                followed.flags = if flags != 0 { flags | inside } else { 0 };
            }
            if same {
                followed.tagged_as = if flags == 0 { flow } else { 0 };
                followed.flags |= FLAG_TAGGED;
                followed.tag = tagged;
                break;
            }
        }
        if error {
            if followed.flags != 0 {
                break;
            }
            inside |= FLAG_MATCH_QUOTED;
            link = header.quoted();
        } else if inside != 0 {
            break;
        } else if let Some(inner) = header.inner(bytes, filter) {
            if header.datagram != 0 {
                tag::note_carrier(skb, &header.tuple, header.datagram);
            }
            inside = FLAG_MATCH_INNER;
            link = inner;
        } else {
            break;
        }
    }
    B::merge(followed);
    followed.flags != 0
}

/// FLAG_MATCH_* of a packet by what it was before its connection was translated.
#[inline(always)]
pub(crate) fn before_translation(skb: Ptr, filter: &RawFilter) -> u32 {
    let Some(mut original) = conntrack::original(skb) else {
        return 0;
    };
    match filter.matches::<Memory>(&mut original, &Asked::LOOSE, false) {
        0 => 0,
        flags => flags | FLAG_MATCH_ORIGINAL,
    }
}

/// Looks at what the packet was before its connection was translated, for one that [`follow`] does not know: whether
/// it is followed by that. The flow is learned, so its next packet is known by its own headers.
#[inline(always)]
pub(crate) fn follow_connection<B: Bytes>(
    followed: &mut Followed,
    bytes: &B,
    link: Link,
    skb: Ptr,
    filter: &RawFilter,
) -> bool {
    let Some(mut original) = conntrack::original(skb) else {
        return false;
    };
    let mut header = Header::EMPTY;
    if !header.read(bytes, link.protocol, link.at) || !header.is_flow() {
        return false;
    }
    B::pin(&mut header);
    let asked = asked(&header, link.vlan, 0);
    let flags = filter.matches::<B>(&mut original, &asked, false);
    if flags == 0 {
        return false;
    }
    followed.tuple = header.tuple;
    followed.fingerprint = header.fingerprint(bytes);
    followed.flow = flow_hash::<B>(&header.tuple, 0, filter.generation);
    followed.is_flow = 1;
    followed.datagram = header.datagram;
    followed.flags = flags | FLAG_MATCH_ORIGINAL;
    tag::learn(&followed.tuple, 0, filter);
    B::merge(followed);
    true
}

/// Whether a packet whose buffer carries a tag with its fingerprint, and another tuple, was rewritten: else the buffer
/// is a stranger's now.
///
/// Conntrack says so where it translates: what the packet was before is what was tagged, or was learned. Elsewhere
/// (stateless rules, IPVS, programs) the packet was seen just before on this CPU, and not in a place from which it
/// could not have come here. The entry of an ICMP error is that of the connection that it is about (`is_flow` is zero),
/// and says nothing of the error's own addresses.
#[inline(always)]
fn was_rewritten(
    (skb, is_flow): (Ptr, u32),
    (way, device): (Way, u32),
    filter: &RawFilter,
    now: u64,
) -> bool {
    let Some(tag) = tag::find(skb) else {
        return false;
    };
    let original = conntrack::original_flow(skb, filter.generation);
    if original != 0 && is_flow != 0 {
        return original == tag.flow || original == tag.first || tag::is_known(original, 0, filter);
    }
    if tag.cpu != tag::cpu() || now.wrapping_sub(tag.time) > ONE_PASS {
        return false;
    }
    match way {
        Way::In => tag.came_in != device,
        // what a socket of this host sends did not come in before
        Way::Out => tag.came_in == 0 || field!(Probe, ptr, skb, skb_sk).is_null(),
        Way::Within => true,
    }
}

/// Outer packet, inner packet, and the one that an ICMP error quotes.
const LEVELS: u32 = 3;

/// What the filter asks of a header beside its tuple.
#[inline(always)]
fn asked(header: &Header, vlan: u16, inside: u32) -> Asked {
    Asked {
        tcp_flags: header.tcp_flags(),
        vlan: u32::from(vlan),
        inner: (inside / FLAG_MATCH_INNER) & 1,
        neighbor: u32::from(header.is_neighbor()),
    }
}

/// The FLAG_MATCH_* of one header.
#[inline(always)]
fn judge<B: Bytes>(
    bytes: &B,
    header: &mut Header,
    filter: &RawFilter,
    vlan: u16,
    inside: u32,
) -> u32 {
    let asked = asked(header, vlan, inside);
    let flags = filter.matches::<B>(&mut header.tuple, &asked, false);
    if flags != 0 {
        return flags;
    }
    if header.is_neighbor() {
        let target = header.nd_target(bytes).unwrap_or(header.tuple.dst);
        if filter.is_neighbor::<B>(&target, &header.tuple.src) {
            return FLAG_NEIGHBOR_AUX;
        }
    } else if header.is_flow() || header.fragment != 0 {
        let later = header.fragment != 0;
        let datagram = if later { header.datagram } else { 0 };
        let datagram = B::forget(u64::from(datagram)) as u32;
        if tag::is_learned(&header.tuple, datagram, filter) {
            return FLAG_MATCH_LEARNED;
        }
    }
    0
}

impl Followed {
    /// Nothing yet.
    pub(crate) const NONE: Self = Self {
        tuple: RawTuple::NONE,
        fingerprint: 0,
        flags: 0,
        tag: 0,
        is_flow: 0,
        datagram: 0,
        flow: 0,
        tagged_as: 0,
    };

    /// The skb was tagged at an earlier hook.
    #[inline(always)]
    pub(crate) fn is_tagged(&self) -> bool {
        self.flags & FLAG_TAGGED != 0
    }

    /// Whether it is what it seems: not a stranger in the buffer of a tagged packet. The tag of such a buffer ends.
    #[inline(always)]
    pub(crate) fn is_own(&self, skb: Ptr, place: (Way, u32), filter: &RawFilter, now: u64) -> bool {
        let as_before = self.tagged_as == 0 || self.tagged_as == self.flow;
        let own = as_before || was_rewritten((skb, self.is_flow), place, filter, now);
        let own = forget(u64::from(own));
        checkpoint();
        if own != 0 {
            return true;
        }
        tag::clear(skb);
        stat(|stats| stats.strangers_refused += 1);
        false
    }

    /// Tags the packet; a new one after deciding whether its events are sent. Learns from one that was rewritten, and
    /// from a first fragment, its own or that of the tunnel's packet around it, which later ones belong to it.
    #[inline(always)]
    pub(crate) fn remember(
        &mut self,
        skb: Ptr,
        (way, device): (Way, u32),
        filter: &RawFilter,
        now: u64,
    ) {
        if self.datagram != 0 && self.is_flow != 0 {
            tag::learn(&self.tuple, self.datagram, filter);
        } else if self.flags & FLAG_MATCH_INNER != 0 {
            tag::learn_carrier(skb, filter);
        }
        if !self.is_tagged() {
            self.tag = 0;
            if budget::is_first(self.flow, now) && Class::First.allows(now) {
                self.tag |= tag::SAMPLED | tag::FIRST;
            } else if Class::Packet.allows(now) {
                self.tag |= tag::SAMPLED;
            }
            if self.is_flow != 0 && self.flags & (FLAG_MATCH_QUOTED | FLAG_NEIGHBOR_AUX) == 0 {
                self.tag |= tag::TEACHES;
            }
        } else if self.flags == FLAG_TAGGED && self.is_flow != 0 && self.tag & tag::TEACHES != 0 {
            tag::learn(&self.tuple, 0, filter);
        }
        let mark = Mark {
            fingerprint: self.fingerprint,
            flow: self.flow,
            is_new: !self.is_tagged(),
            flags: self.tag,
            came_in: if way == Way::In { device } else { 0 },
        };
        tag::store(skb, &mark, now);
    }

    /// All events of this packet are sent.
    #[inline(always)]
    pub(crate) fn is_sampled(&self) -> bool {
        self.tag & tag::SAMPLED != 0
    }

    /// Makes it the packet that this CPU received last.
    #[inline(always)]
    pub(crate) fn make_current(&self, skb: Ptr, netns: u32, now: u64) {
        let current = tag::current();
        current.time = now;
        current.skb = skb.0;
        current.fingerprint = self.fingerprint;
        current.tuple = self.tuple;
        current.netns = netns;
        current.flags = self.tag;
    }
}
