//! The table of keys: what can be done, by which keys unless the settings say others, and the words of the help.

use std::collections::HashMap;

use super::chord::Chord;
use super::view::View;
use crate::session::step::StepTo;

/// Something that a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Shows a view.
    Show(View),
    /// The view after this one.
    NextView,
    /// The view before it.
    PreviousView,
    /// One row up.
    Up,
    /// One row down.
    Down,
    /// A screen up.
    PageUp,
    /// A screen down.
    PageDown,
    /// The first row.
    Top,
    /// The last row.
    Bottom,
    /// The flow before this one.
    PreviousFlow,
    /// The flow after it.
    NextFlow,
    /// All flows in one picture.
    AllFlows,
    /// Opens what the cursor is on.
    Open,
    /// Closes what is open.
    Back,
    /// All evidence and all advice.
    Evidence,
    /// Every cause that was considered.
    Considered,
    /// The other way: reply path instead of forward path.
    OtherWay,
    /// Looks for a text.
    Search,
    /// The next row with it.
    NextMatch,
    /// The row with it before.
    PreviousMatch,
    /// Edits the expression.
    Filter,
    /// Holds the picture still, and lets it go on.
    Freeze,
    /// Saves the report or the recording.
    Save,
    /// Copies the command of the advice.
    Copy,
    /// Counts from zero again.
    Reset,
    /// Of a replay: goes one step on and stops there.
    Step(StepTo),
    /// Of a replay: goes back to the start and stops there.
    Restart,
    /// Of a replay: stops, and runs on.
    Run,
    /// The help.
    Help,
    /// Ends the trace.
    Quit,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// What it does.
    pub action: Action,
    /// Name in the settings.
    pub name: &'static str,
    /// Keys unless the settings say others.
    pub chords: &'static [&'static str],
    /// Words of the help.
    pub help: &'static str,
}

const fn key(
    action: Action,
    name: &'static str,
    chords: &'static [&'static str],
    help: &'static str,
) -> Key {
    Key {
        action,
        name,
        chords,
        help,
    }
}

/// Every action, in the order of the help.
pub static KEYS: &[Key] = &[
    key(
        Action::Show(View::Path),
        "path",
        &["1"],
        "path: hops, loss, latency, rewrites",
    ),
    key(
        Action::Show(View::Packets),
        "packets",
        &["2"],
        "packets: one row each, newest first",
    ),
    key(
        Action::Show(View::Drops),
        "drops",
        &["3"],
        "drops by cause and place",
    ),
    key(
        Action::Show(View::Interfaces),
        "interfaces",
        &["4"],
        "namespaces and interfaces",
    ),
    key(
        Action::Show(View::Context),
        "context",
        &["5"],
        "routes, neighbours, chains, sysctls read",
    ),
    key(
        Action::Show(View::Log),
        "log",
        &["6"],
        "log: probes, interfaces, losses, errors",
    ),
    key(Action::NextView, "next-view", &["tab"], "next view"),
    key(
        Action::PreviousView,
        "previous-view",
        &["backtab"],
        "previous view",
    ),
    key(Action::Up, "up", &["up", "k"], "up"),
    key(Action::Down, "down", &["down", "j"], "down"),
    key(
        Action::PageUp,
        "page-up",
        &["pgup", "ctrl-b", "ctrl-u"],
        "a screen up",
    ),
    key(
        Action::PageDown,
        "page-down",
        &["pgdn", "ctrl-f", "ctrl-d"],
        "a screen down",
    ),
    key(Action::Top, "top", &["g", "home"], "first row"),
    key(Action::Bottom, "bottom", &["G", "end"], "last row"),
    key(
        Action::PreviousFlow,
        "previous-flow",
        &["left", "h", "["],
        "previous flow",
    ),
    key(
        Action::NextFlow,
        "next-flow",
        &["right", "l", "]"],
        "next flow",
    ),
    key(
        Action::AllFlows,
        "all-flows",
        &["a"],
        "all flows as one path, with its branches",
    ),
    key(
        Action::Open,
        "open",
        &["enter"],
        "open the row: a packet's events, a drop's stack",
    ),
    key(
        Action::Back,
        "back",
        &["esc", "backspace"],
        "close, go back",
    ),
    key(
        Action::Evidence,
        "evidence",
        &["e"],
        "all evidence and all advice",
    ),
    key(
        Action::Considered,
        "considered",
        &["w"],
        "every cause considered, and why it stands or not",
    ),
    key(
        Action::OtherWay,
        "other-way",
        &["t"],
        "forward path or reply path",
    ),
    key(Action::Search, "search", &["/"], "search"),
    key(Action::NextMatch, "next-match", &["n"], "next match"),
    key(
        Action::PreviousMatch,
        "previous-match",
        &["N"],
        "previous match",
    ),
    key(
        Action::Filter,
        "filter",
        &["f"],
        "edit the expression; the trace goes on",
    ),
    key(
        Action::Freeze,
        "freeze",
        &["space"],
        "freeze the display, and go on",
    ),
    key(
        Action::Save,
        "save",
        &["s"],
        "save: .json .txt .md .svg .ndjson .pcapng .tracer",
    ),
    key(
        Action::Copy,
        "copy",
        &["c"],
        "copy the command of the advice",
    ),
    key(Action::Reset, "reset", &["r"], "count from zero again"),
    key(
        Action::Step(StepTo::Event),
        "next-event",
        &["."],
        "replay: to the next event",
    ),
    key(
        Action::Step(StepTo::Packet),
        "next-packet",
        &[">"],
        "replay: to the next packet",
    ),
    key(
        Action::Step(StepTo::Drop),
        "next-drop",
        &["x"],
        "replay: to the next drop",
    ),
    key(
        Action::Restart,
        "restart",
        &["0"],
        "replay: back to the start",
    ),
    key(Action::Run, "run", &["p"], "replay: resume, and pause"),
    key(Action::Help, "help", &["?", "f1"], "this help"),
    key(Action::Quit, "quit", &["q", "ctrl-c"], "end the trace"),
];

