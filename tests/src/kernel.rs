//! Versions of kernels, and what labs expect of those that cannot tell what others tell.

use std::str::FromStr;

use anyhow::{Context, Result};
use serde::{Deserialize, Deserializer, de};

use crate::expect::Expect;

/// Major and minor number, such as 6.12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u32, u32);

impl Version {
    /// That of the running kernel.
    ///
    /// # Errors
    /// It does not say, or not in numbers.
    pub fn running() -> Result<Self> {
        let path = "/proc/sys/kernel/osrelease";
        std::fs::read_to_string(path).context(path)?.parse()
    }
}

impl FromStr for Version {
    type Err = anyhow::Error;

    /// Reads `6.12` and releases such as `6.12.117+deb12-cloud-amd64`.
    fn from_str(text: &str) -> Result<Self> {
        let numbers: Vec<u32> = text
            .split(|letter: char| !letter.is_ascii_digit())
            .map_while(|number| number.parse().ok())
            .collect();
        match numbers[..] {
            [major, minor, ..] => Ok(Self(major, minor)),
            _ => anyhow::bail!("`{text}` is no version of a kernel such as 6.12"),
        }
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// What kernels older than a version cannot tell, and what is expected of them instead.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// The first version that tells it.
    pub before: Version,
    /// What they lack.
    pub why: String,
    /// What the faulty run's report must say there; nothing where the lab is not run.
    #[serde(default)]
    pub expect: Option<Expect>,
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_and_compared_as_numbers() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        assert_eq!(version("6.12.117+deb12-cloud-amd64"), Version(6, 12));
        assert!(version("6.1") < version("6.12") && version("5.10.0-46") < version("5.17"));
        assert!("mainline".parse::<Version>().is_err());
    }
}
