//! The `tracer` binary: everything is in the library.

fn main() {}