/// Which key does what.
#[derive(Clone, Debug)]
pub struct Keymap {
    actions: HashMap<Chord, Action>,
    /// For each row of [`KEYS`], its chords.
    chords: Vec<Vec<Chord>>,
}

impl Default for Keymap {
    fn default() -> Self {
        // The names of the table are checked by a test.
        let chords = KEYS
            .iter()
            .map(|key| {
                key.chords
                    .iter()
                    .filter_map(|text| text.parse().ok())
                    .collect()
            })
            .collect();
        Self::of(chords)
    }
}

impl Keymap {
    fn of(chords: Vec<Vec<Chord>>) -> Self {
        let actions = KEYS
            .iter()
            .zip(&chords)
            .flat_map(|(key, chords)| chords.iter().map(|chord| (*chord, key.action)))
            .collect();
        Self { actions, chords }
    }

    /// Other keys for some actions, by name. A key that is given to one action is taken from the others.
    ///
    /// # Errors
    /// A name or a key that does not exist, or a key given twice, in one line.
    pub fn with<'a>(
        overrides: impl IntoIterator<Item = (&'a str, &'a [String])>,
    ) -> Result<Self, String> {
        let mut chords = Self::default().chords;
        let mut given: HashMap<Chord, &str> = HashMap::new();
        for (name, texts) in overrides {
            let at = KEYS
                .iter()
                .position(|key| key.name == name)
                .ok_or_else(|| {
                    let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
                    format!("`{name}` is not an action; there are {}", names.join(", "))
                })?;
            let new: Vec<Chord> = texts
                .iter()
                .map(|text| text.parse())
                .collect::<Result<_, _>>()?;
            for chord in &new {
                if let Some(other) = given.insert(*chord, name) {
                    return Err(format!("key `{chord}` is given to {other} and to {name}"));
                }
            }
            for list in &mut chords {
                list.retain(|chord| !new.contains(chord));
            }
            if let Some(list) = chords.get_mut(at) {
                *list = new;
            }
        }
        Ok(Self::of(chords))
    }

    /// What a key does.
    #[must_use]
    pub fn action(&self, chord: Chord) -> Option<Action> {
        self.actions.get(&chord).copied()
    }

    /// The table with the keys in force.
    pub fn rows(&self) -> impl Iterator<Item = (&'static Key, &[Chord])> {
        KEYS.iter().zip(self.chords.iter().map(Vec::as_slice))
    }

    /// The first key of an action, for hints; empty when it has none.
    #[must_use]
    pub fn hint(&self, action: Action) -> String {
        self.rows()
            .find(|(key, _)| key.action == action)
            .and_then(|(_, chords)| chords.first())
            .map(ToString::to_string)
            .unwrap_or_default()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_no_name_and_no_key_twice() {
        let mut chords = Vec::new();
        for (i, key) in KEYS.iter().enumerate() {
            assert!(
                !KEYS.iter().skip(i + 1).any(|k| k.name == key.name),
                "{}",
                key.name
            );
            for text in key.chords {
                let chord: Chord = text.parse().unwrap();
                assert!(!chords.contains(&chord), "{text} stands twice");
                chords.push(chord);
            }
        }
    }

    #[test]
    fn settings_move_a_key_from_one_action_to_another() {
        let keys = ["x".to_owned(), "n".to_owned()];
        let map = Keymap::with([("quit", keys.as_slice())]).unwrap();
        let action = |text: &str| map.action(text.parse().unwrap());
        assert_eq!(action("x"), Some(Action::Quit));
        assert_eq!(action("n"), Some(Action::Quit));
        assert_eq!(action("q"), None);
        assert_eq!(map.hint(Action::NextMatch), "");
    }

    #[test]
    fn mistakes_are_told() {
        let q = ["q".to_owned()];
        let error = |overrides: Vec<(&str, &[String])>| Keymap::with(overrides).unwrap_err();
        assert!(
            error(vec![("quitt", &q)]).contains("quit,")
                || error(vec![("quitt", &q)]).contains("quit")
        );
        assert!(error(vec![("quit", &q), ("save", &q)]).contains("to quit and to save"));
        assert!(error(vec![("quit", &["pagedown".to_owned()])]).contains("pgdn"));
    }
}
