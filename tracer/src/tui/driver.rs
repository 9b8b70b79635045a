//! The screen at work: folds inputs into log and history, makes snapshots, draws when something changed and at most
//! thirty times a second, and turns keys into effects.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossterm::event::{Event, KeyEventKind};
use tokio::time::{Instant, sleep_until};

use super::log::Log;
use super::settings::Settings;
use super::snapshot::{History, Snapshot};
use super::state::{Effect, State};
use super::terminal::Screen;
use super::{frame, keys::Action};
use crate::render::style::{Ink, Marks};
use crate::session::Session;
use crate::source::Input;

/// Shortest time between two frames.
const FRAME: Duration = Duration::from_millis(33);
/// A picture in which nothing moved is renewed so often, for the clock and the ages.
const CLOCK_NS: u64 = 1_000_000_000;

/// The full screen.
pub struct Driver {
    screen: Screen,
    settings: Settings,
    state: State,
    snapshot: Arc<Snapshot>,
    history: History,
    log: Log,
    /// Events, packets and facts of the session when the snapshot was made, and its time.
    made_from: (u64, u64, usize),
    made_at_ns: u64,
    dirty: bool,
    drawn: Option<Instant>,
}

impl Driver {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// When the standard output is no terminal that can be drawn on.
    pub fn start(
        settings: Settings,
        marks: Marks,
        note: Option<String>,
        session: &Session,
    ) -> io::Result<Self> {
        let screen = Screen::take()?;
        let size = screen.terminal.size()?;
        let mut state = State::new((size.width, size.height), marks);
        let mut log = Log::default();
        if let Some(note) = note {
            log.say(0, Ink::Doubt, note.as_str());
            state.say(note);
        }
        let history = History::default();
        let snapshot = Arc::new(Snapshot::of(session, &history, log.entries()));
        Ok(Self {
            screen,
            settings,
            state,
            snapshot,
            history,
            log,
            made_from: (0, 0, 0),
            made_at_ns: 0,
            dirty: true,
            drawn: None,
        })
    }

    /// Looks at an input before the session takes it.
    pub fn input(&mut self, input: &Input, session: &Session) {
        self.log.input(input, session.host());
    }

    /// Something to tell the person.
    pub fn say(&mut self, text: &str) {
        let at = self.made_at_ns;
        self.log.say(at, Ink::Doubt, text);
        self.state.say(text);
        self.dirty = true;
    }

    /// The session is at rest: makes a snapshot when something changed.
    pub fn look(&mut self, session: &Session) {
        let trace = session.trace();
        let at_ns = session.elapsed_ns();
        self.history.note(at_ns, trace.packets, trace.events);
        let from = (trace.events, trace.packets, self.log.entries().len());
        let same = from == self.made_from && session.ended() == self.snapshot.ended;
        if same && at_ns.saturating_sub(self.made_at_ns) < CLOCK_NS {
            return;
        }
        (self.made_from, self.made_at_ns) = (from, at_ns);
        self.snapshot = Arc::new(Snapshot::of(session, &self.history, self.log.entries()));
        self.dirty = true;
    }

    /// The report as it is shown now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot)
    }

    /// Draws and waits for keys until one of them asks something of the rest of the program. Can be dropped at any
    /// await.
    ///
    /// # Errors
    /// Those of the terminal.
    pub async fn next(&mut self) -> io::Result<Effect> {
        loop {
            let due = self.drawn.map_or_else(Instant::now, |at| at + FRAME);
            if self.dirty && Instant::now() >= due {
                self.draw()?;
            }
            let event = tokio::select! {
                event = self.screen.events.recv() => event,
                () = sleep_until(due), if self.dirty => continue,
            };
            // Without a terminal there is nobody to show anything to.
            let Some(event) = event else {
                return Ok(Effect::Quit);
            };
            if let Some(effect) = self.take(event)? {
                return Ok(effect);
            }
        }
    }

    fn take(&mut self, event: Event) -> io::Result<Option<Effect>> {
        let keys = &self.settings.keys;
        self.dirty = true;
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                let effect = self.state.key(key.into(), keys, &self.snapshot);
                if let Some(Effect::Copy(text)) = &effect {
                    self.screen.copy(text)?;
                    self.state.say(format!("copied: {text}"));
                    return Ok(None);
                }
                return Ok(effect);
            }
            Event::Mouse(mouse) => self.state.mouse(mouse, keys, &self.snapshot),
            Event::Resize(columns, rows) => self.state.resize(columns, rows),
            _ => {}
        }
        Ok(None)
    }

    fn draw(&mut self) -> io::Result<()> {
        let Self {
            screen,
            state,
            snapshot,
            settings,
            ..
        } = self;
        screen
            .terminal
            .draw(|frame| frame::draw(frame, state, snapshot, settings))?;
        self.dirty = false;
        self.drawn = Some(Instant::now());
        Ok(())
    }

    /// The key that ends, for messages.
    #[must_use]
    pub fn quit_key(&self) -> String {
        self.settings.keys.hint(Action::Quit)
    }
}
