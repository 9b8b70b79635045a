//! Packets at ports of Open vSwitch: where they came in, what its daemon says that becomes of them, and what that says of
//! their end. Rules for losses ([`super::rules::ovs`]) and for silence ([`super::silent`]) share it.

mod advice;
mod mtu;
mod told;
mod tunnel;

use std::net::IpAddr;

use crate::correlate::Trace;
use crate::host::Host;
use crate::host::facts::{
    Holder, Link, OvsAnswer, OvsBridge, OvsFlow, OvsPort, OvsStep, OvsTrace, Question,
};
use crate::model::{Detail, Device, DropInfo, Event, Journey, Proto, Step, Transport};
use crate::network::links::master_of;
use crate::network::walk::Check;
use crate::uapi::{icmpv6, openvswitch};
use crate::verdict::{Confidence, Outcome};

use super::candidate::{Candidate, Specificity, place_at};
use super::causes::{OVS_CT, OVS_FLOW_DROP, OVS_METER, OVS_NO_FLOW, OVS_PORT, OVS_UPCALL_LOST};
use super::remedy::{Shell, text};
use super::view::View;
use super::words;

use told::{End, Ports, Told};

pub use advice::{misdirected, rewrites};
pub use tunnel::wrong_remote;

/// `where.hook` of this family.
pub const HOOK: &str = "openvswitch";
/// Kind of the interfaces that are Open vSwitch's own: the one of the datapath, and internal ports.
const KIND: &str = "openvswitch";
/// Ways into Open vSwitch that are asked about, of one packet: the last ones.
const FEW: usize = 2;
/// Of conntrack's status (linux/netfilter/nf_conntrack_common.h): packets of both directions were seen.
const SEEN_REPLY: u32 = 2;

/// The port by which a packet comes into Open vSwitch with this event: from outside through a port's interface, or from
/// the host through an internal port.
#[must_use]
pub fn entrance(host: &Host, event: &Event) -> Option<Device> {
    let device = event.device?;
    let link = host.link(device)?;
    let inside = match event.detail {
        Detail::Ingress => is_port(host, link),
        Detail::Egress => link.kind == KIND,
        _ => false,
    };
    inside.then_some(device)
}

fn is_port(host: &Host, link: &Link) -> bool {
    link.kind != KIND && master_of(host, link).is_some_and(|master| master.kind == KIND)
}

/// The last entrance among steps, and which step it is.
fn last_entrance(host: &Host, steps: &[Step]) -> Option<(Device, usize)> {
    let mut steps = steps.iter().enumerate().rev();
    steps.find_map(|(at, step)| Some((entrance(host, &step.event)?, at)))
}

/// The packet as Open vSwitch looks at it: of a tunnel the outer headers.
fn flow_of(event: &Event) -> Option<OvsFlow> {
    let packet = event.packet.as_ref()?;
    let outer = packet.tunnel.map(|tunnel| tunnel.outer);
    let tuple = outer.or(event.tuple).or(packet.tuple)?;
    let kind = match packet.transport {
        Transport::Icmp {
            icmp_type, code, ..
        } => Some((icmp_type, code)),
        Transport::Neighbor { answer, .. } if tuple.proto == Proto::Arp => {
            Some((if answer { 2 } else { 1 }, 0))
        }
        Transport::Neighbor { answer, .. } => {
            let (asks, tells) = (
                icmpv6::NEIGHBOUR_SOLICITATION,
                icmpv6::NEIGHBOUR_ADVERTISEMENT,
            );
            Some((if answer { tells } else { asks }, 0))
        }
        _ => None,
    };
    Some(OvsFlow {
        tuple,
        macs: packet.ethernet.map(|frame| (frame.src, frame.dst)),
        vlan: packet.vlans.first().copied(),
        kind: kind.filter(|_| outer.is_none()),
        ttl: packet.ttl,
    })
}

