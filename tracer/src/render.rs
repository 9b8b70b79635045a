//! A report as text for a person or JSON for a program. Functions of values: generic over a writer, no look-ups, no
//! globals, no I/O of their own.
//!
//! Names of interfaces, namespaces and processes come from outside: whatever they hold, nothing but visible text
//! reaches a terminal ([`clean`]).

pub mod clean;
pub(crate) mod figures;
pub mod json;
pub(crate) mod page;
pub mod style;
pub mod text;

#[cfg(test)]
pub(crate) mod samples;
