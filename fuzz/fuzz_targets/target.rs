//! The target of all binaries of this package: the reader that the binary is named after.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer::foreign::TARGETS;

fuzz_target!(|bytes: &[u8]| {
    let name = env!("CARGO_BIN_NAME");
    let (_, read) = TARGETS
        .iter()
        .find(|(target, _)| *target == name)
        .expect("a binary is named after each target");
    read(bytes);
});
