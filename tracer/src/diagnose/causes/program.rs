//! Programs of tc, XDP and cgroups, and queues.

use super::{Cause, Family};
use crate::verdict::Outcome;

family! {
    "Programs and queues";

    /// A tc program or action dropped it.
    TC_DROP = Cause {
        code: "tc.drop",
        outcome: Outcome::Dropped,
        hooks: &["tc-ingress", "tc-egress"],
        beats: &[],
        what: "A tc program or action dropped it, or its redirect failed.",
        recognised: "TC_INGRESS, TC_EGRESS; on kernels without reasons (before 5.17) by the function, where something is attached (`likely`). What is attached at that hook of the interface is read (filters, their
            actions, tcx programs) and named; of several, all are. A redirect to an interface that is down is told. `likely` where a neighbour does not
            answer that should, and such a redirect takes what comes in at one of both ends.",
        confirm: "`tc -s filter show dev IF ingress`, `bpftool net show dev IF`, `bpftool prog show id N`.",
        fix: "correct the program, or take it off: `tc filter del dev IF ingress pref N KIND`, for tcx
            `bpftool net detach tcx_ingress dev IF`.",
    };

    /// An XDP program dropped it.
    XDP_DROP = Cause {
        code: "xdp.drop",
        outcome: Outcome::Dropped,
        hooks: &["xdp"],
        beats: &[],
        what: "An XDP program dropped it, failed, or (`vanished`) got it and passed nothing on: sent it back,
            redirected it, or lost it on that way.",
        recognised: "freed in `do_xdp_generic` or `veth_xdp_rcv_skb`; an `xdp_exception` beside it says that it
            failed. With `vanished`: its last event is the copy that a veth makes for its program. On a physical
            interface a native program drops before there is a packet: nothing is seen of it on this host. `likely`
            where a neighbour does not answer that should, and one program stands at one of both ends.",
        confirm: "`ip -d link show dev IF`, `bpftool prog show id N`, `ethtool -S IF | grep xdp`.",
        fix: "correct the program, or `ip link set dev IF xdp off` (`xdpgeneric off`, `xdpdrv off` as it is
            attached).",
    };

    /// A cgroup's BPF program dropped it.
    CGROUP_DROP = Cause {
        code: "cgroup.drop",
        outcome: Outcome::Dropped,
        hooks: &["cgroup"],
        beats: &[],
        what: "A BPF program of the sender's or the receiver's cgroup dropped it: systemd's IPAddressDeny=, a
            container runtime, an agent. With `not-sent`: nothing matched the trace, and a program stands where
            connect(2) or sendto(2) can be refused.",
        recognised: "BPF_CGROUP_EGRESS; or SOCKET_FILTER where a program for ingress is attached to the receiver's
            cgroup or above it. The kernel has no word of its own for ingress, so that is `likely`, and `possible`
            where the receiver's group is not known. A refused connect leaves neither packet nor event: it is
            `possible` at most, and told only of programs below the root group (those of the root group stand on
            many nodes and mostly translate).",
        confirm: "`bpftool cgroup tree`, `bpftool cgroup show DIRECTORY`, `systemctl show UNIT -p IPAddressDeny`.",
        fix: "correct the program or the unit, or `bpftool cgroup detach DIRECTORY cgroup_inet_egress id N`.",
    };

    /// The queueing discipline had no room, or shaped it away.
    QDISC_FULL = Cause {
        code: "qdisc.full",
        outcome: Outcome::Dropped,
        hooks: &["qdisc"],
        beats: &[],
        what: "The queue of the device had no room, or a shaper discarded it. A device without a queue (noqueue)
            drops so while its disciplines are set up or removed (clsact too).",
        recognised: "QDISC_DROP and its relatives, with carrier. The qdiscs of the device are read; the innermost
            that has dropped is named. Senders try again: what they made good is a note in a `delivered` verdict.",
        confirm: "`tc -s qdisc show dev IF`: dropped, overlimits; `tc -s class show dev IF`.",
        fix: "raise the limit or the rate, or send less.",
    };

    /// The device's own ring or queue was full.
    DEVICE_FULL = Cause {
        code: "device.full",
        outcome: Outcome::Dropped,
        hooks: &["device"],
        beats: &[],
        what: "The device's own ring was full: a TUN whose process does not read, or the backlog of a CPU. With
            `vanished`: it waits in the ring of a TUN whose process does not read, and the ring is not full yet.",
        recognised: "FULL_RING, CPU_BACKLOG; or a TUN device as the last hop, from which no process read the packet
            though one has it open. The process is named by its descriptor, with its state where that says more
            (stopped).",
        confirm: "`ip -s -d link show dev IF`, `ps -o pid,stat,wchan:32,cmd -p PID`.",
        fix: "fix or speed up the process that reads; `kill -CONT PID` when it is stopped.",
    };
}
