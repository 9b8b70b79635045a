//! Which kernel it is, for facts that hold until or from a version.

use std::fmt;

/// Major and minor number of a kernel release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(pub u32, pub u32);

impl Release {
    /// Reads the first two numbers of `6.12.117+deb12-cloud-amd64`; what follows is the distribution's own.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (major, rest) = text.split_once('.')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit());
        let minor = rest.get(..digits.unwrap_or(rest.len()))?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_as_distributions_write_them() {
        for (text, release) in [
            ("6.12.117+deb12-cloud-amd64", Some(Release(6, 12))),
            ("5.10.0-30-amd64", Some(Release(5, 10))),
            ("7.2-rc1", Some(Release(7, 2))),
            ("6.1", Some(Release(6, 1))),
            ("six.one", None),
            ("", None),
        ] {
            assert_eq!(Release::parse(text), release, "{text}");
        }
    }
}
