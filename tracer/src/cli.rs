//! The words of the command line, as clap reads them, and the texts of `--help`, completions and man page. The modules
//! below check what the words mean, refuse what cannot be, and make a [`crate::config`] of it.

mod cluster;
mod diff;
mod duration;
mod hold;
mod man;
mod merge;
mod names;
mod output;
mod trace;

use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand, ValueEnum, ValueHint};
use tracer_common::event::MAX_SNAPLEN;

use crate::config::hold::{HELPER, SAVER};
use crate::config::{
    ClusterConfig, Config, CpuShare, DEFAULT_BUDGET, DEFAULT_SNAPLEN, DiffConfig, Drawable,
    HoldConfig, MAX_BUDGET, MIN_SNAPLEN, MergeConfig, ReplayConfig, Speed, Surroundings,
};
use crate::doctor::sample;
use crate::error::Error;
use crate::host::NamePlaces;
use crate::inventory::list::Listed;
pub use clap_complete::Shell;
pub use man::man;

/// What is to be done.
#[derive(Debug)]
pub enum Invocation {
    /// Follow packets now.
    Trace(Box<Config>),
    /// Show a recording.
    Replay(ReplayConfig),
    /// Show recordings of several nodes as one.
    Merge(MergeConfig),
    /// Follow packets on several nodes now.
    Cluster(Box<ClusterConfig>),
    /// Stay, and save the last minutes when something is lost.
    Hold(Box<HoldConfig>),
    /// Start what saves.
    HoldHelper,
    /// Make one save.
    HoldSave(String),
    /// Hold two traces against each other.
    Diff(DiffConfig),
    /// List what can be asked for by name.
    List(Option<Listed>, NamePlaces),
    /// Say whether a trace works here; as JSON.
    Doctor(Box<Config>, bool),
    /// Send what the above traces.
    DoctorSender,
    /// Print the JSON Schema of a document.
    Schema(Document),
    /// Print the manual of causes.
    Causes,
    /// Print the completions of a shell.
    Completions(Shell),
    /// Print keys and colours of the full screen.
    Keys,
    /// Do nothing until a signal comes.
    Wait,
    /// Print the man page, of tracer or of a subcommand.
    Man(Option<String>),
}

const LONG_ABOUT: &str = "\
Follows the packets of one flow through this machine, hop by hop and live: through every interface of every \
network namespace, through NAT and tunnels, to the socket, to the wire, or to the place where the kernel dropped \
them. Ends with a report: the path, what became of the flow, why, and what to type next.

Without EXPR all IP packets are followed. Replies are followed too. The trace ends at Ctrl-C, or as set by --duration, \
--packets or --until-verdict. Nothing is changed on the machine and nothing is left behind.";

const AFTER_HELP: &str = "\
Expressions are those of tcpdump (pcap-filter):
  host, net, port, portrange, src, dst, tcp, udp, icmp, icmp6, sctp, arp, ip, ip6, proto, vlan,
  vxlan or geneve (for packets inside a tunnel), TCP flags and ICMP types; and, or, not, ( ).
And by name, as `tracer list` shows it: pod, container, service, process, pid.

Examples:
  tracer icmp and host 10.0.0.7                     where do these pings end?
  tracer --proto tcp --dst 10.96.0.1 --dport 443    tcp and dst host 10.96.0.1 and dst port 443
  tracer 'tcp[tcpflags] & tcp-syn != 0 and net 10.1.0.0/16' --duration 10s
  tracer service shop/db and pod shop/cart          by name, on a node of Kubernetes or Docker
  tracer host fd00::7 --until-verdict --json -o report.json
  tracer udp port 53 --record dns.rec               keep it; `tracer replay dns.rec` shows it again
  tracer replay dns.rec --output pcapng -o dns.pcapng   packets at each hop, for Wireshark
  tracer diff good.rec bad.rec                      where do the paths of two flows diverge?

Exit status: 0 done, whatever the verdict; 1 runtime error; 2 bad usage; 3 privileges or kernel support \
missing; with --check, 10 when the outcome is not `delivered`.";

const CLUSTER_HELP: &str = "\
COMMAND is split into words as a shell would do it, and must run the words that tracer appends: on the node, tracer writes a \
recording to its standard output, and ends when its standard input ends. Words after `ssh` are quoted for the remote shell.

