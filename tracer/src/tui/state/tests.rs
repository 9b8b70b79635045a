//! Keys and the mouse, sent through the table of keys.

use std::sync::Arc;

use crossterm::event::{KeyModifiers, MouseButton, MouseEvent, MouseEventKind};

use super::*;
use crate::config::Depth;
use crate::render::samples;
use crate::render::style::UNICODE;
use crate::report::Report;
use crate::session::Session;
use crate::tui::Feed;
use crate::tui::Settings;
use crate::tui::combined::combined;
use crate::tui::frame;

/// A screen of a report, and what it asked for.
struct Desk {
    state: State,
    settings: Settings,
    latest: Arc<Snapshot>,
    effects: Vec<Effect>,
}

impl Desk {
    fn of(report: Report) -> Self {
        let feed = Feed::new(&Session::default());
        let mut snapshot = Snapshot::clone(feed.snapshot());
        snapshot.combined = combined(&report);
        snapshot.packets.clone_from(&report.journeys);
        snapshot.report = report;
        Self {
            state: State::new((100, 30), UNICODE),
            settings: Settings::plain(Depth::Mono),
            latest: Arc::new(snapshot),
            effects: Vec::new(),
        }
    }

    /// Presses keys by their names.
    fn press(&mut self, keys: &str) -> &mut Self {
        for key in keys.split(' ') {
            let chord = key.parse().unwrap();
            let effect = self.state.key(chord, &self.settings.keys, &self.latest);
            self.effects.extend(effect);
        }
        self
    }

    /// Types characters.
    fn write(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            match c {
                ' ' => self.press("space"),
                c => self.press(&c.to_string()),
            };
        }
        self
    }

    fn screen(&self) -> String {
        let frame = frame::buffer(self.state.size(), &self.state, &self.latest, &self.settings);
        let width = usize::from(frame.area.width);
        let rows = frame.content().chunks(width);
        rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>() + "\n")
            .collect()
    }

    fn shows(&self, text: &str) {
        let screen = self.screen();
        assert!(screen.contains(text), "no `{text}` in:\n{screen}");
    }

    fn click(&mut self, column: u16, row: u16) {
        self.mouse(MouseEventKind::Down(MouseButton::Left), column, row);
    }

    fn mouse(&mut self, kind: MouseEventKind, column: u16, row: u16) {
        let event = MouseEvent {
            kind,
            column,
            row,
            modifiers: KeyModifiers::NONE,
        };
        self.state.mouse(event, &self.settings.keys, &self.latest);
    }

    /// Column and row of a text on the screen.
    fn find(&self, text: &str) -> (u16, u16) {
        let screen = self.screen();
        let (row, line) = screen
            .lines()
            .enumerate()
            .find(|(_, line)| line.contains(text))
            .unwrap();
        let column = line.find(text).map_or(0, |at| line[..at].chars().count());
        (column.try_into().unwrap(), row.try_into().unwrap())
    }
}

fn desk() -> Desk {
    Desk::of(samples::forward_drop())
}

#[test]
fn every_key_of_the_table_does_what_it_says() {
    for (key, chords) in Settings::plain(Depth::Mono).keys.rows() {
        assert!(!chords.is_empty(), "{} has no key", key.name);
        for chord in chords {
            let mut desk = desk();
            desk.press(&chord.to_string());
            match key.action {
                Action::Show(view) => assert_eq!(desk.state.view(), view),
                Action::NextView => assert_eq!(desk.state.view(), View::Packets),
                Action::PreviousView => assert_eq!(desk.state.view(), View::Log),
                Action::Quit => assert_eq!(desk.effects, [Effect::Quit]),
                Action::Reset => assert_eq!(desk.effects, [Effect::Reset]),
                Action::Step(to) => assert_eq!(desk.effects, [Effect::Step(to)]),
                Action::Restart => assert_eq!(desk.effects, [Effect::Restart]),
                Action::Run => assert_eq!(desk.effects, [Effect::Run]),
                Action::Copy => assert!(matches!(desk.effects.as_slice(), [Effect::Copy(_)])),
                Action::Freeze => assert!(desk.state.is_held()),
                Action::Help => desk.shows("keys (esc closes)"),
                Action::Evidence => desk.shows("evidence and advice"),
                Action::Considered => desk.shows("every cause that was considered"),
                Action::Search | Action::Filter | Action::Save => {
                    assert!(desk.state.typed().is_some());
                }
                Action::PreviousFlow | Action::NextFlow => desk.shows("no further flow"),
                Action::AllFlows => desk.shows("no other flows"),
                Action::NextMatch | Action::PreviousMatch => desk.shows("nothing is searched"),
                Action::OtherWay => assert_eq!(desk.state.way, 1),
                Action::Open | Action::Back => assert!(desk.effects.is_empty()),
                Action::Up | Action::Down | Action::PageUp | Action::PageDown => {
                    assert!(desk.state.cursor().target.is_some(), "{}", key.name);
                }
                Action::Top | Action::Bottom => {
                    assert!(desk.state.cursor().target.is_some(), "{}", key.name);
                }
            }
        }
    }
}

