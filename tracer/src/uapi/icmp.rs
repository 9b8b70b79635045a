//! linux/icmp.h: types of ICMP messages.

/// Echo reply.
pub const ECHOREPLY: u8 = 0;
/// Destination unreachable.
pub const DEST_UNREACH: u8 = 3;
/// Its code for a packet that is too big and must not be fragmented (ICMP_FRAG_NEEDED).
pub const FRAG_NEEDED: u8 = 4;
/// Source quench.
pub const SOURCE_QUENCH: u8 = 4;
/// Redirect.
pub const REDIRECT: u8 = 5;
/// Echo request.
pub const ECHO: u8 = 8;
/// Time exceeded.
pub const TIME_EXCEEDED: u8 = 11;
/// Parameter problem.
pub const PARAMETERPROB: u8 = 12;
