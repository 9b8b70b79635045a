//! A record of the kernel programs → [`Event`]: integers and bytes get their meaning here.
//!
//! Total: every record gives an event or a [`DecodeError`], never a panic; a hook that this version does not know
//! gives [`Detail::Unknown`]. Names of reasons and functions come from [`Host`], never from this file. What packets
//! have to do with each other is `correlate`'s.

mod detail;
pub mod packet;

use bytes::Bytes;
use tracer_common::event::{FLAG_CLONED, FLAG_MATCH_ORIGINAL, RAW_EVENT_SIZE, RawEvent};
use tracer_common::hook;
use tracer_common::tuple::{PROTO_ARP, RawTuple};
use zerocopy::FromBytes;

use crate::host::Host;
use crate::model::{
    Detail, Device, Event, Fingerprint, HookId, IfIndex, KtimeNs, NetNs, Process, Proto, SkbAddr,
    Socket, Tuple, raw_address,
};

/// A record that cannot be read. The caller counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It ends before what its header announces.
    #[error("record of {have} bytes, {need} announced")]
    Truncated {
        /// Bytes there are.
        have: usize,
        /// Bytes there should be.
        need: usize,
    },
    /// More captured bytes than space for them.
    #[error("{caplen} bytes captured into a space of {reserved}")]
    Capture {
        /// Told length.
        caplen: u16,
        /// Told space.
        reserved: u16,
    },
}

/// System call entries: a stack that reaches one names the process that really made the packet.
const SYSCALLS: &[&str] = &[
    "__x64_sys_",
    "__arm64_sys_",
    "__se_sys_",
    "__do_sys_",
    "__sys_",
    // write(2) and its relatives on a socket: the entry itself ends in a jump.
    "ksys_",
    "do_writev",
];

/// Decodes one record.
///
/// # Errors
/// [`DecodeError`] when the record is shorter than it says.
pub fn decode(record: &Bytes, host: &Host) -> Result<Event, DecodeError> {
    let have = record.len();
    let Ok((raw, _)) = RawEvent::read_from_prefix(record) else {
        return Err(DecodeError::Truncated {
            have,
            need: RAW_EVENT_SIZE,
        });
    };
    if raw.caplen > raw.cap_reserved {
        return Err(DecodeError::Capture {
            caplen: raw.caplen,
            reserved: raw.cap_reserved,
        });
    }
    let stack_at = RAW_EVENT_SIZE + usize::from(raw.cap_reserved);
    let need = stack_at + usize::from(raw.stack_len) * 8;
    if have < need {
        return Err(DecodeError::Truncated { have, need });
    }
    // in bounds: `need` covers all three parts
    let bytes = record.slice(RAW_EVENT_SIZE..RAW_EVENT_SIZE + usize::from(raw.caplen));
    let stack = record.slice(stack_at..need);
    Ok(event(&raw, bytes, &stack, host))
}

fn event(raw: &RawEvent, bytes: Bytes, stack: &[u8], host: &Host) -> Event {
    let tuple = tuple(&raw.tuple);
    let device = device(raw, host);
    let socket = (raw.sk != 0).then(|| Socket {
        addr: raw.sk,
        netns: NetNs(raw.sk_netns),
        tuple: self::tuple(&raw.sk_tuple),
        state: raw.sk_state,
    });
    let detail = detail::detail(raw, &bytes, stack, host);
    let holds_packet = !matches!(detail, Detail::Neighbor(_) | Detail::Fib(_));
    let packet = holds_packet
        .then(|| {
            let start = packet::Start {
                l3_offset: usize::from(raw.l3_offset),
                protocol: raw.protocol,
                skb_len: raw.len,
            };
            packet::parse(&bytes, start, tuple.as_ref())
        })
        .flatten();
    let tuple = tuple.or_else(|| packet.as_ref().and_then(|p| p.tuple));
    let socket_netns = (raw.sk_netns != 0).then_some(NetNs(raw.sk_netns));
    let netns = match &detail {
        // the running task's namespace is the lookup's only in the task's own system call
        Detail::Fib(fib) => socket_netns.filter(|_| fib.local),
        _ => device.map(|d| d.netns).or(socket_netns),
    };
    Event {
        at: KtimeNs(raw.ktime_ns),
        cpu: raw.cpu,
        hook: HookId(raw.hook),
        skb: (raw.skb != 0).then_some(SkbAddr(raw.skb)),
        head: raw.head,
        cloned: raw.flags & FLAG_CLONED != 0,
        fingerprint: (raw.fingerprint != 0).then_some(Fingerprint(raw.fingerprint)),
        device,
        iif: raw.skb_iif,
        netns,
        socket,
        process: process(raw, &detail),
        tuple,
        original: (raw.flags & FLAG_MATCH_ORIGINAL != 0)
            .then(|| self::tuple(&raw.sk_tuple))
            .flatten(),
        len: raw.len,
        segments: raw.gso_segs.max(1),
        pkt_type: raw.pkt_type,
        flags: raw.flags,
        packet,
        bytes,
        detail,
    }
}

