//! A line of input at the foot of the screen: what it is for, its text, and the keys that edit it.

use crossterm::event::KeyCode;

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
