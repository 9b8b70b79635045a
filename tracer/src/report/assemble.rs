//! Makes the report of a trace: names instead of numbers, the canonical text of tuples and rewrites, worst flow
//! first, bounded samples. Decides nothing about causes.
//!
//! A function of its arguments alone: the same inputs give the same bytes, live or replayed.

mod changes;
mod context;
mod event;
mod journeys;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{
    ChangeReport, CheckReport, ClockReport, Completeness, CostReport, FlowReport, HookLoss,
    HopReport, HostInfo, JourneyReport, LossReport, NamespaceReport, NetnsReport, NodeReport,
    OwnerReport, PathReport, ProbeReport, ProcessReport, ProgramCostReport, Report, SCHEMA, Tool,
    TraceInfo, TupleReport,
};
use crate::correlate::Trace;
use crate::diagnose::checks::{self, Passed};
use crate::diagnose::ends;
use crate::diagnose::view::View;
use crate::diagnose::{Diagnosis, LossGroup};
use crate::host::Host;
use crate::host::facts::{Cost, ProbeState, Run, TracedNode, per_second};
use crate::host::owners::Owners;
use crate::model::Losses;
use crate::model::{Direction, Flow, FlowId, Hop, KtimeNs, NetNs, Path, Tuple, TupleRole};
use crate::report::owners::annotate;
use crate::verdict::Verdict;
pub use event::event_report;

/// Flows, the worst ones first, whose checks are told.
const CHECKED: usize = 16;

/// Makes the report.
#[must_use]
pub fn assemble(trace: &Trace, host: &Host, diagnosis: &Diagnosis) -> Report {
    let clock = Clock::of(host);
    let owners = Owners::of(host);
    let all: Vec<IpAddr> = trace.flows.iter().flat_map(addresses_of).collect();
    let told = |text: &str| annotate(text, |own| owners.among(own, &all));
    Report {
        schema: SCHEMA.into(),
        tool: Tool {
            name: "tracer".into(),
            version: run(host, |run| &run.tool_version),
        },
        host: host.run.as_ref().map(machine).unwrap_or_default(),
        nodes: host
            .nodes
            .values()
            .map(|node| node_report(node, clock))
            .collect(),
        namespaces: namespaces(trace, host),
        trace: TraceInfo {
            expression: run(host, |run| &run.expression),
            clauses: host
                .run
                .as_ref()
                .map(|run| run.clauses.clone())
                .unwrap_or_default(),
            started_at: started_at(host),
            duration_ms: clock.since_start(trace.now) / 1_000_000,
            packets: trace.packets,
            flows_seen: trace.flows_seen,
            flows_counted: trace.unfollowed.flows,
            packets_counted: trace.unfollowed.packets + trace.unfollowed.crowded,
            events: trace.events,
            cost: host.cost.as_ref().map(cost),
            completeness: completeness(trace, host),
        },
        verdict: Verdict {
            summary: told(&diagnosis.overall.summary),
            ..diagnosis.overall.clone()
        },
        flows: flows(trace, host, (diagnosis, &owners), clock),
        journeys: journeys::sample(trace, host, clock),
        context: context::read(trace, host, clock),
        changes: changes::read(trace, host, diagnosis, clock),
    }
}

/// The newest packets that are kept, newest first, at most so many.
#[must_use]
pub fn journeys_newest_first(trace: &Trace, host: &Host, most: usize) -> Vec<JourneyReport> {
    let clock = Clock::of(host);
    let newest = trace.journeys.values().rev().take(most);
    newest
        .map(|journey| journeys::journey_report(journey, host, clock))
        .collect()
}

/// The start of the trace, from which the report's times count.
#[derive(Clone, Copy)]
struct Clock(KtimeNs);

impl Clock {
    fn of(host: &Host) -> Self {
        Self(
            host.run
                .as_ref()
                .map_or(KtimeNs(0), |run| run.started_ktime),
        )
    }

