//! What a host would do with a packet, told from facts alone: no I/O, no trace, only what was read of its
//! configuration, asked as its kernel asks. What the facts do not decide is said to be undecided, with the reason.

pub mod route;
