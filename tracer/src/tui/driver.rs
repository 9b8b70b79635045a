//! The screen at work: takes snapshots of what comes in, draws when something changed and at most thirty times a
//! second, and turns keys into effects.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossterm::event::{Event, KeyEventKind};
use tokio::time::{Instant, sleep_until};

use super::feed::Feed;
use super::frame;
use super::settings::Settings;
use super::snapshot::{Played, Snapshot};
use super::state::{Effect, State};
use super::terminal::Screen;
use crate::render::style::Marks;
use crate::session::Session;
use crate::source::Input;

/// Shortest time between two frames.
const FRAME: Duration = Duration::from_millis(33);
/// Making a snapshot takes at most this part of the time: a large trace is looked at less often.
const SHARE: u32 = 4;

/// The full screen.
pub struct Driver {
    screen: Screen,
    settings: Settings,
    state: State,
    feed: Feed,
    /// Not before then is another snapshot made.
    rest_until: Option<Instant>,
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
        let mut feed = Feed::new(session);
        if let Some(note) = note {
            feed.say(&note);
            state.say(note);
        }
        Ok(Self {
            screen,
            settings,
            state,
            feed,
            rest_until: None,
            dirty: true,
            drawn: None,
        })
    }

    /// Looks at an input before the session takes it.
    pub fn input(&mut self, input: &Input, session: &Session) {
        self.feed.input(input, session);
    }

    /// Something to tell the person.
    pub fn say(&mut self, text: &str) {
        self.feed.say(text);
        self.state.say(text);
        self.dirty = true;
    }

    /// The session is at rest: makes a snapshot when something changed, and the last one did not take too long.
    pub fn look(&mut self, session: &Session) {
        let resting = self
            .rest_until
            .is_some_and(|until| Instant::now() < until && session.ended().is_none());
        let lacks = self.state.shows_considered() && self.feed.snapshot().considered.is_none();
        if (self.feed.is_stale(session) || lacks) && !resting {
            self.show(session);
        }
    }

    /// Makes a snapshot.
    pub fn show(&mut self, session: &Session) {
        let begun = Instant::now();
        self.feed.look(session, self.state.shows_considered());
        self.rest_until = Some(begun + begun.elapsed() * SHARE);
        self.dirty = true;
    }

    /// How a replay stands from now on; the next snapshot says so.
    pub fn played(&mut self, played: Played) {
        self.feed.played(played);
    }

    /// Begins with nothing, as at the start.
    pub fn restart(&mut self, session: &Session) {
        self.feed.restart(session);
        self.dirty = true;
    }

    /// Whether what packets were checked by is looked at.
    #[must_use]
    pub fn shows_checks(&self) -> bool {
        self.state.shows_checks()
    }

    /// The report as it is shown now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(self.feed.snapshot())
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
                let effect = self.state.key(key.into(), keys, self.feed.snapshot());
                if let Some(Effect::Copy(text)) = &effect {
                    self.screen.copy(text)?;
                    self.state.say(format!("copied: {text}"));
                    return Ok(None);
                }
                return Ok(effect);
            }
            Event::Mouse(mouse) => self.state.mouse(mouse, keys, self.feed.snapshot()),
            Event::Resize(columns, rows) => self.state.resize(columns, rows),
            _ => {}
        }
        Ok(None)
    }

    fn draw(&mut self) -> io::Result<()> {
        let Self {
            screen,
            state,
            feed,
            settings,
            ..
        } = self;
        screen
            .terminal
            .draw(|frame| frame::draw(frame, state, feed.snapshot(), settings))?;
        self.dirty = false;
        self.drawn = Some(Instant::now());
        Ok(())
    }
}
