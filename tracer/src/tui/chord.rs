//! A key with its modifiers, and how it is written: `q`, `G`, `ctrl-c`, `pgdn`, `f5`.

use std::fmt;
use std::str::FromStr;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// A key press.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Chord {
    code: KeyCode,
    ctrl: bool,
    alt: bool,
}

/// Keys that are not a character, by the names that people write.
const NAMES: &[(&str, KeyCode)] = &[
    ("up", KeyCode::Up),
    ("down", KeyCode::Down),
    ("left", KeyCode::Left),
    ("right", KeyCode::Right),
    ("pgup", KeyCode::PageUp),
    ("pgdn", KeyCode::PageDown),
    ("home", KeyCode::Home),
    ("end", KeyCode::End),
    ("enter", KeyCode::Enter),
    ("esc", KeyCode::Esc),
    ("tab", KeyCode::Tab),
    ("backtab", KeyCode::BackTab),
    ("backspace", KeyCode::Backspace),
    ("delete", KeyCode::Delete),
    ("insert", KeyCode::Insert),
    ("space", KeyCode::Char(' ')),
];

impl From<KeyEvent> for Chord {
    /// A character's own case tells whether shift was held.
    fn from(event: KeyEvent) -> Self {
        Self {
            code: event.code,
            ctrl: event.modifiers.contains(KeyModifiers::CONTROL),
            alt: event.modifiers.contains(KeyModifiers::ALT),
        }
    }
}

impl Chord {
    /// The character that a line of input takes for this key.
    #[must_use]
    pub fn character(self) -> Option<char> {
        match self.code {
            KeyCode::Char(c) if !self.ctrl && !self.alt => Some(c),
            _ => None,
        }
    }

    /// The key without modifiers.
    #[must_use]
    pub fn code(self) -> KeyCode {
        self.code
    }
}

impl FromStr for Chord {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
            format!(
                "`{text}` is not a key: write a character, ctrl-c, alt-x, f1 to f12, or one of {}",
                names.join(" ")
            )
        };
        let (mut ctrl, mut alt, mut rest) = (false, false, text);
        loop {
            if let Some(after) = rest.strip_prefix("ctrl-").filter(|after| !after.is_empty()) {
                (ctrl, rest) = (true, after);
            } else if let Some(after) = rest.strip_prefix("alt-").filter(|after| !after.is_empty())
            {
                (alt, rest) = (true, after);
            } else {
                break;
            }
        }
        let named = NAMES.iter().find(|(name, _)| *name == rest);
        let mut characters = rest.chars();
        let code = match (named, characters.next(), characters.next()) {
            (Some((_, code)), ..) => *code,
            (None, Some(c), None) => KeyCode::Char(c),
            _ => {
                let number = rest.strip_prefix('f').and_then(|n| n.parse().ok());
                KeyCode::F(number.filter(|n| (1..=12).contains(n)).ok_or_else(wrong)?)
            }
        };
        Ok(Self { code, ctrl, alt })
    }
}

impl fmt::Display for Chord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ctrl {
            f.write_str("ctrl-")?;
        }
        if self.alt {
            f.write_str("alt-")?;
        }
        let named = NAMES.iter().find(|(_, code)| *code == self.code);
        match (named, self.code) {
            (Some((name, _)), _) => f.write_str(name),
            (None, KeyCode::Char(c)) => write!(f, "{c}"),
            (None, KeyCode::F(n)) => write!(f, "f{n}"),
            (None, _) => f.write_str("?"),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use super::*;

    #[test]
    fn a_chord_is_written_as_it_is_read() {
        for text in [
            "q", "G", "ctrl-c", "alt-x", "pgdn", "f10", "space", "/", "?", "-",
        ] {
            assert_eq!(text.parse::<Chord>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_key_is_refused_with_what_is() {
        for text in ["", "f13", "ctrl-", "pagedown", "ctrl-pagedown"] {
            let error = text.parse::<Chord>().unwrap_err();
            assert!(error.contains("pgdn"), "{error}");
        }
    }

    #[test]
    fn a_pressed_key_is_the_written_one() {
        let pressed = |code, modifiers| Chord::from(KeyEvent::new(code, modifiers));
        let shift_g = pressed(KeyCode::Char('G'), KeyModifiers::SHIFT);
        assert_eq!(shift_g, "G".parse().unwrap());
        let interrupt = pressed(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(interrupt, "ctrl-c".parse().unwrap());
        assert_eq!(interrupt.character(), None);
        assert_eq!(shift_g.character(), Some('G'));
    }
}
