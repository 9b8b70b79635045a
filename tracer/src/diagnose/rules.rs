//! The rules: each looks at one loss and proposes a cause, or has nothing to say. A new cause is a row in
//! `causes.rs` and a rule in one of these files (often one row in `named.rs`), in [`RULES`].

pub mod bridge;
pub mod cgroup;
pub mod conntrack;
pub mod duplicate;
pub mod filter;
pub mod flooded;
pub mod group;
pub mod ipsec;
pub mod l2;
pub mod limits;
pub mod link;
pub mod macvlan;
pub mod named;
pub mod nat;
pub mod neighbor;
pub mod netfilter;
pub mod other;
pub mod queue;
pub mod ready;
pub mod refusal;
pub mod route;
pub mod socket;
pub mod source;
pub mod tunnel;
pub mod unheard;

use super::candidate::Candidate;
use super::loss::Loss;

/// A rule: evidence in, a proposal out. It must hold on every kernel: names of reasons and functions, never numbers
/// or depths of stacks.
pub type Rule = fn(&Loss<'_>) -> Option<Candidate>;

/// All rules. Of equally specific proposals the earlier one stands first.
pub const RULES: &[Rule] = &[
    nat::asymmetric,
    nat::forgotten_on_the_way,
    netfilter::reject,
    netfilter::queue,
    conntrack::full,
    conntrack::insert_failed,
    conntrack::invalid,
    netfilter::drop,
    route::lookup,
    route::forwarding,
    limits::ttl,
    source::source,
    limits::too_big,
    neighbor::unresolved,
    filter::redirect,
    duplicate::address,
    link::no_carrier,
    link::peer_refuses,
    queue::qdisc,
    queue::ring,
    link::gone_with_its_route,
    ipsec::refused,
    macvlan::strayed,
    macvlan::question,
    flooded::strayed,
    flooded::question,
    l2::wrong_mac,
    bridge::refused,
    bridge::port_mtu,
    filter::tc,
    filter::xdp,
    cgroup::egress,
    cgroup::ingress,
    socket::none,
    socket::echo_ignored,
    socket::closing,
    socket::full,
    tunnel::unknown,
    tunnel::no_remote,
    tunnel::own_source,
    tunnel::too_big,
    l2::twin,
    group::multicast,
    group::broadcast,
    group::echo,
    named::by_reason,
    other::kernel,
];

pub use route::forwarding_sysctls;

/// Whether what stands on the drop's interface can tell more: its programs, its queue, the process behind it.
#[must_use]
pub fn is_of_standing(loss: &Loss<'_>) -> bool {
    matches!(
        loss.reason(),
        "TC_INGRESS" | "TC_EGRESS" | "FULL_RING" | "DEV_HDR_FULL"
    ) || loss.reason().starts_with("QDISC_")
        || loss.reason().starts_with("FQ_")
        || loss.function().contains("xdp")
        || is_redirect(loss)
}

/// Whether it died while a tc program's redirect handed it on.
#[must_use]
pub fn is_redirect(loss: &Loss<'_>) -> bool {
    loss.within("skb_do_redirect") || loss.within("__bpf_redirect")
}
