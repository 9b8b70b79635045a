//! A line of input at the foot of the screen: what it is for, its text, the keys that edit it, and what becomes of it.

use std::path::PathBuf;
use std::sync::Arc;

use crossterm::event::KeyCode;

use super::{Effect, State};
use crate::tui::chord::Chord;
use crate::tui::keys::Keymap;
use crate::tui::snapshot::Snapshot;

/// What is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    Search,
    Filter,
    Save,
}

impl Asks {
    /// The words before it.
    pub(super) fn prompt(self) -> &'static str {
        match self {
            Self::Search => "/",
            Self::Filter => "expression: ",
            Self::Save => "save as (.json .md .svg .pcapng …): ",
        }
    }
}

/// A line being typed.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// What for.
    pub(super) asks: Asks,
    /// What is typed so far.
    pub(super) text: String,
    /// Bytes before the insertion point.
    pub(super) at: usize,
}

impl Line {
    /// Begins with a text, behind which the insertion point stands.
    pub(super) fn new(asks: Asks, text: String) -> Self {
        Self {
            asks,
            at: text.len(),
            text,
        }
    }

    /// A character goes in at the insertion point.
    pub(super) fn insert(&mut self, c: char) {
        self.text.insert(self.at, c);
        self.at += c.len_utf8();
    }

    /// A key that edits.
    pub(super) fn edit(&mut self, code: KeyCode) {
        let before = self.text.get(..self.at).unwrap_or_default();
        let after = self.text.get(self.at..).unwrap_or_default();
        let left = before.chars().next_back().map_or(0, char::len_utf8);
        let right = after.chars().next().map_or(0, char::len_utf8);
        match code {
            KeyCode::Left => self.at -= left,
            KeyCode::Right => self.at += right,
            KeyCode::Home => self.at = 0,
            KeyCode::End => self.at = self.text.len(),
            KeyCode::Backspace => {
                self.at -= left;
                self.text.drain(self.at..self.at + left);
            }
            KeyCode::Delete => {
                self.text.drain(self.at..self.at + right);
            }
            // ctrl-u
            KeyCode::Char('u') => {
                self.text.drain(..self.at);
                self.at = 0;
            }
            _ => {}
        }
    }
}

impl State {
    /// Begins to ask.
    pub(super) fn ask(&mut self, asks: Asks, text: String) {
        self.line = Some(Line::new(asks, text));
    }

    /// A key while a line is typed.
    pub(super) fn type_key(
        &mut self,
        chord: Chord,
        keys: &Keymap,
        latest: &Arc<Snapshot>,
    ) -> Option<Effect> {
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
}

/// `tracer-20261121-061200.json`, by the start of the trace.
pub(super) fn file_name(snapshot: &Snapshot) -> String {
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
