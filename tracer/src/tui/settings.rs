//! The settings file: other keys, other colours. Read once at the start; a mistake in it is told in one line and is
//! no reason to go without a trace.
//!
//! ```toml
//! [keys]
//! quit = ["q", "ctrl-c"]
//! [colors]
//! bad = "#ff5555"
//! ```

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::keys::Keymap;
use super::theme::{ROLES, Theme};
use crate::config::Depth;

/// The file as written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    keys: BTreeMap<String, Vec<String>>,
    colors: BTreeMap<String, String>,
}

/// What the settings give.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Keys.
    pub keys: Keymap,
    /// Colours.
    pub theme: Theme,
}

impl Settings {
    /// Without a file.
    #[must_use]
    pub fn plain(depth: Depth) -> Self {
        Self {
            keys: Keymap::default(),
            theme: Theme::new(depth),
        }
    }

    /// As the text of a file says.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn parse(text: &str, depth: Depth) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| {
                text.get(..span.start)
                    .unwrap_or_default()
                    .matches('\n')
                    .count()
                    + 1
            });
            format!("line {line}: {}", error.message())
        })?;
        let keys = file
            .keys
            .iter()
            .map(|(name, keys)| (name.as_str(), keys.as_slice()));
        let colors = file
            .colors
            .iter()
            .map(|(name, color)| (name.as_str(), color.as_str()));
        Ok(Self {
            keys: Keymap::with(keys)?,
            theme: Theme::with(depth, colors)?,
        })
    }

    /// As the user's file says; without one, plain. A mistake gives plain settings and what to tell.
    #[must_use]
    pub fn load(depth: Depth) -> (Self, Option<String>) {
        let Some(path) = path() else {
            return (Self::plain(depth), None);
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => match Self::parse(&text, depth) {
                Ok(settings) => (settings, None),
                Err(error) => (
                    Self::plain(depth),
                    Some(format!("{} is not used: {error}", path.display())),
                ),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                (Self::plain(depth), None)
            }
            Err(error) => (
                Self::plain(depth),
                Some(format!("cannot read {}: {error}", path.display())),
            ),
        }
    }
}

/// `$XDG_CONFIG_HOME/tracer/config.toml`, else `~/.config/tracer/config.toml`.
#[must_use]
pub fn path() -> Option<PathBuf> {
    let absolute = |name: &str| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CONFIG_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".config")))
        .map(|config| config.join("tracer/config.toml"))
}

/// All keys and colours as a settings file, with what they are for: `tracer keys`.
#[must_use]
pub fn listing(settings: &Settings, path: Option<&Path>) -> String {
    let mut out = String::new();
    let place = path.map_or_else(
        || "$XDG_CONFIG_HOME/tracer/config.toml".to_owned(),
        |path| path.display().to_string(),
    );
    // Writing into a string does not fail.
    let _ = writeln!(
        out,
        "# Keys and colours of the full screen. Lines to change go to {place}\n\n[keys]"
    );
    for (key, chords) in settings.keys.rows() {
        let chords: Vec<String> = chords
            .iter()
            .map(|chord| format!("{:?}", chord.to_string()))
            .collect();
        let line = format!("{} = [{}]", key.name, chords.join(", "));
        let _ = writeln!(out, "{line:<46} # {}", key.help);
    }
    let _ = writeln!(
        out,
        "\n# A name (red, lightblue), 0 to 255, or \"#rrggbb\"; a background after \" on \"\n[colors]"
    );
    for row in ROLES {
        let style = settings.theme.style(row.role);
        let color = match (style.fg, style.bg) {
            (None, _) => String::from("reset"),
            (Some(fg), None) => fg.to_string(),
            (Some(fg), Some(bg)) => format!("{fg} on {bg}"),
        };
        let line = format!("# {} = {:?}", row.name, color.to_lowercase());
        let _ = writeln!(out, "{line:<46} # {}", row.help);
    }
    out
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use super::*;

    #[test]
    fn the_listing_is_a_settings_file() {
        let plain = Settings::plain(Depth::True);
        let text = listing(&plain, None)
            .replace("\n# ", "\n")
            .replace("\nA name", "\n# A name");
        let text = text.replace("\nKeys and", "\n# Keys and");
        let again = Settings::parse(&text, Depth::True).unwrap();
        assert_eq!(listing(&again, None), listing(&plain, None));
    }

    #[test]
    fn a_mistake_is_one_line_with_its_place() {
        for (text, word) in [
            ("[keys]\nquit = 'q'", "line 2"),
            ("[keyz]", "keyz"),
            ("[keys]\nquitt = ['q']", "quitt"),
            ("[colors]\nbad = 'rot'", "rot"),
        ] {
            let error = Settings::parse(text, Depth::Ansi).unwrap_err();
            assert!(error.contains(word) && !error.contains('\n'), "{error}");
        }
    }
}
