//! What is attached to an interface and can take, change or hold up packets: XDP and tc programs, actions, queueing
//! disciplines, the process behind a TUN device; and the interface's own counters. Read-only, for one interface.
//!
//! tracer's own classifiers are left out: they never decide.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use aya::programs::loaded_programs;
use netlink_sys::protocols::NETLINK_ROUTE;
use tracer_common::names;

use super::facts::{Action, Attachment, BpfProgram, DeviceState, LinkCounters, Qdisc};
use super::netlink::{Message, Netlink, Request, attributes, text_of, u32_of};
use super::processes;
use crate::model::Device;
use crate::sys;
use crate::uapi::pkt_sched::{TC_H_EGRESS, TC_H_INGRESS, TC_H_ROOT, TCA_BPF_ID, TCA_BPF_NAME};
use crate::uapi::rtnetlink::{RTM_GETQDISC, RTM_GETTFILTER, TCA_KIND, TCA_OPTIONS};

// linux/rtnetlink.h
const TCA_STATS2: u16 = 7;
const TCA_STATS_BASIC: u16 = 1;
const TCA_STATS_QUEUE: u16 = 3;
// linux/pkt_cls.h
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
/// linux/pkt_sched.h
const TCA_NETEM_ECN: u16 = 7;
const TCA_NETEM_PAD: u16 = 9;
const TCA_NETEM_LATENCY64: u16 = 10;
const TCA_NETEM_JITTER64: u16 = 11;
const TCA_NETEM_PRNG_SEED: u16 = 14;
const TCA_TBF_PARMS: u16 = 1;
/// TCA_MIRRED_PARMS, TCA_GACT_PARMS and their relatives: all begin with `tc_gen`, whose third word is the verdict.
const TCA_ACT_PARMS: u16 = 2;
/// In which attribute a classifier keeps its actions.
const ACTIONS: &[(&str, u16)] = &[
    ("u32", 7),
    ("bpf", 1),
    ("matchall", 2),
    ("flower", 3),
    ("basic", 3),
    ("fw", 4),
];
// linux/if_link.h
const IFLA_STATS64: u16 = 23;
const IFLA_XDP: u16 = 43;
const IFLA_TXQLEN: u16 = 13;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
/// XDP programs by mode: the attribute with the id, and the mode as `ip link set … MODE off` has it.
const XDP_MODES: &[(u16, &str)] = &[(5, "xdpdrv"), (6, "xdpgeneric"), (7, "xdpoffload")];
/// Attach types of programs on interfaces (`enum bpf_attach_type`) and where they stand.
const INTERFACE_HOOKS: &[(u32, &str, &str)] = &[
    (46, "tc-ingress", "tcx"),
    (47, "tc-egress", "tcx"),
    (54, "tc-egress", "netkit"),
    (55, "tc-ingress", "netkit"),
];

/// Reads all of it, in the calling thread's namespace.
pub(super) fn read(device: Device) -> io::Result<DeviceState> {
    let mut socket = Netlink::open(NETLINK_ROUTE)?;
    let ifindex = device.ifindex.0;
    let programs = Names::read();
    let mut state = link(&mut socket, ifindex, &programs)?;
    for (parent, hook) in [(TC_H_INGRESS, "tc-ingress"), (TC_H_EGRESS, "tc-egress")] {
        let filters = Request::all(RTM_GETTFILTER, &tcmsg(ifindex, parent));
        // Without a clsact qdisc there is nothing to list, which is an error of the kernel's and none of ours.
        let list = socket.ask(&filters, |message| filter(message, hook, &programs));
        state.programs.extend(list.unwrap_or_default());
    }
    for (attach, hook, how) in INTERFACE_HOOKS {
        // Kernels and devices without such programs refuse the question.
        let ids = sys::bpf_attached(ifindex, *attach).unwrap_or_default();
        state.programs.extend(ids.into_iter().map(|id| Attachment {
            hook: (*hook).to_owned(),
            how: (*how).to_owned(),
            priority: 0,
            protocol: 0,
            program: Some(programs.program(id)),
            actions: Vec::new(),
        }));
    }
    state.programs.retain(|a| !is_ours(a));
    let request = Request::all(RTM_GETQDISC, &tcmsg(ifindex, 0));
    state.qdiscs = socket.ask(&request, |message| qdisc(message, ifindex))?;
    Ok(state)
}

