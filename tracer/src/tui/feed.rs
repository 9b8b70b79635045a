//! What comes in, folded into what the screen shows: the log, packets in each second, what has just changed, and the
//! snapshot of it all. Draws nothing and reads no keys, so that a replay makes the same frames without a terminal.

use std::sync::Arc;

use super::changes::Changes;
use super::log::Log;
use super::snapshot::{History, Played, Snapshot};
use crate::render::style::Ink;
use crate::session::Session;
use crate::source::Input;

/// A picture in which nothing moved is renewed so often, for the clock and the ages.
const CLOCK_NS: u64 = 1_000_000_000;

/// The fold.
#[derive(Debug)]
pub struct Feed {
    history: History,
    log: Log,
    changes: Changes,
    snapshot: Arc<Snapshot>,
    /// How the replay stands, where it is one.
    played: Option<Played>,
    /// Events, packets and lines of the log when the snapshot was made, and its time.
    made_from: (u64, u64, u64),
    made_at_ns: u64,
}

impl Feed {
    /// Before the first input.
    #[must_use]
    pub fn new(session: &Session) -> Self {
        let (history, log) = (History::default(), Log::default());
        let snapshot = Arc::new(Snapshot::of(session, &history, log.entries(), false));
        Self {
            history,
            log,
            changes: Changes::default(),
            snapshot,
            played: None,
            made_from: (0, 0, 0),
            made_at_ns: 0,
        }
    }

    /// Begins again, as at the start; what was said stays in the log.
    pub fn restart(&mut self, session: &Session) {
        let log = std::mem::take(&mut self.log).afresh();
        *self = Self {
            log,
            ..Self::new(session)
        };
    }

    /// Looks at an input before the session takes it.
    pub fn input(&mut self, input: &Input, session: &Session) {
        self.log.input(input, session.host());
        // A replay has no pauses in which to look: its seconds are told by its ticks.
        if let Input::Tick(_) = input {
            self.note(session);
        }
    }

    fn note(&mut self, session: &Session) {
        let trace = session.trace();
        self.history
            .note(session.elapsed_ns(), trace.packets, trace.events);
    }

    /// Adds a line to the log that no input tells.
    pub fn say(&mut self, text: &str) {
        self.log.say(self.made_at_ns, Ink::Doubt, text);
    }

    /// How a replay stands from now on.
    pub fn played(&mut self, played: Played) {
        self.played = Some(played);
    }

    /// Whether a snapshot made now would differ from the last one.
    #[must_use]
    pub fn is_stale(&self, session: &Session) -> bool {
        let at_ns = session.elapsed_ns();
        let age = at_ns.abs_diff(self.made_at_ns);
        self.made_from != self.from(session)
            || session.ended() != self.snapshot.ended
            || self.played != self.snapshot.played
            || age >= CLOCK_NS
            || self.changes.fade_before(at_ns)
    }

    fn from(&self, session: &Session) -> (u64, u64, u64) {
        let trace = session.trace();
        (trace.events, trace.packets, self.log.written())
    }

    /// Makes a snapshot of the session as it is; `considered`: with every cause that was considered.
    pub fn look(&mut self, session: &Session, considered: bool) {
        self.note(session);
        let at_ns = session.elapsed_ns();
        (self.made_from, self.made_at_ns) = (self.from(session), at_ns);
        let mut snapshot = Snapshot::of(session, &self.history, self.log.entries(), considered);
        self.changes
            .take(&self.snapshot.report, &snapshot.report, at_ns);
        // What is over does not change any more.
        if snapshot.ended.is_none() {
            snapshot.fresh = self.changes.hops().clone();
        }
        snapshot.played = self.played;
        self.snapshot = Arc::new(snapshot);
    }

    /// The last snapshot.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }
}
