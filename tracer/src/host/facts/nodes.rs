//! Several nodes whose traces are read as one.

use serde::{Deserialize, Serialize};

use super::Run;
use crate::model::KtimeNs;

/// Number of a node among those traced together, from zero.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct NodeId(pub u16);

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TracedNode {
    /// Its number.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Its machine and its run.
    pub run: Run,
    /// Its clock against that of the first node.
    pub clock: NodeClock,
    /// When its trace began, on the first node's clock.
    pub from: KtimeNs,
    /// When it ended; `None` while it goes on.
    pub until: Option<KtimeNs>,
}

/// A clock against that of the first node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeClock {
    /// How much it is ahead, nanoseconds.
    pub ahead_ns: i64,
    /// By how much that may be wrong, nanoseconds; `None` where nothing tells.
    pub uncertainty_ns: Option<u64>,
    /// What it rests on.
    pub basis: ClockBasis,
    /// How many packets.
    pub packets: u64,
}

/// What a clock's offset rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClockBasis {
    /// It is the first node's own.
    Reference,
    /// Packets seen on both nodes, in both directions.
    TwoWay,
    /// In one direction only: the fastest is taken to have needed no time.
    OneWay,
    /// No packet was seen on both: the wall clocks are taken to agree.
    WallClock,
}

impl ClockBasis {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::TwoWay => "two-way",
            Self::OneWay => "one-way",
            Self::WallClock => "wall-clock",
        }
    }
}

impl NodeClock {
    /// That of the first node.
    pub const REFERENCE: Self = Self {
        ahead_ns: 0,
        uncertainty_ns: Some(0),
        basis: ClockBasis::Reference,
        packets: 0,
    };

    /// A time of this clock on the first node's.
    #[must_use]
    pub const fn at_reference(&self, at: KtimeNs) -> KtimeNs {
        KtimeNs(at.0.saturating_add_signed(self.ahead_ns.saturating_neg()))
    }
}