Examples:
  tracer cluster -n n1='ssh root@n1' -n n2='ssh root@n2' tcp and port 5432
  tracer cluster -n n1='kubectl exec -i -n debug tracer-n1 --' -n n2='kubectl exec -i -n debug tracer-n2 --' \
udp port 53
  tracer cluster -n n1='ssh root@n1' --tracer /opt/tracer --duration 10s --json icmp

The commands have no terminal: they must not ask for a password. --duration starts when all nodes are tracing.

Exit status: that of tracer; also 1 when no node could be traced.";

const HOLD_HELP: &str = "\
Saved are a recording (.tracer), a report (.json) and a ticket (.md): of the time before and after the first loss, or the first \
verdict worse than `delivered`. A trouble that goes on is saved once. SIGUSR1 saves too, and so does the key s on a terminal.

Examples:
  tracer hold --save /var/lib/tracer tcp port 5432
  tracer hold --last 10m --max-memory 200M --save /var/lib/tracer --metrics /var/lib/node_exporter/tracer.prom udp port 53
  tracer hold --save /var/lib/tracer --exec '/usr/local/bin/notify net-team' host 10.0.0.7
  tracer replay /var/lib/tracer/hold-20261130T084526Z-route.none.tracer
  tracer merge node1=a.tracer node2=b.tracer          what several nodes saved of one incident

COMMAND is run without a shell, with TRACER_RECORDING, TRACER_REPORT, TRACER_TICKET, TRACER_OUTCOME, TRACER_CAUSE and \
TRACER_SUMMARY in its environment.";

const DIFF_HELP: &str = "\
Each file is a recording (--record) or a report (--json), which may be merged. Hops are aligned by their role in the path, so that \
pods whose interfaces have different names can be compared.

Exit status: 0 done; 1 a file cannot be read or has no packets; 2 bad usage; with --check, 10 when the paths diverge.";

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "tracer",
    version,
    about = "Follows one flow hop by hop through this machine and says where it died, why, and what to type next",
    long_about = LONG_ABOUT,
    after_help = AFTER_HELP,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    args: Args,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show a recording: the same screen and outputs as in the live run. Needs no privileges
    Replay(ReplayArgs),
    /// Show recordings of several nodes, made at the same time, as one path. Needs no privileges
    Merge(MergeArgs),
    /// Trace on several nodes at once, through ssh, kubectl or anything else that runs a command there, and show one path
    #[command(after_help = CLUSTER_HELP)]
    Cluster(Box<ClusterArgs>),
    /// Stay on this machine, keep the last minutes in memory, and save them when a packet is lost or a flow is no longer answered
    #[command(after_help = HOLD_HELP)]
    Hold(Box<HoldArgs>),
    /// What `tracer hold` saves is saved by processes of their own
    #[command(hide = true, name = HELPER)]
    HoldHelper,
    /// One of them
    #[command(hide = true, name = SAVER)]
    HoldSave {
        /// What to save
        request: String,
    },
    /// Compare a flow that works with one that does not: where their paths diverge, and what differs there
    #[command(after_help = DIFF_HELP)]
    Diff(DiffArgs),
    /// List what can be asked for by name, each with what to type for it. Needs the privileges of a trace
    List(ListArgs),
    /// Say whether a trace works on this machine, what it would miss, and what to do: kernel, rights, hooks, namespaces, names,
    /// and a few packets of its own, traced in a network namespace that it makes for them
    Doctor(DoctorArgs),
    /// The packets that `tracer doctor` traces are sent by a process of their own
    #[command(hide = true, name = sample::SENDER)]
    DoctorSender,
    /// Print the JSON Schema of the report, of the lines of --output ndjson, of a comparison, or of `tracer doctor --json`
    Schema {
        /// Which document
        #[arg(value_enum, default_value_t = Document::Report)]
        document: Document,
    },
    /// Print the manual of causes: what each is, how it is recognised, how to confirm and how to fix it
    Causes,
    /// Print the completions of a shell, to be read by it
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the keys and colours of the full screen, as a settings file
    Keys,
    /// Do nothing until a signal ends it: a container stays there for others to be started in it (kubectl exec)
    Wait,
    /// Print the man page of tracer, or that of a subcommand (read it with `tracer man replay | man -l -`)
    Man {
        /// A subcommand [default: tracer itself]
        command: Option<String>,
    },
}