/// Adds the processes behind a TUN or TAP device: from any namespace, by the machine's /proc.
pub(super) fn holders(state: &mut DeviceState, name: &str) {
    state.holders = Some(processes::holding_tun(Path::new("/proc"), name));
}

fn is_ours(attachment: &Attachment) -> bool {
    let program = attachment.program.as_ref();
    program.is_some_and(|program| names::CLASSIFIERS.contains(&program.name.as_str()))
}

/// Names of all programs of the machine by id.
#[derive(Default)]
pub(super) struct Names(BTreeMap<u32, String>);

impl Names {
    /// Empty where the kernel does not let them be listed.
    pub(super) fn read() -> Self {
        Self(
            loaded_programs()
                .filter_map(Result::ok)
                .filter_map(|info| Some((info.id(), info.name_as_str()?.to_owned())))
                .collect(),
        )
    }

    pub(super) fn program(&self, id: u32) -> BpfProgram {
        BpfProgram {
            id,
            name: self.0.get(&id).cloned().unwrap_or_default(),
        }
    }
}

/// struct tcmsg: family and pad (4), ifindex, handle, parent, info.
fn tcmsg(ifindex: u32, parent: u32) -> Vec<u8> {
    [0, ifindex, 0, parent, 0]
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect()
}

fn link(socket: &mut Netlink, ifindex: u32, programs: &Names) -> io::Result<DeviceState> {
    // struct ifinfomsg: family, pad, type (2), index (4), flags (4), change (4)
    let mut header = vec![0; 4];
    header.extend(ifindex.to_ne_bytes());
    header.extend([0; 8]);
    let request = Request::one(libc::RTM_GETLINK, &header);
    socket
        .ask(&request, |message| link_of(message, programs))?
        .into_iter()
        .next()
        .ok_or_else(|| io::Error::other("no answer from the kernel"))
}

pub(super) fn link_of(message: Message<'_>, programs: &Names) -> Option<DeviceState> {
    let (_, rest) = message.payload.split_first_chunk::<16>()?;
    let mut state = DeviceState::default();
    for (kind, value) in attributes(rest) {
        match kind {
            IFLA_STATS64 => state.counters = counters(value),
            IFLA_XDP => state.programs = xdp(value, programs),
            IFLA_TXQLEN => state.queue_length = u32_of(value),
            _ => {}
        }
    }
    Some(state)
}

/// struct rtnl_link_stats64: 64-bit words in a fixed order, longer on newer kernels.
fn counters(value: &[u8]) -> LinkCounters {
    let word = |at: usize| {
        value
            .get(at * 8..)
            .and_then(|rest| rest.first_chunk())
            .map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    };
    LinkCounters {
        rx_errors: word(4),
        tx_errors: word(5),
        rx_dropped: word(6),
        tx_dropped: word(7),
        rx_missed: word(15),
        tx_carrier_errors: word(17),
        rx_nohandler: word(23),
        rx_otherhost_dropped: word(24),
    }
}

fn xdp(value: &[u8], programs: &Names) -> Vec<Attachment> {
    let id = |wanted: u16| {
        attributes(value)
            .find(|(kind, _)| *kind == wanted)
            .and_then(|(_, value)| u32_of(value))
            .filter(|id| *id != 0)
    };
    let attached = attributes(value)
        .find(|(kind, _)| *kind == IFLA_XDP_ATTACHED)
        .and_then(|(_, value)| value.first())
        .is_some_and(|mode| *mode != 0);
    if !attached {
        return Vec::new();
    }
    let attachment = |(how, id): (&str, u32)| Attachment {
        hook: "xdp".to_owned(),
        how: how.to_owned(),
        priority: 0,
        protocol: 0,
        program: Some(programs.program(id)),
        actions: Vec::new(),
    };
    let by_mode: Vec<_> = XDP_MODES
        .iter()
        .filter_map(|(kind, mode)| Some((*mode, id(*kind)?)))
        .map(attachment)
        .collect();
    if !by_mode.is_empty() {
        return by_mode;
    }
    // Kernels before 4.20 tell one id without its mode.
    id(IFLA_XDP_PROG_ID)
        .map(|id| attachment(("xdp", id)))
        .into_iter()
        .collect()
}

