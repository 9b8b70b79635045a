//! tracer follows the packets of one flow through a Linux node, hop by hop, and says what became of them.
//!
//! Bytes go one way through pure stages owned by one task: [`source`] → [`decode`] → [`correlate`] → [`diagnose`] →
//! [`render`]. Only the two ends touch the kernel or the terminal; docs/architecture.md has the picture.

pub mod app;
pub mod cli;
pub mod compare;
pub mod config;
pub mod correlate;
pub mod decode;
pub mod diagnose;
pub mod doctor;
pub mod error;
pub mod filter;
pub mod foreign;
pub mod host;
pub mod inventory;
pub mod kernel;
pub mod model;
pub mod network;
pub mod render;
pub mod report;
mod restrict;
pub mod session;
pub mod sites;
pub mod source;
mod sys;
pub mod tui;
pub mod uapi;
pub mod verdict;

pub use sys::EndsWithoutMemory;