    fn since_start(self, at: KtimeNs) -> u64 {
        at.since(self.0)
    }
}

fn run(host: &Host, field: impl Fn(&Run) -> &String) -> String {
    host.run.as_ref().map(field).cloned().unwrap_or_default()
}

fn machine(run: &Run) -> HostInfo {
    HostInfo {
        hostname: run.hostname.clone(),
        kernel: run.kernel.clone(),
        arch: run.arch.clone(),
        boot_id: run.boot_id.clone(),
    }
}

fn node_report(node: &TracedNode, clock: Clock) -> NodeReport {
    let ms = |at| clock.since_start(at) / 1_000_000;
    NodeReport {
        name: node.name.clone(),
        host: machine(&node.run),
        clock: ClockReport {
            ahead_ns: node.clock.ahead_ns,
            uncertainty_ns: node.clock.uncertainty_ns,
            basis: node.clock.basis.name().into(),
            packets: node.clock.packets,
        },
        from_ms: ms(node.from),
        until_ms: node.until.map(ms),
    }
}

/// Milliseconds are kept: finer than that, the start is not known.
fn started_at(host: &Host) -> String {
    let ns = host.run.as_ref().map_or(0, |run| run.started_unix_ns);
    let ms = i128::from(ns / 1_000_000);
    OffsetDateTime::from_unix_timestamp_nanos(ms * 1_000_000)
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_default()
}

fn cost(cost: &Cost) -> CostReport {
    let programs = cost.programs_per_s();
    CostReport {
        cpu_ns_per_s: cost.threads_per_s() + programs.unwrap_or(0),
        threads_ns_per_s: cost.threads_per_s(),
        programs_ns_per_s: programs,
        programs: cost
            .programs
            .iter()
            .map(|program| ProgramCostReport {
                hook: program.hook.clone(),
                calls_per_s: per_second(program.calls, cost.measured_ns),
                ns_per_s: per_second(program.ns, cost.measured_ns),
            })
            .collect(),
        measured_ms: cost.measured_ns / 1_000_000,
        memory_bytes: cost.memory,
        budget: cost.budget,
    }
}

fn completeness(trace: &Trace, host: &Host) -> Completeness {
    let (interfaces_covered, interfaces_total) = host.coverage;
    let by_hook = by_hook(&trace.losses);
    Completeness {
        lost_events: by_hook.iter().map(|hook| hook.lost).sum(),
        thinned_events: by_hook.iter().map(|hook| hook.thinned).sum(),
        missed_events: by_hook.iter().map(|hook| hook.missed).sum(),
        map_full: trace.losses.map_full,
        decode_errors: trace.decode_errors,
        unreadable: trace.losses.unreadable,
        tags_evicted: trace.losses.tags_evicted,
        strangers_refused: trace.losses.strangers_refused,
        by_hook,
        probes: host
            .probes
            .values()
            .map(|probe| ProbeReport {
                name: probe.name.clone(),
                state: if host.went_away(probe) {
                    "gone".into()
                } else {
                    state_name(probe.state).into()
                },
                detail: probe.detail.clone(),
            })
            .collect(),
        interfaces_covered,
        interfaces_total,
    }
}

fn by_hook<'a>(losses: &'a Losses) -> Vec<HookLoss> {
    let mut hooks: BTreeMap<&'a str, HookLoss> = BTreeMap::new();
    let mut add = |list: &'a [(String, u64)], field: fn(&mut HookLoss) -> &mut u64| {
        for (hook, number) in list.iter().filter(|(_, number)| *number > 0) {
            let loss = hooks.entry(hook).or_insert_with(|| HookLoss {
                hook: hook.clone(),
                lost: 0,
                thinned: 0,
                missed: 0,
            });
            *field(loss) += number;
        }
    };
    add(&losses.lost, |loss| &mut loss.lost);
    add(&losses.thinned, |loss| &mut loss.thinned);
    add(&losses.missed, |loss| &mut loss.missed);
    hooks.into_values().collect()
}