/// A filter that stands at ingress or egress. Heads of priorities and tables of u32 are none.
pub(super) fn filter(message: Message<'_>, hook: &str, programs: &Names) -> Option<Attachment> {
    let (header, rest) = message.payload.split_first_chunk::<20>()?;
    let (handle, info) = (u32_of(header.get(8..)?)?, u32_of(header.get(16..)?)?);
    let value_of = |wanted: u16| {
        attributes(rest)
            .find(|(kind, _)| *kind == wanted)
            .map(|(_, value)| value)
    };
    let kind = text_of(value_of(TCA_KIND)?);
    let options = value_of(TCA_OPTIONS).unwrap_or_default();
    // The name that tc gives a filter of classic BPF is its file or its code; that of a program is in the program.
    let mut name = String::new();
    let mut id = None;
    let mut actions = Vec::new();
    let actions_at = ACTIONS.iter().find(|(k, _)| *k == kind).map(|(_, at)| *at);
    for (attribute, value) in attributes(options) {
        match attribute {
            TCA_BPF_NAME if kind == "bpf" => name = text_of(value),
            TCA_BPF_ID if kind == "bpf" => id = u32_of(value),
            at if Some(at) == actions_at => {
                actions = attributes(value).filter_map(|(_, a)| action(a)).collect();
            }
            _ => {}
        }
    }
    let table = kind == "u32" && handle & 0xfff == 0 && actions.is_empty();
    if handle == 0 || table {
        return None;
    }
    let program = id.map(|id| {
        let mut program = programs.program(id);
        if program.name.is_empty() {
            program.name = name;
        }
        program
    });
    Some(Attachment {
        hook: hook.to_owned(),
        how: kind,
        priority: (info >> 16) as u16,
        // TC_H_MIN, in network order.
        protocol: u16::from_be(info as u16),
        program,
        actions,
    })
}

fn action(value: &[u8]) -> Option<Action> {
    let of = |wanted: u16| {
        attributes(value)
            .find(|(kind, _)| *kind == wanted)
            .map(|(_, value)| value)
    };
    let kind = text_of(of(TCA_ACT_KIND)?);
    let parms = of(TCA_ACT_OPTIONS)
        .and_then(|options| attributes(options).find(|(kind, _)| *kind == TCA_ACT_PARMS))
        .map(|(_, value)| value)
        .unwrap_or_default();
    let word = |at: usize| parms.get(at * 4..).and_then(u32_of);
    // struct tc_mirred: tc_gen (5 words), what to do (1 redirects at egress, 2 mirrors, 3 and 4 the same at ingress),
    // and the interface.
    let (verb, to) = match (kind.as_str(), word(5)) {
        ("mirred", Some(1)) => ("redirect", word(6)),
        ("mirred", Some(3)) => ("ingress redirect", word(6)),
        ("mirred", Some(_)) => ("mirror", word(6)),
        // TC_ACT_SHOT
        ("gact", _) if word(2) == Some(2) => ("drop", None),
        _ => ("", None),
    };
    Some(Action {
        kind,
        verb: verb.to_owned(),
        to,
    })
}

pub(super) fn qdisc(message: Message<'_>, ifindex: u32) -> Option<Qdisc> {
    let (header, rest) = message.payload.split_first_chunk::<20>()?;
    let word = |at: usize| u32_of(header.get(at..)?);
    if word(4)? != ifindex {
        return None;
    }
    let mut qdisc = Qdisc {
        parent: handle_words(word(12)?),
        handle: handle_words(word(8)?),
        ..Qdisc::default()
    };
    let mut options: &[u8] = &[];
    for (kind, value) in attributes(rest) {
        match kind {
            TCA_KIND => qdisc.kind = text_of(value),
            TCA_OPTIONS => options = value,
            TCA_STATS2 => statistics(&mut qdisc, value),
            _ => {}
        }
    }
    qdisc.settings = settings(&qdisc.kind, options);
    Some(qdisc)
}

/// Settings of the disciplines that are read here, as tc(8) takes them.
fn settings(kind: &str, options: &[u8]) -> Option<String> {
    match kind {
        // struct tc_fifo_qopt
        "pfifo" => Some(format!("limit {}", u32_of(options)?)),
        "bfifo" => Some(format!("limit {}b", u32_of(options)?)),
        "tbf" => tbf(options),
        "netem" => netem(options),
        _ => None,
    }
}