/// The rules of bridges that a packet meets behind the port by which it comes in, as the daemon says. Where conntrack decides
/// between several ways, none.
#[must_use]
pub fn checks(host: &Host, event: &Event) -> Vec<Check> {
    let answer = entrance(host, event).and_then(|device| {
        let read = host.ovs.get(&(device, flow_of(event)?.tuple))?;
        Some(&read.fact)
    });
    let Some([trace]) = answer.map(|answer| answer.traces.as_slice()) else {
        return Vec::new();
    };
    let last = trace.steps.len().saturating_sub(1);
    let check = |(n, step): (usize, &OvsStep)| Check {
        hook: HOOK,
        chain: None,
        rule: None,
        handle: None,
        text: format!("{}, {}", step.bridge, rule_words(step)),
        verdict: match trace.drops() && n == last {
            true => "drop".to_owned(),
            false => step.actions.join(", "),
        },
        undecided: None,
    };
    trace.steps.iter().enumerate().map(check).collect()
}

/// What the kernel did with a packet that came in with this event, up to the next place at which it was seen.
#[must_use]
pub fn kernel_checks(host: &Host, event: &Event, between: &[Step]) -> Vec<Check> {
    match entrance(host, event) {
        Some(_) => told::checks(host, event, between),
        None => Vec::new(),
    }
}

/// What to ask about a packet that came into Open vSwitch on its way.
pub fn questions(host: &Host, steps: &[Step]) -> Vec<Question> {
    let mut list = Vec::new();
    for event in steps.iter().rev().map(|step| &step.event) {
        if let (Some(device), Some(flow)) = (entrance(host, event), flow_of(event)) {
            list.push(Question::Ovs { device, flow });
        }
        if list.len() == FEW {
            break;
        }
    }
    list
}

/// A packet at a port, with what was read for it.
struct Scene<'a> {
    host: &'a Host,
    device: Device,
    answer: &'a OvsAnswer,
    /// Bytes of the packet, from its IP header on, where they were captured.
    length: Option<u32>,
    /// What the kernel said of its end; `None` where it said nothing.
    info: Option<&'a DropInfo>,
    /// What the kernel did with it before; `None` where that is not told.
    told: Option<Told>,
}

impl<'a> Scene<'a> {
    fn of(host: &'a Host, steps: &'a [Step], info: Option<&'a DropInfo>) -> Option<Self> {
        let (device, at) = last_entrance(host, steps)?;
        let (before, behind) = steps.split_at_checked(at + 1)?;
        let mut scene = Self::at(host, device, &before.last()?.event, info)?;
        scene.told = Told::of(host, behind.iter());
        Some(scene)
    }

    fn at(
        host: &'a Host,
        device: Device,
        event: &'a Event,
        info: Option<&'a DropInfo>,
    ) -> Option<Self> {
        let key = (device, flow_of(event)?.tuple);
        Some(Self {
            host,
            device,
            answer: &host.ovs.get(&key)?.fact,
            length: event.packet.as_ref().map(|packet| packet.ip_len),
            info,
            told: None,
        })
    }

    /// Whether a flow of the kernel decided over it.
    fn is_decided(&self) -> bool {
        self.told.as_ref().is_some_and(Told::is_decided)
    }

    fn told_words(&self) -> Option<String> {
        let ports = Ports {
            host: self.host,
            netns: self.device.netns,
        };
        self.told.as_ref()?.words(&ports)
    }

    fn port(&self) -> Option<(&'a OvsBridge, &'a OvsPort)> {
        self.answer.port(&self.host.interface(self.device))
    }

    fn shell(&self) -> Shell {
        Shell::of(self.host, Some(self.device.netns))
    }

    /// ` on NAMESPACE at INTERFACE`, with the bridge where it is known.
    fn at_words(&self) -> String {
        let bridge = self.port();
        let bridge = bridge.map_or_else(String::new, |(b, _)| format!(" (port of {})", b.name));
        format!(
            " on {} at {}{bridge}",
            self.host.namespace(self.device.netns),
            self.host.interface(self.device)
        )
    }

