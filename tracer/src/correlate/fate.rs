//! What became of a packet, from the steps of its journey.
//!
//! Each branch has an end of its own; the packet's fate is that of the branch that matters most: where it was taken
//! in, else where it was lost although it was taken for its receiver's, else how far it went.

use crate::host::Host;
use crate::host::facts::ProbeState;
use crate::model::Losses;
use crate::model::{
    Detail, Device, Direction, Event, Fate, Journey, KtimeNs, Proto, Side, Step, Transport,
};
use crate::uapi::if_arp::ARPHRD_LOOPBACK;
use crate::uapi::if_packet::{BROADCAST, MULTICAST, OTHERHOST};
use crate::uapi::tcp;

use super::noise::{self, Meaning};
use super::open::{BranchKind, Open, place};

/// Kind of the ports by which a host enters Open vSwitch.
const SWITCH: &str = "openvswitch";
/// Kinds of devices that hand a packet on to another one of the same host.
const STACKED: &[&str] = &[
    SWITCH, "bridge", "vxlan", "geneve", "gre", "gretap", "ip6gre", "ipip", "sit", "ip6tnl",
    "bond", "team", "vlan", "macvlan", "ipvlan", "vrf", "ifb",
];

/// What the judgement needs beside the journey.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) host: &'a Host,
    pub(super) losses: &'a Losses,
    pub(super) now: KtimeNs,
    /// A packet silent for so long is no longer on its way.
    pub(super) settle_ns: u64,
}

/// A fate and the branch that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) fate: Fate,
    pub(super) branch: u16,
    /// Nothing more is to come.
    pub(super) over: bool,
}

/// Where a branch was last seen, and in which step.
type LastPlace = ((Device, Side), usize);

/// How one branch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Arrived,
    Lost(usize),
    Copy(usize),
    Unsent(usize),
    Consumed(usize),
    GoesOn(usize),
    Left(usize),
    Silent(usize),
    Nothing,
}

/// Judges a journey.
pub(super) fn judge(journey: &Journey, open: &Open, around: &Around<'_>) -> Judgement {
    let settled = around.now.since(open.last) >= around.settle_ns;
    let mut ends: Vec<(u16, BranchKind, End)> = (0u16..)
        .zip(&open.branches)
        .zip(ends(journey, open, around))
        .map(|((number, branch), end)| (number, branch.kind, end))
        .collect();
    let copies = copies(journey, open);
    let is_copy = |number: u16| copies.get(usize::from(number)).is_some_and(|copy| *copy);
    // What left one node and came to another (or back, by ways that the trace does not see) went on there.
    for parent in came_elsewhere(open)
        .filter(|(_, child)| !is_copy(*child))
        .map(|(parent, _)| parent)
    {
        if let Some((.., end)) = ends.get_mut(usize::from(parent))
            && let End::Left(step) = *end
        {
            *end = End::GoesOn(step);
        }
    }
    // What carried the packet to a daemon arrived there, and the packet went on: what counts is what became of it then. The
    // carrier's buffer may be freed later, on the CPU that had made it (skb_attempt_defer_free), and only then be told.
    let carriers: Vec<u16> = ends
        .iter()
        .zip(&open.branches)
        .filter(|((number, kind, end), branch)| {
            let told = matches!(end, End::Arrived | End::Lost(_) | End::Left(_));
            *kind == BranchKind::Whole && told && branch.parent < *number && !is_copy(*number)
        })
        .map(|(_, branch)| branch.parent)
        .collect();
    let best = ends.iter().min_by_key(|(number, kind, end)| {
        let carried_on = carriers.contains(number);
        let rank = match end {
            _ if is_copy(*number) => COPIED,
            End::Arrived if carried_on => CARRIED_ON,
            _ => rank((journey, around.host), *kind, *end),
        };
        (rank, carried_on, *number)
    });
    let (branch, end) = best.map_or((0, End::Nothing), |(branch, _, end)| (*branch, *end));
    let last = journey.steps.len().saturating_sub(1);
    let fate = match end {
        End::Arrived => Fate::Delivered,
        End::Lost(step) | End::Copy(step) | End::Unsent(step) => Fate::Dropped { step },
        End::Left(step) => Fate::Left { step },
        End::Consumed(step) => Fate::Consumed { step },
        End::GoesOn(_) | End::Silent(_) | End::Nothing if !settled => Fate::InFlight,
        End::Silent(_) if open.answered => Fate::Delivered,
        End::GoesOn(step) | End::Silent(step) => silent(journey, step, around),
        End::Nothing => Fate::Vanished { step: last },
    };
    let open_end = matches!(end, End::Silent(_) | End::GoesOn(_) | End::Nothing);
    let over = !open_end || fate == Fate::Delivered && !opens(journey);
    Judgement { fate, branch, over }
}

