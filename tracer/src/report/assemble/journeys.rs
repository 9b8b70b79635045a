//! The report's sample of packets, each with its events in words.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};

use tracer_common::hook::HOOKS;

use super::Clock;
use crate::correlate::Trace;
use crate::host::Host;
use crate::model::{
    Detail, Direction, DropInfo, Ethernet, Event, Fate, FibEvent, FlowId, Frame, Journey,
    JourneyId, NeighborEvent, Packet, Step, Transport, Tuple,
};
use crate::report::{JourneyReport, StepReport};
use crate::uapi::{errno, neighbour, openvswitch, tcp};

/// Most journeys of a report.
const JOURNEYS: usize = 64;
/// Most journeys without a loss of one flow and direction.
const UNHARMED: usize = 3;
/// Most steps of a journey: a packet in a loop repeats itself.
const STEPS: usize = 128;

/// Every packet that was lost, up to the bound, then the first few others of each flow and direction.
pub(super) fn sample(trace: &Trace, host: &Host, clock: Clock) -> Vec<JourneyReport> {
    let lost = trace
        .journeys
        .values()
        .filter(|journey| is_lost(&journey.fate));
    let mut chosen: BTreeSet<JourneyId> = lost.map(|journey| journey.id).take(JOURNEYS).collect();
    let mut unharmed: BTreeMap<(FlowId, Direction), usize> = BTreeMap::new();
    for journey in trace.journeys.values() {
        if chosen.len() >= JOURNEYS {
            break;
        }
        if is_lost(&journey.fate) {
            continue;
        }
        let count = unharmed
            .entry((journey.flow, journey.direction))
            .or_default();
        if *count < UNHARMED {
            *count += 1;
            chosen.insert(journey.id);
        }
    }
    trace
        .journeys
        .values()
        .filter(|journey| chosen.contains(&journey.id))
        .map(|journey| journey_report(journey, host, clock))
        .collect()
}

fn is_lost(fate: &Fate) -> bool {
    matches!(fate, Fate::Dropped { .. } | Fate::Vanished { .. })
}

/// The first steps, and the last one, where the packet ended.
pub(super) fn journey_report(journey: &Journey, host: &Host, clock: Clock) -> JourneyReport {
    let count = journey.steps.len();
    let steps: Vec<StepReport> = journey
        .steps
        .iter()
        .enumerate()
        .filter(|(i, _)| *i + 1 < STEPS || *i + 1 == count)
        .map(|(_, step)| step_report(step, host, clock))
        .collect();
    JourneyReport {
        id: journey.id.0,
        flow: journey.flow.0,
        direction: journey.direction.name().into(),
        fate: journey.fate.name().into(),
        steps_left_out: journey.steps_dropped + (count - steps.len()) as u64,
        steps,
    }
}

fn step_report(step: &Step, host: &Host, clock: Clock) -> StepReport {
    StepReport {
        joined: step.joined.name().into(),
        ..step_words(&step.event, host, clock)
    }
}

/// An event in words, without how it was joined.
fn step_words(event: &Event, host: &Host, clock: Clock) -> StepReport {
    StepReport {
        at_ns: clock.since_start(event.at),
        hook: hook(event).into_owned(),
        node: event
            .netns
            .and_then(|netns| host.node(netns))
            .map(str::to_owned),
        namespace: event.netns.map(|netns| host.namespace(netns)),
        interface: event.device.map(|device| host.interface(device)),
        tuple: tuple(event).map(|tuple| tuple.to_string()),
        length: event.len,
        headers: event.packet.as_ref().map(packet_text),
        joined: String::new(),
        detail: detail(event),
        stack: stack(event, host),
    }
}

/// Name of the event's hook.
pub(super) fn hook(event: &Event) -> Cow<'static, str> {
    HOOKS.get(usize::from(event.hook.0)).map_or_else(
        || format!("hook {}", event.hook.0).into(),
        |hook| hook.name.into(),
    )
}

