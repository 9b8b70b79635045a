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
        ///   whose type is `type` (`struct sock *`, `enum skb_drop_reason`, `int`; the first such, `const` left aside).
        /// * `#tracepoint`: how many arguments the tracepoint has.
        pub const FIELDS: &[(&str, bool)] = &[$(($path, false $(|| layout!(@$optional))?)),*];
    };
    (@optional) => { true };
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
    ct_hashes = "nf_conn.tuplehash", optional;
    hash_tuple = "nf_conntrack_tuple_hash.tuple", optional;
    ct_src = "nf_conntrack_tuple.src.u3", optional;
    ct_sport = "nf_conntrack_tuple.src.u", optional;
    ct_family = "nf_conntrack_tuple.src.l3num", optional;
    ct_dst = "nf_conntrack_tuple.dst.u3", optional;
    ct_dport = "nf_conntrack_tuple.dst.u", optional;
    ct_proto = "nf_conntrack_tuple.dst.protonum", optional;
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
    sk_cgroup = "sock.sk_cgrp_data.cgroup", optional;
    cgroup_kn = "cgroup.kn", optional;
    kernfs_id = "kernfs_node.id", optional;
    neigh_dev = "neighbour.dev", optional;
    neigh_nud_state = "neighbour.nud_state", optional;
    neigh_ha = "neighbour.ha", optional;
    neigh_primary_key = "neighbour.primary_key", optional;
    neigh_tbl = "neighbour.tbl", optional;
    neigh_table_family = "neigh_table.family", optional;
    task_nsproxy = "task_struct.nsproxy", optional;
    nsproxy_net = "nsproxy.net_ns", optional;
    skb_data_len = "sk_buff.data_len";
    skb_vlan_tci = "sk_buff.vlan_tci", optional;
    sk_err = "sock.sk_err", optional;
    flow4_oif = "flowi4.__fl_common.flowic_oif", optional;
    flow4_iif = "flowi4.__fl_common.flowic_iif", optional;
    flow4_mark = "flowi4.__fl_common.flowic_mark", optional;
    flow4_proto = "flowi4.__fl_common.flowic_proto", optional;
    flow4_saddr = "flowi4.saddr", optional;
    flow4_daddr = "flowi4.daddr", optional;
    flow4_sport = "flowi4.uli.ports.sport", optional;
    flow4_dport = "flowi4.uli.ports.dport", optional;
    flow6_oif = "flowi6.__fl_common.flowic_oif", optional;
    flow6_iif = "flowi6.__fl_common.flowic_iif", optional;
    flow6_mark = "flowi6.__fl_common.flowic_mark", optional;
    flow6_proto = "flowi6.__fl_common.flowic_proto", optional;
    flow6_saddr = "flowi6.saddr", optional;
    flow6_daddr = "flowi6.daddr", optional;
    flow6_sport = "flowi6.uli.ports.sport", optional;
    flow6_dport = "flowi6.uli.ports.dport", optional;
    nhc_dev = "fib_nh_common.nhc_dev", optional;
    nhc_gw_family = "fib_nh_common.nhc_gw_family", optional;
    nhc_gw = "fib_nh_common.nhc_gw", optional;
    fib6_result_nh = "fib6_result.nh", optional;
    fib6_result_f6i = "fib6_result.f6i", optional;
    fib6_result_type = "fib6_result.fib6_type", optional;
    fib6_nh_common = "fib6_nh.nh_common", optional;
    fib6_table_id = "fib6_table.tb6_id", optional;
    net_fib6_null = "net.ipv6.fib6_null_entry", optional;
    upcall_cmd = "dp_upcall_info.cmd", optional;
    consume_skb_args = "#consume_skb", optional;
    tcp_send_reset_reason = "@tcp_send_reset:enum sk_rst_reason", optional;
    tcp_retransmit_err = "@tcp_retransmit_skb:int", optional;
    udp_fail_skb = "@udp_fail_queue_rcv_skb:struct sk_buff *", optional;
    kfree_skb_reason = "@kfree_skb:enum skb_drop_reason", optional;
    kfree_skb_rx_sk = "@kfree_skb:struct sock *", optional;
}
