//! The tracepoint programs, a family in each module, and what they share with the classifiers.
//!
//! Looking is done with the program's own way of access; describing, which is rare, by helper.

pub(crate) mod delivery;
pub(crate) mod device;
pub(crate) mod drop;
pub(crate) mod neigh;
pub(crate) mod route;
pub(crate) mod switch;
pub(crate) mod tcp;

use core::mem::MaybeUninit;

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::maps::HashMap;
use tracer_common::event::{
    FLAG_BY_SOCKET, FLAG_MATCH_FORWARD, FLAG_MATCH_LEARNED, FLAG_MATCH_REPLY,
};
use tracer_common::filter::{Asked, RawFilter};
use tracer_common::hook::KFREE_SKB;
use tracer_common::stats::{HopCount, HopKey, short_reason, site};
use tracer_common::tuple::RawTuple;

use crate::budget::Class;
use crate::emit::Record;
use crate::kernel::{Access, Probe, Ptr, checkpoint, field, pin};
use crate::maps::{HOPS, HOPS_REST, SNAPLEN, Shared, atomic_add, clear, count, forget, stat, wipe};
use crate::packet::Memory;
use crate::skb::{self, Device, Place};
use crate::sock::Socket;
use crate::tag;
use crate::track::{Followed, Way, before_translation, follow};

/// Nanoseconds since boot.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// An `int` argument as the contract has it: sign-extended.
#[inline(always)]
pub(crate) fn signed(argument: u64) -> u64 {
    i64::from(argument as i32) as u64
}

/// Whether events are sent of the packet at `skb`: tracepoints that every packet passes look at no others, which the
/// classifiers count. Asked before anything else is made ready.
#[inline(always)]
pub(crate) fn is_sampled(skb: Ptr) -> bool {
    tag::find(skb.plain()).is_some_and(|tag| tag.flags & tag::SAMPLED != 0)
}

/// A packet at a tracepoint. Filled in place, since stack is dear.
pub(crate) struct Seen {
    pub(crate) followed: Followed,
    pub(crate) device: Device,
    pub(crate) now: u64,
    place: Place,
    way: Way,
    /// Its address, as a plain number.
    pub(crate) skb: Ptr,
}

impl Seen {
    /// Nothing yet.
    pub(crate) const NONE: Self = Self {
        followed: Followed::NONE,
        device: Device::NONE,
        now: 0,
        place: Place::NONE,
        way: Way::Within,
        skb: Ptr(0),
    };

    /// Looks at the packet at `skb`: whether it is ours and in a namespace that is looked at.
    #[inline(always)]
    pub(crate) fn look<A: Access>(&mut self, skb: Ptr, way: Way, filter: &RawFilter) -> bool {
        self.look_for::<A>(skb, (way, 0), filter)
    }

    /// The same, also by what the packet was before its connection was translated: what dies in OUTPUT behind its
    /// translation was seen by no other hook.
    #[inline(always)]
    pub(crate) fn look_at_lost<A: Access>(&mut self, skb: Ptr, filter: &RawFilter) -> bool {
        let asked = before_translation(skb.plain(), filter);
        let asked = forget(u64::from(asked)) as u32;
        checkpoint();
        self.look_for::<A>(skb, (Way::Within, asked), filter)
    }

    /// `asked`: FLAG_MATCH_* that the packet has whatever its headers say.
    #[inline(always)]
    fn look_for<A: Access>(
        &mut self,
        skb: Ptr,
        (way, asked): (Way, u32),
        filter: &RawFilter,
    ) -> bool {
        if skb.is_null() {
            return false;
        }
        pin(self);
        self.skb = skb.plain();
        self.way = way;
        // the network header is not set yet where a device gives a packet up
        self.place.find::<A>(skb, way == Way::In);
        let (followed, place) = (&mut self.followed, &self.place);
        if !follow(
            followed,
            &place.bytes,
            place.link,
            (self.skb, asked),
            filter,
        ) {
            return false;
        }
        self.device.find::<A>(field!(A, ptr, skb, skb_dev));
        self.now = now();
        pin(self);
        // without a device the socket knows the namespace
        let admitted = filter.netns_len == 0
            || filter.admits_netns::<Memory>(if self.device.netns != 0 {
                self.device.netns
            } else {
                netns_of_socket(self.skb)
            });
        admitted
            && self
                .followed
                .is_own(self.skb, self.stage(), filter, self.now)
    }

    /// Counts a drop of which no event is sent.
    #[inline(always)]
    pub(crate) fn count_drop(&self, location: u64, reason: u32) {
        let mut key = MaybeUninit::uninit();
        let key: &mut HopKey = clear(&mut key);
        key.hook = KFREE_SKB;
        key.reason = short_reason(reason);
        key.site = site(location);
        let size = skb::size::<Probe>(self.skb);
        count_at(key, &self.followed, size, &self.device, self.now);
    }

    /// Counts it at the hop of a hook.
    #[inline(always)]
    pub(crate) fn count(&self, hook: u8) {
        let size = skb::size::<Probe>(self.skb);
        hop(hook, &self.followed, size, &self.device, self.now);
    }

    #[inline(always)]
    fn stage(&self) -> (Way, u32) {
        (self.way, self.device.number())
    }

    /// Tags it, or learns from it.
    #[inline(always)]
    pub(crate) fn remember(&mut self, filter: &RawFilter) {
        let place = self.stage();
        self.followed.remember(self.skb, place, filter, self.now);
    }