fn state_name(state: ProbeState) -> &'static str {
    match state {
        ProbeState::Attached => "attached",
        ProbeState::Missing => "missing",
        ProbeState::Failed => "failed",
    }
}

/// The namespaces of all paths.
fn namespaces(trace: &Trace, host: &Host) -> Vec<NamespaceReport> {
    let paths = trace.flows.iter().flat_map(|f| [&f.forward, &f.reply]);
    let passed: BTreeSet<NetNs> = paths
        .flat_map(|path| &path.hops)
        .map(|hop| hop.device.netns)
        .collect();
    let report = |netns: NetNs| NamespaceReport {
        node: host.node(netns).map(str::to_owned),
        name: host.namespace(netns),
        netns: NetnsReport {
            inode: host.nodes.is_empty().then_some(netns.0),
            path: host.path_to(netns).map(str::to_owned),
            pid: host.process_in(netns),
        },
    };
    passed.into_iter().map(report).collect()
}

/// All addresses of a flow.
fn addresses_of(flow: &Flow) -> Vec<IpAddr> {
    let tuples = flow.tuples.iter();
    let all: BTreeSet<IpAddr> = tuples.flat_map(|(_, t)| [t.src, t.dst]).collect();
    all.into_iter().collect()
}

/// Whose they are.
fn owners_of(addresses: &[IpAddr], owners: &Owners<'_>) -> Vec<OwnerReport> {
    let report = |address: &IpAddr| {
        Some(OwnerReport {
            address: address.to_string(),
            owner: owners.among(*address, addresses)?,
        })
    };
    addresses.iter().filter_map(report).collect()
}

