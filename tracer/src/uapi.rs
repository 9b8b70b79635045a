//! Constants of the kernel's interface that more than one place needs: each once, in the file of its header. Numbers of
//! attributes that only one reader knows stay with that reader. Where `libc` has a constant, its value is taken from
//! there, so that the architecture is right.

pub mod errno;
pub mod fib;
pub mod icmp;
pub mod icmpv6;
pub mod if_arp;
pub mod if_link;
pub mod if_packet;
pub mod if_tunnel;
pub mod neighbour;
pub mod netdevice;
pub mod netfilter;
pub mod nf_conntrack;
pub mod openvswitch;
pub mod pkt_sched;
pub mod rtnetlink;
pub mod tcp;
