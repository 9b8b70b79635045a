//! What the person has chosen: view, cursor, what is open, what is being typed. Keys and the mouse change it; what
//! they ask of the rest of the program comes out as an [`Effect`].

mod line;
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

use crossterm::event::{KeyCode, MouseButton, MouseEvent, MouseEventKind};

use super::chord::Chord;
use super::frame::Layout;
use super::keys::{Action, Keymap};
use super::rows::{Cursor, Move, Row, Target};
use super::snapshot::Snapshot;
use super::view::{self, Picture, View, verdict};
use crate::render::style::Marks;
use line::{Asks, Line};

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
}

/// What lies above a view.
#[derive(Clone, Debug)]
enum Above {
    Opened(Target),
    Evidence,
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
            Chosen::All => snapshot.together.as_ref(),
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
                    _ if self.shown(latest).together.is_some() => Chosen::All,
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

    fn height(&self) -> usize {
        usize::from(Layout::of(self.size, !self.above.is_empty()).content)
    }

    fn go(&mut self, by: Move, keys: &Keymap, latest: &Arc<Snapshot>) {
        let (_, rows) = self.rows(self.shown(latest), keys);
        let height = self.height();
        self.cursor_mut().step(by, &rows, height);
    }

    fn open(&mut self, keys: &Keymap, latest: &Arc<Snapshot>) {
        let snapshot = self.shown(latest);
        let (_, rows) = self.rows(snapshot, keys);
        let at = self.cursor().row(&rows);
        let target = at.and_then(|at| rows.get(at)?.target.clone());
        let opens = |target: &Target| view::open(target, &self.picture(snapshot)).is_some();
        match target.filter(opens) {
            Some(target) => self.above.push((Above::Opened(target), Cursor::default())),
            None if self.above.is_empty() => self.lay(Above::Evidence),
            None => {}
        }
    }

    fn other_flow(&mut self, by: isize, latest: &Arc<Snapshot>) {
        let snapshot = self.shown(latest);
        let flows = &snapshot.report.flows;
        let now = self.picture(snapshot).flow.map(|flow| flow.id);
        let at = flows.iter().position(|flow| Some(flow.id) == now);
        // from all flows as one, every way leads to the first
        let next = at.map_or(Some(0), |at| at.checked_add_signed(by));
        match next.and_then(|next| flows.get(next)) {
            Some(flow) => self.flow = Chosen::One(flow.id),
            None => self.say("there is no further flow"),
        }
    }

    fn ask(&mut self, asks: Asks, text: String) {
        self.line = Some(Line::new(asks, text));
    }

    fn type_key(&mut self, chord: Chord, keys: &Keymap, latest: &Arc<Snapshot>) -> Option<Effect> {
        if let (Some(c), Some(line)) = (chord.character(), self.line.as_mut()) {
            line.insert(c);
            return None;
        }
        match chord.code() {
            KeyCode::Enter => {
                let line = self.line.take()?;
                let text = line.text.trim().to_owned();
                match line.asks {
                    Asks::Search => {
                        self.search = text;
                        self.find(true, keys, latest);
                    }
                    Asks::Filter => return Some(Effect::Filter(text)),
                    Asks::Save if text.is_empty() => {}
                    Asks::Save => return Some(Effect::Save(PathBuf::from(text))),
                }
            }
            KeyCode::Esc | KeyCode::Char('c') => self.line = None,
            code => {
                if let Some(line) = &mut self.line {
                    line.edit(code);
                }
            }
        }
        None
    }

    /// Goes to the next row with the searched text, round and round.
    fn find(&mut self, forward: bool, keys: &Keymap, latest: &Arc<Snapshot>) {
        if self.search.is_empty() {
            self.say("nothing is searched");
            return;
        }
        let (_, rows) = self.rows(self.shown(latest), keys);
        let height = self.height();
        let from = self.cursor().last(&rows);
        let hits: Vec<usize> = rows
            .iter()
            .enumerate()
            .filter(|(_, row)| row.contains(&self.search))
            .map(|(at, _)| at)
            .collect();
        let hit = if forward {
            hits.iter().find(|at| **at > from).or(hits.first())
        } else {
            hits.iter().rev().find(|at| **at < from).or(hits.last())
        };
        match hit.copied() {
            Some(at) => self.cursor_mut().put(&rows, at, height),
            None => {
                let text = format!("`{}` is not here", self.search);
                self.say(text);
            }
        }
    }

    /// The mouse: the wheel scrolls, a click selects a row or a view, a second click opens.
    pub fn mouse(&mut self, event: MouseEvent, keys: &Keymap, latest: &Arc<Snapshot>) {
        let layout = Layout::of(self.size, !self.above.is_empty());
        match event.kind {
            MouseEventKind::ScrollDown => self.go(Move::By(3), keys, latest),
            MouseEventKind::ScrollUp => self.go(Move::By(-3), keys, latest),
            MouseEventKind::Down(MouseButton::Left) => {
                if event.row == layout.tabs_row() {
                    if let Some(view) = super::frame::tab_at(event.column) {
                        self.show(view);
                    }
                    return;
                }
                let Some(row) = event.row.checked_sub(layout.content_row()) else {
                    return;
                };
                if row >= layout.content {
                    return;
                }
                let height = self.height();
                let (_, rows) = self.rows(self.shown(latest), keys);
                let at = self.cursor().top(&rows, height) + usize::from(row);
                let Some(target) = rows.get(at).and_then(|row| row.target.clone()) else {
                    return;
                };
                if self.cursor().target.as_ref() == Some(&target) {
                    self.open(keys, latest);
                } else {
                    self.cursor_mut().put(&rows, at, height);
                }
            }
            _ => {}
        }
    }
}

/// `tracer-20261121-061200.json`, by the start of the trace.
fn file_name(snapshot: &Snapshot) -> String {
    let digits: String = snapshot
        .report
        .trace
        .started_at
        .chars()
        .take(19)
        .filter(char::is_ascii_digit)
        .collect();
    let (day, time) = digits.split_at(digits.len().min(8));
    format!("tracer-{day}-{time}.json")
}
