//! Programs that drop: tc, XDP, cgroups and socket filters.

use crate::model::Detail;

use super::super::advice::Shell;
use super::super::candidate::{Candidate, Specificity};
use super::super::causes::{CGROUP_DROP, SOCKET_FILTER, TC_DROP, XDP_DROP};
use super::super::loss::Loss;

fn interface(loss: &Loss<'_>) -> String {
    loss.last_device()
        .map_or_else(String::new, |d| loss.host.interface(d))
}

/// tc programs and actions; also a redirect that failed.
pub fn tc(loss: &Loss<'_>) -> Option<Candidate> {
    let (hook, side) = match loss.reason() {
        "TC_INGRESS" => ("tc-ingress", "ingress"),
        "TC_EGRESS" => ("tc-egress", "egress"),
        _ => return None,
    };
    let name = interface(loss);
    let shell = Shell::of(loss.host, loss.netns());
    Some(
        Candidate::new(
            &TC_DROP,
            loss.place_at_device(hook),
            format!(
                "tc {side} dropped it{}: a program, an action, or a redirect that failed",
                loss.at_words()
            ),
        )
        .explains(Specificity::Reason)
        .advise([
            shell.run(
                "look at the filters and their counters",
                format!("tc -s filter show dev {name} {side}"),
            ),
            shell.run("and at programs", format!("bpftool net show dev {name}")),
            shell.run(
                "take the filter off, if it is not wanted",
                format!("tc filter del dev {name} {side}"),
            ),
        ]),
    )
}

/// XDP programs, generic or native on veth.
pub fn xdp(loss: &Loss<'_>) -> Option<Candidate> {
    let placed = matches!(
        loss.function(),
        "do_xdp_generic" | "netif_receive_generic_xdp" | "veth_xdp_rcv_skb" | "veth_xdp_rcv_one"
    ) || matches!(loss.reason(), "XDP" | "XDP_DROP");
    if !placed {
        return None;
    }
    let name = interface(loss);
    let aborted = loss
        .trace
        .beside
        .iter()
        .any(|e| matches!(e.detail, Detail::XdpException { .. }) && loss.same_call(e));
    let how = if aborted {
        "failed (XDP_ABORTED)"
    } else {
        "dropped it"
    };
    let shell = Shell::of(loss.host, loss.netns());
    Some(
        Candidate::new(
            &XDP_DROP,
            loss.place_at_device("xdp"),
            format!("XDP program {how}{}", loss.at_words()),
        )
        .advise([
            shell.run("which program", format!("ip -d link show dev {name}")),
            shell.run(
                "take it off, if it is not wanted",
                format!("ip link set dev {name} xdp off"),
            ),
        ]),
    )
}

/// cgroup programs at egress; at ingress they share the reason of socket filters.
pub fn cgroup(loss: &Loss<'_>) -> Option<Candidate> {
    let shell = Shell::of(loss.host, loss.netns());
    let look = shell.run("programs of all cgroups", "bpftool cgroup tree");
    match loss.reason() {
        "BPF_CGROUP_EGRESS" => Some(
            Candidate::new(
                &CGROUP_DROP,
                loss.place(Some("cgroup")),
                format!("a cgroup's egress program dropped it{}", loss.at_words()),
            )
            .explains(Specificity::Reason)
            .advise([look]),
        ),
        "SOCKET_FILTER" => Some(
            Candidate::new(
                &SOCKET_FILTER,
                loss.place(Some("socket")),
                format!(
                    "a socket filter, or the cgroup's ingress program, dropped it{}",
                    loss.at_words()
                ),
            )
            .explains(Specificity::Reason)
            .advise([look, shell.run("sockets with filters", "ss -0 -b -a")]),
        ),
        _ => None,
    }
}
