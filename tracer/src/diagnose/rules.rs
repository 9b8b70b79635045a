//! The rules for lost packets: what each looks at, what it needs to know, and what it proposes. Which proposal wins is
//! decided in [`super::arbitration`]; what is asked of the host follows from the needs ([`super::questions`]).

pub mod bridge;
pub mod cgroup;
pub mod checksum;
pub mod conntrack;
pub mod duplicate;
pub mod filter;
pub mod flooded;
pub mod gone;
pub mod group;
pub mod ipsec;
pub mod ipvs;
pub mod l2;
pub mod limits;
pub mod link;
pub mod localnet;
pub mod looped;
mod lost_error;
mod lowered;
pub mod macvlan;
pub mod marks;
pub mod named;
pub mod nat;
pub mod neighbor;
pub mod netfilter;
pub mod other;
pub mod ovs;
pub mod queue;
pub mod ready;
pub mod refusal;
pub mod route;
pub mod socket;
pub mod source;
pub mod tunnel;
pub mod virtual_address;
pub mod vlan;
pub mod window;

use super::candidate::Candidate;
use super::loss::Loss;
use super::needs::{self, Need};
use super::wireguard;
use crate::sites::{self, Site};

pub use route::forwarding_sysctls;

/// A rule: a loss with its evidence in, a proposal out.
pub struct Rule {
    /// Its name, for whoever wants to know who proposed what.
    pub name: &'static str,
    /// Where packets are freed that it looks at.
    pub sites: &'static [&'static Site],
    /// What it needs to know beside the loss. It must not depend on getting an answer.
    pub needs: &'static [Need],
    /// The proposal; `None` where the rule has nothing to say.
    pub propose: fn(&Loss<'_>) -> Option<Candidate>,
}

impl Rule {
    /// Whether a loss is its business.
    #[must_use]
    pub fn looks_at(&self, loss: &Loss<'_>) -> bool {
        self.sites.iter().any(|site| site.is(loss.info))
    }
}

macro_rules! rule {
    ($name:literal, $sites:expr, $needs:expr, $propose:expr $(,)?) => {
        Rule {
            name: $name,
            sites: $sites,
            needs: $needs,
            propose: $propose,
        }
    };
}

/// Needs that every loss has, whatever it is.
pub const ALWAYS: &[Need] = &[needs::LINK, needs::TUNNEL];

/// What a verdict of the packet filters rests on.
const FILTER: &[Need] = &[
    needs::CHAINS,
    needs::CONNTRACK,
    needs::ROUTE,
    needs::FILTERED_WAY_BACK,
    needs::SOURCE_BEFORE,
    needs::OTHER_SOURCES,
];
/// What a refusal by the routing tables rests on.
const ROUTING: &[Need] = &[
    needs::ROUTE,
    needs::DECISION,
    needs::FORWARDING,
    needs::WAYS,
    needs::OWNERS_WAY_BACK,
];

/// What is to be known of a packet with a mark.
const MARKS: &[Need] = &[needs::DECISION, needs::CHAINS, needs::ROUTE];