fn flows(
    trace: &Trace,
    host: &Host,
    (diagnosis, owners): (&Diagnosis, &Owners<'_>),
    clock: Clock,
) -> Vec<FlowReport> {
    let known: BTreeMap<FlowId, &Flow> = trace.flows.iter().map(|flow| (flow.id, flow)).collect();
    let mut flows: Vec<FlowReport> = diagnosis
        .flows
        .iter()
        .map(|judged| {
            let flow = known.get(&judged.flow);
            let addresses = flow.map(|flow| addresses_of(flow)).unwrap_or_default();
            let told = |text: &str| annotate(text, |own| owners.among(own, &addresses));
            FlowReport {
                id: judged.flow.0,
                tuples: flow
                    .map(|flow| flow.tuples.iter().map(tuple_report).collect())
                    .unwrap_or_default(),
                owners: owners_of(&addresses, owners),
                sender: None,
                receiver: None,
                verdict: Verdict {
                    summary: told(&judged.verdict.summary),
                    ..judged.verdict.clone()
                },
                losses: judged
                    .losses
                    .iter()
                    .map(|loss| LossReport {
                        summary: told(&loss.summary),
                        ..loss_report(loss, clock)
                    })
                    .collect(),
                paths: flow
                    .map(|flow| paths(flow, host, clock))
                    .unwrap_or_default(),
            }
        })
        .collect();
    flows.sort_by_key(|flow| {
        let verdict = &flow.verdict;
        (
            Reverse((
                verdict.outcome,
                verdict.confidence,
                verdict.packets.affected,
            )),
            flow.id,
        )
    });
    for report in flows.iter_mut().take(CHECKED) {
        if let Some(flow) = known.get(&FlowId(report.id)) {
            let view = View { trace, host, flow };
            add_processes(report, &view);
            add_checks(report, &view);
        }
    }
    flows
}

fn tuple_report((role, tuple): &(TupleRole, Tuple)) -> TupleReport {
    TupleReport {
        role: role.name().into(),
        proto: tuple.proto.to_string(),
        src: tuple.src.to_string(),
        sport: tuple.sport,
        dst: tuple.dst.to_string(),
        dport: tuple.dport,
        icmp_id: (tuple.icmp_id != 0).then_some(tuple.icmp_id),
        text: tuple.to_string(),
    }
}

fn loss_report(loss: &LossGroup, clock: Clock) -> LossReport {
    LossReport {
        direction: loss.direction.name().into(),
        cause: loss.cause.into(),
        confidence: loss.confidence,
        summary: loss.summary.clone(),
        place: loss.place.clone(),
        packets: loss.packets,
        last_ns: clock.since_start(loss.last),
        reason: loss.reason.clone(),
        stack: loss.stack.clone(),
    }
}

/// The way there always, even when nothing was seen on it; the way back where answers were seen.
fn paths(flow: &Flow, host: &Host, clock: Clock) -> Vec<PathReport> {
    let mut paths = vec![path_report(Direction::Forward, &flow.forward, host, clock)];
    if !flow.reply.hops.is_empty() {
        paths.push(path_report(Direction::Reply, &flow.reply, host, clock));
    }
    paths
}

/// Adds who sends and who receives.
fn add_processes(report: &mut FlowReport, view: &View<'_>) {
    let told = |(netns, process): ends::End| {
        let owner = view.host.process_owners.get(&(netns, process.pid));
        let owner = owner.filter(|owner| owner.comm == process.comm);
        ProcessReport {
            pid: process.pid,
            comm: process.comm,
            owner: owner
                .map(ToString::to_string)
                .filter(|words| !words.is_empty()),
        }
    };
    let (sends, receives) = ends::of_flow(view);
    report.sender = sends.map(told);
    report.receiver = receives.map(told);
}

/// Adds what packets were checked by.
fn add_checks(report: &mut FlowReport, view: &View<'_>) {
    for (path, direction) in report
        .paths
        .iter_mut()
        .zip([Direction::Forward, Direction::Reply])
    {
        let checks = checks::along(view, direction);
        path.checks = checks.before.iter().map(check_report).collect();
        for (hop, behind) in path.hops.iter_mut().zip(&checks.behind) {
            hop.checks = behind.iter().map(check_report).collect();
        }
    }
}

fn check_report(passed: &Passed) -> CheckReport {
    let check = &passed.check;
    let chain = check.chain.as_ref();
    CheckReport {
        hook: check.hook.into(),
        family: chain.map(|c| c.family.clone()),
        table: chain.map(|c| c.table.clone()),
        chain: chain.map(|c| c.chain.clone()),
        rule: check.rule,
        handle: check.handle,
        text: check.text.clone(),
        verdict: check.verdict.clone(),
        by: if passed.traced { "trace" } else { "facts" }.into(),
        undecided: check.undecided.clone(),
    }
}

fn path_report(direction: Direction, path: &Path, host: &Host, clock: Clock) -> PathReport {
    PathReport {
        checks: Vec::new(),
        direction: direction.name().into(),
        hops: (1..)
            .zip(&path.hops)
            .map(|(n, hop)| hop_report(n, hop, host, clock))
            .collect(),
    }
}

fn hop_report(n: u32, hop: &Hop, host: &Host, clock: Clock) -> HopReport {
    HopReport {
        n,
        node: host.node(hop.device.netns).map(str::to_owned),
        namespace: host.namespace(hop.device.netns),
        interface: host.interface(hop.device),
        ifindex: hop.device.ifindex.0,
        hook: hop.side.name().into(),
        tuple: hop.tuple.to_string(),
        packets: hop.packets,
        bytes: hop.bytes,
        latency_ns: hop.latency,
        rewrites: hop.rewrites.iter().map(ToString::to_string).collect(),
        lost_after: hop.lost_after,
        next: hop
            .next
            .iter()
            .filter_map(|index| u32::try_from(index + 1).ok())
            .collect(),
        last_ns: clock.since_start(hop.last_seen),
        checks: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