/// The tuple that was followed, else that of the packet.
pub(super) fn tuple(event: &Event) -> Option<Tuple> {
    let of_packet = || event.packet.as_ref().and_then(|packet| packet.tuple);
    event.tuple.or_else(of_packet)
}

/// Callers of the function that dropped it, nearest first.
pub(super) fn stack(event: &Event, host: &Host) -> Vec<String> {
    match &event.detail {
        Detail::Drop(info) => info.stack.iter().map(|frame| name(frame, host)).collect(),
        _ => Vec::new(),
    }
}

/// The headers in words, outermost first: `aa:… > bb:…, vxlan vni 42 …, S seq 7 win 64240, ttl 63 id 4711 df`.
pub(super) fn packet_text(packet: &Packet) -> String {
    let mut text = String::with_capacity(HEADERS);
    // writing to a String cannot fail
    let _ = write_packet(&mut text, packet);
    text
}

/// Room for the headers of most packets.
const HEADERS: usize = 96;

fn write_packet(text: &mut String, packet: &Packet) -> fmt::Result {
    if let Some(header) = &packet.ethernet {
        write_ethernet(next(text), header)?;
    }
    for id in &packet.vlans {
        write!(next(text), "vlan {id}")?;
    }
    if let Some(tunnel) = &packet.tunnel {
        write!(next(text), "{tunnel}")?;
        if let Some(header) = &packet.inner_ethernet {
            write_ethernet(next(text), header)?;
        }
    }
    write_transport(text, &packet.transport)?;
    if packet.ip_len > 0 {
        write!(next(text), "ttl {} id {}", packet.ttl, packet.ip_id)?;
        if packet.dont_fragment {
            *text += " df";
        }
        if let Some(fragment) = packet.fragment {
            let more = if fragment.more { "+" } else { "" };
            write!(text, " fragment at {}{more}", fragment.offset)?;
        }
    }
    Ok(())
}

/// The text, ready for its next part.
fn next(text: &mut String) -> &mut String {
    if !text.is_empty() {
        *text += ", ";
    }
    text
}

fn write_ethernet(text: &mut String, header: &Ethernet) -> fmt::Result {
    write!(text, "{} > {}", header.src, header.dst)
}

/// TCP flags as tcpdump writes them, in the order of its output.
const TCP_FLAGS: [(u8, char); 8] = [
    (tcp::SYN, 'S'),
    (tcp::FIN, 'F'),
    (tcp::RST, 'R'),
    (tcp::PSH, 'P'),
    (tcp::URG, 'U'),
    (tcp::ECE, 'E'),
    (tcp::CWR, 'W'),
    (tcp::ACK, '.'),
];

fn write_transport(text: &mut String, transport: &Transport) -> fmt::Result {
    match transport {
        Transport::Tcp {
            seq,
            ack,
            flags,
            window,
            payload,
            ..
        } => {
            let text = next(text);
            let before = text.len();
            let set = TCP_FLAGS.iter().filter(|(bit, _)| flags & bit != 0);
            text.extend(set.map(|(_, letter)| letter));
            if text.len() == before {
                *text += "none";
            }
            write!(text, " seq {seq} ack {ack} win {window} data {payload}")
        }
        Transport::Udp { payload } => write!(next(text), "data {payload}"),
        Transport::Icmp {
            icmp_type,
            code,
            seq,
            quoted,
            mtu,
        } => {
            write!(next(text), "type {icmp_type} code {code}")?;
            match quoted {
                Some(tuple) => write!(text, " about {tuple}")?,
                None => write!(text, " seq {seq}")?,
            }
            match mtu {
                Some(mtu) => write!(text, " mtu {mtu}"),
                None => Ok(()),
            }
        }
        Transport::Neighbor {
            answer,
            target,
            mac,
        } => match (answer, mac) {
            (true, Some(mac)) => write!(next(text), "{target} is at {mac}"),
            (true, None) => write!(next(text), "{target} answers"),
            (false, _) => write!(next(text), "who has {target}"),
        },
        Transport::Other => Ok(()),
    }
}