    /// The trace that fits what the kernel said of conntrack, and whether it is known to be the one.
    fn trace(&self) -> Option<(&'a OvsTrace, bool)> {
        let traces = self.answer.traces.as_slice();
        if let [only] = traces {
            return Some((only, true));
        }
        let state = self.info.and_then(|info| match info.ct_attached {
            Some(true) if info.ct_status.is_some_and(|bits| bits & SEEN_REPLY != 0) => {
                Some("trk,est")
            }
            Some(true) => Some("trk,new"),
            Some(false) => Some("trk,inv"),
            None => None,
        });
        match state {
            Some(state) => traces
                .iter()
                .find(|trace| trace.assumed == state)
                .map(|trace| (trace, true)),
            None => {
                let first = traces.iter().find(|trace| trace.drops())?;
                Some((first, traces.iter().all(OvsTrace::drops)))
            }
        }
    }

    fn candidate(&self, cause: &'static super::causes::Cause, summary: String) -> Candidate {
        let mut place = place_at(self.host, self.device, HOOK);
        place.function = self.info.and_then(|info| info.function.clone());
        Candidate::new(cause, place, format!("{summary}{}", self.at_words()))
            .explains(Specificity::Linked)
    }
}

/// Whether the kernel could not hand a packet to the daemon: it frees it where it would have looked for a flow
/// (`ovs_dp_process_packet`, net/openvswitch/datapath.c).
fn is_upcall(info: &DropInfo) -> bool {
    info.function.as_deref() == Some("ovs_dp_process_packet") && info.is_unnamed()
}

/// Why a packet that came to a port went no further. Without a word of the kernel, only what the daemon or its absence tells.
#[must_use]
pub fn explain(host: &Host, steps: &[Step], info: Option<&DropInfo>) -> Option<Candidate> {
    let scene = Scene::of(host, steps, info)?;
    let candidate = judge(&scene)?;
    Some(candidate.because("flow", scene.told_words()))
}

fn judge(scene: &Scene<'_>) -> Option<Candidate> {
    let info = scene.info;
    let reason = info.and_then(|info| info.reason.as_deref()).unwrap_or("");
    if let Some(too_big) = info.and_then(|info| mtu::exceeded(scene, info)) {
        return Some(too_big);
    }
    match (info, reason) {
        (Some(info), _) if is_upcall(info) => Some(upcall(scene)),
        (None, _) if is_idle(scene) && !scene.is_decided() => {
            Some(upcall(scene).sure(Confidence::Likely))
        }
        // Before 6.6 a meter ends packets without a word.
        (None, _) if is_metered(scene) => Some(metered(scene).sure(Confidence::Likely)),
        (Some(_), "OVS_DROP_METER") => Some(metered(scene)),
        (Some(_), "OVS_DROP_CONNTRACK") => Some(advice::conntrack(scene)),
        _ => by_trace(scene)
            .or_else(|| by_reason(scene, reason))
            .or_else(|| by_kernel(scene)),
    }
}

/// Whether a meter ended it: the last that the kernel tells of, or else what is on its way.
fn is_metered(scene: &Scene<'_>) -> bool {
    match scene.told.as_ref().and_then(Told::end) {
        Some(end) => end == End::Meter,
        None => scene
            .trace()
            .is_some_and(|(trace, _)| trace.output.contains("meter(")),
    }
}

/// No daemon works for the port.
fn is_idle(scene: &Scene<'_>) -> bool {
    let stopped = |daemon: &Holder| matches!(daemon.state, Some('T' | 't'));
    let unheard = scene
        .answer
        .datapath
        .as_ref()
        .is_some_and(|datapath| datapath.listened == Some(false));
    scene.answer.daemons.iter().all(stopped) || unheard
}

