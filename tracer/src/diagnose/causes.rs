//! The catalogue of causes: every code that a verdict can carry, with the outcome that it leads to, the places that it can
//! name, which others it beats where both are proposed, and what the manual says about it. One module for each family;
//! docs/causes.md is generated from them ([`manual`]). How a cause is recognised in a trace is in `rules`.

/// Declares the causes of a family, and the list of them in the manual's order.
macro_rules! family {
    ($heading:literal $(, notes: $notes:expr)?; $($(#[$doc:meta])* $name:ident = $cause:expr;)*) => {
        $($(#[$doc])* pub static $name: Cause = $cause;)*

        pub(super) static FAMILY: Family = Family {
            heading: $heading,
            causes: &[$(&$name),*],
            notes: &[$($notes)?],
        };
    };
}

mod link;
mod manual;
mod nat;
mod netfilter;
mod program;
mod rest;
mod route;
mod socket;
mod switch;
mod tunnel;

pub use link::*;
pub use manual::manual;
pub use nat::*;
pub use netfilter::*;
pub use program::*;
pub use rest::*;
pub use route::*;
pub use socket::*;
pub use switch::*;
pub use tunnel::*;

use crate::verdict::Outcome;

/// All families, in the manual's order.
#[expect(
    unused_qualifications,
    reason = "the modules are exported whole, and each has a list of this name"
)]
static FAMILIES: &[&Family] = &[
    &netfilter::FAMILY,
    &route::FAMILY,
    &link::FAMILY,
    &tunnel::FAMILY,
    &switch::FAMILY,
    &program::FAMILY,
    &socket::FAMILY,
    &nat::FAMILY,
    &rest::FAMILY,
];

/// Causes that belong together.
struct Family {
    /// Above them in the manual.
    heading: &'static str,
    /// In the manual's order.
    causes: &'static [&'static Cause],
    /// What the manual says of several of them: text with a heading of its own.
    notes: &'static [&'static str],
}

/// One cause. What the manual says is Markdown; lines after the first are indented as the source is.
#[derive(Debug)]
pub struct Cause {
    /// Code in reports.
    pub code: &'static str,
    /// What became of the flow when this is why.
    pub outcome: Outcome,
    /// Values that `where.hook` can take; empty where there is none or it is the kernel's stage.
    pub hooks: &'static [&'static str],
    /// Which others it beats, and why.
    pub beats: &'static [Beats],
    /// The manual: what it is.
    pub what: &'static str,
    /// The manual: what a rule looks at.
    pub recognised: &'static str,
    /// The manual: how somebody sees that it is so.
    pub confirm: &'static str,
    /// The manual: what helps.
    pub fix: &'static str,
}

/// Which other causes one beats where both are proposed.
#[derive(Debug)]
pub struct Beats {
    /// Codes; `*` at the end stands for anything.
    pub others: &'static [&'static str],
    /// Why, in words.
    pub why: &'static str,
}

impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        self.code == other.code
    }
}

impl Eq for Cause {}

impl Cause {
    /// Why this cause beats another where both are proposed; `None` where it does not.
    #[must_use]
    pub fn beats(&self, other: &Self) -> Option<&'static str> {
        if self == other {
            return None;
        }
        let named = |pattern: &&str| match pattern.strip_suffix('*') {
            Some(start) => other.code.starts_with(start),
            None => *pattern == other.code,
        };
        let row = self
            .beats
            .iter()
            .find(|row| row.others.iter().any(named))
            .map(|row| row.why);
        row.or_else(|| (other == &KERNEL_OTHER).then_some("it only repeats the kernel's own word"))
    }
}

/// Hooks of netfilter, as reports name them.
pub const NETFILTER_HOOKS: &[&str] = &[
    "PREROUTING",
    "INPUT",
    "FORWARD",
    "OUTPUT",
    "POSTROUTING",
    "INGRESS",
    "EGRESS",
    "BRIDGE-PREROUTING",
    "BRIDGE-INPUT",
    "BRIDGE-FORWARD",
    "BRIDGE-OUTPUT",
    "BRIDGE-POSTROUTING",
    "ARP",
];

/// Every cause.
pub fn all() -> impl Iterator<Item = &'static Cause> {
    FAMILIES.iter().flat_map(|family| family.causes).copied()
}

/// The cause with this code.
#[must_use]
pub fn by_code(code: &str) -> Option<&'static Cause> {
    all().find(|cause| cause.code == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_those_that_are_beaten_exist() {
        let causes: Vec<_> = all().collect();
        for (i, cause) in causes.iter().enumerate() {
            assert!(
                !causes.iter().skip(i + 1).any(|c| c.code == cause.code),
                "{} stands twice",
                cause.code
            );
            for other in cause.beats.iter().flat_map(|row| row.others) {
                let known = causes.iter().any(|c| {
                    other
                        .strip_suffix('*')
                        .map_or(c.code == *other, |start| c.code.starts_with(start))
                });
                assert!(known, "{other} is no cause");
            }
        }
    }

    #[test]
    fn no_two_causes_beat_each_other() {
        for one in all() {
            let both = all().find(|other| other.beats(one).is_some() && one.beats(other).is_some());
            assert!(both.is_none(), "{} and {both:?} beat each other", one.code);
        }
    }

    /// Were there a circle, which proposal stands would depend on their order.
    #[test]
    fn beating_has_no_circle() {
        fn reaches(from: &Cause, wanted: &Cause, left: usize) -> bool {
            left > 0
                && all().any(|next| {
                    from.beats(next).is_some()
                        && (next == wanted || reaches(next, wanted, left - 1))
                })
        }
        for cause in all() {
            assert!(
                !reaches(cause, cause, 6),
                "{} beats itself in the end",
                cause.code
            );
        }
    }
}
