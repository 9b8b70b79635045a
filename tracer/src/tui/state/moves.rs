//! Moves over the rows of what lies on top: by keys, by a search, by the mouse.

use std::sync::Arc;

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};

use super::{Above, Chosen, State};
use crate::tui::frame::{Layout, tab_at};
use crate::tui::keys::Keymap;
use crate::tui::rows::{Cursor, Move, Target};
use crate::tui::snapshot::Snapshot;
use crate::tui::view;

impl State {
    /// Rows of the screen that what lies on top has.
    fn height(&self) -> usize {
        usize::from(Layout::of(self.size, !self.above.is_empty()).content)
    }

    /// Moves the cursor.
    pub(super) fn go(&mut self, by: Move, keys: &Keymap, latest: &Arc<Snapshot>) {
        let (_, rows) = self.rows(self.shown(latest), keys);
        let height = self.height();
        self.cursor_mut().step(by, &rows, height);
    }

    /// Opens what the cursor is on; where that is nothing, evidence and advice.
    pub(super) fn open(&mut self, keys: &Keymap, latest: &Arc<Snapshot>) {
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

    /// Looks at a flow so many further.
    pub(super) fn other_flow(&mut self, by: isize, latest: &Arc<Snapshot>) {
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

    /// Goes to the next row with the searched text, round and round.
    pub(super) fn find(&mut self, forward: bool, keys: &Keymap, latest: &Arc<Snapshot>) {
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
                    if let Some(view) = tab_at(event.column) {
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
