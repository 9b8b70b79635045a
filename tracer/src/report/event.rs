//! One observation as `--output ndjson` writes it: the types of a line (`assemble` fills them in).
//!
//! Field names and meaning are fixed by docs/outputs.md; `docs/ndjson.schema.json` is generated from these types.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Serialize;

use super::Report;

/// One line of `--output ndjson`: an event, or the report, which comes last.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time, written and dropped"
)]
pub enum NdjsonLine<'a> {
    /// Something was seen.
    Event(EventReport<'a>),
    /// The trace is over.
    Report(Cow<'a, Report>),
}

/// One observation of one packet at one hook.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct EventReport<'a> {
    /// Nanoseconds since the start of the trace.
    pub at_ns: u64,
    /// Processor.
    pub cpu: u16,
    /// Name of the hook (`tc-ingress`, `kfree_skb` …).
    pub hook: Cow<'a, str>,
    /// Name of the node, where several were traced together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<&'a str>,
    /// Name of the namespace, where known.
    pub namespace: Option<Cow<'a, str>>,
    /// Name of the interface, where known.
    pub interface: Option<Cow<'a, str>>,
    /// Its number there.
    pub ifindex: Option<u32>,
    /// Number of the packet that the event belongs to (see the report's `journeys`), where that is known by now.
    pub journey: Option<u64>,
    /// Number of the packet's flow, likewise.
    pub flow: Option<u32>,
    /// `forward`, `reply` or `error`, likewise.
    pub direction: Option<&'a str>,
    /// Tuple, where known.
    pub tuple: Option<String>,
    /// Bytes of the packet (skb->len).
    pub length: u32,
    /// Packets on the wire that it stands for; more than 1 with segmentation offload.
    pub segments: u16,
    /// The headers in words; left out where no bytes were captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<String>,
    /// How the kernel programs recognised the packet, and what else is true of it.
    #[serde(default)]
    pub flags: Vec<&'a str>,
    /// What changed of the packet since its last hop.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rewrites: Vec<String>,
    /// Of a `kfree_skb`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop: Option<DropReport<'a>>,
    /// The hook's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The process, where the event fired in its own system call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessReport<'a>>,
}

/// A buffer that the kernel freed by the function that drops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DropReport<'a> {
    /// Whether its packet is lost: copies, and buffers whose packet has arrived, are freed this way too. Null where
    /// only what comes later tells.
    pub lost: Option<bool>,
    /// The kernel's reason, where it gives one.
    pub reason: Option<&'a str>,
    /// The function that freed it.
    pub function: Option<&'a str>,
    /// Its callers, nearest first.
    pub stack: Vec<String>,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ProcessReport<'a> {
    /// Process id.
    pub pid: u32,
    /// Command name.
    pub comm: &'a str,
}
