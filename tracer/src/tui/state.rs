//! What the person has chosen: view, cursor, what is open, what is being typed. Keys and the mouse change it; what
//! they ask of the rest of the program comes out as an [`Effect`].

mod line;
mod moves;
#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends where it fails"
)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::chord::Chord;
use super::keys::{Action, Keymap};
use super::rows::{Cursor, Move, Row, Target};
use super::snapshot::Snapshot;
use super::view::{self, Picture, View, verdict};
use crate::render::style::Marks;
use crate::session::step::StepTo;
use line::{Asks, Line, file_name};

/// Something that is to be done outside of the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// End the trace.
    Quit,
    /// Follow this expression from now on.
    Filter(String),
    /// Write a file: what, its ending tells.
    Save(PathBuf),
    /// Put this on the clipboard.
    Copy(String),
    /// Count from zero.
    Reset,
    /// Go one step on in a replay.
    Step(StepTo),
    /// Go back to its start.
    Restart,
    /// Run on, or stop.
    Run,
}

/// What lies above a view.
#[derive(Clone, Debug)]
enum Above {
    Opened(Target),
    Evidence,
    Considered,
    Help,
}

/// Which flow is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chosen {
    /// The first of the report: the worst.
    Worst,
    One(u32),
    /// All as one.
    All,
}

/// The choices.
#[derive(Clone, Debug)]
pub struct State {
    view: View,
    /// The cursor of this view, and those of the others.
    cursor: Cursor,
    others: HashMap<View, Cursor>,
    above: Vec<(Above, Cursor)>,
    flow: Chosen,
    way: usize,
    line: Option<Line>,
    search: String,
    message: Option<String>,
    held: Option<Arc<Snapshot>>,
    size: (u16, u16),
    marks: Marks,
}

impl State {
    /// The first view on a screen of so many columns and rows.
    #[must_use]
    pub fn new(size: (u16, u16), marks: Marks) -> Self {
        Self {
            view: View::Path,
            cursor: Cursor::default(),
            others: HashMap::new(),
            above: Vec::new(),
            flow: Chosen::Worst,
            way: 0,
            line: None,
            search: String::new(),
            message: None,
            held: None,
            size,
            marks,
        }
    }

