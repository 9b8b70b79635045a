//! What the person sees while the trace runs: one line on stderr, or the full screen.

use std::future::pending;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use crate::error::Error;
use crate::session::Session;
use crate::source::Input;
use crate::tui::{Driver, Effect, Snapshot};

/// One of the two.
pub(super) enum Front {
    /// A line that says that something happens; nothing where stderr is no terminal.
    Line(Progress),
    /// The full screen.
    Screen(Box<Driver>),
}

impl Front {
    /// Looks at an input before the session takes it.
    pub(super) fn input(&mut self, input: &Input, session: &Session) {
        if let Self::Screen(screen) = self {
            screen.input(input, session);
        }
    }

    /// Looks at the session after some inputs.
    pub(super) fn look(&mut self, session: &Session) {
        match self {
            Self::Line(line) => line.show(session),
            Self::Screen(screen) => screen.look(session),
        }
    }

    /// Tells the person something. When nobody reads stderr any more, the trace goes on all the same.
    pub(super) fn say(&mut self, text: &str) {
        match self {
            Self::Line(line) => {
                line.clear();
                let _ = writeln!(io::stderr(), "tracer: {text}");
            }
            Self::Screen(screen) => screen.say(text),
        }
    }

    /// What the person asks for next; never comes where there are no keys.
    pub(super) async fn next(&mut self) -> Result<Effect, Error> {
        match self {
            Self::Line(_) => pending().await,
            Self::Screen(screen) => screen
                .next()
                .await
                .map_err(|error| Error::io("draw on the terminal", error)),
        }
    }

    /// What the screen shows, where there is one.
    pub(super) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        match self {
            Self::Line(_) => None,
            Self::Screen(screen) => Some(screen.snapshot()),
        }
    }

    /// What is on the screen, as SVG, where there is one.
    pub(super) fn picture(&self) -> Option<String> {
        match self {
            Self::Line(_) => None,
            Self::Screen(screen) => Some(screen.picture()),
        }
    }

    /// Gives the terminal back: what follows goes to the ordinary one.
    pub(super) fn close(&mut self) {
        if let Self::Line(line) = self {
            line.clear();
        }
        *self = Self::Line(Progress::off());
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