/// What has no flow in the kernel does not get an answer from the daemon.
fn upcall(scene: &Scene<'_>) -> Candidate {
    let answer = scene.answer;
    let stopped = answer
        .daemons
        .iter()
        .find(|daemon| matches!(daemon.state, Some('T' | 't')));
    let why = match (answer.daemons.as_slice(), stopped) {
        ([], _) => "ovs-vswitchd does not run".to_owned(),
        (_, Some(daemon)) => format!("ovs-vswitchd (process {}) is stopped", daemon.process.pid),
        _ if is_idle(scene) => "no socket of ovs-vswitchd takes what has no flow".to_owned(),
        _ if scene.info.is_none() => "ovs-vswitchd got it, and sent nothing back".to_owned(),
        _ => "ovs-vswitchd runs, and its queue did not take it".to_owned(),
    };
    let counted = answer.datapath.as_ref().map(|datapath| {
        format!(
            "datapath {}: {} without a flow, {} of them lost, {} did not fit into the daemon's queue",
            datapath.name,
            words::count(datapath.missed, "packet"),
            datapath.lost,
            datapath.overflowed
        )
    });
    scene
        .candidate(
            &OVS_UPCALL_LOST,
            format!("{why}: the kernel has no flow for it, and nobody says what to do"),
        )
        .because("counter", counted)
        .advise(advice::daemon(
            scene,
            stopped.map(|daemon| daemon.process.pid),
        ))
}

fn metered(scene: &Scene<'_>) -> Candidate {
    let met = scene.trace().and_then(|(trace, _)| {
        let mut steps = trace.steps.iter().rev();
        steps.find_map(|step| {
            let meter = step
                .actions
                .iter()
                .find_map(|it| it.strip_prefix("meter:"))?;
            Some((step, meter))
        })
    });
    let words = met.map_or_else(
        || "a meter drops it".to_owned(),
        |(step, meter)| {
            format!(
                "meter {meter} of {} drops it ({})",
                step.bridge,
                rule_words(step)
            )
        },
    );
    let candidate = scene.candidate(&OVS_METER, words);
    let candidate = candidate.advise(scene.look());
    match met {
        Some((step, meter)) => candidate.advise(scene.without_meter(step, meter)),
        None => candidate,
    }
}

/// `table 0, icmp,nw_dst=10.77.4.200, priority 200`.
fn rule_words(step: &OvsStep) -> String {
    match step.matched.as_deref() {
        None => format!("table {}: no rule matches", step.table),
        Some("") => format!(
            "table {}, priority {}, which matches everything",
            step.table, step.priority
        ),
        Some(matched) => format!(
            "table {}, priority {}, {matched}",
            step.table, step.priority
        ),
    }
}

/// Whether nobody gets the packet: it is dropped, or goes to nothing but bridges' own ports that are down, as a switch sends
/// what it knows no other port for.
fn comes_to_nothing(scene: &Scene<'_>, trace: &OvsTrace) -> bool {
    let host = scene.host;
    let idle = |number: &u32| {
        let bridges = scene.answer.bridges.iter();
        let mut own = bridges.flat_map(|bridge| {
            let ports = bridge.ports.iter();
            ports.filter(|port| port.name == bridge.name)
        });
        own.any(|port| {
            let mut links = host
                .links()
                .filter(|l| l.device.netns == scene.device.netns);
            port.datapath == Some(*number) && links.any(|l| l.name == port.name && !l.up)
        })
    };
    let outputs = trace.outputs();
    trace.drops() || outputs.is_some_and(|to| !to.is_empty() && to.iter().all(idle))
}

