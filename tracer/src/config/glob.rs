//! Patterns of interface names: `eth0`, `veth*`, `en?s[0-3]`.

use std::fmt;

use crate::error::Error;

/// Longest name of an interface (IFNAMSIZ is 16 with the final zero, linux/if.h).
const LONGEST_NAME: usize = 15;

/// A pattern: `*` any letters, `?` one, `[a-c]` one of these, `[!a-c]` one of the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Letter(char),
    One,
    Any,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Part {
    fn takes(&self, letter: char) -> bool {
        match self {
            Self::Letter(own) => *own == letter,
            Self::One | Self::Any => true,
            Self::Class { negated, ranges } => {
                ranges
                    .iter()
                    .any(|(first, last)| (*first..=*last).contains(&letter))
                    != *negated
            }
        }
    }
}

impl Glob {
    /// Parses a pattern.
    ///
    /// # Errors
    /// When no interface can have such a name.
    pub fn new(text: &str) -> Result<Self, Error> {
        let refuse = |why: &str| {
            Error::usage(format!("--interface `{text}`: {why}"))
                .hint("write a name or a pattern: eth0, 'veth*', 'en?s[0-3]'; give --interface again for a further one")
        };
        let mut parts = Vec::new();
        let mut rest = text.chars();
        while let Some(letter) = rest.next() {
            parts.push(match letter {
                '*' => Part::Any,
                '?' => Part::One,
                '[' => {
                    let (class, _) = rest
                        .as_str()
                        // a bracket that comes first is one of the letters
                        .char_indices()
                        .skip(1)
                        .find(|(_, c)| *c == ']')
                        .and_then(|(end, _)| rest.as_str().split_at_checked(end))
                        .ok_or_else(|| refuse("`[` is not closed"))?;
                    let part = class_of(class).ok_or_else(|| refuse("nothing is in [ ]"))?;
                    // the letters and the closing bracket
                    rest.nth(class.chars().count());
                    part
                }
                '/' | ',' => return Err(refuse("no interface has this in its name")),
                c if c.is_whitespace() || c.is_control() => {
                    return Err(refuse("no interface has this in its name"));
                }
                c => Part::Letter(c),
            });
        }
        parts.dedup_by(|a, b| *a == Part::Any && *b == Part::Any);
        let shortest = parts.iter().filter(|part| **part != Part::Any).count();
        if parts.is_empty() || shortest > LONGEST_NAME {
            return Err(refuse("names have 1 to 15 letters"));
        }
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }

    /// Whether a name fits.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        // reached[i]: the first i parts have taken all letters so far
        let start = |reached: &mut Vec<bool>| {
            for (i, part) in self.parts.iter().enumerate() {
                if *part == Part::Any && reached.get(i) == Some(&true) {
                    set(reached, i + 1);
                }
            }
        };
        let mut reached = vec![false; self.parts.len() + 1];
        set(&mut reached, 0);
        start(&mut reached);
        for letter in name.chars() {
            let mut next = vec![false; self.parts.len() + 1];
            for (i, part) in self.parts.iter().enumerate() {
                if reached.get(i) == Some(&true) && part.takes(letter) {
                    set(&mut next, if *part == Part::Any { i } else { i + 1 });
                }
            }
            start(&mut next);
            reached = next;
        }
        reached.last() == Some(&true)
    }
}

fn set(reached: &mut [bool], at: usize) {
    if let Some(place) = reached.get_mut(at) {
        *place = true;
    }
}

fn class_of(text: &str) -> Option<Part> {
    let (negated, letters) = match text.strip_prefix(['!', '^']) {
        Some(letters) if !letters.is_empty() => (true, letters),
        _ => (false, text),
    };
    let letters: Vec<char> = letters.chars().collect();
    let mut ranges = Vec::new();
    let mut rest = letters.as_slice();
    loop {
        rest = match rest {
            [first, '-', last, tail @ ..] => {
                ranges.push((*first, *last));
                tail
            }
            [one, tail @ ..] => {
                ranges.push((*one, *one));
                tail
            }
            [] => break,
        };
    }
    (!ranges.is_empty()).then_some(Part::Class { negated, ranges })
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use super::Glob;

    #[test]
    fn names_that_fit() {
        for (pattern, fits, others) in [
            ("eth0", vec!["eth0"], vec!["eth1", "eth", "eth00", "ETH0"]),
            ("veth*", vec!["veth", "veth1a2b"], vec!["aveth", "vet"]),
            ("*", vec!["lo", "x"], vec![]),
            ("*.1", vec!["flannel.1", "a.1.1"], vec!["flannel.12"]),
            ("a*b*c", vec!["abc", "aXbYc", "abbcc"], vec!["acb", "ab"]),
            ("en?s[0-3]", vec!["enps0", "en0s3"], vec!["ens0", "enps4"]),
            ("e[!t]h", vec!["eXh"], vec!["eth"]),
            ("e[]x]h", vec!["e]h", "exh"], vec!["eh"]),
            ("if[a-]", vec!["if-", "ifa"], vec!["ifb"]),
        ] {
            let glob = Glob::new(pattern).unwrap();
            for name in fits {
                assert!(glob.matches(name), "{pattern} {name}");
            }
            for name in others {
                assert!(!glob.matches(name), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn refused() {
        let patterns = [
            "",
            "eth[0",
            "eth[",
            "eth[]",
            "a/b",
            "a b",
            "eth0,eth1",
            "a234567890123456",
        ];
        let messages: Vec<String> = patterns
            .iter()
            .map(|text| Glob::new(text).unwrap_err().message().to_owned())
            .collect();
        insta::assert_snapshot!(messages.join("\n"), @r"
        --interface ``: names have 1 to 15 letters
        --interface `eth[0`: `[` is not closed
        --interface `eth[`: `[` is not closed
        --interface `eth[]`: `[` is not closed
        --interface `a/b`: no interface has this in its name
        --interface `a b`: no interface has this in its name
        --interface `eth0,eth1`: no interface has this in its name
        --interface `a234567890123456`: names have 1 to 15 letters
        ");
    }

    #[test]
    fn many_stars_take_no_time() {
        let glob = Glob::new(&"*a".repeat(15)).unwrap();
        assert!(!glob.matches(&"a".repeat(14)));
        assert!(glob.matches(&"a".repeat(10_000)));
    }
}
