//! linux/pkt_sched.h and linux/pkt_cls.h: queueing disciplines and tc filters.

/// Parent of the clsact qdisc.
pub const TC_H_CLSACT: u32 = 0xffff_fff1;
/// Parent of filters at ingress.
pub const TC_H_INGRESS: u32 = 0xffff_fff2;
/// Parent of filters at egress.
pub const TC_H_EGRESS: u32 = 0xffff_fff3;
/// Parent of a root qdisc.
pub const TC_H_ROOT: u32 = 0xffff_ffff;
/// Name of a BPF filter.
pub const TCA_BPF_NAME: u16 = 7;
/// Its program's id.
pub const TCA_BPF_ID: u16 = 11;
