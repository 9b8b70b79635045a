//! The only contract between the kernel programs (`tracer-ebpf`) and user space (`tracer`).
//!
//! Everything here is integers and byte arrays with spelled-out padding: two compilers read these
//! layouts. Meaning (enums, options, names) appears in `tracer::decode`, never here.
#![no_std]
#![forbid(unsafe_code)]

pub mod barrier;
pub mod event;
pub mod filter;
pub mod fingerprint;
pub mod hook;
pub mod layout;
pub mod names;
pub mod packet;
pub mod prefilter;
pub mod stats;
pub mod tuple;