/// Whether it asks for a connection. One that is only assumed to have arrived may have been translated instead, and wait
/// for a neighbour: what arrives is told by its end (`consume_skb` in tcp_rcv_state_process, 5.10).
fn opens(journey: &Journey) -> bool {
    let packet = journey.steps.iter().find_map(|s| s.event.packet.as_ref());
    packet.is_some_and(|p| {
        matches!(p.transport, Transport::Tcp { flags, .. } if flags & (tcp::SYN | tcp::ACK) == tcp::SYN)
    })
}

/// Branches that were re-created as others, with these.
fn came_elsewhere(open: &Open) -> impl Iterator<Item = (u16, u16)> {
    let others = open.branches.iter().zip(0u16..).skip(1);
    others
        .filter(|(branch, number)| branch.kind == BranchKind::Whole && branch.parent < *number)
        .map(|(branch, number)| (branch.parent, number))
}

/// Which branches are of copies that a rule sent elsewhere (`TEE`, `dup`: nf_dup_ipv4, nf_dup_ipv6): a buffer of its own leaves a
/// namespace to which the packet had come, and the packet goes on. Whoever gets the copy is not meant.
fn copies(journey: &Journey, open: &Open) -> Vec<bool> {
    let mut found: Vec<bool> = Vec::with_capacity(open.branches.len());
    for (branch, number) in open.branches.iter().zip(0u16..) {
        let of_copy = found.get(usize::from(branch.parent)).copied();
        let copied = branch.kind == BranchKind::Whole
            && branch.parent < number
            && is_sent_beside(journey, number, branch.parent);
        found.push(copied || of_copy.unwrap_or_default());
    }
    found
}

/// Whether a branch begins where it leaves a namespace to which its parent had come, and its parent goes on after that.
fn is_sent_beside(journey: &Journey, number: u16, parent: u16) -> bool {
    let mut steps = journey.steps.iter().enumerate();
    let begun = steps.find_map(|(at, step)| {
        let place = place(&step.event).filter(|_| step.branch == number)?;
        Some((at, place))
    });
    let Some((at, (device, Side::Egress))) = begun else {
        return false;
    };
    let (before, after) = journey.steps.split_at(at);
    let of_parent = |step: &&Step| step.branch == parent;
    let came = before.iter().filter(of_parent).any(|step| {
        place(&step.event)
            .is_some_and(|(seen, side)| side == Side::Ingress && seen.netns == device.netns)
    });
    came && after.iter().filter(of_parent).any(|step| {
        let arrives = told(step, journey.direction, false) == Some(Meaning::Arrived);
        place(&step.event).is_some() || arrives
    })
}

/// The rank of what arrived and went on from there.
const CARRIED_ON: u8 = 10;
/// That of a copy beside the packet, whatever became of it.
const COPIED: u8 = 13;

