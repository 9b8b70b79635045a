//! The table of colours: a role, and how it looks on terminals of each depth. Settings may change a role's colour.
//! Meaning never hangs on colour alone: marks and words tell the same.

use std::str::FromStr;

use ratatui::style::{Color, Modifier, Style};

use crate::config::Depth;
use crate::render::style::Ink;

/// What is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Text of the pages.
    Ink(Ink),
    /// The first and the last line.
    Bar,
    /// The view that is shown, in the list of views.
    Tab,
    /// The row of the cursor.
    Cursor,
    /// A match of the search.
    Match,
    /// Lines between the parts.
    Rule,
}

/// One row of the table.
pub struct Row {
    /// The role.
    pub role: Role,
    /// Name in the settings.
    pub name: &'static str,
    /// What it is for.
    pub help: &'static str,
    /// Attributes at every depth.
    modifier: Modifier,
    /// Colour and background of 16, 256 and 24 bits.
    colors: [(Option<Color>, Option<Color>); 3],
}

const fn row(
    role: Role,
    name: &'static str,
    help: &'static str,
    modifier: Modifier,
    colors: [(Option<Color>, Option<Color>); 3],
) -> Row {
    Row {
        role,
        name,
        help,
        modifier,
        colors,
    }
}

const NONE: [(Option<Color>, Option<Color>); 3] = [(None, None); 3];

const fn fg(ansi: Color, indexed: u8, rgb: u32) -> [(Option<Color>, Option<Color>); 3] {
    [
        (Some(ansi), None),
        (Some(Color::Indexed(indexed)), None),
        (Some(Color::from_u32(rgb)), None),
    ]
}

const BOLD: Modifier = Modifier::BOLD;
const DIM: Modifier = Modifier::DIM;
const PLAIN: Modifier = Modifier::empty();
const REVERSED: Modifier = Modifier::REVERSED;

/// Every role.
pub static ROLES: &[Row] = &[
    row(Role::Ink(Ink::Plain), "plain", "text", PLAIN, NONE),
    row(
        Role::Ink(Ink::Strong),
        "strong",
        "headings and names",
        BOLD,
        NONE,
    ),
    row(
        Role::Ink(Ink::Quiet),
        "quiet",
        "reference information",
        DIM,
        NONE,
    ),
    row(
        Role::Ink(Ink::Good),
        "good",
        "it works",
        BOLD,
        fg(Color::Green, 78, 0x6f_cf_7f),
    ),
    row(
        Role::Ink(Ink::Bad),
        "bad",
        "it does not, and this is where",
        BOLD,
        fg(Color::Red, 203, 0xff_6b_6b),
    ),
    row(
        Role::Ink(Ink::Doubt),
        "doubt",
        "unknown, unanswered, incomplete",
        BOLD,
        fg(Color::Yellow, 221, 0xf2_c5_5c),
    ),
    row(
        Role::Ink(Ink::Change),
        "change",
        "rewrites of headers",
        PLAIN,
        fg(Color::Magenta, 176, 0xd7_8f_e0),
    ),
    row(
        Role::Ink(Ink::Command),
        "command",
        "what to type",
        BOLD,
        fg(Color::Cyan, 80, 0x63_d2_dd),
    ),
    row(
        Role::Bar,
        "bar",
        "the first and the last line",
        REVERSED,
        NONE,
    ),
    row(
        Role::Tab,
        "tab",
        "the view that is shown",
        BOLD.union(Modifier::UNDERLINED),
        NONE,
    ),
    row(
        Role::Cursor,
        "cursor",
        "the row of the cursor",
        REVERSED,
        NONE,
    ),
    row(
        Role::Match,
        "match",
        "a match of the search",
        BOLD.union(Modifier::UNDERLINED),
        fg(Color::Yellow, 226, 0xff_e0_66),
    ),
    row(Role::Rule, "rule", "lines between the parts", DIM, NONE),
    row(
        Role::Ink(Ink::Fresh),
        "fresh",
        "what has just come or changed",
        BOLD,
        fg(Color::Blue, 117, 0x8a_c6_ff),
    ),
];