    /// A record of it, with all that is known; `None` when there is no budget or no room.
    #[inline(always)]
    pub(crate) fn record(&self, hook: u8, drop: bool) -> Option<Record> {
        let mut record = open(hook, &self.followed, self.now, drop)?;
        record.process();
        record.identify(
            &self.followed.tuple,
            self.followed.fingerprint,
            self.followed.flags,
        );
        skb::describe::<Probe>(record.event(), self.skb);
        self.device
            .describe(record.event(), field!(Probe, ptr, self.skb, skb_dev));
        let room = SNAPLEN.get();
        let (caplen, l3_offset) = self.place.capture(self.skb, record.bytes(), room);
        record.event().caplen = caplen;
        record.event().l3_offset = l3_offset;
        Some(record)
    }
}

#[inline(always)]
fn netns_of_socket(skb: Ptr) -> u32 {
    let sk = field!(Probe, ptr, skb, skb_sk);
    if sk.is_null() {
        0
    } else {
        skb::netns::<Probe>(field!(Probe, ptr, sk, sk_net))
    }
}

/// Fills in the socket that the skb belongs to.
#[inline(always)]
pub(crate) fn socket_of<A: Access>(record: &mut Record, skb: Ptr) {
    let sk = field!(A, ptr, skb, skb_sk).plain();
    socket_at(record, sk);
}

/// Fills in the socket at this (plain) address.
#[inline(always)]
pub(crate) fn socket_at(record: &mut Record, sk: Ptr) {
    if !sk.is_null()
        && let Some(socket) = Socket::read::<Probe>(sk)
    {
        socket.describe(record.event(), sk);
    }
}

/// A record for a followed packet, when the budget allows: sampled packets always, drops from a reserve.
#[inline(always)]
pub(crate) fn open(hook: u8, followed: &Followed, now: u64, drop: bool) -> Option<Record> {
    let unknown = followed.tag == 0 && !followed.is_tagged();
    let class = if followed.is_sampled() || (unknown && Class::Packet.allows(now)) {
        Class::of_packet(followed.tag)
    } else if drop && Class::Drop.allows(now) {
        Class::Drop
    } else {
        stat(|stats| count(&mut stats.thinned, hook));
        return None;
    };
    class.spend(now);
    Record::new(hook, now, drop)
}

/// Counts the packet, of so many packets on the wire and bytes, at its hop.
#[inline(always)]
pub(crate) fn hop(hook: u8, followed: &Followed, size: (u64, u64), device: &Device, now: u64) {
    let mut key = MaybeUninit::uninit();
    let key: &mut HopKey = clear(&mut key);
    key.hook = hook;
    count_at(key, followed, size, device, now);
}

/// Counts the packet in the row of `key`, which says what is counted there.
#[inline(always)]
fn count_at(
    key: &mut HopKey,
    followed: &Followed,
    (packets, bytes): (u64, u64),
    device: &Device,
    now: u64,
) {
    key.tuple = followed.tuple;
    key.netns = device.netns;
    key.ifindex = device.ifindex;
    key.asked = u8::from(followed.flags & (FLAG_MATCH_FORWARD | FLAG_MATCH_REPLY) != 0);
    if add(&HOPS, key, (packets, bytes), now) {
        return;
    }
    // no room for one more flow: it is counted together with all others that have none
    stat(|stats| stats.map_full += packets);
    let (family, proto) = (key.tuple.family, key.tuple.proto);
    wipe(&mut key.tuple);
    key.tuple.family = family;
    key.tuple.proto = proto;
    add(&HOPS_REST, key, (packets, bytes), now);
}

/// A new row. Not on the stack, which is dear.
static NO_PACKETS: Shared<HopCount> = Shared::new(HopCount {
    packets: 0,
    bytes: 0,
    first_ns: 0,
    last_ns: 0,
});

/// Adds to a row, which is made where there is none; whether there was room.
#[inline(always)]
fn add(
    rows: &HashMap<HopKey, HopCount>,
    key: &HopKey,
    (packets, bytes): (u64, u64),
    now: u64,
) -> bool {
    let mut row = rows.get_ptr_mut(key);
    if row.is_none() {
        // SAFETY: a static of integers that nobody writes.
        let empty = unsafe { &*NO_PACKETS.as_ptr() };
        // another CPU may have made it meanwhile
        let _ = rows.insert(key, empty, BPF_NOEXIST.into());
        row = rows.get_ptr_mut(key);
        if let Some(row) = row {
            // SAFETY: a value of the map.
            unsafe { (&raw mut (*row).first_ns).write_volatile(now) };
        }
    }
    let Some(row) = row else { return false };
    // SAFETY: a value of the map; other CPUs add to it too.
    unsafe {
        atomic_add(&raw mut (*row).packets, packets);
        atomic_add(&raw mut (*row).bytes, bytes);
        (&raw mut (*row).last_ns).write_volatile(now);
    }
    true
}

/// The FLAG_* of a tuple that is a socket's or a lookup's.
#[inline(always)]
pub(crate) fn judge_loosely(tuple: &mut RawTuple, filter: &RawFilter) -> u32 {
    let flags = filter.matches::<Memory>(tuple, &Asked::LOOSE, true);
    if flags != 0 {
        flags | FLAG_BY_SOCKET
    } else if tag::is_learned(tuple, 0, filter) {
        FLAG_MATCH_LEARNED | FLAG_BY_SOCKET
    } else {
        0
    }
}

/// An event known by its socket alone: by the clauses, by a learned flow, or not ours.
#[inline(always)]
pub(crate) fn by_socket(
    hook: u8,
    socket: &mut Socket,
    sk: Ptr,
    filter: &RawFilter,
) -> Option<Record> {
    let flags = judge_loosely(&mut socket.tuple, filter);
    if flags == 0 || !filter.admits_netns::<Memory>(socket.netns) {
        return None;
    }
    let mut record = Record::paid(hook, now(), Class::Side)?;
    record.identify(&socket.tuple, 0, flags);
    socket.describe(record.event(), sk);
    Some(record)
}
