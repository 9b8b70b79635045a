//! Numbers for people, with the marks of the output.

pub(crate) use crate::report::figures::{count, counted};

use super::style::Marks;
use crate::report::figures;

/// A duration in two or three digits: `850 ns`, `12.3 µs`, `1.2 ms`, `4.2 s`.
pub(crate) fn duration(ns: u64, marks: &Marks) -> String {
    figures::duration(ns, marks.micro)
}