/// Where names are found.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Where to look")]
pub struct NameArgs {
    /// Where the machine's files are mounted, for a tracer in a container: pods and containers are named from what lies below
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub host_root: Option<PathBuf>,
    /// Lists of names.
    #[command(flatten)]
    pub lists: ListedNames,
}

/// Lists of names.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Where to look")]
pub struct ListedNames {
    /// Names of all nodes' pods, services and nodes, as `kubectl get pods,services,endpointslices,nodes -A -o json` wrote them;
    /// may be repeated
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub names: Vec<PathBuf>,
}

/// What can be asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct ListArgs {
    /// Which [default: all]
    #[arg(value_enum)]
    pub what: Option<ListChoice>,
    /// Where names are found.
    #[command(flatten)]
    pub names: NameArgs,
}

/// What `tracer doctor` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct DoctorArgs {
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Where names are found.
    #[command(flatten)]
    pub names: NameArgs,
    /// The kernel's types from this file: raw BTF, or a vmlinux with a .BTF section
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub btf: Option<PathBuf>,
}

/// A live trace of this machine.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What is traced.
    #[command(flatten)]
    pub trace: TraceArgs,
    /// Maximum size of the recording (100M, 2G): two files, FILE.1 and then FILE, hold the most recent part
    #[arg(long, value_name = "SIZE", help_heading = "Report", value_parser = size)]
    pub max_size: Option<u64>,
    /// End when the standard input ends, if anything was read from it: for a trace started by another program. A line
    /// `also EXPRESSION` adds what is followed too
    #[arg(long, help_heading = "When to end")]
    pub until_eof: bool,
}

/// A live trace of several nodes.
#[derive(Clone, Debug, clap::Args)]
pub struct ClusterArgs {
    /// A node, and what runs a command there: node1='ssh root@node1'; once for each node
    #[arg(
        short,
        long,
        value_name = "NAME=COMMAND",
        required = true,
        help_heading = "Where to look"
    )]
    pub node: Vec<String>,
    /// How tracer is started there
    #[arg(
        long,
        value_name = "COMMAND",
        default_value = "tracer",
        help_heading = "Where to look"
    )]
    pub tracer: String,
    /// What is traced.
    #[command(flatten)]
    pub trace: TraceArgs,
    /// Keep what each node sends as DIR/NAME.tracer, for `tracer merge` and `tracer replay`
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Report")]
    pub keep: Option<PathBuf>,
}

/// A recorder.
#[derive(Clone, Debug, clap::Args)]
pub struct HoldArgs {
    /// Packets to follow, in the language of tcpdump; quote it when it holds ( ) & ! < > [ ]
    #[arg(value_name = "EXPR")]
    pub expr: Vec<String>,
    /// How much of the past is kept: 30s, 5m, 1h
    #[arg(
        long,
        value_name = "TIME",
        default_value = "5m",
        help_heading = "What to keep"
    )]
    pub last: String,
    /// How long a save waits for what comes after the loss
    #[arg(
        long,
        value_name = "TIME",
        default_value = "10s",
        help_heading = "What to keep"
    )]
    pub after: String,
    /// Maximum memory for the minutes that are kept; when it is full the oldest go first
    #[arg(long, value_name = "SIZE", default_value = "64M", help_heading = "What to keep", value_parser = size)]
    pub max_memory: u64,
    /// Save to this directory, which is made where it is missing
    #[arg(long, value_name = "DIR", required = true, value_hint = ValueHint::DirPath, help_heading = "What to keep")]
    pub save: PathBuf,
    /// Saves in an hour at most; those that somebody asks for are made all the same
    #[arg(long, value_name = "N", default_value_t = 6, help_heading = "What to keep",
          value_parser = |text: &str| number(text, 0..=3600_u32))]
    pub at_most: u32,
    /// Saves that are left in the directory; the oldest are removed first
    #[arg(long, value_name = "N", default_value_t = 100, help_heading = "What to keep",
          value_parser = |text: &str| number(text, 1..=1_000_000_usize))]
    pub keep: usize,
    /// Run this after each save
    #[arg(long, value_name = "COMMAND", help_heading = "Whom to tell")]
    pub exec: Option<String>,
    /// Write metrics for Prometheus to this file, every 15 seconds (the textfile collector of node_exporter reads *.prom)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Whom to tell")]
    pub metrics: Option<PathBuf>,
    /// What is followed, and where.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Pseudonyms.
    #[command(flatten)]
    pub redact: RedactArgs,
    /// Have nf_tables tell which rules packets meet: adds a table that marks them for tracing, and goes with the process
    #[arg(long, help_heading = "What to follow")]
    pub rules: bool,
    /// Limits.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// More about probes on stderr
    #[arg(short, long, action = clap::ArgAction::Count, help_heading = None)]
    pub verbose: u8,
}