/// struct tc_tbf_qopt: rate and peak rate (struct tc_ratespec, 12 bytes each, the last four are bytes a second), limit,
/// buffer (in ticks of 64 ns at that rate: PSCHED_SHIFT), mtu. A peak rate, or one that needs 64 bits, is not read.
fn tbf(options: &[u8]) -> Option<String> {
    let (_, parms) = attributes(options).find(|(kind, _)| *kind == TCA_TBF_PARMS)?;
    let word = |at: usize| u32_of(parms.get(at..)?);
    let (rate, peak, limit, buffer) = (word(8)?, word(20)?, word(24)?, word(28)?);
    if peak != 0 || rate == 0 || rate == u32::MAX {
        return None;
    }
    let burst = (u64::from(buffer) * 64 * u64::from(rate)).div_ceil(1_000_000_000);
    Some(format!("rate {rate}bps burst {burst}b limit {limit}b"))
}

/// struct tc_netem_qopt (latency, limit, loss, gap, duplicate, jitter), then attributes. Only what delays, loses and
/// doubles by chance is read: of all else there must be none.
fn netem(options: &[u8]) -> Option<String> {
    /// sizeof(struct tc_netem_qopt).
    const BASIC: usize = 24;
    let word = |at: usize| u32_of(options.get(at * 4..)?);
    let (limit, loss, gap, duplicate) = (word(1)?, word(2)?, word(3)?, word(4)?);
    let (mut delay, mut jitter) = (0u64, 0u64);
    for (kind, value) in attributes(options.get(BASIC..)?) {
        let wide = || value.first_chunk().map(|b| u64::from_ne_bytes(*b));
        match kind {
            TCA_NETEM_LATENCY64 => delay = wide()?,
            TCA_NETEM_JITTER64 => jitter = wide()?,
            TCA_NETEM_ECN | TCA_NETEM_PAD | TCA_NETEM_PRNG_SEED => {}
            _ if value.iter().all(|byte| *byte == 0) => {}
            _ => return None,
        }
    }
    if gap != 0 {
        return None;
    }
    let percent = |share: u32| f64::from(share) * 100.0 / f64::from(u32::MAX);
    let micros = |ns: u64| ns.div_ceil(1000);
    let mut words = format!("limit {limit}");
    if delay > 0 {
        words += &format!(" delay {}us {}us", micros(delay), micros(jitter));
    }
    for (word, share) in [("loss", loss), ("duplicate", duplicate)] {
        if share > 0 {
            words += &format!(" {word} {}%", (percent(share) * 1e4).round() / 1e4);
        }
    }
    Some(words)
}

fn statistics(qdisc: &mut Qdisc, value: &[u8]) {
    for (kind, value) in attributes(value) {
        let word = |at: usize| value.get(at * 4..).and_then(u32_of).unwrap_or(0);
        match kind {
            // struct gnet_stats_basic: bytes (8), packets
            TCA_STATS_BASIC => qdisc.packets = word(2),
            // struct gnet_stats_queue: qlen, backlog, drops, requeues, overlimits
            TCA_STATS_QUEUE => {
                (qdisc.queued, qdisc.backlog) = (word(0), word(1));
                (qdisc.drops, qdisc.overlimits) = (word(2), word(4));
            }
            _ => {}
        }
    }
}