#[test]
fn tab_goes_round_and_shift_tab_goes_back() {
    let mut desk = desk();
    for _ in 0..View::COUNT {
        desk.press("tab");
    }
    assert_eq!(desk.state.view(), View::Path);
    desk.press("tab tab backtab");
    assert_eq!(desk.state.view(), View::Packets);
}

#[test]
fn enter_opens_the_row_and_esc_closes_it() {
    let mut desk = desk();
    desk.press("down enter").shows("hop 1 ");
    desk.press("esc");
    assert!(!desk.screen().contains("hop 1 "));
    // the cursor is where it was
    desk.press("down enter").shows("hop 2 ");
}

#[test]
fn a_flow_is_chosen_and_all_are_one() {
    let mut desk = Desk::of(samples::many_flows());
    let count = desk.latest.report.flows.len();
    desk.shows(&format!("1/{count}"));
    desk.press("right").shows(&format!("2/{count}"));
    desk.press("h").shows(&format!("1/{count}"));
    desk.press("a").shows("as one");
    desk.press("a").shows(&format!("1/{count}"));
}

#[test]
fn what_is_held_stays_while_the_trace_goes_on() {
    let mut desk = desk();
    desk.press("space");
    let mut later = Snapshot::clone(&desk.latest);
    later.report.verdict.summary = "something else".into();
    later.report.flows.clear();
    desk.latest = Arc::new(later);
    desk.shows("HELD");
    assert!(!desk.screen().contains("something else"));
    desk.press("space").shows("something else");
}

#[test]
fn the_expression_is_edited_and_followed() {
    let mut desk = desk();
    desk.latest = {
        let mut snapshot = Snapshot::clone(&desk.latest);
        snapshot.report.trace.expression = "icmp".into();
        Arc::new(snapshot)
    };
    desk.press("f").write(" and host 10.0.0.1");
    desk.press("enter");
    let expected = Effect::Filter("icmp and host 10.0.0.1".into());
    assert_eq!(desk.effects, [expected]);
    // keys that mean something elsewhere are letters here, and esc gives up
    desk.effects.clear();
    desk.press("f").write("qcr");
    desk.press("esc q");
    assert_eq!(desk.effects, [Effect::Quit]);
}

#[test]
fn a_line_is_edited_at_any_place() {
    let mut desk = desk();
    desk.press("s ctrl-u").write("ab網.svg");
    desk.press("home right delete end left backspace enter");
    assert_eq!(desk.effects, [Effect::Save("a網.sg".into())]);
}

#[test]
fn a_search_goes_round() {
    let mut desk = desk();
    desk.press("/").write("r-");
    desk.press("enter");
    let first = desk.state.cursor().target.clone();
    assert!(first.is_some());
    desk.press("n");
    assert_ne!(desk.state.cursor().target, first);
    desk.press("N");
    assert_eq!(desk.state.cursor().target, first);
    // words that nobody can select are found too
    desk.press("e /").write("policy");
    desk.press("enter");
    let first = desk.state.cursor().last(&[]);
    desk.press("n");
    assert_ne!(desk.state.cursor().last(&[]), first);
    desk.press("/").write("nowhere");
    desk.press("enter").shows("`nowhere` is not here");
}

#[test]
fn the_mouse_chooses_opens_and_scrolls() {
    let mut desk = desk();
    let (column, row) = desk.find("3 drops");
    desk.click(column, row);
    assert_eq!(desk.state.view(), View::Drops);
    desk.press("1");
    let (column, row) = desk.find("●");
    desk.click(column, row);
    assert_eq!(desk.state.cursor().target, Some(Target::Hop(0, 1)));
    desk.click(column, row);
    desk.shows("hop 1 ");
    desk.press("esc");
    desk.mouse(MouseEventKind::ScrollDown, 1, 12);
    assert_ne!(desk.state.cursor().target, Some(Target::Hop(0, 1)));
    // beside everything, nothing happens
    desk.click(99, 0);
    desk.click(0, 29);
}

#[test]
fn names_from_outside_command_nothing() {
    let mut report = samples::forward_drop();
    let hop = &mut report.flows[0].paths[0].hops[0];
    hop.interface = "e\u{1b}[2J\u{202e}x".into();
    hop.namespace = "pod\u{7}網路".into();
    let desk = Desk::of(report);
    let screen = desk.screen();
    assert!(
        !screen
            .chars()
            .any(|c| c != '\n' && crate::model::clean::is_hazard(c))
    );
    desk.shows("\\u{7}");
}
