//! What is shown while the trace runs: one line on stderr, the full screen, or events for a program.

use std::future::pending;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use super::output::Output;
use crate::error::Error;
use crate::session::{Seen, Session};
use crate::source::Input;
use crate::tui::snapshot::Played;
use crate::tui::{Driver, Effect, Snapshot};

/// One of the three.
pub(super) enum Display<'a> {
    /// A line that says that something happens; nothing where stderr is no terminal.
    Line(Progress),
    /// The full screen.
    Screen(Box<Driver>),
    /// Each event as a line of the output.
    Events(&'a mut Output),
}

impl Display<'_> {
    /// Shows nothing.
    pub(super) fn nobody() -> Self {
        Self::Line(Progress::off())
    }

    /// Whether there is a screen that takes keys.
    pub(super) fn has_keys(&self) -> bool {
        matches!(self, Self::Screen(_))
    }

    /// Sets the state of a replay.
    pub(super) fn played(&mut self, played: Played) {
        if let Self::Screen(screen) = self {
            screen.played(played);
        }
    }

    /// Shows the session immediately.
    pub(super) fn show(&mut self, session: &Session) {
        if let Self::Screen(screen) = self {
            screen.show(session);
        }
    }

    /// Starts over, as at the beginning.
    pub(super) fn restart(&mut self, session: &Session) {
        if let Self::Screen(screen) = self {
            screen.restart(session);
        }
    }

    /// Looks at an input before the session takes it.
    pub(super) fn input(&mut self, input: &Input, session: &Session) {
        if let Self::Screen(screen) = self {
            screen.input(input, session);
        }
    }

    /// Looks at an input that the session has just taken in.
    pub(super) fn taken(&mut self, input: &Input, seen: Option<Seen>, session: &Session) {
        if let Self::Events(output) = self {
            output.event(input, seen, session);
        }
    }

    /// Looks at the session after some inputs.
    pub(super) fn look(&mut self, session: &Session) {
        match self {
            Self::Line(line) => line.show(session),
            Self::Screen(screen) => screen.look(session),
            Self::Events(_) => {}
        }
    }

    /// Shows a message. When stderr is closed, the trace continues.
    pub(super) fn say(&mut self, text: &str) {
        match self {
            Self::Line(line) => {
                line.clear();
                let _ = writeln!(io::stderr(), "tracer: {text}");
            }
            Self::Screen(screen) => screen.say(text),
            Self::Events(_) => {
                let _ = writeln!(io::stderr(), "tracer: {text}");
            }
        }
    }

    /// The next request of the user; never resolves where there are no keys.
    ///
    /// # Errors
    /// When nothing can be drawn or written any more.
    pub(super) async fn next(&mut self) -> Result<Effect, Error> {
        match self {
            Self::Line(_) => pending().await,
            Self::Events(output) => {
                output.check()?;
                pending().await
            }
            Self::Screen(screen) => screen
                .next()
                .await
                .map_err(|error| Error::io("draw on the terminal", error)),
        }
    }

    /// What went wrong with the events so far.
    ///
    /// # Errors
    /// When one could not be written.
    pub(super) fn check(&mut self) -> Result<(), Error> {
        match self {
            Self::Events(output) => output.check(),
            Self::Line(_) | Self::Screen(_) => Ok(()),
        }
    }

    /// Whether what packets were checked by is looked at now.
    pub(super) fn shows_checks(&self) -> bool {
        matches!(self, Self::Screen(screen) if screen.shows_checks())
    }

    /// What the screen shows, where there is one.
    pub(super) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        match self {
            Self::Line(_) | Self::Events(_) => None,
            Self::Screen(screen) => Some(screen.snapshot()),
        }
    }

    /// Restores the terminal: what follows goes to the ordinary screen.
    pub(super) fn close(&mut self) {
        match self {
            Self::Events(_) => {}
            Self::Line(line) => {
                line.clear();
                *self = Self::nobody();
            }
            Self::Screen(_) => *self = Self::nobody(),
        }
    }
}

/// The line.
pub(super) struct Progress {
    on: bool,
    last: (u64, u64),
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            on: io::stderr().is_terminal(),
            last: (u64::MAX, 0),
        }
    }

    fn off() -> Self {
        Self {
            on: false,
            last: (0, 0),
        }
    }

    fn show(&mut self, session: &Session) {
        let trace = session.trace();
        let now = (trace.packets, trace.events);
        if self.on && now != self.last {
            self.last = now;
            let flows = trace.flows.len();
            let _ = write!(
                io::stderr(),
                "\r\x1b[Ktracer: {} packets in {flows} flows, {} events; Ctrl-C ends the trace and shows the path",
                now.0,
                now.1
            );
        }
    }

    fn clear(&self) {
        if self.on {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