/// All rules. Where nothing else decides between two proposals, the earlier rule's stands first.
pub const RULES: &[Rule] = &[
    rule!(
        "an answer that is not translated back",
        &[&sites::NO_SOCKET],
        &[needs::BRIDGED_TRANSLATION],
        nat::asymmetric,
    ),
    rule!(
        "a connection that its translator has forgotten",
        &[&sites::ANYWHERE],
        &[],
        nat::forgotten_on_the_way,
    ),
    rule!(
        "a loopback source that may not leave",
        &[&sites::FILTERED],
        &[needs::LOCALNET, needs::CHAINS],
        localnet::refused,
    ),
    rule!(
        "a rule that rejects",
        &[&sites::FILTERED],
        FILTER,
        netfilter::reject,
    ),
    rule!(
        "NFQUEUE",
        &[&sites::QUEUED],
        &[needs::CHAINS, needs::CONNTRACK, needs::ROUTE, needs::QUEUES,],
        netfilter::queue,
    ),
    rule!(
        "an IPVS service without a destination",
        &[&sites::FILTERED],
        &[needs::IPVS],
        ipvs::without_destination,
    ),
    rule!(
        "Open vSwitch",
        &[&sites::OPENVSWITCH],
        &[needs::OPENVSWITCH],
        ovs::ended,
    ),
    rule!(
        "a full table of connections",
        &[&sites::FILTERED],
        FILTER,
        conntrack::full,
    ),
    rule!(
        "a connection that could not be confirmed",
        &[&sites::FILTERED],
        FILTER,
        conntrack::insert_failed,
    ),
    rule!(
        "a rule or policy that drops what belongs to no connection",
        &[&sites::FILTERED],
        FILTER,
        conntrack::invalid,
    ),
    rule!(
        "a rule or policy that drops",
        &[&sites::FILTERED],
        FILTER,
        netfilter::drop,
    ),
    rule!(
        "a route that refuses, or none",
        &[&sites::ROUTE_REFUSED],
        &[
            needs::ROUTE,
            needs::DECISION,
            needs::FORWARDING,
            needs::WAYS,
            needs::OWNERS_WAY_BACK,
            needs::GATEWAYS,
            needs::ADVERTISEMENTS,
        ],
        route::lookup,
    ),
    rule!(
        "a virtual address that a machine should have",
        &[
            &sites::NOT_OURS,
            &sites::ROUTE_REFUSED,
            &sites::NEIGHBOR_QUEUE,
            &sites::FORWARD_LIMIT,
            &sites::TUNNEL_INPUT,
        ],
        &[needs::VIRTUAL_ADDRESS],
        virtual_address::missing,
    ),
    rule!(
        "forwarding that is off",
        &[&sites::NOT_OURS],
        ROUTING,
        route::forwarding,
    ),
    rule!(
        "a packet of a transparent proxy that routing does not take for this host's",
        &[&sites::FORWARD_LIMIT],
        MARKS,
        marks::not_local,
    ),
    rule!(
        "a mark that no policy rule knows",
        &[&sites::ROUTE_REFUSED],
        MARKS,
        marks::unknown,
    ),
    rule!(
        "a TTL that is used up",
        &[&sites::FORWARD_LIMIT],
        &[needs::ROUTE, needs::LOOP, needs::LOWERED],
        limits::ttl,
    ),
    rule!(
        "a source that the reverse-path filter refuses",
        &[&sites::RP_FILTERED],
        &[
            needs::ROUTE,
            needs::DECISION,
            needs::ROUTE_BACK,
            needs::RP_FILTER,
            needs::STRAY_SOURCE,
            needs::WAYS,
        ],
        source::filtered,
    ),
    rule!(
        "an impossible address",
        &[&sites::MARTIAN],
        &[
            needs::SENDER,
            needs::DECISION,
            needs::RP_FILTER,
            needs::HAIRPIN
        ],
        source::martian,
    ),
    rule!(
        "a packet too big",
        &[&sites::TOO_BIG],
        &[
            needs::ROUTE,
            needs::DECISION,
            needs::FORWARDING,
            needs::WAYS,
            needs::OWNERS_WAY_BACK,
            needs::ROUTE_BACK,
        ],
        limits::too_big,
    ),
    rule!(
        "a neighbour that does not answer",
        &[&sites::NEIGHBOR_QUEUE],
        &[needs::NEIGHBOR, needs::OPENVSWITCH],
        neighbor::unresolved,
    ),
    rule!(
        "a redirect to a device that is down",
        &[&sites::REDIRECT],
        &[needs::DEVICE_STATE],
        filter::redirect,
    ),
    rule!(
        "an address that two machines have",
        &[&sites::NO_SOCKET, &sites::FILTERED],
        &[needs::FRAME, needs::ROUTES_BACK, needs::ASKER],
        duplicate::address,
    ),
    rule!(
        "a link without carrier",
        &[&sites::TRANSMIT, &sites::NEIGHBOR_QUEUE],
        &[needs::LEFT_ROUTES],
        link::no_carrier,
    ),
    rule!(
        "a veth whose other end refuses",
        &[&sites::PEER],
        &[needs::LEFT_ROUTES],
        link::peer_refuses,
    ),
    rule!(
        "a TUN device that is down",
        &[&sites::TUN_INPUT],
        &[needs::LEFT_ROUTES],
        link::tun_down,
    ),
    rule!(
        "a frame that is too long for a shaper",
        &[&sites::QUEUEING],
        &[needs::DEVICE_STATE],
        queue::too_long,
    ),
    rule!(
        "a queue that is full or shapes",
        &[&sites::QUEUEING],
        &[needs::DEVICE_STATE],
        queue::qdisc,
    ),
    rule!(
        "a ring that is not read",
        &[&sites::RING],
        &[needs::DEVICE_STATE],
        queue::ring,
    ),
    rule!(
        "a route that went with its link",
        &[&sites::ROUTE_REFUSED],
        &[
            needs::ROUTE,
            needs::DECISION,
            needs::FORWARDING,
            needs::WAYS,
            needs::LEFT_ROUTES,
        ],
        link::gone_with_its_route,
    ),
    rule!("IPsec", &[&sites::IPSEC], &[needs::XFRM], ipsec::refused),
    rule!(
        "IPsec on kernels that do not name it",
        &[&sites::IPSEC_UNNAMED],
        &[needs::XFRM],
        ipsec::refused_unnamed,
    ),
    rule!(
        "macvlans that are kept apart",
        &[&sites::OTHER_HOST, &sites::BRIDGE],
        &[needs::FRAME],
        macvlan::strayed,
    ),
    rule!(
        "a flooded copy whose own receiver a bridge passed by",
        &[&sites::OTHER_HOST],
        &[needs::FRAME],
        flooded::strayed,
    ),
    rule!(
        "an address that is nobody's any more",
        &[&sites::OTHER_HOST, &sites::BRIDGE],
        &[needs::FRAME, needs::SENDER_NEIGHBOR],
        gone::address,
    ),
    rule!(
        "a frame with the wrong MAC",
        &[&sites::OTHER_HOST],
        &[
            needs::FRAME,
            needs::SENDER_NEIGHBOR,
            needs::OPENVSWITCH,
            needs::REDIRECTS,
        ],
        l2::wrong_mac,
    ),
    rule!(
        "a frame that another machine took",
        &[&sites::ANYWHERE],
        &[needs::TAKEN],
        l2::taken::by_another,
    ),
    rule!(
        "a VLAN tag that nobody takes",
        &[&sites::OTHER_HOST],
        &[needs::FRAME, needs::SENDER_NEIGHBOR],
        vlan::untaken,
    ),
    rule!(
        "a VLAN device that is down",
        &[&sites::VLAN_DEVICE],
        &[needs::LEFT_ROUTES],
        vlan::device_down,
    ),
    rule!(
        "a bridge that refuses",
        &[&sites::BRIDGE, &sites::TUNNEL_OUTPUT],
        &[needs::FRAME],
        bridge::refused,
    ),
    rule!(
        "a bridge port with a smaller MTU",
        &[&sites::BRIDGE],
        &[],
        bridge::port_mtu,
    ),
    rule!("tc", &[&sites::TC], &[needs::DEVICE_STATE], filter::tc),
    rule!("XDP", &[&sites::XDP], &[needs::DEVICE_STATE], filter::xdp),
    rule!(
        "a cgroup's egress program",
        &[&sites::CGROUP_EGRESS],
        &[needs::CGROUPS],
        cgroup::egress,
    ),
    rule!(
        "a socket's filter or a cgroup's ingress program",
        &[&sites::SOCKET_FILTER],
        &[needs::CGROUPS],
        cgroup::ingress,
    ),
    rule!(
        "a port on which nobody listens",
        &[&sites::NO_SOCKET],
        &[needs::SOCKETS, needs::OTHER_PORTS, needs::HANDED_UP],
        socket::none,
    ),
    rule!(
        "an echo request that is ignored",
        &[&sites::ECHO_V6],
        &[needs::ECHO],
        socket::echo_ignored,
    ),
    rule!(
        "a segment for a connection that closes",
        &[&sites::CLOSING],
        &[],
        socket::closing,
    ),
    rule!(
        "a signed segment that TCP does not take",
        &[&sites::SYN_AT_TCP],
        &[],
        socket::signed,
    ),
    rule!(
        "a socket whose queue is full",
        &[&sites::SOCKET_QUEUE],
        &[needs::SOCKETS],
        socket::full,
    ),
    rule!(
        "a tunnel that does not exist here",
        &[&sites::TUNNEL_INPUT],
        &[needs::WAY_BACK],
        tunnel::unknown,
    ),
    rule!(
        "a tunnel without a remote end",
        &[&sites::TUNNEL_OUTPUT],
        &[needs::OTHER_ENDS],
        tunnel::no_remote,
    ),
    rule!(
        "a WireGuard device that has nobody to send it to",
        &[&sites::WIREGUARD_OUTPUT],
        &[needs::WIREGUARD],
        wireguard::unsent,
    ),
    rule!(
        "a tunnel whose remote end is its own host",
        &[
            &sites::FORWARD_LIMIT,
            &sites::OTHER_HOST,
            &sites::TUNNEL_SOURCE
        ],
        &[],
        tunnel::own_end,
    ),
    rule!(
        "a tunnel that gets its own MAC",
        &[&sites::TUNNEL_SOURCE],
        &[needs::TWINS],
        tunnel::own_source,
    ),
    rule!(
        "a packet too big for its tunnel",
        &[&sites::TOO_BIG],
        &[],
        tunnel::too_big,
    ),
    rule!(
        "a gateway's address that two machines have",
        &[&sites::NOT_OURS],
        &[needs::FRAME],
        duplicate::gateway,
    ),
    rule!(
        "a MAC that two machines have",
        &[&sites::NOT_OURS],
        &[needs::FRAME],
        duplicate::mac,
    ),
    rule!(
        "a multicast with too short a life to be routed",
        &[&sites::TO_MANY],
        &[],
        group::short_lived,
    ),
    rule!(
        "a group that nobody joined",
        &[&sites::TO_MANY],
        &[needs::SOCKETS, needs::COPIES],
        group::multicast,
    ),
    rule!(
        "a broadcast that nobody takes",
        &[&sites::TO_MANY],
        &[],
        group::broadcast,
    ),
    rule!(
        "an echo request to many",
        &[&sites::ECHO_V4],
        &[needs::ECHO],
        group::echo,
    ),
    rule!(
        "a checksum of what carries a tunnel",
        &[&sites::ANYWHERE],
        &[],
        checksum::outer,
    ),
    rule!(
        "a segment of a connection that nobody has",
        &[&sites::UNFIT],
        &[needs::SOCKETS],
        socket::unknown_connection,
    ),
    rule!(
        "a reason that says it all",
        &[&sites::ANYWHERE],
        &[],
        named::by_reason,
    ),
    rule!(
        "the kernel's own word",
        &[&sites::ANYWHERE],
        &[],
        other::kernel,
    ),
];

/// Whether it died while a tc program's redirect handed it on.
#[must_use]
pub fn is_redirect(loss: &Loss<'_>) -> bool {
    sites::REDIRECT.is(loss.info)
}
