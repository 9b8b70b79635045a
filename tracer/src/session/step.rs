//! How far a replay goes at a key: to the next event, packet or drop. Whether it is there is a function of the session,
//! so that steps are tested without a terminal.

use crate::correlate::Trace;
use crate::session::Session;

/// What a step goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StepTo {
    /// The next event.
    Event,
    /// The first event of the next packet.
    Packet,
    /// The next event with which a packet is lost.
    Drop,
}

impl StepTo {
    fn count(self, trace: &Trace) -> u64 {
        match self {
            Self::Event => trace.events,
            Self::Packet => trace.packets,
            Self::Drop => trace.drops,
        }
    }

    /// The end of a step from here.
    #[must_use]
    pub fn from(self, session: &Session) -> Goal {
        Goal {
            to: self,
            before: self.count(session.trace()),
        }
    }
}

/// The end of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goal {
    to: StepTo,
    before: u64,
}

impl Goal {
    /// Whether the session has come there.
    #[must_use]
    pub fn is_reached(self, session: &Session) -> bool {
        self.to.count(session.trace()) > self.before
    }
}