/// Lower matters more.
fn rank((journey, host): (&Journey, &Host), kind: BranchKind, end: End) -> u8 {
    // a frame that a stack took for its own has pkt_type HOST; one dropped on a bridge port says nothing of others
    let taken = |step: usize| {
        journey
            .steps
            .get(step)
            .is_some_and(|step| step.event.pkt_type != OTHERHOST)
    };
    // a bridge's own stack gets a copy of what is flooded, and is rarely meant
    let switched = |step: usize| {
        let device = journey.steps.get(step).and_then(|step| step.event.device);
        device
            .and_then(|device| host.link(device))
            .is_some_and(|link| link.kind == "bridge")
    };
    match (end, kind) {
        (End::Lost(_), BranchKind::Piece) => 0,
        (End::Arrived, _) => 1,
        (End::Lost(step), _) if taken(step) => 2,
        (End::Left(_), _) => 3,
        (End::Silent(_), BranchKind::Whole) => 4,
        (End::Silent(_), _) => 5,
        (End::Lost(_), _) => 6,
        (End::Consumed(_), _) => 7,
        (End::Copy(step), _) if !switched(step) => 8,
        (End::Copy(_), _) => 9,
        (End::GoesOn(_), _) => CARRIED_ON,
        (End::Unsent(_), _) => 11,
        (End::Nothing, _) => 12,
    }
}

/// How each branch ended: its last step that says something. One pass, however many branches there are.
fn ends(journey: &Journey, open: &Open, around: &Around<'_>) -> Vec<End> {
    let mut ways: Vec<(End, Option<LastPlace>)> = vec![(End::Nothing, None); open.branches.len()];
    for (number, step) in journey.steps.iter().enumerate() {
        let Some((end, last_place)) = ways.get_mut(usize::from(step.branch)) else {
            continue;
        };
        let read_from_device = matches!(last_place, Some(((_, Side::Egress), _)));
        if let Some(at) = place(&step.event) {
            *last_place = Some((at, number));
            *end = End::Silent(number);
        }
        match told(step, journey.direction, read_from_device) {
            None | Some(Meaning::Nothing) => {}
            Some(Meaning::Answers | Meaning::AnswersOrLost)
                if open.answered || one_way(around.host) =>
            {
                *end = End::Arrived;
            }
            Some(Meaning::Lost | Meaning::AnswersOrLost) => *end = End::Lost(number),
            Some(Meaning::Copy) => *end = End::Copy(number),
            Some(Meaning::Unsent) => *end = End::Unsent(number),
            Some(Meaning::Arrived) => *end = End::Arrived,
            Some(Meaning::Ended | Meaning::Answers) if *end != End::Arrived => {
                *end = End::Consumed(number);
            }
            Some(Meaning::GoesOn) => *end = End::GoesOn(number),
            Some(Meaning::Ended | Meaning::Answers) => {}
        }
    }
    ways.into_iter()
        .map(|way| match way {
            (End::Silent(step) | End::Consumed(step), Some(((device, Side::Egress), _)))
                if leaves(around.host, device) =>
            {
                End::Left(step)
            }
            // Without its place (before 6.3) a normal end is that of a packet that arrived only where it could arrive: what
            // a virtual switch drops ends so, too.
            (End::Consumed(step), Some(((device, Side::Ingress), seen)))
                if !may_end(journey, step, around.host, device) =>
            {
                End::Silent(seen)
            }
            // Within Open vSwitch nobody takes a packet for its own: it ends there, before 6.3 without a word of where.
            (End::Consumed(_), Some(((device, Side::Egress), seen)))
                if enters_switch(around.host, device) =>
            {
                End::Silent(seen)
            }
            (end, _) => end,
        })
        .collect()
}

/// Whether what leaves by this device is then in Open vSwitch.
fn enters_switch(host: &Host, device: Device) -> bool {
    host.link(device).is_some_and(|link| link.kind == SWITCH)
}

/// Whether a packet may have reached its receiver in the namespace of a device: its end tells where, or it is for an
/// address of that namespace or for many.
fn may_end(journey: &Journey, step: usize, host: &Host, device: Device) -> bool {
    let Some(event) = journey.steps.get(step).map(|step| &step.event) else {
        return true;
    };
    let told = matches!(&event.detail, Detail::Consumed { function: Some(_) });
    let tuple = event.tuple.or_else(|| {
        let before = journey.steps.iter().take(step).rev();
        before.filter_map(|step| step.event.tuple).next()
    });
    told || tuple.is_none_or(|tuple| {
        let to_many = event.pkt_type == BROADCAST || event.pkt_type == MULTICAST;
        to_many || tuple.dst.is_multicast() || host.is_local(device.netns, tuple.dst)
    })
}

