//! The report `tracer.report/1`: the types of the JSON document ([`assemble`] fills them in).
//!
//! Field names and meaning are fixed by docs/report.md; `docs/report.schema.json` is generated from these types.

pub mod assemble;
mod end;
pub mod event;
pub(crate) mod figures;
pub(crate) mod owners;
pub mod stories;

use std::borrow::Cow;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::model::Latency;
use crate::verdict::{Confidence, Outcome, Place, Verdict, spot};
pub use assemble::assemble;
pub use end::PathEnd;

/// `schema` of every report.
pub const SCHEMA: &str = "tracer.report/1";

/// The whole document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Always `tracer.report/1`.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: String,
    /// What made the report.
    pub tool: Tool,
    /// Where the trace was made; of several nodes the first.
    pub host: HostInfo,
    /// The nodes, where recordings of several were merged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeReport>,
    /// The namespaces of the paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<NamespaceReport>,
    /// What was traced, and how completely.
    pub trace: TraceInfo,
    /// The worst verdict among the flows, asked direction first.
    pub verdict: Verdict,
    /// Flows, worst first.
    pub flows: Vec<FlowReport>,
    /// A bounded sample; always every dropped packet up to the bound.
    pub journeys: Vec<JourneyReport>,
    /// What was read beside the losses.
    pub context: Vec<ContextEntry>,
    /// What changed of the hosts while they were traced: in namespaces of the flows first, and there nearest to the first loss
    /// (without a loss, the newest); bounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ChangeReport>,
}

/// The tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tool {
    /// `tracer`.
    pub name: String,
    /// Version that traced.
    pub version: String,
}

/// The machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostInfo {
    /// Host name.
    pub hostname: String,
    /// Kernel release.
    pub kernel: String,
    /// Machine architecture.
    pub arch: String,
    /// Boot id.
    pub boot_id: String,
}

/// One of several nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeReport {
    /// Its name in this report.
    pub name: String,
    /// The machine.
    pub host: HostInfo,
    /// Its clock against that of the first node.
    pub clock: ClockReport,
    /// When its trace began, milliseconds after the start of the whole.
    #[serde(default)]
    pub from_ms: u64,
    /// When it ended, or nothing came from it any more; null while it goes on.
    #[serde(default)]
    pub until_ms: Option<u64>,
}

/// A namespace by its name in this report, and how it is entered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamespaceReport {
    /// Name of the node, where several were traced together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Its name.
    pub name: String,
    /// What the kernel knows it by.
    pub netns: NetnsReport,
}

/// What the kernel knows a namespace by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NetnsReport {
    /// Number of its inode in nsfs; null where several nodes were traced together, whose numbers may be the same.
    pub inode: Option<u32>,
    /// A file that leads there (`nsenter --net=PATH`), where there was one.
    pub path: Option<String>,
    /// A process inside (`nsenter -t PID -n`), where no file that somebody named leads there.
    pub pid: Option<u32>,
}

/// An address and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OwnerReport {
    /// The address.
    pub address: String,
    /// `pod shop/db-0`, `container web`, `service shop/db`, `endpoint of service shop/db`, `unit nginx.service`, `process nginx`, or a
    /// name of /etc/hosts.
    pub owner: String,
}

/// A process at an end of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessReport {
    /// Its id, on the machine that was traced.
    pub pid: u32,
    /// Name of its program.
    pub comm: String,
    /// `container web of pod shop/cart`, `container web`, `unit nginx.service`; absent where it is in none that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// `nginx (pid 7, unit nginx.service)`.
impl fmt::Display for ProcessReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, comm, owner } = self;
        match owner {
            Some(owner) => write!(f, "{comm} (pid {pid}, {owner})"),
            None => write!(f, "{comm} (pid {pid})"),
        }
    }
}

/// A node's clock against that of the first node. All times of the report are on the first node's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClockReport {
    /// What was subtracted from its times, nanoseconds: how much its monotonic clock is ahead.
    pub ahead_ns: i64,
    /// By how much that may be wrong, nanoseconds; null where nothing tells.
    pub uncertainty_ns: Option<u64>,
    /// `reference` (the first node), `two-way` (packets seen on both in both directions), `one-way` (in one direction
    /// only: the fastest is taken to have needed no time), `wall-clock` (no packet was seen on both).
    #[schemars(extend("enum" = ["reference", "two-way", "one-way", "wall-clock"]))]
    pub basis: String,
    /// Packets on which it rests.
    pub packets: u64,
}

