//! The types of an answer: what became of a flow, why, where, and what to type next. The diagnosis makes them, the report
//! carries them, and everything that shows a report reads them.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What became of a flow. From best to worst.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing matched.
    NoTraffic,
    /// It reached its socket, and the answer (where one is expected) the asker.
    Delivered,
    /// It left this host or was delivered, and no answer came.
    Unanswered,
    /// Last seen at a hop, no drop event.
    Vanished,
    /// The sender got an error before any packet existed.
    NotSent,
    /// This kernel answered with an ICMP error or a reset.
    Rejected,
    /// This kernel discarded it.
    Dropped,
}

impl Outcome {
    /// The word of the report.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoTraffic => "no-traffic",
            Self::Delivered => "delivered",
            Self::Unanswered => "unanswered",
            Self::Vanished => "vanished",
            Self::NotSent => "not-sent",
            Self::Rejected => "rejected",
            Self::Dropped => "dropped",
        }
    }
}

/// How sure a verdict is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// Two causes fit, or evidence is missing.
    Possible,
    /// Evidence points to it; something else could do the same.
    Likely,
    /// The kernel said so.
    Certain,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// What became of the flow.
    pub outcome: Outcome,
    /// Code of docs/causes.md; null when nothing is wrong.
    pub cause: Option<String>,
    /// How sure.
    pub confidence: Confidence,
    /// One line.
    pub summary: String,
    /// Where it happened.
    #[serde(rename = "where")]
    pub place: Option<Place>,
    /// How many packets.
    pub packets: Affected,
    /// What it rests on.
    pub evidence: Vec<Evidence>,
    /// What to do, safest first.
    pub advice: Vec<Advice>,
}

/// A place in the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Place {
    /// Name of the node, where several were traced together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Name of the namespace.
    pub namespace: Option<String>,
    /// Interface that the packet was on; null where it has none.
    pub interface: Option<String>,
    /// FORWARD, route, neighbor, device, socket …: see docs/causes.md.
    pub hook: Option<String>,
    /// Kernel function.
    pub function: Option<String>,
}

/// A namespace in words: `NODE:NAMESPACE` where there are several nodes, whose namespaces have the same names.
#[must_use]
pub fn spot<'a>(node: Option<&str>, namespace: &'a str) -> Cow<'a, str> {
    node.map_or(Cow::Borrowed(namespace), |node| {
        Cow::Owned(format!("{node}:{namespace}"))
    })
}

impl Place {
    /// Its namespace as in [`spot`].
    #[must_use]
    pub fn spot(&self) -> Option<Cow<'_, str>> {
        let namespace = self.namespace.as_deref()?;
        Some(spot(self.node.as_deref(), namespace))
    }
}

/// Packets of a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Affected {
    /// Packets of the flow in the direction concerned.
    pub seen: u64,
    /// Those that met the fate of the verdict.
    pub affected: u64,
}

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// `drop`, `stack`, `counter`, `route`, `neighbor`, `chain`, `sysctl`, `icmp`, `tcp`, `socket`, `link`, `packet`, `other-loss`.
    pub kind: String,
    /// One line.
    pub text: String,
}

/// One piece of advice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Advice {
    /// Whether it looks, changes something, or takes a change back.
    #[serde(default)]
    pub kind: AdviceKind,
    /// One line.
    pub text: String,
    /// What to type; where it takes several commands, one a line, in this order.
    pub command: Option<String>,
    /// Of an `undo`: the number, counted from 1 in this list, of the change that it takes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<u32>,
    /// What else the change opens or breaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Who will write over the change, and that one's own way to make it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What the packet, or its answer, meets next once the change is made, by the rules and routes that were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<String>,
}

impl Advice {
    /// A piece of advice that says nothing of what else it does.
    #[must_use]
    pub fn new(kind: AdviceKind, text: impl Into<String>, command: Option<String>) -> Self {
        Self {
            kind,
            text: text.into(),
            command,
            undoes: None,
            scope: None,
            owner: None,
            then: None,
        }
    }
}

/// What was considered for one loss, or for the silence of a flow, and what stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered {
    /// What it is about, one line.
    pub about: String,
    /// Proposals, the one that stands first.
    pub proposals: Vec<Proposed>,
}

/// One proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// Name of the rule that made it.
    pub rule: String,
    /// Code of docs/causes.md.
    pub cause: String,
    /// How sure it is.
    pub confidence: Confidence,
    /// One line.
    pub summary: String,
    /// What it rests on.
    pub evidence: Vec<Evidence>,
    /// Why it does not stand; `None` for the one that does.
    pub lost: Option<String>,
}

/// What a piece of advice does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AdviceKind {
    /// Changes nothing.
    #[default]
    Look,
    /// Changes something on this machine.
    Change,
    /// Takes a change back.
    Undo,
}