/// What is traced, on one machine or on several.
#[derive(Clone, Debug, clap::Args)]
pub struct TraceArgs {
    /// Packets to follow, in the language of tcpdump; quote it when it holds ( ) & ! < > [ ]
    #[arg(value_name = "EXPR")]
    pub expr: Vec<String>,
    /// What is followed, and where.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// End after this time: 500ms, 10s, 2m, 1h [default: at Ctrl-C]
    #[arg(long, value_name = "TIME", help_heading = "When to end")]
    pub duration: Option<String>,
    /// End after so many packets
    #[arg(short = 'c', long, value_name = "N", help_heading = "When to end",
          value_parser = |text: &str| number(text, 1..=1_000_000_000_000_u64))]
    pub packets: Option<u64>,
    /// End when the verdict is certain
    #[arg(long, help_heading = "When to end")]
    pub until_verdict: bool,
    /// The report.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Pseudonyms.
    #[command(flatten)]
    pub redact: RedactArgs,
    /// Also write a recording, for `tracer replay FILE`; - is the standard output, for a pipe
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Report")]
    pub record: Option<PathBuf>,
    /// Have nf_tables tell which rules packets meet: adds a table that marks them for tracing, and goes with the process
    #[arg(long, help_heading = "What to follow")]
    pub rules: bool,
    /// Limits.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Text with every check between hops, and more about probes on stderr
    #[arg(short, long, action = clap::ArgAction::Count, help_heading = None)]
    pub verbose: u8,
}

/// What is followed beside the expression, and where.
#[derive(Clone, Debug, clap::Args)]
pub struct ScopeArgs {
    /// Shorthands.
    #[command(flatten)]
    pub shorthands: Shorthands,
    /// Do not follow replies
    #[arg(long, help_heading = "What to follow")]
    pub one_way: bool,
    /// Trace only in this network namespace; may be repeated [default: all]
    #[arg(long, value_name = "NAME", help_heading = "Where to look")]
    pub netns: Vec<String>,
    /// Where names are found.
    #[command(flatten)]
    pub names: NameArgs,
    /// Trace only on interfaces whose name matches (* ? [a-c]); may be repeated [default: all]
    #[arg(short, long, value_name = "GLOB", help_heading = "Where to look")]
    pub interface: Vec<String>,
}

/// What is taken in at most, and from where the kernel's types are known.
#[derive(Clone, Debug, clap::Args)]
pub struct LimitArgs {
    /// Events per second sent to user space; the path's counters stay exact beyond that
    #[arg(long, value_name = "N", default_value_t = DEFAULT_BUDGET, help_heading = "Limits",
          value_parser = |text: &str| number(text, 1..=MAX_BUDGET))]
    pub budget: u32,
    /// CPU time that tracer may use, of one processor: then fewer events are sent, then probes are given up, and at last
    /// a trace ends
    #[arg(long, value_name = "SHARE%", value_parser = str::parse::<CpuShare>, help_heading = "Limits")]
    pub max_cpu: Option<CpuShare>,
    /// Bytes captured of each packet, 64 to 1024, rounded up to 8
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_SNAPLEN, help_heading = "Limits",
          value_parser = |text: &str| number(text, MIN_SNAPLEN..=MAX_SNAPLEN))]
    pub snaplen: u16,
    /// BTF type information of this kernel, where it does not provide any [default: /sys/kernel/btf/vmlinux]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Limits")]
    pub btf: Option<PathBuf>,
}