/// The packet's device. Only hooks that get a device from the kernel are believed blindly; elsewhere skb->dev can
/// be an overlaid union (UDP's dev_scratch, TCP's rbnode), so the interface must be a known one.
fn device(raw: &RawEvent, host: &Host) -> Option<Device> {
    if raw.netns == 0 || raw.ifindex == 0 {
        return None;
    }
    let device = Device {
        netns: NetNs(raw.netns),
        ifindex: IfIndex(raw.ifindex),
    };
    let sure = matches!(
        raw.hook,
        hook::TC_INGRESS
            | hook::TC_EGRESS
            | hook::NETIF_RECEIVE_SKB
            | hook::NET_DEV_QUEUE
            | hook::NET_DEV_START_XMIT
            | hook::NET_DEV_XMIT
            | hook::XDP_EXCEPTION
            | hook::NEIGH_CREATE
            | hook::NEIGH_UPDATE
            | hook::NEIGH_TIMER_HANDLER
            | hook::NEIGH_EVENT_SEND_DONE
    );
    (sure || host.link(device).is_some()).then_some(device)
}

/// The process, where the event fires in its own system call.
fn process(raw: &RawEvent, detail: &Detail) -> Option<Process> {
    let own = match detail {
        Detail::SocketRead { .. } => true,
        Detail::Fib(fib) => fib.local,
        Detail::Drop(info) => info.stack.iter().any(|frame| {
            frame
                .name
                .as_deref()
                .is_some_and(|name| SYSCALLS.iter().any(|prefix| name.starts_with(prefix)))
        }),
        _ => false,
    };
    (own && raw.pid != 0).then(|| Process {
        pid: raw.pid,
        comm: text(&raw.comm).unwrap_or_default(),
    })
}

/// The tuple of a record; `None` for an unknown family.
#[must_use]
pub fn tuple(raw: &RawTuple) -> Option<Tuple> {
    let proto = proto(raw.proto);
    let src = raw_address(raw.src, raw.family)?;
    let dst = raw_address(raw.dst, raw.family)?;
    let (sport, dport, icmp_id) = match proto {
        Proto::Icmp | Proto::Icmp6 => (0, 0, raw.dport),
        Proto::Arp => (0, 0, 0),
        _ => (raw.sport, raw.dport, 0),
    };
    Some(Tuple {
        proto,
        src,
        sport,
        dst,
        dport,
        icmp_id,
    })
}

/// Transport by its number on the wire ([`PROTO_ARP`] for ARP).
#[must_use]
pub fn proto(number: u8) -> Proto {
    match number {
        1 => Proto::Icmp,
        6 => Proto::Tcp,
        17 => Proto::Udp,
        58 => Proto::Icmp6,
        132 => Proto::Sctp,
        PROTO_ARP => Proto::Arp,
        other => Proto::Other(other),
    }
}

/// Name of the function at an address, without the compiler's suffixes.
fn function(address: u64, host: &Host) -> Option<String> {
    host.symbol(address)
        .map(|name| clean_function(name).to_owned())
}

/// A function's name without an offset (`+0x1f`) and without `.part.0`, `.constprop.0`, `.isra.0`, `.cold`, `.llvm.…`.
#[must_use]
pub fn clean_function(name: &str) -> &str {
    let name = name.split('+').next().unwrap_or(name);
    match name.find('.') {
        // a leading dot is part of the name on some architectures
        Some(at) if at > 0 => name.get(..at).unwrap_or(name),
        _ => name,
    }
}

/// Zero-padded bytes as text without control characters; `None` when empty.
fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    let text: String = String::from_utf8_lossy(bytes.get(..end)?)
        .chars()
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests;