/// What the daemon says of packets like it.
fn by_trace(scene: &Scene<'_>) -> Option<Candidate> {
    let (trace, sure) = scene.trace()?;
    let step = trace
        .steps
        .last()
        .filter(|_| comes_to_nothing(scene, trace))?;
    let ends = step.actions.iter().all(|action| action == "drop");
    let refuses_rest = ends && step.matched.as_deref() == Some("");
    let invalid = step.matched.as_deref().is_some_and(|m| m.contains("+inv"));
    let bridge = &step.bridge;
    let candidate = match step.matched {
        None => scene.candidate(
            &OVS_NO_FLOW,
            format!("no rule of {bridge}, table {}, matches it", step.table),
        ),
        Some(_) if refuses_rest => scene.candidate(
            &OVS_NO_FLOW,
            format!(
                "only the last rule of {bridge}, table {}, matches it, and drops",
                step.table
            ),
        ),
        Some(_) if ends && invalid => scene.candidate(
            &OVS_CT,
            format!(
                "conntrack takes it for invalid, and a rule of {bridge} drops it ({})",
                rule_words(step)
            ),
        ),
        Some(_) if ends => scene.candidate(
            &OVS_FLOW_DROP,
            format!("a rule of {bridge} drops it ({})", rule_words(step)),
        ),
        Some(_) => return Some(told(advice::no_output(scene, step), trace, sure)),
    };
    let advised = match (&step.matched, ends && !refuses_rest && !invalid) {
        (Some(_), true) => candidate.advise(scene.look()).advise(scene.delete(step)),
        _ => candidate
            .advise(scene.look())
            .advise(scene.let_pass(trace, step)),
    };
    Some(told(advised, trace, sure))
}

/// With the rules that the packet met.
fn told(candidate: Candidate, trace: &OvsTrace, sure: bool) -> Candidate {
    let steps = trace.steps.iter().map(|step| {
        let remarks = step.remarks.iter().map(|remark| format!(" ({remark})"));
        let remarks: String = remarks.collect();
        format!(
            "{}: {} → {}{remarks}",
            step.bridge,
            rule_words(step),
            step.actions.join(", ")
        )
    });
    let assumed = match trace.assumed.as_str() {
        "" => String::new(),
        state => format!(", with ct_state {state}"),
    };
    let candidate = steps.fold(candidate, |candidate, step| candidate.because("flow", step));
    let candidate = candidate.because(
        "flow",
        format!(
            "ofproto/trace of packets like it{assumed}: {}",
            trace.output
        ),
    );
    match sure {
        true => candidate,
        false => candidate.sure(Confidence::Likely),
    }
}

/// The kernel's own word, where the daemon was not asked or says something else by now.
fn by_reason(scene: &Scene<'_>, reason: &str) -> Option<Candidate> {
    let unnamed = scene.info?.is_unnamed();
    let given = scene.told.as_ref().and_then(Told::end) == Some(End::Output);
    let (cause, what): (_, &str) = match reason {
        "DEV_READY" => (&OVS_PORT, "the port to which Open vSwitch sends it is down"),
        _ if unnamed && given => (
            &OVS_PORT,
            "the port to which Open vSwitch sends it is down, or gone",
        ),
        "OVS_DROP_LAST_ACTION" => (
            &OVS_FLOW_DROP,
            "the flow of Open vSwitch for it has no output: a rule drops it, or none matches",
        ),
        "OVS_DROP_EXPLICIT" | "OVS_DROP_EXPLICIT_WITH_ERROR" => {
            (&OVS_FLOW_DROP, "a rule of Open vSwitch drops it")
        }
        _ => return None,
    };
    let candidate = scene.candidate(cause, what.to_owned()).advise(scene.look());
    Some(candidate.advise([text(
        "which rule it is cannot be told: ovs-vswitchd did not say that it drops packets like it",
    )]))
}

