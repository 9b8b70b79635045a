//! A report as text for a person, JSON for a program, a ticket, a picture, or packets for Wireshark. Functions of
//! values: generic over a writer, no look-ups, no globals, no I/O of their own.
//!
//! Names of interfaces, namespaces and processes come from outside: whatever they hold, nothing but visible text
//! reaches a terminal ([`clean`]).

pub mod comparison;
pub mod diagram;
pub(crate) mod figures;
pub mod json;
pub mod markdown;
pub(crate) mod page;
pub mod pcapng;
pub mod place;
pub mod style;
pub mod svg;
pub mod text;
pub(crate) mod window;

#[cfg(test)]
pub(crate) mod samples;
