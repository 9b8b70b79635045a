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
    /// Tracepoint of a module, one attachment for the machine while what the module is for is there. A raw tracepoint: aya
    /// looks for the type of a tp_btf program in the kernel's own BTF alone.
    ModuleTracepoint,
}

/// What a hook puts into one of the two fields of a record that are its own ([`crate::event::RawEvent::arg0`], `arg1`).
/// Redaction and merging go by it: what is not declared here is hidden by the one and not taken over by the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// Nothing.
    Unused,
    /// A number that means the same on each machine and says nothing of who owns it: a code, a state, a length, the number of
    /// a table.
    Number,
    /// An errno, or what a function returned, with its sign.
    Errno,
    /// The id of a cgroup: a number of one machine, for which a fact tells the path.
    Cgroup,
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
    /// What `arg0` and `arg1` are.
    pub arguments: [Argument; 2],
    /// What user space learns from it; the completeness block prints this when the kernel lacks it.
    pub gives: &'static str,
}

macro_rules! hooks {
    ($($const:ident = $id:literal, $name:literal, $attach:ident, $arg0:ident, $arg1:ident, $gives:literal;)*) => {
        $(#[doc = $gives] pub const $const: u8 = $id;)*
        /// All hooks, ordered by id without gaps.
        pub const HOOKS: &[HookInfo] = &[
            $(HookInfo { id: $id, name: $name, attach: Attach::$attach, arguments: [Argument::$arg0, Argument::$arg1], gives: $gives }),*
        ];
    };
}

hooks! {
    TC_INGRESS = 0, "tc-ingress", TcIngress, Unused, Unused, "packets entering the stack from an interface";
    TC_EGRESS = 1, "tc-egress", TcEgress, Unused, Unused, "packets handed to an interface";
    KFREE_SKB = 2, "kfree_skb", Tracepoint, Unused, Cgroup, "drops with reason, function and stack";
    CONSUME_SKB = 3, "consume_skb", Tracepoint, Unused, Unused, "normal ends of packets";
    NETIF_RECEIVE_SKB = 4, "netif_receive_skb", Tracepoint, Unused, Unused, "reception before XDP generic and tc";
    NET_DEV_QUEUE = 5, "net_dev_queue", Tracepoint, Unused, Unused, "packets handed to a device's queue";
    NET_DEV_START_XMIT = 6, "net_dev_start_xmit", Tracepoint, Unused, Unused, "packets and segments handed to the driver";
    NET_DEV_XMIT = 7, "net_dev_xmit", Tracepoint, Errno, Unused, "refusals by the driver";
    NEIGH_CREATE = 8, "neigh_create", Tracepoint, Number, Unused, "new neighbour entries";
    NEIGH_UPDATE = 9, "neigh_update", Tracepoint, Number, Number, "answers of neighbours with their MAC";
    NEIGH_TIMER_HANDLER = 10, "neigh_timer_handler", Tracepoint, Number, Errno, "neighbours that do not answer";
    NEIGH_EVENT_SEND_DONE = 11, "neigh_event_send_done", Tracepoint, Number, Errno, "packets that wait for a neighbour";
    FIB_TABLE_LOOKUP = 12, "fib_table_lookup", Tracepoint, Number, Errno, "IPv4 route lookups with their error";
    FIB6_TABLE_LOOKUP = 13, "fib6_table_lookup", Tracepoint, Number, Errno, "IPv6 route lookups with their error";
    ICMP_SEND = 14, "icmp_send", Tracepoint, Number, Number, "ICMP errors this host sends";
    TCP_SEND_RESET = 15, "tcp_send_reset", Tracepoint, Unused, Unused, "TCP resets this host sends";
    TCP_RECEIVE_RESET = 16, "tcp_receive_reset", Tracepoint, Unused, Unused, "TCP resets this host receives";
    TCP_RETRANSMIT_SKB = 17, "tcp_retransmit_skb", Tracepoint, Errno, Unused, "TCP retransmissions";
    TCP_RETRANSMIT_SYNACK = 18, "tcp_retransmit_synack", Tracepoint, Unused, Unused, "SYN-ACK retransmissions";
    TCP_PROBE = 19, "tcp_probe", Tracepoint, Unused, Unused, "TCP segments that reached their connection";
    UDP_FAIL_QUEUE_RCV_SKB = 20, "udp_fail_queue_rcv_skb", Tracepoint, Errno, Unused, "datagrams a socket had no room for";
    SOCK_RCVQUEUE_FULL = 21, "sock_rcvqueue_full", Tracepoint, Unused, Unused, "receive queues that are full";
    SK_DATA_READY = 22, "sk_data_ready", Tracepoint, Unused, Unused, "packets that reached a socket";
    SOCK_RECV_LENGTH = 23, "sock_recv_length", Tracepoint, Number, Unused, "the process that read a socket";
    SKB_COPY_DATAGRAM_IOVEC = 24, "skb_copy_datagram_iovec", Tracepoint, Number, Unused, "the process that read a packet";
    INET_SK_ERROR_REPORT = 25, "inet_sk_error_report", Tracepoint, Errno, Unused, "errors given to a socket";
    TCP_BAD_CSUM = 26, "tcp_bad_csum", Tracepoint, Unused, Unused, "TCP segments with a bad checksum";
    XDP_EXCEPTION = 27, "xdp_exception", Tracepoint, Number, Unused, "XDP programs that aborted";
    OVS_ACTION = 28, "ovs_do_execute_action", ModuleTracepoint, Number, Number, "actions of Open vSwitch's flows";
    OVS_UPCALL = 29, "ovs_dp_upcall", ModuleTracepoint, Number, Unused, "packets handed to ovs-vswitchd";
}

/// What the two own fields of a hook's records are: of a hook that the table lacks, nothing that is known.
#[must_use]
pub fn arguments(hook: u8) -> [Argument; 2] {
    HOOKS
        .get(usize::from(hook))
        .map_or([Argument::Unused; 2], |row| row.arguments)
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