/// What the kernel's tracepoints alone tell: where the daemon cannot be asked, or would do something else by now.
fn by_kernel(scene: &Scene<'_>) -> Option<Candidate> {
    if scene.info.is_some() {
        return None;
    }
    let flows = scene.shell().look(
        "the kernel's flows: which matches, and what it does",
        "ovs-dpctl dump-flows",
    );
    let what = match scene.told.as_ref()?.end()? {
        End::Unreturned { by_flow: false } => {
            return Some(upcall(scene).sure(Confidence::Likely));
        }
        End::Unreturned { by_flow: true } => {
            let what = "its flow hands it to ovs-vswitchd (for a controller or a sampler), and nothing came back";
            let candidate = scene.candidate(&OVS_UPCALL_LOST, what.to_owned());
            let candidate = candidate.advise(scene.look()).advise([flows]);
            return Some(candidate.sure(Confidence::Likely));
        }
        End::Output | End::Meter => return None,
        End::NoAction => {
            "the kernel's flow for it has no action: a rule drops it, or none matches".to_owned()
        }
        End::Nowhere(action) => format!(
            "the kernel's flow for it ends with `{}` and sends it nowhere",
            openvswitch::words(action.kind, action.value)
        ),
    };
    let candidate = scene.candidate(&OVS_FLOW_DROP, what).advise(scene.look());
    let candidate = candidate.advise([
        flows,
        text(
        "which rule it is cannot be told: ovs-vswitchd did not say that it drops packets like it",
        ),
    ]);
    Some(candidate.sure(Confidence::Likely))
}

/// Questions for a neighbour that came into Open vSwitch, and their answers.
fn of_neighbor<'a>(
    trace: &'a Trace,
    host: &'a Host,
    address: IpAddr,
) -> impl Iterator<Item = (Device, &'a Event)> {
    let steps = trace.journeys.values().flat_map(|journey| &journey.steps);
    steps
        .map(|step| &step.event)
        .chain(&trace.beside)
        .filter(move |event| {
            let packet = event.packet.as_ref().map(|packet| packet.transport);
            matches!(packet, Some(Transport::Neighbor { target, .. }) if target == address)
        })
        .filter_map(|event| Some((entrance(host, event)?, event)))
}

/// What to ask about questions for a neighbour that came into Open vSwitch.
pub fn questions_of_neighbor(trace: &Trace, host: &Host, address: IpAddr) -> Vec<Question> {
    let found = of_neighbor(trace, host, address);
    let asked = found.filter_map(|(device, event)| {
        let flow = flow_of(event)?;
        Some(Question::Ovs { device, flow })
    });
    asked.take(FEW).collect()
}

/// Open vSwitch does not pass on the question for a neighbour, or the answer: the first cause of all that waits for it.
#[must_use]
pub fn of_question(trace: &Trace, host: &Host, address: IpAddr) -> Option<Candidate> {
    let question = if address.is_ipv6() {
        "neighbour discovery"
    } else {
        "ARP"
    };
    of_neighbor(trace, host, address).find_map(|(device, event)| {
        let mut candidate = judge(&Scene::at(host, device, event, None)?)?;
        candidate.summary = format!("{question} for {address}: {}", candidate.summary);
        Some(candidate.sure(Confidence::Likely))
    })
}

/// A packet that came to a port, of which nothing more was seen, and which the kernel said nothing about (6.1 and older end
/// a flow without an output as if the packet had arrived; consume_skb in ovs_execute_actions).
///
/// A flow's first packet is handed to the daemon, whatever that then decides: where another one shows what the kernel does by
/// now, that is what counts.
#[must_use]
pub fn vanished(view: &View<'_>, journey: &Journey) -> Option<Candidate> {
    let host = view.host;
    let (came, told) = last_told(host, &journey.steps)?;
    let later = || {
        let mut others = view.journeys(journey.direction);
        others.find(|other| {
            last_told(host, &other.steps)
                .is_some_and(|(at, told)| at == came && told.is_some_and(|t| t.is_decided()))
        })
    };
    let waits = told.is_some_and(|told| told.waits());
    let shown = waits.then(later).flatten().unwrap_or(journey);
    Some(explain(host, &shown.steps, None)?.leads_to(Outcome::Dropped))
}

/// The port at which a packet was seen last, and what was told of it since.
fn last_told(host: &Host, steps: &[Step]) -> Option<(Device, Option<Told>)> {
    let is_place = |step: &Step| matches!(step.event.detail, Detail::Ingress | Detail::Egress);
    let at = steps.iter().rposition(is_place)?;
    let device = entrance(host, &steps.get(at)?.event)?;
    Some((device, Told::of(host, steps.iter().skip(at + 1))))
}