/// Shorthands for expressions, joined to EXPR by `and`.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "What to follow")]
pub struct Shorthands {
    /// Source address, with or without prefix length
    #[arg(long, value_name = "ADDR")]
    pub src: Option<String>,
    /// Destination address, with or without prefix length
    #[arg(long, value_name = "ADDR")]
    pub dst: Option<String>,
    /// Source port or range of ports (8000-8100)
    #[arg(long, value_name = "PORT")]
    pub sport: Option<String>,
    /// Destination port or range of ports
    #[arg(long, value_name = "PORT")]
    pub dport: Option<String>,
    /// Protocol: tcp, udp, icmp, icmp6, sctp, arp, ip, ip6, or a number
    #[arg(long, value_name = "PROTO")]
    pub proto: Option<String>,
}

/// What the report looks like and where it goes.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Report")]
pub struct OutputArgs {
    /// The full screen, or the format to write [default: tui on a terminal, otherwise text]
    #[arg(long = "output", value_name = "FORMAT", value_enum)]
    pub format: Option<FormatChoice>,
    /// Same as --output json
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// Write to this file [default: the standard output]
    #[arg(short = 'o', value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub report_to: Option<PathBuf>,
    /// Colours: auto means on a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = ColorChoice::Auto)]
    pub color: ColorChoice,
    /// Exit with status 10 when the outcome is not `delivered`
    #[arg(long)]
    pub check: bool,
}

/// What must not be seen.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Report")]
pub struct RedactArgs {
    /// Replace addresses, MACs and names with stable pseudonyms, in every output and recording
    #[arg(long)]
    pub redact: bool,
    /// Use the pseudonyms of this key, the same in all runs with it: 64 hexadecimal digits [default: a random key]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "redact")]
    pub redact_key: Option<PathBuf>,
}

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormatChoice {
    /// The full screen while the trace runs, then text.
    Tui,
    /// For people.
    Text,
    /// `tracer.report/1`, see `tracer schema`.
    Json,
    /// Each event as it happens, then the report: lines of JSON, see `tracer schema ndjson`.
    Ndjson,
    /// A ticket, for pasting.
    Markdown,
    /// A diagram of the path.
    Svg,
    /// Packets at each hop, for Wireshark.
    Pcapng,
}

/// What is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListChoice {
    /// Pods and containers.
    Pods,
    /// Network namespaces.
    Namespaces,
    /// Services of Kubernetes, with their endpoints.
    Services,
    /// Interfaces.
    Interfaces,
}

impl From<ListChoice> for Listed {
    fn from(choice: ListChoice) -> Self {
        match choice {
            ListChoice::Pods => Self::Pods,
            ListChoice::Namespaces => Self::Namespaces,
            ListChoice::Services => Self::Services,
            ListChoice::Interfaces => Self::Interfaces,
        }
    }
}

/// What has a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Document {
    /// The report: `--output json`.
    Report,
    /// A line of `--output ndjson`.
    Ndjson,
    /// The comparison: `tracer diff --json`.
    Diff,
    /// What `tracer doctor --json` writes.
    Doctor,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// A replay.
#[derive(Clone, Debug, clap::Args)]
pub struct ReplayArgs {
    /// A recording written by --record; - is the standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Speed: 1 is real time, 10 ten times as fast, max without waiting. In the full screen, keys pause it, step through
    /// it and go back to the start
    #[arg(long, value_name = "N", default_value = "max", value_parser = str::parse::<Speed>)]
    pub speed: Speed,
    /// Lists of names.
    #[command(flatten)]
    pub names: ListedNames,
    /// The report.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Pseudonyms.
    #[command(flatten)]
    pub redact: RedactArgs,
    /// Write what is replayed to another recording: with --redact, for sharing
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Report")]
    pub record: Option<PathBuf>,
    /// After the text: every cause that was considered, what it rests on, and why it does or does not stand
    #[arg(long, help_heading = "Report")]
    pub explain: bool,
    /// Text with every check between hops, and more on stderr
    #[arg(short, long, action = clap::ArgAction::Count, help_heading = None)]
    pub verbose: u8,
}

