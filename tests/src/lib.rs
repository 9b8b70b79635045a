//! Labs: networks of namespaces with a real fault in them, and what tracer's report must say about it.
//!
//! The crate is the runner behind the `lab` binary; the labs themselves are `labs/FAMILY/*.toml`, and
//! docs/adding-a-lab.md walks through a new one. Nothing here knows a fault, an address or a rule of the tool.

pub mod alone;
pub mod bpf;
pub mod cgroup;
pub mod cluster;
pub mod compare;
pub mod expect;
pub mod fix;
pub mod held;
pub mod kernel;
pub mod lab;
pub mod needs;
pub mod net;
pub mod packet;
pub mod proof;
pub mod remedy;
mod replayed;
pub mod result;
pub mod runner;
pub mod sample;
pub mod score;
pub mod script;
pub mod stage;
pub mod suite;
pub mod tracer;