/// The trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TraceInfo {
    /// The expression as compiled.
    pub expression: String,
    /// Its clauses in words.
    pub clauses: Vec<String>,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// Milliseconds.
    pub duration_ms: u64,
    /// Packets (journeys) that were followed.
    pub packets: u64,
    /// Flows that were seen; `flows` holds fewer when there were too many to keep.
    pub flows_seen: u64,
    /// Flows that were asked for and only counted: the rate limit left out all their events, or they were lost.
    #[serde(default)]
    pub flows_counted: u64,
    /// Packets of those flows, and of still more for which there was no counter each.
    #[serde(default)]
    pub packets_counted: u64,
    /// Events received.
    pub events: u64,
    /// What tracer itself cost; absent where it was not told (several nodes together, a trace of an older version).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostReport>,
    /// What the trace could not see.
    pub completeness: Completeness,
}

/// What tracer itself cost while it traced. 10,000,000 nanoseconds a second are one percent of one processor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CostReport {
    /// CPU time of programs and threads together, nanoseconds a second; without programs where the kernel does not count them.
    pub cpu_ns_per_s: u64,
    /// CPU time of tracer's own threads, nanoseconds a second.
    pub threads_ns_per_s: u64,
    /// CPU time of its programs in the kernel, nanoseconds a second; null where the kernel does not count it, or the trace
    /// was too short.
    pub programs_ns_per_s: Option<u64>,
    /// The programs, by hook.
    pub programs: Vec<ProgramCostReport>,
    /// For so long, in milliseconds, the times of programs were counted: a moment every few seconds.
    pub measured_ms: u64,
    /// Memory in RAM, in bytes, when it was last looked at.
    pub memory_bytes: u64,
    /// Events that could be sent in a second at that time: `--budget`, or what `--max-cpu` left of it.
    pub budget: u32,
}

/// What a program in the kernel cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProgramCostReport {
    /// Name of the hook; of classifiers, their own.
    pub hook: String,
    /// Runs a second.
    pub calls_per_s: u64,
    /// Nanoseconds of CPU time a second.
    pub ns_per_s: u64,
}

/// What the trace could not see. All zero and every probe `attached` means that nothing is missing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Completeness {
    /// Records lost because the ring buffer was full.
    pub lost_events: u64,
    /// Records not sent because the budget was used up; their packets are counted.
    pub thinned_events: u64,
    /// Times that a tracepoint's program could not run, for it was interrupted at work on that CPU.
    pub missed_events: u64,
    /// Packets at hops that were counted together with those of other flows, since there was no counter for each.
    pub map_full: u64,
    /// Records that could not be decoded.
    pub decode_errors: u64,
    /// Packets that were lost from sight behind a header that is not read (MPLS, PPPoE, MACsec and the like).
    pub unreadable: u64,
    /// Packets whose tag was overwritten by another's: they may have been lost from sight after a rewrite.
    pub tags_evicted: u64,
    /// Packets of others that came in the buffer of one that was followed, and were told apart from it.
    #[serde(default)]
    pub strangers_refused: u64,
    /// Where records were lost or thinned; only hooks where some were.
    pub by_hook: Vec<HookLoss>,
    /// Every probe with its state: `attached`, `missing`, `failed`, `gone`.
    pub probes: Vec<ProbeReport>,
    /// Interfaces watched by tc.
    pub interfaces_covered: u32,
    /// Interfaces that exist.
    pub interfaces_total: u32,
}

/// Records that one hook did not deliver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HookLoss {
    /// Name of the hook.
    pub hook: String,
    /// Lost because the ring buffer was full.
    pub lost: u64,
    /// Not sent because the budget was used up.
    pub thinned: u64,
    /// Not seen because the hook's program was interrupted at work.
    pub missed: u64,
}

/// One probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeReport {
    /// Its name.
    pub name: String,
    /// `attached`, `missing`, `failed`, or `gone`: it failed, and its interface or namespace went away.
    #[schemars(extend("enum" = ["attached", "missing", "failed", "gone"]))]
    pub state: String,
    /// How it is attached, or why it is not.
    pub detail: String,
}

impl Report {
    /// A flow's verdict; where it is that of the whole, as that, which also says how many flows share it.
    #[must_use]
    pub fn verdict_of<'a>(&'a self, flow: &'a FlowReport) -> &'a Verdict {
        let (whole, own) = (&self.verdict, &flow.verdict);
        let same = (whole.outcome, &whole.cause, &whole.place)
            == (own.outcome, &own.cause, &own.place)
            && whole.summary.starts_with(&own.summary);
        if same { whole } else { own }
    }
}

