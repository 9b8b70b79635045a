//! linux/icmpv6.h, and net/ndisc.h: types of ICMPv6 messages.

/// Destination unreachable.
pub const DEST_UNREACH: u8 = 1;
/// Packet too big.
pub const PKT_TOOBIG: u8 = 2;
/// Time exceeded.
pub const TIME_EXCEED: u8 = 3;
/// Parameter problem.
pub const PARAMPROB: u8 = 4;
/// Echo request.
pub const ECHO_REQUEST: u8 = 128;
/// Echo reply.
pub const ECHO_REPLY: u8 = 129;
/// Neighbour solicitation (NDISC_NEIGHBOUR_SOLICITATION).
pub const NEIGHBOUR_SOLICITATION: u8 = 135;
/// Neighbour advertisement (NDISC_NEIGHBOUR_ADVERTISEMENT).
pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Redirect (NDISC_REDIRECT).
pub const REDIRECT: u8 = 137;
