//! Events that belong to no packet but may explain what became of one: kept oldest first, bounded, without repeats.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::model::{Detail, Device, Event, KtimeNs, NetNs, Proto, Tuple};
use crate::uapi::fib::LOOPBACK_IFINDEX;

/// How often the same thing is kept.
const REPEATS: u8 = 3;
/// A route lookup belongs to the packet that its CPU took in so shortly before.
const SAME_MOMENT_NS: u64 = 1_000_000;

/// What has been kept, and what each CPU took in last.
#[derive(Clone, Debug, Default)]
pub(super) struct Beside {
    seen: HashMap<u64, u8>,
    taken_in: HashMap<u16, (Device, Tuple, KtimeNs)>,
}

impl Beside {
    /// A device took a packet in.
    pub(super) fn took_in(&mut self, event: &Event) {
        if let (Detail::Ingress, Some(device), Some(tuple)) =
            (&event.detail, event.device, event.tuple)
        {
            self.taken_in.insert(event.cpu, (device, tuple, event.at));
        }
    }

    /// Tells a route lookup the namespace in which it was made, by the packet that its CPU took in just before.
    pub(super) fn locate(&self, event: &mut Event) {
        let Detail::Fib(fib) = &mut event.detail else {
            return;
        };
        let Some((device, tuple, at)) = self.taken_in.get(&event.cpu) else {
            return;
        };
        if event.at.since(*at) > SAME_MOMENT_NS {
            return;
        }
        let looked_up = event.tuple;
        let ends = looked_up.map(|t| (t.src, t.dst));
        let forwarded = fib.iif > LOOPBACK_IFINDEX && fib.iif == device.ifindex.0;
        // the answer to the packet, built while the packet is being received
        let answer = fib.iif <= LOOPBACK_IFINDEX && ends.is_some_and(|(_, dst)| dst == tuple.src);
        if forwarded || answer {
            event.netns = Some(device.netns);
            fib.local = false;
            event.process = None;
        }
    }

    /// Keeps an event unless the same was kept often enough.
    pub(super) fn keep(
        &mut self,
        event: Event,
        list: &mut Vec<Event>,
        most: usize,
        matters: impl Fn(&Event) -> bool,
    ) {
        if self.seen.len() >= most * 4 {
            self.seen.clear();
        }
        let count = self.seen.entry(sameness(&event)).or_default();
        if *count >= REPEATS {
            return;
        }
        *count += 1;
        if list.len() >= most {
            thin(list, most, matters);
        }
        let at = list
            .iter()
            .rposition(|other| other.at <= event.at)
            .map_or(0, |at| at + 1);
        list.insert(at, event);
    }
}

/// Makes room: first what concerns no flow, then successful lookups, then the oldest.
fn thin(list: &mut Vec<Event>, most: usize, matters: impl Fn(&Event) -> bool) {
    let enough = most * 3 / 4;
    list.retain(|event| matters(event));
    if list.len() > enough {
        list.retain(|event| !matches!(&event.detail, Detail::Fib(fib) if fib.error == 0));
    }
    if list.len() > enough {
        list.drain(..list.len() - enough);
    }
}

/// Equal for events that say the same.
fn sameness(event: &Event) -> u64 {
    let mut hasher = DefaultHasher::new();
    event.hook.hash(&mut hasher);
    event.device.hash(&mut hasher);
    event.netns.hash(&mut hasher);
    event.tuple.hash(&mut hasher);
    event.socket.map(|socket| socket.addr).hash(&mut hasher);
    match &event.detail {
        Detail::Neighbor(n) => {
            (n.address, n.state, n.new_state, n.mac, n.new_mac).hash(&mut hasher);
        }
        Detail::Fib(fib) => (fib.table, fib.error, fib.iif, fib.oif).hash(&mut hasher),
        Detail::Drop(info) => (&info.reason, &info.function).hash(&mut hasher),
        Detail::Consumed { function } => function.hash(&mut hasher),
        Detail::ResetSent { reason } => reason.hash(&mut hasher),
        Detail::Retransmit { error, syn_ack } => (error, syn_ack).hash(&mut hasher),
        Detail::SocketError { errno } => errno.hash(&mut hasher),
        Detail::SocketFull { code } => code.hash(&mut hasher),
        Detail::XdpException { action } => action.hash(&mut hasher),
        Detail::SocketRead { length } => (*length < 0).hash(&mut hasher),
        _ => {}
    }
    hasher.finish()
}

/// Whether an event is never part of a packet's own way.
pub(super) fn is_aside(event: &Event) -> bool {
    use tracer_common::event as flag;
    let asked = flag::FLAG_MATCH_FORWARD
        | flag::FLAG_MATCH_REPLY
        | flag::FLAG_MATCH_LEARNED
        | flag::FLAG_MATCH_INNER
        | flag::FLAG_MATCH_QUOTED;
    match event.detail {
        Detail::Neighbor(_)
        | Detail::Fib(_)
        | Detail::Retransmit { .. }
        | Detail::SocketError { .. }
        | Detail::XdpException { .. } => true,
        _ => event.flags & flag::FLAG_NEIGHBOR_AUX != 0 && event.flags & asked == 0,
    }
}

/// What makes an event worth its room: the devices and namespaces of the paths, and the addresses of the flows.
#[derive(Debug, Default)]
pub(super) struct Concerns {
    pub(super) devices: HashSet<Device>,
    pub(super) namespaces: HashSet<NetNs>,
    pub(super) addresses: HashSet<std::net::IpAddr>,
}

impl Concerns {
    pub(super) fn matters(&self, event: &Event) -> bool {
        let device = event
            .device
            .is_some_and(|device| self.devices.contains(&device));
        let address = event.tuple.is_some_and(|tuple| {
            self.addresses.contains(&tuple.src) || self.addresses.contains(&tuple.dst)
        });
        let neighbor = matches!(event.detail, Detail::Neighbor(_))
            || event.tuple.is_some_and(|tuple| tuple.proto == Proto::Arp);
        let netns = event
            .netns
            .is_some_and(|netns| self.namespaces.contains(&netns));
        address || (device && (neighbor || netns)) || (netns && !neighbor)
    }
}