impl FlowReport {
    /// Its processes in words: `from curl (pid 7) to nginx (pid 9)`; `None` where none is known.
    #[must_use]
    pub fn processes(&self) -> Option<String> {
        let from = self
            .sender
            .as_ref()
            .map(|process| format!("from {process}"));
        let to = self
            .receiver
            .as_ref()
            .map(|process| format!("to {process}"));
        let words: Vec<String> = from.into_iter().chain(to).collect();
        (!words.is_empty()).then(|| words.join(" "))
    }
}

impl HopReport {
    /// Its namespace as in [`spot`].
    #[must_use]
    pub fn spot(&self) -> Cow<'_, str> {
        spot(self.node.as_deref(), &self.namespace)
    }
}

/// A tuple of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TupleReport {
    /// `asked`, `reply`, `translated`, `inner`, `outer`.
    #[schemars(extend("enum" = ["asked", "reply", "translated", "inner", "outer"]))]
    pub role: String,
    /// `tcp`, `udp`, `icmp`, `icmp6`, `sctp`, `arp` or a number.
    pub proto: String,
    /// Source address.
    pub src: String,
    /// Source port.
    pub sport: u16,
    /// Destination address.
    pub dst: String,
    /// Destination port.
    pub dport: u16,
    /// Identifier of ICMP echo messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_id: Option<u16>,
    /// The whole tuple in the form that hops use: `tcp 10.0.0.1:5000 > 10.0.0.2:80`.
    pub text: String,
}

/// One flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FlowReport {
    /// Its number.
    pub id: u32,
    /// All its tuples.
    pub tuples: Vec<TupleReport>,
    /// Whose their addresses are, as far as that is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<OwnerReport>,
    /// The process that sends it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<ProcessReport>,
    /// The process that receives it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiver: Option<ProcessReport>,
    /// What became of it.
    pub verdict: Verdict,
    /// What it lost, by cause and place; the one of the verdict among them.
    #[serde(default)]
    pub losses: Vec<LossReport>,
    /// `forward`, then `reply` where answers were seen.
    pub paths: Vec<PathReport>,
}

/// Losses of a flow with one cause at one place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LossReport {
    /// `forward`, `reply` or `error`.
    #[schemars(extend("enum" = ["forward", "reply", "error"]))]
    pub direction: String,
    /// Code of docs/causes.md.
    pub cause: String,
    /// How sure.
    pub confidence: Confidence,
    /// One line.
    pub summary: String,
    /// Where.
    #[serde(rename = "where")]
    pub place: Place,
    /// How many packets.
    pub packets: u64,
    /// When the last one was lost, nanoseconds since the start of the trace.
    pub last_ns: u64,
    /// The kernel's reason, where it gives one.
    pub reason: Option<String>,
    /// Stack of one of them, nearest caller first.
    pub stack: Vec<String>,
}

/// One direction of a flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PathReport {
    /// `forward` or `reply`.
    #[schemars(extend("enum" = ["forward", "reply"]))]
    pub direction: String,
    /// In order.
    pub hops: Vec<HopReport>,
    /// What was passed before the first hop, where this host sent the packets itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckReport>,
}

/// One place of a path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HopReport {
    /// From 1.
    pub n: u32,
    /// Name of the node, where several were traced together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Name of the namespace.
    pub namespace: String,
    /// Name of the interface.
    pub interface: String,
    /// Its number.
    pub ifindex: u32,
    /// `ingress` or `egress`.
    #[schemars(extend("enum" = ["ingress", "egress"]))]
    pub hook: String,
    /// Tuple of the packets here: `udp 10.0.0.1:5000 > 10.0.0.2:53`.
    pub tuple: String,
    /// Packets, exact.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// To the next hop.
    pub latency_ns: Option<Latency>,
    /// What changed since the hop before: `dnat 10.96.0.1:443 > 10.0.0.5:6443`, `snat …`, `vxlan push …`, `ttl -1`.
    pub rewrites: Vec<String>,
    /// Packets that came no further and were lost.
    pub lost_after: u64,
    /// Numbers of the hops that come next on some packet's way; more than one where the path forks.
    #[serde(default)]
    pub next: Vec<u32>,
    /// When the last packet passed, nanoseconds since the start of the trace.
    #[serde(default)]
    pub last_ns: u64,
    /// What was passed between this hop and the next, or up to what stopped the packet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckReport>,
}

