//! Scenarios: short scripts of events (see [`script`]) and what the correlator must make of them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed test may panic")]

mod fates;
mod flows;
mod identity;
mod paths;
mod script;
