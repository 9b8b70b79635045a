//! Inputs for tests of what keeps or writes them.

use bytes::Bytes;

use crate::source::Input;

/// A record that does not compress.
pub fn record(n: u64) -> Input {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = n.to_ne_bytes().to_vec();
    for _ in 0..64 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_ne_bytes());
    }
    Input::Record(Bytes::from(bytes))
}
