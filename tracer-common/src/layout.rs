//! Where the kernel keeps its fields: found in BTF by user space, given to the programs as read-only data.
//!
//! One row for each fact. User space fills [`Layout`] by walking [`FIELDS`] in order; the programs read it as
//! constants, so an absent field costs nothing and is never walked by the verifier.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Value of a row that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

macro_rules! layout {
    ($($field:ident = $path:literal $(, $optional:ident)?;)*) => {
        /// Offsets in bytes, argument numbers and sizes; [`ABSENT`] where the kernel lacks the fact.
        #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct Layout {
            $(#[doc = $path] pub $field: u32,)*
        }

        /// The path of each field of [`Layout`], in its order, and whether tracer can do without it.
        ///
        /// * `struct.member.member`: offset of the member; members of anonymous structs and unions count as the
        ///   parent's own. A bit field gives the byte in which it begins.
        /// * `@tracepoint:type`: number of the tracepoint's argument (from zero, after the hidden data pointer)
        ///   whose type is `type` (`struct sock *`, `enum skb_drop_reason`, `int`; the first such).
        /// * `#tracepoint`: how many arguments the tracepoint has.
        pub const FIELDS: &[(&str, bool)] = &[$(($path, true $(&& layout!(@$optional))?)),*];
    };
    (@optional) => { false };
}

// Each row: field of `Layout` = path in BTF; `optional` where tracer works without it.
layout! {
    skb_len = "sk_buff.len";
    skb_head = "sk_buff.head";
    skb_mac_header = "sk_buff.mac_header";
    skb_network_header = "sk_buff.network_header";
    skb_protocol = "sk_buff.protocol";
    skb_dev = "sk_buff.dev";
    skb_sk = "sk_buff.sk";
    skb_iif = "sk_buff.skb_iif";
    skb_mark = "sk_buff.mark", optional;
    skb_pkt_type = "sk_buff.__pkt_type_offset";
    skb_cloned = "sk_buff.__cloned_offset", optional;
    skb_dst = "sk_buff._skb_refdst", optional;
    skb_nfct = "sk_buff._nfct", optional;
    skb_end = "sk_buff.end";
    skb_data = "sk_buff.data";
    shinfo_gso_size = "skb_shared_info.gso_size", optional;
    shinfo_gso_segs = "skb_shared_info.gso_segs", optional;
    dst_error = "dst_entry.error", optional;
    dev_ifindex = "net_device.ifindex";
    dev_net = "net_device.nd_net.net";
    dev_state = "net_device.state", optional;
    dev_flags = "net_device.flags", optional;
    dev_mtu = "net_device.mtu", optional;
    dev_type = "net_device.type", optional;
    dev_qdisc = "net_device.qdisc", optional;
    qdisc_ops = "Qdisc.ops", optional;
    qdisc_ops_id = "Qdisc_ops.id", optional;
    net_inum = "net.ns.inum";
    ct_status = "nf_conn.status", optional;
    sk_family = "sock.__sk_common.skc_family";
    sk_state = "sock.__sk_common.skc_state";
    sk_num = "sock.__sk_common.skc_num";
    sk_dport = "sock.__sk_common.skc_dport";
    sk_saddr = "sock.__sk_common.skc_rcv_saddr";
    sk_daddr = "sock.__sk_common.skc_daddr";
    sk_v6_saddr = "sock.__sk_common.skc_v6_rcv_saddr", optional;
    sk_v6_daddr = "sock.__sk_common.skc_v6_daddr", optional;
    sk_net = "sock.__sk_common.skc_net.net";
    sk_protocol = "sock.sk_protocol";
    sk_type = "sock.sk_type", optional;
    neigh_dev = "neighbour.dev", optional;
    neigh_nud_state = "neighbour.nud_state", optional;
    neigh_ha = "neighbour.ha", optional;
    neigh_primary_key = "neighbour.primary_key", optional;
    neigh_tbl = "neighbour.tbl", optional;
    neigh_table_family = "neigh_table.family", optional;
    task_nsproxy = "task_struct.nsproxy", optional;
    nsproxy_net = "nsproxy.net_ns", optional;
    kfree_skb_reason = "@kfree_skb:enum skb_drop_reason", optional;
    kfree_skb_rx_sk = "@kfree_skb:struct sock *", optional;
}
