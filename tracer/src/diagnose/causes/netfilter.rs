//! Packet filters and the tracking of connections.

use super::{Beats, Cause, Family, NETFILTER_HOOKS};
use crate::verdict::Outcome;

family! {
    "Packet filters";

    /// A packet filter's rule or policy dropped it.
    NETFILTER_DROP = Cause {
        code: "netfilter.drop",
        outcome: Outcome::Dropped,
        hooks: NETFILTER_HOOKS,
        beats: &[],
        what: "A rule or the policy of a chain of nftables, iptables-nft, iptables-legacy, ebtables or arptables
            dropped it. The kernel tells the hook, never the rule. The rule is named where only one is left that can
            have done it; otherwise those that remain are listed as evidence (`perhaps …`).",
        recognised: r#"NETFILTER_DROP in `nft_do_chain` (nf_tables) or `nf_hook_slow` (legacy tables); the hook is
            the nearest caller (`ip_forward` is FORWARD). The base chains of that hook are read, and the rules
            reached from them that drop. Rules whose tests the packet does not meet (addresses, ports, protocol,
            interfaces, connection state, mark), rules behind one that it surely meets, and rules or policies whose
            counter is zero or did not move while packets were lost are left out. A dropped ARP request or neighbour
            solicitation (hook `ARP`, or `INPUT`) is the cause for everything that waits for the answer; where it was
            not followed, and the machine that has the address is in view, `likely` by the rules as they were read (its own,
            those of the asker and of a bridge between them, with the chains of IP that the bridge has look at what it carries; where the
            question goes through a tunnel, those that its outer packet passes at both ends): the first that drops the question or the
            answer. A translation that fails (`nf_nat_…` among the callers, or a rule that masquerades out of an interface
            without an address) is one of these drops. Where an element of a map gives the verdict it is named with
            its comment, and the change is about that element; where a rule that lets pass, or sets the mark that is
            asked for, is not met only since a set (nftables or ipset) lacks the packet, that element is named. A packet that a rule left untracked (NOTRACK,
            `notrack`) has no state: where it would pass if it belonged to a known connection, that rule is named
            too, with the one that leaves the other direction untracked. Where the rule asks for a mark, the rule
            that sets it is named, and the one that leads to that. Where the packet would pass with the source that it
            had before another machine on its way translated that, the machine is named, and the source left as it
            is there. Where the rule filters by the way back and the sender uses the address of another interface
            than the one by which the packet left, the sender is named (`route.rp-filter`). A lost ICMP error gives no verdict where its flow
            does not need it: a redirect, and any other than "too big" where packets pass in both directions. Where
            the filter would let it pass as related, a control connection of FTP, TFTP or SIP between the same hosts
            is in the trace, and no rule assigns a conntrack helper, the verdict says so, with a rule that assigns
            one. `br_nf_…` among the callers says that the packet is only bridged, and that chains of IP see it
            because of `net.bridge.bridge-nf-call-iptables`."#,
        confirm: "the counter that rises with each packet: `iptables -nvL FORWARD --line-numbers`,
            `nft -a list chain …`, `ebtables -L --Lc`, `arptables -nvL`.",
        fix: "remove or amend the rule; or set the policy (`iptables -P FORWARD ACCEPT`), which opens the firewall
            for all. Sets, limits, `rpfilter` and `fib` are tests that cannot be decided from the packet alone: look
            at the set's elements, at the rate, or at `ip route get SOURCE`.",
    };

    /// A packet filter's REJECT rule answered in its place.
    NETFILTER_REJECT = Cause {
        code: "netfilter.reject",
        outcome: Outcome::Rejected,
        hooks: NETFILTER_HOOKS,
        beats: &[
            Beats {
                others: &["netfilter.drop"],
                why: "an answer was built for the packet: the drop is the REJECT's own",
            },
        ],
        what: "A REJECT rule answered in the destination's place. Kubernetes does this when a service has no
            endpoint.",
        recognised: "as `netfilter.drop`, and in the same call an ICMP error or a TCP reset about this very packet
            was built.",
        confirm: "`nft list ruleset`, `iptables -nvL`: rules with `reject` and a counter that rises.",
        fix: "remove the rule, or give the service a backend.",
    };

    /// A rule gave it to NFQUEUE, and no process let it pass: none listens, or it refused it, does not answer, or is too slow.
    NETFILTER_QUEUE = Cause {
        code: "netfilter.queue",
        outcome: Outcome::Dropped,
        hooks: NETFILTER_HOOKS,
        beats: &[],
        what: "A rule handed it to NFQUEUE, and no process let it pass: none listens there, its queue is full, it
            refused the packet, or it does not answer.",
        recognised: "freed in `nf_queue` (nobody listens; or full, where the queue counted drops); freed in
            `nfqnl_reinject` in the call in which a process gave the verdict DROP, or in which its socket was
            closed. Or its end was not seen, and a rule on its way hands it to a queue in which packets wait:
            outcome `vanished`, `certain` where the packet surely comes to that rule.",
        confirm: "`cat /proc/net/netfilter/nfnetlink_queue` in that namespace: number, port id, packets that wait,
            copy mode and range, dropped. The process is the one that has the socket of that port id open.",
        fix: "start the listener, or let it continue; let the rule bypass a missing one (`queue flags bypass`,
            `--queue-bypass`), which does not help where one listens and hangs. Until a process reads the queue, the
            rule can be taken away.",
    };

    /// A rule dropped it for want of a conntrack entry (state INVALID).
    CONNTRACK_INVALID = Cause {
        code: "conntrack.invalid",
        outcome: Outcome::Dropped,
        hooks: NETFILTER_HOOKS,
        beats: &[
            Beats {
                others: &["netfilter.drop"],
                why: "the rule that dropped it looks at the state of the connection, and that is what was wrong",
            },
        ],
        what: "A rule dropped it for its conntrack state INVALID: an answer whose request was not seen, or a segment
            of a connection that the table no longer has.",
        recognised: "a filter dropped it behind conntrack, it has no conntrack entry, and a rule of that hook that
            asks for INVALID fits; `likely` where other rules fit too, or where the policy dropped what only a rule
            for established connections would have let pass. Of an answer it is told which router had the request, where
            that is another one than the answer was given to.",
        confirm: "`conntrack -S` (invalid rises), `conntrack -L`.",
        fix: "make both directions pass the same node (a route for the asker by the router that had the request),
            reconnect, or do not drop INVALID there; where the numbers of
            the segment are far from those of its connection, `net.netfilter.nf_conntrack_tcp_be_liberal=1`.",
    };

    /// The table of connections is full: no new one is let in.
    CONNTRACK_FULL = Cause {
        code: "conntrack.full",
        outcome: Outcome::Dropped,
        hooks: NETFILTER_HOOKS,
        beats: &[
            Beats {
                others: &["netfilter.drop"],
                why: "no rule dropped it: conntrack itself did, before all of them",
            },
        ],
        what: "The table of connections is full: packets of known connections pass, the first ones of new connections
            are dropped.",
        recognised: "freed in `nf_hook_slow` at PREROUTING or OUTPUT without an entry, no legacy rule can have done
            it, and nf_conntrack_count has reached nf_conntrack_max.",
        confirm: "`conntrack -S` (drop and early_drop rise), `dmesg | grep 'table full'`,
            `sysctl net.netfilter.nf_conntrack_count`.",
        fix: "find who opens so many (`conntrack -L`); raise `net.netfilter.nf_conntrack_max`, on the host itself;
            shorten time-outs; do not track what needs no tracking (`notrack`).",
    };

    /// Its conntrack entry could not be confirmed: an insertion clash, or no free port for source NAT.
    CONNTRACK_INSERT = Cause {
        code: "conntrack.insert-failed",
        outcome: Outcome::Dropped,
        hooks: NETFILTER_HOOKS,
        beats: &[
            Beats {
                others: &["netfilter.drop"],
                why: "no rule dropped it: conntrack itself did, after all of them",
            },
        ],
        what: "Its new connection could not be entered: two packets raced for one entry, or no source port was left
            for NAT.",
        recognised: "freed in `nf_hook_slow` at POSTROUTING or INPUT with an entry that is not confirmed, and no rule
            of a legacy table can have done it; `certain` where conntrack's counters insert_failed or drop have
            risen.",
        confirm: "`conntrack -S`: insert_failed and drop rise.",
        fix: "give the SNAT rule more ports or addresses (`--random-fully`, a range).",
    };
}
