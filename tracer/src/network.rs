//! What a host would do with a packet, told from facts alone: no I/O, no trace, only what was read of its
//! configuration, asked as its kernel asks. Each answer comes with its reason. What the facts do not decide is said to be
//! undecided, with the reason, or as the question that has to be asked.

#![cfg_attr(not(test), warn(clippy::too_many_lines))]

pub mod bonding;
pub mod bridging;
pub mod change;
pub mod filter;
pub mod links;
pub mod neighbour;
pub mod path;
pub mod reach;
pub mod redirects;
pub mod route;
pub mod segment;
pub mod settings;
pub mod sockets;
mod suppression;
pub mod tunnel;
pub mod walk;
