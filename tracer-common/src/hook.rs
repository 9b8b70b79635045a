//! The table of hooks: every place in the kernel from which a record can come.
//!
//! One row is all that both sides need to agree on: the number in the record, the tracepoint's name in the
//! kernel, and the program's name in the eBPF object. `docs/adding-a-hook.md` walks through a new one.

/// How the program of a hook is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// tc classifier at ingress, one attachment for each interface.
    TcIngress,
    /// tc classifier at egress, one attachment for each interface.
    TcEgress,
    /// Tracepoint (tp_btf, else raw tracepoint), one attachment for the machine.
    Tracepoint,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct HookInfo {
    /// Number in [`crate::event::RawEvent::hook`].
    pub id: u8,
    /// Name in reports: the tracepoint's own name, or `tc-ingress` / `tc-egress`.
    pub name: &'static str,
    /// How its program is attached.
    pub attach: Attach,
    /// What user space learns from it; the completeness block prints this when the kernel lacks it.
    pub gives: &'static str,
}

macro_rules! hooks {
    ($($const:ident = $id:literal, $name:literal, $attach:ident, $gives:literal;)*) => {
        $(#[doc = $gives] pub const $const: u8 = $id;)*
        /// All hooks, ordered by id without gaps.
        pub const HOOKS: &[HookInfo] = &[
            $(HookInfo { id: $id, name: $name, attach: Attach::$attach, gives: $gives }),*
        ];
    };
}

hooks! {
    TC_INGRESS = 0, "tc-ingress", TcIngress, "packets entering the stack from an interface";
    TC_EGRESS = 1, "tc-egress", TcEgress, "packets handed to an interface";
    KFREE_SKB = 2, "kfree_skb", Tracepoint, "drops with reason, function and stack";
    CONSUME_SKB = 3, "consume_skb", Tracepoint, "normal ends of packets";
    NETIF_RECEIVE_SKB = 4, "netif_receive_skb", Tracepoint, "reception before XDP generic and tc";
    NET_DEV_QUEUE = 5, "net_dev_queue", Tracepoint, "packets handed to a device's queue";
    NET_DEV_START_XMIT = 6, "net_dev_start_xmit", Tracepoint, "packets and segments handed to the driver";
    NET_DEV_XMIT = 7, "net_dev_xmit", Tracepoint, "refusals by the driver";
    NEIGH_CREATE = 8, "neigh_create", Tracepoint, "new neighbour entries";
    NEIGH_UPDATE = 9, "neigh_update", Tracepoint, "answers of neighbours with their MAC";
    NEIGH_TIMER_HANDLER = 10, "neigh_timer_handler", Tracepoint, "neighbours that do not answer";
    NEIGH_EVENT_SEND_DONE = 11, "neigh_event_send_done", Tracepoint, "packets that wait for a neighbour";
    FIB_TABLE_LOOKUP = 12, "fib_table_lookup", Tracepoint, "IPv4 route lookups with their error";
    FIB6_TABLE_LOOKUP = 13, "fib6_table_lookup", Tracepoint, "IPv6 route lookups with their error";
    ICMP_SEND = 14, "icmp_send", Tracepoint, "ICMP errors this host sends";
    TCP_SEND_RESET = 15, "tcp_send_reset", Tracepoint, "TCP resets this host sends";
    TCP_RECEIVE_RESET = 16, "tcp_receive_reset", Tracepoint, "TCP resets this host receives";
    TCP_RETRANSMIT_SKB = 17, "tcp_retransmit_skb", Tracepoint, "TCP retransmissions";
    TCP_RETRANSMIT_SYNACK = 18, "tcp_retransmit_synack", Tracepoint, "SYN-ACK retransmissions";
    TCP_PROBE = 19, "tcp_probe", Tracepoint, "TCP segments that reached their connection";
    UDP_FAIL_QUEUE_RCV_SKB = 20, "udp_fail_queue_rcv_skb", Tracepoint, "datagrams a socket had no room for";
    SOCK_RCVQUEUE_FULL = 21, "sock_rcvqueue_full", Tracepoint, "receive queues that are full";
    SK_DATA_READY = 22, "sk_data_ready", Tracepoint, "packets that reached a socket";
    SOCK_RECV_LENGTH = 23, "sock_recv_length", Tracepoint, "the process that read a socket";
    SKB_COPY_DATAGRAM_IOVEC = 24, "skb_copy_datagram_iovec", Tracepoint, "the process that read a packet";
    INET_SK_ERROR_REPORT = 25, "inet_sk_error_report", Tracepoint, "errors given to a socket";
    TCP_BAD_CSUM = 26, "tcp_bad_csum", Tracepoint, "TCP segments with a bad checksum";
    XDP_EXCEPTION = 27, "xdp_exception", Tracepoint, "XDP programs that aborted";
}

/// Number of hooks: the size of per-hook tables on both sides.
pub const HOOK_COUNT: usize = HOOKS.len();

const _: () = {
    let mut i = 0;
    while i < HOOKS.len() {
        #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
        let id = HOOKS[i].id;
        assert!(id as usize == i, "hook ids are their place in the table");
        i += 1;
    }
};
