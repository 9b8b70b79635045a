//! What text looks like: one table of colours, and two sets of marks. Meaning never hangs on colour alone.

use anstyle::{AnsiColor, Effects, Style};

use crate::verdict::Outcome;

/// What a piece of text is, which decides its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Ordinary text.
    Plain,
    /// Headings and names that lead the eye.
    Strong,
    /// What is there to be looked up, not read.
    Quiet,
    /// It works.
    Good,
    /// It does not, and this is where.
    Bad,
    /// Unknown, unanswered, incomplete.
    Doubt,
    /// Rewrites of headers.
    Change,
    /// What to type.
    Command,
    /// What has just come or changed.
    Fresh,
}

/// The table of colours: the sixteen that every terminal has and its user chose.
const STYLES: &[(Ink, Style)] = &[
    (Ink::Plain, Style::new()),
    (Ink::Strong, Style::new().effects(Effects::BOLD)),
    (Ink::Quiet, Style::new().effects(Effects::DIMMED)),
    (Ink::Good, colored(AnsiColor::Green).effects(Effects::BOLD)),
    (Ink::Bad, colored(AnsiColor::Red).effects(Effects::BOLD)),
    (
        Ink::Doubt,
        colored(AnsiColor::Yellow).effects(Effects::BOLD),
    ),
    (Ink::Change, colored(AnsiColor::Magenta)),
    (Ink::Fresh, colored(AnsiColor::Blue).effects(Effects::BOLD)),
    (
        Ink::Command,
        colored(AnsiColor::Cyan).effects(Effects::BOLD),
    ),
];

const fn colored(color: AnsiColor) -> Style {
    Style::new().fg_color(Some(anstyle::Color::Ansi(color)))
}

impl Ink {
    /// Its colours.
    #[must_use]
    pub fn style(self) -> Style {
        STYLES
            .iter()
            .find(|(ink, _)| *ink == self)
            .map(|(_, style)| *style)
            .unwrap_or_default()
    }
}

/// The marks of a page. Each is one column wide.
#[derive(Clone, Copy, Debug)]
pub struct Marks {
    /// It works.
    pub good: &'static str,
    /// Lost here.
    pub bad: &'static str,
    /// Nobody knows, or nobody answered.
    pub doubt: &'static str,
    /// Begins a row of rewrites.
    pub change: &'static str,
    /// Became.
    pub to: &'static str,
    /// Between items of a line.
    pub dot: &'static str,
    /// Something was left out.
    pub more: &'static str,
    /// Micro.
    pub micro: &'static str,
}

/// Marks for terminals with Unicode.
pub const UNICODE: Marks = Marks {
    good: "✓",
    bad: "✗",
    doubt: "?",
    change: "↳",
    to: "→",
    dot: "·",
    more: "…",
    micro: "µ",
};

/// Marks for all others.
pub const ASCII: Marks = Marks {
    good: "+",
    bad: "X",
    doubt: "?",
    change: "`",
    to: ">",
    dot: "-",
    more: "~",
    micro: "u",
};

/// How an outcome is shown.
#[derive(Clone, Copy, Debug)]
pub struct Face {
    /// Its word.
    pub word: &'static str,
    /// Its colour.
    pub ink: Ink,
}

impl Face {
    /// The face of an outcome.
    #[must_use]
    pub fn of(outcome: Outcome) -> Self {
        let (word, ink) = match outcome {
            Outcome::Delivered => ("DELIVERED", Ink::Good),
            Outcome::Dropped => ("DROPPED", Ink::Bad),
            Outcome::Rejected => ("REJECTED", Ink::Bad),
            Outcome::NotSent => ("NOT SENT", Ink::Bad),
            Outcome::Unanswered => ("UNANSWERED", Ink::Doubt),
            Outcome::Vanished => ("VANISHED", Ink::Doubt),
            Outcome::NoTraffic => ("NO TRAFFIC", Ink::Doubt),
        };
        Self { word, ink }
    }

    /// Its mark.
    #[must_use]
    pub fn mark(self, marks: &Marks) -> &'static str {
        match self.ink {
            Ink::Good => marks.good,
            Ink::Bad => marks.bad,
            _ => marks.doubt,
        }
    }
}