/// A merge.
#[derive(Clone, Debug, clap::Args)]
pub struct MergeArgs {
    /// Recordings written by --record, one per node; NAME= names the node [default: its host name]
    #[arg(value_name = "[NAME=]FILE", required = true, value_hint = ValueHint::FilePath)]
    pub files: Vec<String>,
    /// Lists of names.
    #[command(flatten)]
    pub names: ListedNames,
    /// The report.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Pseudonyms.
    #[command(flatten)]
    pub redact: RedactArgs,
    /// Write the merged recording, for `tracer replay FILE`
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Report")]
    pub record: Option<PathBuf>,
    /// Text with every check between hops, and more on stderr
    #[arg(short, long, action = clap::ArgAction::Count, help_heading = None)]
    pub verbose: u8,
}

/// A comparison.
#[derive(Clone, Debug, clap::Args)]
pub struct DiffArgs {
    /// The flow that works: a recording or a report; - is the standard input
    #[arg(value_name = "GOOD", value_hint = ValueHint::FilePath)]
    pub good: PathBuf,
    /// The flow that does not
    #[arg(value_name = "BAD", value_hint = ValueHint::FilePath)]
    pub bad: PathBuf,
    /// Number of BAD's flow [default: the one of the verdict]
    #[arg(long, value_name = "N")]
    pub flow: Option<u32>,
    /// Number of GOOD's flow [default: the one most similar to BAD's]
    #[arg(long, value_name = "N")]
    pub good_flow: Option<u32>,
    /// Pseudonyms.
    #[command(flatten)]
    pub redact: RedactArgs,
    /// Write JSON, see `tracer schema diff`
    #[arg(long, help_heading = "Report")]
    pub json: bool,
    /// Write to this file [default: the standard output]
    #[arg(short = 'o', value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Report")]
    pub report_to: Option<PathBuf>,
    /// Colours: auto means on a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = ColorChoice::Auto, help_heading = "Report")]
    pub color: ColorChoice,
    /// Exit with status 10 when the paths diverge
    #[arg(long, help_heading = "Report")]
    pub check: bool,
}

/// Reads this process's command line. `--help` and `--version` are answered here and end the process.
///
/// # Errors
/// What cannot be, with what to write instead.
pub fn parse() -> Result<Invocation, Error> {
    let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let word = |name| env::var(name).unwrap_or_default();
    let term = word("TERM");
    let no_color = set("NO_COLOR");
    let surroundings = Surroundings {
        terminal: io::stdout().is_terminal(),
        plain: no_color || term == "dumb",
        screen: Drawable::of(
            // where something else comes from the standard input, keys come from the terminal all the same
            io::stdin().is_terminal() || File::open("/dev/tty").is_ok(),
            &term,
            no_color,
            &word("COLORTERM"),
        ),
    };
    match Cli::try_parse() {
        Ok(cli) => invocation(cli, surroundings),
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => Err(usage(&error)),
    }
}

/// Reads a command line, the program's name first.
///
/// # Errors
/// What cannot be; and `--help` and `--version`, whose text is the message.
pub fn parse_from<I>(words: I, surroundings: Surroundings) -> Result<Invocation, Error>
where
    I: IntoIterator,
    I::Item: Into<OsString> + Clone,
{
    let cli = Cli::try_parse_from(words).map_err(|error| usage(&error))?;
    invocation(cli, surroundings)
}

