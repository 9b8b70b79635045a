//! linux/netfilter.h and linux/netfilter_ipv4.h: verdicts, and priorities, which IPv6 shares.

pub use libc::{
    NF_ACCEPT, NF_DROP, NF_IP_PRI_CONNTRACK, NF_IP_PRI_FILTER, NF_IP_PRI_MANGLE, NF_IP_PRI_NAT_DST,
    NF_IP_PRI_NAT_SRC, NF_IP_PRI_RAW, NF_IP_PRI_SECURITY, NF_QUEUE,
};