/// What a step says of its branch's end; `None` when it says nothing.
fn told(step: &Step, direction: Direction, read_from_device: bool) -> Option<Meaning> {
    let event = &step.event;
    match &event.detail {
        Detail::Drop(info) => Some(noise::of_drop(event, info, direction)),
        Detail::Consumed { function } => Some(noise::of_end(event, function.as_deref())),
        Detail::SocketReached | Detail::ResetReceived => Some(Meaning::Arrived),
        // a TUN daemon or a sniffer reads what was handed to a device; that is no delivery
        Detail::SocketRead { length } if *length >= 0 && !read_from_device => {
            Some(Meaning::Arrived)
        }
        _ => None,
    }
}

fn one_way(host: &Host) -> bool {
    host.run.as_ref().is_some_and(|run| run.one_way)
}

/// A branch without an end. Buffers of TCP that arrive end without a tracepoint (pure ACKs, SYN-ACKs, coalesced
/// data: `__kfree_skb`, 6.18), while every loss of TCP in its own namespace is told by one.
fn silent(journey: &Journey, step: usize, around: &Around<'_>) -> Fate {
    let vanished = Fate::Vanished { step };
    let seen = journey.steps.get(..=step).unwrap_or_default();
    let whole = journey.steps.iter().any(|step| completes(&step.event));
    let mut places = seen.iter().rev();
    // a buffer that is replaced has no interface any more
    let last = match whole {
        true => places.find(|step| place(&step.event).is_some()),
        false => places.next(),
    };
    let Some(event) = last.map(|step| &step.event) else {
        return vanished;
    };
    let (Some((device, Side::Ingress)), Some(tuple)) = (place(event), event.tuple) else {
        return vanished;
    };
    if !around.host.is_local(device.netns, tuple.dst) {
        return vanished;
    }
    match tuple.proto {
        Proto::Tcp => Fate::Delivered,
        // sockets of tunnels take what comes without a word
        // all fragments of the datagram are there; what would drop it then is seen
        Proto::Udp if whole => Fate::Delivered,
        Proto::Udp if !sees_sockets(around) || is_tunnel(around.host, tuple.dport) => {
            Fate::Delivered
        }
        _ => vanished,
    }
}

/// Whether the first fragment's buffer gives place to another's, in which the whole datagram then is: all others have come
/// (inet_frag_reasm_prepare, net/ipv4/inet_fragment.c).
fn completes(event: &Event) -> bool {
    matches!(&event.detail, Detail::Consumed { function: Some(function), .. } if function == "inet_frag_reasm_prepare")
}

/// Whether a tunnel device that is up takes what comes to this port. Its socket may be in another namespace than it.
fn is_tunnel(host: &Host, port: u16) -> bool {
    let mut tunnels = host.links().filter(|link| link.up);
    tunnels.any(|link| link.vxlan.as_ref().is_some_and(|vxlan| vxlan.port == port))
}

/// Whether every delivery to a socket would have been seen.
fn sees_sockets(around: &Around<'_>) -> bool {
    const NAME: &str = "sk_data_ready";
    let counted =
        |list: &[(String, u64)]| list.iter().any(|(name, count)| name == NAME && *count > 0);
    let attached = around
        .host
        .probes
        .get(NAME)
        .is_none_or(|probe| probe.state == ProbeState::Attached);
    let losses = around.losses;
    attached
        && [&losses.lost, &losses.thinned, &losses.missed]
            .into_iter()
            .all(|list| !counted(list))
}

/// Whether a packet handed to this device leaves what the trace can see.
fn leaves(host: &Host, device: Device) -> bool {
    let Some(link) = host.link(device) else {
        return true;
    };
    let goes_on = link.arp_type == ARPHRD_LOOPBACK
        || STACKED.contains(&link.kind.as_str())
        || link.peer.is_some_and(|peer| host.is_watched(peer.netns));
    !goes_on
}