fn name(frame: &Frame, host: &Host) -> String {
    match frame.name.as_deref().or_else(|| host.symbol(frame.addr)) {
        Some(name) => name.into(),
        None => format!("{:#x}", frame.addr),
    }
}

/// The hook's own part in words; `None` where the hook's name says all.
pub(super) fn detail(event: &Event) -> Option<String> {
    let mut text = match &event.detail {
        Detail::Ingress | Detail::Egress | Detail::SocketReached | Detail::ResetReceived => {
            String::new()
        }
        Detail::Refused { code } => format!("refused by the driver: {code}"),
        Detail::Drop(info) => drop_text(info),
        Detail::Consumed { function } => function
            .as_ref()
            .map(|function| format!("at {function}"))
            .unwrap_or_default(),
        Detail::Neighbor(entry) => neighbor_text(entry),
        Detail::Fib(lookup) => fib_text(lookup),
        Detail::IcmpSend { icmp_type, code } => format!("type {icmp_type} code {code}"),
        Detail::ResetSent { reason } => reason.clone().unwrap_or_default(),
        Detail::Retransmit { error, syn_ack } => {
            let what = if *syn_ack { "SYN-ACK again" } else { "again" };
            match error {
                Some(code) if *code != 0 => format!("{what}, not sent: {}", error_name(*code)),
                _ => what.into(),
            }
        }
        Detail::SocketRead { length } if *length < 0 => error_name(*length),
        Detail::SocketRead { length } => format!("{length} bytes read"),
        Detail::SocketFull { code } => error_name(*code),
        Detail::SocketError { errno } => error_name(i64::from(*errno)),
        Detail::BadChecksum => "wrong checksum".into(),
        Detail::XdpException { action } => format!("action {action}"),
        Detail::SwitchAction(action) => openvswitch::words(action.kind, action.value),
        Detail::Upcall { missed: Some(true) } => "no flow in the kernel, to ovs-vswitchd".into(),
        Detail::Upcall { .. } => "to ovs-vswitchd".into(),
        Detail::Unknown => "unknown to this version".into(),
    };
    // the process is true only where the decoder kept it
    if let Some(process) = &event.process {
        let space = if text.is_empty() { "" } else { " " };
        // writing to a String cannot fail
        let _ = write!(text, "{space}by {}[{}]", process.comm, process.pid);
    }
    (!text.is_empty()).then_some(text)
}

fn drop_text(info: &DropInfo) -> String {
    let reason = match &info.reason {
        Some(reason) => reason.clone(),
        None if info.reason_code == 0 => "no reason given".into(),
        None => format!("reason {}", info.reason_code),
    };
    let mut parts = vec![match &info.function {
        Some(function) => format!("{reason} at {function}"),
        None => reason,
    }];
    if let Some(error) = info.dst_error.filter(|error| *error != 0) {
        parts.push(format!("route error {}", error_name(i64::from(error))));
    }
    if info.no_carrier == Some(true) {
        parts.push("no carrier".into());
    }
    if info.device_up == Some(false) {
        parts.push("interface down".into());
    }
    parts.join(", ")
}

fn fib_text(lookup: &FibEvent) -> String {
    let result = if lookup.error == 0 {
        "found".into()
    } else {
        error_name(i64::from(lookup.error))
    };
    format!("table {}: {result}", lookup.table)
}

fn neighbor_text(entry: &NeighborEvent) -> String {
    let mut text = entry
        .address
        .map(|address| format!("{address} "))
        .unwrap_or_default();
    text += &neighbour::words(u16::from(entry.new_state.unwrap_or(entry.state)));
    if let Some(mac) = entry.new_mac.or(entry.mac) {
        // writing to a String cannot fail
        let _ = write!(text, " {mac}");
    }
    text
}

/// `EHOSTUNREACH (113)` of a positive or negative error number.
pub(super) fn error_name(code: i64) -> String {
    match errno::name(code) {
        Some(name) => format!("{name} ({})", code.unsigned_abs()),
        None => format!("error {code}"),
    }
}