/// Something that a packet was held against on its way: a rule of the packet filter, a route, a neighbour entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckReport {
    /// `PREROUTING`, `BRIDGE-FORWARD` … of chains, as `where.hook` has them; else `route`, `rp-filter`, `fdb`, `neighbor`,
    /// and `kernel` for what the kernel's event alone tells.
    pub hook: String,
    /// Family of the table: `ip`, `ip6`, `inet`, `bridge`, `netdev`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// The table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// The chain in which the rule stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    /// Number of the rule in its chain, from 1; absent for the chain's policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
    /// Handle of the rule, in nftables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<u64>,
    /// The rule, the route or the entry, as the program that shows it writes it.
    pub text: String,
    /// Of rules `accept`, `drop`, `reject`, `queue`, `continue`, `return`, `jump CHAIN`, `goto CHAIN`, `translate`; of routes
    /// `forward`, `local`, `send`, `no-route`, `refused`, `martian`; of entries `forward`, `flood`, `up`, `resolved`,
    /// `unresolved`; `unknown`.
    pub verdict: String,
    /// `facts`: follows from what was read; `trace`: the kernel said so for this packet.
    #[schemars(extend("enum" = ["facts", "trace"]))]
    pub by: String,
    /// A code for why facts do not decide that the packet met this: a kind of match (`connection-state`, `limit` …),
    /// `earlier-rule`, `unread`, `not-modelled`; `changed-since` and `passed-nevertheless` where what was seen says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undecided: Option<String>,
}

/// One packet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JourneyReport {
    /// Its number.
    pub id: u64,
    /// Number of its flow.
    pub flow: u32,
    /// `forward`, `reply` or `error`.
    #[schemars(extend("enum" = ["forward", "reply", "error"]))]
    pub direction: String,
    /// `delivered`, `dropped`, `left`, `vanished`, `consumed`, `in-flight`.
    #[schemars(extend("enum" = ["delivered", "dropped", "left", "vanished", "consumed", "in-flight"]))]
    pub fate: String,
    /// Its events, oldest first.
    pub steps: Vec<StepReport>,
    /// Events left out because there are too many.
    pub steps_left_out: u64,
}

/// One event of a packet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepReport {
    /// Nanoseconds since the start of the trace.
    pub at_ns: u64,
    /// Name of the hook (`tc-ingress`, `kfree_skb` …).
    pub hook: String,
    /// Name of the node, where several were traced together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Name of the namespace, where known.
    pub namespace: Option<String>,
    /// Name of the interface, where known.
    pub interface: Option<String>,
    /// Tuple, where known.
    pub tuple: Option<String>,
    /// Bytes of the packet (skb->len).
    #[serde(default)]
    pub length: u32,
    /// The headers in words: TCP flags and numbers, ICMP type, hop limit, MACs, tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<String>,
    /// How the event was joined to the packet: `first`, `skb`, `clone`, `fingerprint`, `pieces`, `cpu`.
    #[schemars(extend("enum" = ["first", "skb", "clone", "fingerprint", "pieces", "cpu"]))]
    pub joined: String,
    /// The hook's own words: reason and function of a drop, error of a lookup …
    pub detail: Option<String>,
    /// Stack of a drop, nearest caller first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<String>,
}

/// A change of a host while it was traced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeReport {
    /// When, nanoseconds since the start of the trace, at the latest.
    pub at_ns: u64,
    /// Not before then, where it is known only from two readings; absent where the kernel told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_ns: Option<u64>,
    /// From the first loss to the change, nanoseconds: negative where it came before the loss. Absent without a loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_first_loss_ns: Option<i64>,
    /// Whether packets of the flows were seen in its namespace.
    pub on_path: bool,
    /// Name of the node, where several were traced together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Name of the namespace.
    pub namespace: String,
    /// `namespace`, `link`, `address`, `route`, `rule` (of routing), `chain` (of a packet filter), `sysctl`.
    pub kind: String,
    /// How the thing changed.
    #[schemars(extend("enum" = ["came", "went", "changed"]))]
    pub change: String,
    /// One line.
    pub text: String,
}

/// Something read beside a loss.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContextEntry {
    /// `route`, `rule` (of routing, or of a packet filter), `table`, `neighbor`, `fdb`, `sysctl`, `chain`, `conntrack`,
    /// `socket`, `program`, `qdisc`, `process`, `link`, `address`, `unread`.
    pub kind: String,
    /// Name of the node, where several were traced together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Name of the namespace.
    pub namespace: Option<String>,
    /// One line.
    pub text: String,
    /// When it was read, nanoseconds since the start of the trace; null for what is kept up to date.
    pub at_ns: Option<u64>,
}