/// A handle as tc(8) writes it.
fn handle_words(handle: u32) -> String {
    match (handle >> 16, handle & 0xffff) {
        _ if handle == TC_H_ROOT => "root".to_owned(),
        (major, 0) => format!("{major:x}:"),
        (major, minor) => format!("{major:x}:{minor:x}"),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use super::super::netlink::messages;
    use super::*;

    fn names() -> Names {
        Names(BTreeMap::from([(7, "guard".to_owned())]))
    }

    #[test]
    fn a_redirect_is_read_from_its_filter() {
        let parms: Vec<u8> = [0u32, 0, 4, 1, 1, 1, 9]
            .iter()
            .flat_map(|w| w.to_ne_bytes())
            .collect();
        let options = Request::one(0, &[]).attribute(TCA_ACT_PARMS, &parms);
        let mirred = Request::one(0, &[])
            .attribute(TCA_ACT_KIND, b"mirred\0")
            .attribute(TCA_ACT_OPTIONS, options.payload());
        let list = Request::one(0, &[]).attribute(1, mirred.payload());
        let mut header = tcmsg(3, TC_H_INGRESS);
        header.splice(8..12, 0x8000_0800u32.to_ne_bytes());
        header.splice(16..20, (60u32 << 16).to_ne_bytes());
        let request = Request::one(44, &header)
            .attribute(TCA_KIND, b"u32\0")
            .nested(TCA_OPTIONS, &[(7, list.payload().to_vec())]);
        let bytes = request.bytes();
        let read = filter(messages(&bytes).next().unwrap(), "tc-ingress", &names());
        // A node of u32 has its number in the lowest bits; one with actions counts whatever its number is.
        let found = read.unwrap();
        assert_eq!((found.how.as_str(), found.priority), ("u32", 60));
        assert_eq!(
            found.actions,
            [Action {
                kind: "mirred".to_owned(),
                verb: "redirect".to_owned(),
                to: Some(9),
            }]
        );
    }

    #[test]
    fn xdp_tells_its_mode_and_program() {
        let nest = Request::one(0, &[])
            .attribute(IFLA_XDP_ATTACHED, &[2])
            .attribute(IFLA_XDP_PROG_ID, &7u32.to_ne_bytes())
            .attribute(6, &7u32.to_ne_bytes());
        let found = xdp(nest.payload(), &names());
        let first = found.first().unwrap();
        assert_eq!((found.len(), first.how.as_str()), (1, "xdpgeneric"));
        assert_eq!(first.program.as_ref().unwrap().name, "guard");
        let none = Request::one(0, &[]).attribute(IFLA_XDP_ATTACHED, &[0]);
        assert!(xdp(none.payload(), &names()).is_empty());
    }

    #[test]
    fn a_qdisc_is_read_with_what_it_dropped() {
        let mut header = tcmsg(3, TC_H_ROOT);
        header.splice(8..12, 0x8001_0000u32.to_ne_bytes());
        let queue: Vec<u8> = [2u32, 3000, 17, 0, 40]
            .iter()
            .flat_map(|w| w.to_ne_bytes())
            .collect();
        let request = Request::one(36, &header)
            .attribute(TCA_KIND, b"tbf\0")
            .nested(TCA_STATS2, &[(TCA_STATS_QUEUE, queue)]);
        let bytes = request.bytes();
        let message = messages(&bytes).next().unwrap();
        let found = qdisc(message, 3).unwrap();
        assert_eq!(
            (
                found.kind.as_str(),
                found.handle.as_str(),
                found.parent.as_str()
            ),
            ("tbf", "8001:", "root")
        );
        assert_eq!((found.drops, found.overlimits, found.queued), (17, 40, 2));
        assert_eq!(found.settings, None, "it tells none");
        assert_eq!(qdisc(message, 4), None);
    }

    #[test]
    fn settings_are_those_by_which_a_qdisc_is_made() {
        let words = [0u32, 0, 1000, 0, 0, 0, 3000, 25_000_000, 0];
        let parms: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
        let options = Request::one(0, &[]).attribute(TCA_TBF_PARMS, &parms);
        assert_eq!(
            settings("tbf", options.payload()).as_deref(),
            Some("rate 1000bps burst 1600b limit 3000b")
        );
        assert_eq!(
            settings("bfifo", &1500u32.to_ne_bytes()).as_deref(),
            Some("limit 1500b")
        );
        assert_eq!(settings("htb", &[0; 40]), None);
        let basic = [0u32, 1000, u32::MAX / 4, 0, 0, 0];
        let basic: Vec<u8> = basic.iter().flat_map(|w| w.to_ne_bytes()).collect();
        let with = |kind: u16, value: &[u8]| {
            let more = Request::one(0, &[]).attribute(kind, value);
            [basic.as_slice(), more.payload()].concat()
        };
        let delayed = with(TCA_NETEM_LATENCY64, &20_000_000u64.to_ne_bytes());
        assert_eq!(
            settings("netem", &delayed).as_deref(),
            Some("limit 1000 delay 20000us 0us loss 25%")
        );
        let correlated = with(1, &[1; 12]);
        assert_eq!(settings("netem", &correlated), None);
    }
}
