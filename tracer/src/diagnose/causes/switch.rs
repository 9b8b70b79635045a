//! Open vSwitch.

use super::{Beats, Cause, Family};
use crate::verdict::Outcome;

/// All that its rules can say.
const HOOKS: &[&str] = &["openvswitch"];

family! {
    "Open vSwitch";

    /// A rule of a bridge drops it.
    OVS_FLOW_DROP = Cause {
        code: "ovs.flow-drop",
        outcome: Outcome::Dropped,
        hooks: HOOKS,
        beats: &[],
        what: "A rule of an Open vSwitch bridge drops the packet, or ends without an output.",
        recognised: "`OVS_DROP_LAST_ACTION`, `OVS_DROP_EXPLICIT` and their relatives (6.6 and newer); on older kernels, which free
            such packets without a word, a packet that came to a port and went nowhere, while ovs-vswitchd says that it drops
            packets like it, or the kernel's flow for it has no action, or none that sends it on (the module's tracepoints, 5.14
            and newer). Bridge, table and rule are those that `ofproto/trace` names.",
        confirm: "`ovs-appctl ofproto/trace BRIDGE in_port=PORT,…`; `ovs-ofctl dump-flows BRIDGE`: the rule's `n_packets` rises.",
        fix: "delete the rule, where its owner (a controller, OVN, an agent) does not write it again: else change the policy there.",
    };

    /// No rule of a table matches it.
    OVS_NO_FLOW = Cause {
        code: "ovs.no-flow",
        outcome: Outcome::Dropped,
        hooks: HOOKS,
        beats: &[],
        what: "No rule of a table matches the packet, or only the last one that drops the rest.",
        recognised: "as `ovs.flow-drop`; `ofproto/trace` says `No match`, or names a rule without any condition.",
        confirm: "`ovs-ofctl dump-flows BRIDGE table=N`; `ovs-vsctl get-fail-mode BRIDGE` (`secure`: without rules nothing passes).",
        fix: "let the controller write its rules (does it run? `ovs-vsctl show` says `is_connected`), or add one for the flow and its
            answers.",
    };

    /// A rule drops what conntrack calls invalid, or conntrack refuses it.
    OVS_CT = Cause {
        code: "ovs.ct",
        outcome: Outcome::Dropped,
        hooks: HOOKS,
        beats: &[],
        what: "Connection tracking within Open vSwitch refuses the packet, or takes it for invalid, and a rule drops what is invalid.",
        recognised: "`OVS_DROP_CONNTRACK`; or the packet had no connection when it was dropped, and with `ct_state=inv|trk` the daemon
            drops it by a rule with `+inv`.",
        confirm: "`ovs-appctl dpctl/dump-conntrack`, `conntrack -S`; does the trace see both directions of the connection?",
        fix: "both directions have to pass the same zone of conntrack; a rule can also let invalid packets of one flow pass.",
    };

    /// What was not in the kernel's cache did not get to the daemon, or nothing came back.
    OVS_UPCALL_LOST = Cause {
        code: "ovs.upcall-lost",
        outcome: Outcome::Dropped,
        hooks: HOOKS,
        beats: &[],
        what: "The kernel has no flow for the packet and hands it to ovs-vswitchd, which is not there, is stopped, or does not keep up.",
        recognised: "the packet ends in `ovs_dp_process_packet`, or came to a port and went nowhere; no process of ovs-vswitchd is in
            the namespace, or all are stopped, or no socket listens for what has no flow; or the kernel handed it to the daemon
            (`ovs_dp_upcall`), and nothing came back. The datapath's counter `lost` tells of full queues.",
        confirm: "`pgrep -a ovs-vswitchd`, `ovs-dpctl show` (`lost`), `ss -f netlink`.",
        fix: "start or continue the daemon. What already has a flow in the kernel passes all the while.",
    };

    /// A port to which a rule sends it does not take it.
    OVS_PORT = Cause {
        code: "ovs.port",
        outcome: Outcome::Dropped,
        hooks: HOOKS,
        beats: &[],
        what: "The port to which a bridge sends the packet does not take it: it is down or not there, its patch port has no other end, it
            is in another VLAN, or its group has no live bucket.",
        recognised: "`DEV_READY` in Open vSwitch's output where no other copy went on; or the trace of the daemon ends in an output
            that gives the kernel nothing to do.",
        confirm: "`ovs-vsctl show`, `ovs-ofctl show BRIDGE`, `ovs-appctl ofproto/trace …`.",
        fix: "bring the port up; `ovs-vsctl set interface PATCH options:peer=OTHER`; the same VLAN at both ports.",
    };

    /// A meter's rate is exceeded.
    OVS_METER = Cause {
        code: "ovs.meter",
        outcome: Outcome::Dropped,
        hooks: HOOKS,
        beats: &[
            Beats {
                others: &["ovs.flow-drop"],
                why: "the kernel names the meter",
            },
        ],
        what: "A meter of an Open vSwitch bridge drops what is above its rate.",
        recognised: "`OVS_DROP_METER` (6.6 and newer); before, a packet that went nowhere, and whose last action was a meter, or which
            the daemon would send through one.",
        confirm: "`ovs-ofctl -O OpenFlow13 meter-stats BRIDGE`, `dump-meters BRIDGE`.",
        fix: "a higher rate for the meter, or the rule without it.",
    };
}
