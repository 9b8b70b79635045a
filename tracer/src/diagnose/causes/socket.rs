//! Sockets.

use super::{Cause, Family};
use crate::verdict::Outcome;

family! {
    "Sockets";

    /// Nobody listens at this address and port.
    SOCKET_NONE = Cause {
        code: "socket.none",
        outcome: Outcome::Rejected,
        hooks: &["socket"],
        beats: &[],
        what: "Nobody listens at this address and port. The verdict says whether a reset or an ICMP error answered.",
        recognised: "NO_SOCKET in a transport's receiver; the sockets on that port are read: one that listens on
            another address, family, interface or to another peer is named with its process. Where the packet was
            translated, whoever listens on other ports there is named too, and the rule that chose the port. A reset
            that came from outside the host gives the same cause, `likely`.",
        confirm: "`ss -ltnp`, `ss -lunp`: port, address, device, peer.",
        fix: "start the server, or bind it to the right address.",
    };

    /// The sender has no local port left for one more connection to the same remote end.
    SOCKET_NO_PORT = Cause {
        code: "socket.no-local-port",
        outcome: Outcome::NotSent,
        hooks: &["socket"],
        beats: &[],
        what: "The sender has no local port left for one more connection to the same address and port: connect()
            fails with EADDRNOTAVAIL, and there is no packet. A proxy with many connections to one backend, or with
            as many in TIME_WAIT.",
        recognised: "a process looked up a route, and neither a port was chosen nor a packet followed; the sockets
            towards that end, TIME_WAIT included, are counted and have all ports of `net.ipv4.ip_local_port_range`
            (`certain`), or nearly all (`likely`).",
        confirm: "`ss -Htan dst ADDRESS dport = :PORT | wc -l`, `sysctl net.ipv4.ip_local_port_range`; the process's
            own log.",
        fix: "a wider `ip_local_port_range`, `net.ipv4.tcp_tw_reuse=1` where they are in TIME_WAIT; keep connections
            and use them again, more addresses.",
    };

    /// The listening socket's queue was full.
    SOCKET_BACKLOG = Cause {
        code: "socket.backlog-full",
        outcome: Outcome::Dropped,
        hooks: &["socket"],
        beats: &[],
        what: "The listener's queue was full: the process does not accept fast enough.",
        recognised: "TCP_LISTEN_OVERFLOW; or a SYN freed normally in `tcp_rcv_state_process` without an answer:
            `certain` when the listener's queue was read and is full, `possible` when it is not (the queue of
            half-open connections can be full too).",
        confirm: "`ss -ltn` (Recv-Q above Send-Q), `nstat -az TcpExtListenOverflows`.",
        fix: "a larger backlog and `net.core.somaxconn`, a faster server.",
    };

    /// The socket's receive buffer was full.
    SOCKET_BUFFER = Cause {
        code: "socket.buffer-full",
        outcome: Outcome::Dropped,
        hooks: &["socket"],
        beats: &[],
        what: "The socket's receive buffer was full: the process does not read fast enough.",
        recognised: "SOCKET_RCVBUFF, PROTO_MEM.",
        confirm: "`ss -uamn` (Recv-Q, d).",
        fix: "a faster reader, a larger buffer (`net.core.rmem_max`).",
    };

    /// A socket filter, or a cgroup's ingress program, dropped it.
    SOCKET_FILTER = Cause {
        code: "socket.filter",
        outcome: Outcome::Dropped,
        hooks: &["socket"],
        beats: &[],
        what: "A filter of the receiving socket dropped it.",
        recognised: "SOCKET_FILTER, and no ingress program at the receiver's cgroup or above it (`cgroup.drop`
            otherwise; the kernel has one reason for both). On kernels without reasons (before 5.17) a datagram that is freed
            before it is queued (`likely`).",
        confirm: "`ss -anp --cgroup`; the process that set the filter (SO_ATTACH_FILTER, SO_ATTACH_BPF);
            `bpftool cgroup tree`.",
        fix: "correct or detach the filter.",
    };

    /// TCP refused the segment for the state of its connection.
    SOCKET_REFUSED = Cause {
        code: "socket.refused-segment",
        outcome: Outcome::Dropped,
        hooks: &["socket"],
        beats: &[],
        what: "TCP refused the segment for the state of its connection: timestamps (PAWS), sequence, flags.",
        recognised: "the TCP reason by name; a segment freed without one in `tcp_v4_rcv` or `tcp_v6_rcv` (TIME_WAIT,
            half-open).",
        confirm: "`nstat -az`, the segments around it in the trace.",
        fix: "look for a middlebox that rewrites, or a peer that lost its state.",
    };

    /// Its TCP signature (MD5 or AO) is missing, wrong or not expected.
    SOCKET_AUTHENTICATION = Cause {
        code: "socket.authentication",
        outcome: Outcome::Dropped,
        hooks: &["socket"],
        beats: &[],
        what: "TCP MD5 or AO: signature missing, wrong or not expected.",
        recognised: "the TCP_MD5… and TCP_AO… reasons; on kernels without reasons (before 5.17) a signed SYN that TCP frees
            without a reset (`likely`).",
        confirm: "`nstat -az | grep -i -e md5 -e ao`.",
        fix: "the same key at both ends (BGP peers).",
    };

    /// It arrived, and this host is told not to answer.
    SOCKET_SILENT = Cause {
        code: "socket.silent",
        outcome: Outcome::Unanswered,
        hooks: &["socket", "neighbor"],
        beats: &[],
        what: "It arrived, and this host is told not to answer.",
        recognised: "an echo request freed normally in `icmp_rcv`, or without a reason in `icmpv6_rcv`, without a
            reply; the sysctl is read (for a broadcast icmp_echo_ignore_broadcasts). At hook `neighbor`: nobody
            answers ARP for an address that is there, and arp_ignore says why.",
        confirm: "`sysctl net.ipv4.icmp_echo_ignore_all`, `sysctl net.ipv4.conf.all.arp_ignore`.",
        fix: "`sysctl -w net.ipv4.icmp_echo_ignore_all=0`.",
    };

    /// It reached its socket, and the process did not answer.
    SOCKET_UNANSWERED = Cause {
        code: "socket.unanswered",
        outcome: Outcome::Unanswered,
        hooks: &["socket"],
        beats: &[],
        what: "It reached its socket, and nothing was sent back, though an answer is due; or no process read it:
            stopped, or hanging. The kernel opens TCP connections and acknowledges their data meanwhile.",
        recognised: "delivery to the socket was seen, and no packet of the other direction. Where the sockets on the
            port were read, and all processes that hold one of them are stopped (state T), or what arrived waits in
            its queue and nobody was seen to read: the process is named, and of several sockets that share the port
            (SO_REUSEPORT) which one it is. From another machine only the acknowledgements are seen: the flow is
            delivered, and the verdict says that the request was acknowledged and not answered.",
        confirm: "the process that read it, if any, is named; `ss -anp` shows what waits;
            `ps -o pid,stat,wchan -p PID`.",
        fix: "`kill -CONT PID` where it is stopped; else look at the server.",
    };
}