fn invocation(cli: Cli, surroundings: Surroundings) -> Result<Invocation, Error> {
    Ok(match cli.command {
        None => Invocation::Trace(Box::new(trace::config(cli.args, surroundings)?)),
        Some(Command::Replay(args)) => Invocation::Replay(trace::replay(args, surroundings)?),
        Some(Command::Merge(args)) => Invocation::Merge(merge::config(args, surroundings)?),
        Some(Command::Cluster(args)) => {
            Invocation::Cluster(Box::new(cluster::config(*args, surroundings)?))
        }
        Some(Command::Hold(args)) => Invocation::Hold(Box::new(hold::config(*args, surroundings)?)),
        Some(Command::HoldHelper) => Invocation::HoldHelper,
        Some(Command::HoldSave { request }) => Invocation::HoldSave(request),
        Some(Command::Diff(args)) => Invocation::Diff(diff::config(args, surroundings)?),
        Some(Command::List(args)) => {
            Invocation::List(args.what.map(Listed::from), names::places(args.names)?)
        }
        Some(Command::Doctor(args)) => doctor(args, surroundings)?,
        Some(Command::DoctorSender) => Invocation::DoctorSender,
        Some(Command::Schema { document }) => Invocation::Schema(document),
        Some(Command::Causes) => Invocation::Causes,
        Some(Command::Completions { shell }) => Invocation::Completions(shell),
        Some(Command::Keys) => Invocation::Keys,
        Some(Command::Wait) => Invocation::Wait,
        Some(Command::Man { command }) => {
            command.as_deref().map(man::check).transpose()?;
            Invocation::Man(command)
        }
    })
}

/// A trace of the packets that `tracer doctor` sends.
fn doctor(args: DoctorArgs, surroundings: Surroundings) -> Result<Invocation, Error> {
    let expression = format!("udp and host {} and port {}", sample::ADDRESS, sample::PORT);
    let cli = Cli::try_parse_from(["tracer", "--output", "text", &expression]);
    let mut traced = cli.map_err(|error| usage(&error))?.args;
    traced.trace.scope.names = args.names;
    traced.trace.limits.btf = args.btf;
    let config = trace::config(traced, surroundings)?;
    Ok(Invocation::Doctor(Box::new(config), args.json))
}

/// Writes the completions of a shell.
///
/// # Errors
/// When the writer fails.
pub fn completions(shell: Shell, out: &mut impl Write) -> io::Result<()> {
    // the generator panics when its writer fails (a closed pipe)
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tracer", &mut text);
    out.write_all(&text)
}

/// Smallest bound of a recording, and of what is kept of a trace: its beginnings must fit into a part of it.
const LEAST_SIZE: u64 = 1 << 20;

/// Bytes with a unit, by 1024.
fn size(text: &str) -> Result<u64, String> {
    let units = parse_size::Config::new().with_binary();
    match units.parse_size(text) {
        Ok(size) if size >= LEAST_SIZE => Ok(size),
        _ => Err("give a size from 1M: 100M, 2G".to_owned()),
    }
}

/// A number in a range.
fn number<T>(text: &str, range: RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + PartialOrd + Display + Copy,
{
    let (least, most) = (*range.start(), *range.end());
    match text.parse() {
        Ok(value) if range.contains(&value) => Ok(value),
        _ => Err(format!("give a number from {least} to {most}")),
    }
}

/// clap's several lines as one line and hints.
fn usage(error: &clap::Error) -> Error {
    let text = error.to_string();
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let mut message = first.strip_prefix("error: ").unwrap_or(first).to_owned();
    if message.ends_with(':') {
        // the arguments that are missing follow, indented
        for line in lines.take_while(|line| line.starts_with("  ")) {
            message.push(' ');
            message.push_str(line.trim());
        }
    }
    let mut told = Error::usage(message);
    let mut hinted = false;
    for (kind, lead) in [
        (ContextKind::ValidValue, "use one of"),
        (ContextKind::ValidSubcommand, "use one of"),
        (ContextKind::SuggestedArg, "did you mean"),
        (ContextKind::SuggestedValue, "did you mean"),
        (ContextKind::SuggestedSubcommand, "did you mean"),
    ] {
        let values = match error.get(kind) {
            Some(ContextValue::String(value)) => value.clone(),
            Some(ContextValue::Strings(values)) if !values.is_empty() => values.join(", "),
            _ => continue,
        };
        let close = if lead.starts_with("did") { "?" } else { "" };
        told = told.hint(format!("{lead} {values}{close}"));
        hinted = true;
    }
    match error.kind() {
        ErrorKind::UnknownArgument if !hinted => told.hint(
            "`tracer --help` lists the options; a word of the expression cannot start with a dash",
        ),
        // the reason stands in the message
        ErrorKind::ValueValidation => told,
        _ if !hinted => told.hint("`tracer --help` shows the usage"),
        _ => told,
    }
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]
mod tests;