/// Colours in force.
#[derive(Clone, Debug)]
pub struct Theme {
    styles: Vec<Style>,
}

impl Theme {
    /// The table at a depth.
    #[must_use]
    pub fn new(depth: Depth) -> Self {
        let styles = ROLES
            .iter()
            .map(|row| {
                let [ansi, indexed, rgb] = row.colors;
                let (fg, bg) = match depth {
                    Depth::Mono => (None, None),
                    Depth::Ansi => ansi,
                    Depth::Indexed => indexed,
                    Depth::True => rgb,
                };
                let style = Style {
                    fg,
                    bg,
                    ..Style::default()
                };
                style.add_modifier(row.modifier)
            })
            .collect();
        Self { styles }
    }

    /// Other colours for some roles, by name: `red`, `lightblue`, `123`, `#ff8800`, and for the background a second
    /// one after `on`. On a terminal without colours they change nothing.
    ///
    /// # Errors
    /// A role or a colour that does not exist, in one line.
    pub fn with<'a>(
        depth: Depth,
        overrides: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, String> {
        let mut theme = Self::new(depth);
        for (name, text) in overrides {
            let at = ROLES
                .iter()
                .position(|row| row.name == name)
                .ok_or_else(|| {
                    let names: Vec<&str> = ROLES.iter().map(|row| row.name).collect();
                    format!(
                        "`{name}` is not a colour role; there are {}",
                        names.join(", ")
                    )
                })?;
            let (fg, bg) = match text.split_once(" on ") {
                Some((fg, bg)) => (color(fg)?, Some(color(bg)?)),
                None => (color(text)?, None),
            };
            if let Some(style) = theme.styles.get_mut(at).filter(|_| depth != Depth::Mono) {
                style.fg = Some(fg);
                style.bg = bg.or(style.bg);
            }
        }
        Ok(theme)
    }

    /// How a role looks.
    #[must_use]
    pub fn style(&self, role: Role) -> Style {
        ROLES
            .iter()
            .position(|row| row.role == role)
            .and_then(|at| self.styles.get(at).copied())
            .unwrap_or_default()
    }
}

fn color(text: &str) -> Result<Color, String> {
    Color::from_str(text.trim()).map_err(|_| {
        format!("`{text}` is not a colour: write a name (red, lightblue), 0 to 255, or #rrggbb")
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use super::*;

    #[test]
    fn every_role_stands_once() {
        for (i, row) in ROLES.iter().enumerate() {
            let rest = || ROLES.iter().skip(i + 1);
            assert!(
                !rest().any(|r| r.name == row.name || r.role == row.role),
                "{}",
                row.name
            );
        }
    }

    #[test]
    fn without_colours_only_attributes_are_left() {
        let theme = Theme::with(Depth::Mono, [("bad", "#ff0000 on blue")]).unwrap();
        let style = theme.style(Role::Ink(Ink::Bad));
        assert_eq!((style.fg, style.bg), (None, None));
        assert!(style.add_modifier.contains(Modifier::BOLD));
    }

    #[test]
    fn settings_change_a_colour() {
        let theme = Theme::with(Depth::Ansi, [("good", "#00ff00 on 17")]).unwrap();
        let style = theme.style(Role::Ink(Ink::Good));
        assert_eq!(style.fg, Some(Color::Rgb(0, 255, 0)));
        assert_eq!(style.bg, Some(Color::Indexed(17)));
        for (name, text) in [("god", "red"), ("good", "greeen"), ("good", "red on 300")] {
            assert!(
                Theme::with(Depth::Ansi, [(name, text)]).is_err(),
                "{name} {text}"
            );
        }
    }

    #[test]
    fn the_surroundings_tell_the_depth() {
        for (no_color, colorterm, term, depth) in [
            (true, "truecolor", "xterm-256color", Depth::Mono),
            (false, "truecolor", "xterm", Depth::True),
            (false, "", "screen-256color", Depth::Indexed),
            (false, "", "linux", Depth::Ansi),
        ] {
            assert_eq!(Depth::of(no_color, colorterm, term), depth);
        }
    }
}
