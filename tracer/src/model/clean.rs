//! Characters that could deceive a reader or command a terminal, made visible. Every renderer uses this,
//! and whoever makes a command of names.

use std::borrow::Cow;
use std::ops::RangeInclusive;

/// Invisible characters beside the control characters: they hide, join or reorder what stands around them.
const INVISIBLE: &[RangeInclusive<char>] = &[
    '\u{ad}'..='\u{ad}',       // soft hyphen
    '\u{61c}'..='\u{61c}',     // Arabic letter mark
    '\u{180e}'..='\u{180e}',   // Mongolian vowel separator
    '\u{200b}'..='\u{200f}',   // zero width space and joiners, direction marks
    '\u{2028}'..='\u{202e}',   // line and paragraph separators, embeddings and overrides
    '\u{2060}'..='\u{206f}',   // word joiner, isolates, deprecated controls
    '\u{feff}'..='\u{feff}',   // byte order mark
    '\u{fff9}'..='\u{fffb}',   // interlinear annotation
    '\u{e0000}'..='\u{e007f}', // tags
];

/// Whether a character must not reach a terminal as it is.
#[must_use]
pub fn is_hazard(c: char) -> bool {
    // nearly all of what is shown is ASCII, and all of it is looked at
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    c.is_control() || INVISIBLE.iter().any(|range| range.contains(&c))
}

/// Whether a name is not said by its characters: some of them cannot be seen, or stand for bytes that are no text. Such a
/// name is in no command.
#[must_use]
pub fn is_unsayable(name: &str) -> bool {
    name.contains(|c| is_hazard(c) || c == char::REPLACEMENT_CHARACTER)
}

/// A name for a text that is split into words: one with spaces, which the kernel gives to no interface, is made unsayable.
#[must_use]
pub fn one_word(name: &str) -> Cow<'_, str> {
    if name.contains(char::is_whitespace) {
        Cow::Owned(name.replace(char::is_whitespace, "\u{fffd}"))
    } else {
        Cow::Borrowed(name)
    }
}

/// The text with every hazard spelled out (`\u{1b}`). Clean text is returned as it is.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hazard) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_hazard(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hazards_are_spelled_out() {
        let cases = [
            ("eth0", "eth0"),
            ("веб-1 網路 é", "веб-1 網路 é"),
            ("a\x1b[31mb", "a\\u{1b}[31mb"),
            ("a\nb\r\tc", "a\\u{a}b\\u{d}\\u{9}c"),
            ("\u{9b}2J\x7f", "\\u{9b}2J\\u{7f}"),
            ("pod\u{202e}0hte", "pod\\u{202e}0hte"),
            ("\u{2066}x\u{2069}", "\\u{2066}x\\u{2069}"),
            ("eth\u{200b}0\u{feff}", "eth\\u{200b}0\\u{feff}"),
        ];
        for (raw, cleaned) in cases {
            assert_eq!(clean(raw), cleaned);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nothing_hazardous_is_left(text in any::<String>()) {
            let once = clean(&text).into_owned();
            prop_assert!(!once.contains(is_hazard));
            prop_assert_eq!(clean(&once), once.as_str());
        }
    }
}