    /// The screen has another size now.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.size = (columns, rows);
    }

    /// Columns and rows of the screen.
    #[must_use]
    pub fn size(&self) -> (u16, u16) {
        self.size
    }

    /// Says something in the last line, until the next key.
    pub fn say(&mut self, text: impl Into<String>) {
        self.message = Some(text.into());
    }

    /// What is said there.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// Whether the picture is held still.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// What is shown: the picture that is held, else the latest.
    #[must_use]
    pub fn shown<'a>(&'a self, latest: &'a Snapshot) -> &'a Snapshot {
        self.held.as_deref().unwrap_or(latest)
    }

    /// Whether every cause that was considered is shown.
    #[must_use]
    pub fn shows_considered(&self) -> bool {
        matches!(self.above.last(), Some((Above::Considered, _)))
    }

    /// Whether a hop is open, with what packets were checked by behind it.
    #[must_use]
    pub fn shows_checks(&self) -> bool {
        matches!(self.above.last(), Some((Above::Opened(Target::Hop(..)), _)))
    }

    /// The view.
    #[must_use]
    pub fn view(&self) -> View {
        self.view
    }

    /// The searched text; empty for none.
    #[must_use]
    pub fn searched(&self) -> &str {
        &self.search
    }

    /// Prompt, text, and the columns before the insertion point, while a line is typed.
    #[must_use]
    pub fn typed(&self) -> Option<(&'static str, &str, usize)> {
        let line = self.line.as_ref()?;
        let before = line.text.get(..line.at).unwrap_or_default();
        Some((
            line.asks.prompt(),
            &line.text,
            crate::render::page::columns(before),
        ))
    }

    /// What the views are made from.
    pub(crate) fn picture<'a>(&self, snapshot: &'a Snapshot) -> Picture<'a> {
        let flows = &snapshot.report.flows;
        let chosen = match self.flow {
            Chosen::Worst => None,
            Chosen::One(id) => flows.iter().find(|flow| flow.id == id),
            Chosen::All => snapshot.combined.as_ref(),
        };
        Picture {
            snapshot,
            flow: chosen.or(flows.first()),
            way: self.way,
            width: usize::from(self.size.0),
            marks: self.marks,
        }
    }

    /// Title and rows of what lies on top. A thing that was opened and is gone leaves its title.
    pub(crate) fn rows(&self, snapshot: &Snapshot, keys: &Keymap) -> (Option<String>, Vec<Row>) {
        let picture = self.picture(snapshot);
        match self.above.last() {
            None => (None, self.view.rows(&picture)),
            Some((Above::Help, _)) => (
                Some(view::help_title(keys)),
                view::help(keys, picture.width),
            ),
            Some((Above::Evidence, _)) => {
                (Some("evidence and advice".into()), verdict::rows(&picture))
            }
            Some((Above::Considered, _)) => (
                Some("every cause that was considered".into()),
                verdict::considered(&picture),
            ),
            Some((Above::Opened(target), _)) => match view::open(target, &picture) {
                Some((title, rows)) => (Some(title), rows),
                None => (Some("no longer kept".into()), Vec::new()),
            },
        }
    }

    /// The cursor of what lies on top.
    pub(crate) fn cursor(&self) -> &Cursor {
        match self.above.last() {
            Some((_, cursor)) => cursor,
            None => &self.cursor,
        }
    }

    fn cursor_mut(&mut self) -> &mut Cursor {
        match self.above.last_mut() {
            Some((_, cursor)) => cursor,
            None => &mut self.cursor,
        }
    }

    /// A key was pressed.
    pub fn key(&mut self, chord: Chord, keys: &Keymap, latest: &Arc<Snapshot>) -> Option<Effect> {
        self.message = None;
        if self.line.is_some() {
            return self.type_key(chord, keys, latest);
        }
        self.act(keys.action(chord)?, keys, latest)
    }

    fn act(&mut self, action: Action, keys: &Keymap, latest: &Arc<Snapshot>) -> Option<Effect> {
        match action {
            Action::Quit => return Some(Effect::Quit),
            Action::Reset => return Some(Effect::Reset),
            Action::Step(to) => return Some(Effect::Step(to)),
            Action::Restart => return Some(Effect::Restart),
            Action::Run => return Some(Effect::Run),
            Action::Show(view) => self.show(view),
            Action::NextView => self.show(self.view.step(1)),
            Action::PreviousView => self.show(self.view.step(View::COUNT - 1)),
            Action::Up => self.go(Move::By(-1), keys, latest),
            Action::Down => self.go(Move::By(1), keys, latest),
            Action::PageUp => self.go(Move::Screens(-1), keys, latest),
            Action::PageDown => self.go(Move::Screens(1), keys, latest),
            Action::Top => self.go(Move::Top, keys, latest),
            Action::Bottom => self.go(Move::Bottom, keys, latest),
            Action::PreviousFlow => self.other_flow(-1, latest),
            Action::NextFlow => self.other_flow(1, latest),
            Action::AllFlows => {
                self.flow = match self.flow {
                    Chosen::All => Chosen::Worst,
                    _ if self.shown(latest).combined.is_some() => Chosen::All,
                    chosen => {
                        self.say("there are no other flows");
                        chosen
                    }
                };
            }
            Action::OtherWay => self.way = usize::from(self.way == 0),
            Action::Open => self.open(keys, latest),
            Action::Back => {
                if self.above.pop().is_none() {
                    self.search.clear();
                }
            }
            Action::Evidence => self.lay(Above::Evidence),
            Action::Considered => self.lay(Above::Considered),
            Action::Help => self.lay(Above::Help),
            Action::Search => self.ask(Asks::Search, String::new()),
            Action::Filter => {
                let expression = latest.report.trace.expression.clone();
                self.ask(Asks::Filter, expression);
            }
            Action::Save => self.ask(Asks::Save, file_name(latest)),
            Action::NextMatch => self.find(true, keys, latest),
            Action::PreviousMatch => self.find(false, keys, latest),
            Action::Freeze => {
                self.held = match self.held {
                    Some(_) => None,
                    None => Some(Arc::clone(latest)),
                };
            }
            Action::Copy => {
                let snapshot = self.held.clone().unwrap_or_else(|| Arc::clone(latest));
                match verdict::command(&self.picture(&snapshot)) {
                    Some(command) => return Some(Effect::Copy(command.to_owned())),
                    None => self.say("this verdict has no command to copy"),
                }
            }
        }
        None
    }

    fn show(&mut self, view: View) {
        self.above.clear();
        let cursor = self.others.remove(&view).unwrap_or_default();
        if view != self.view {
            let left = std::mem::replace(&mut self.cursor, cursor);
            self.others.insert(self.view, left);
            self.view = view;
        }
    }

    /// Shows something above the view, once.
    fn lay(&mut self, above: Above) {
        let same = |(other, _): &(Above, Cursor)| {
            std::mem::discriminant(other) == std::mem::discriminant(&above)
        };
        if self.above.iter().any(same) {
            self.above.pop();
        } else {
            self.above.push((above, Cursor::default()));
        }
    }
}
