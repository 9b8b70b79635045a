//! The words of the language: keywords, names of services, protocols and header values, and what is refused.

use tracer_common::tuple::{FAMILY_V4, FAMILY_V6, PROTO_ARP};

use super::ast::{Side, Test};

/// What a word at the beginning of a test does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    /// Names a protocol, alone or before other qualifiers.
    Protocol(Test),
    Direction(Side),
    Kind(Kind),
    Vlan,
    /// Headers inside a tunnel.
    Tunnel,
}

/// What the value of a test is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Host,
    Net,
    Port,
    PortRange,
    Proto,
    /// Something of this machine, by its name.
    Named(Named),
}

/// What has a name by which it can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Named {
    /// A pod: `shop/cart-5f6d`.
    Pod,
    /// A container.
    Container,
    /// A service of Kubernetes: `shop/db`.
    Service,
    /// Processes by the name of their program.
    Process,
    /// A process by its number.
    Pid,
}

impl Named {
    /// The word of the language.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Container => "container",
            Self::Service => "service",
            Self::Process => "process",
            Self::Pid => "pid",
        }
    }
}

const fn protocol(family: u8, proto: u8) -> Keyword {
    Keyword::Protocol(Test::Proto { family, proto })
}

/// Keywords.
pub(super) const KEYWORDS: &[(&str, Keyword)] = &[
    ("host", Keyword::Kind(Kind::Host)),
    ("net", Keyword::Kind(Kind::Net)),
    ("port", Keyword::Kind(Kind::Port)),
    ("portrange", Keyword::Kind(Kind::PortRange)),
    ("proto", Keyword::Kind(Kind::Proto)),
    ("pod", Keyword::Kind(Kind::Named(Named::Pod))),
    ("container", Keyword::Kind(Kind::Named(Named::Container))),
    ("service", Keyword::Kind(Kind::Named(Named::Service))),
    ("process", Keyword::Kind(Kind::Named(Named::Process))),
    ("pid", Keyword::Kind(Kind::Named(Named::Pid))),
    ("src", Keyword::Direction(Side::Src)),
    ("dst", Keyword::Direction(Side::Dst)),
    ("ip", Keyword::Protocol(Test::Family(FAMILY_V4))),
    ("ip6", Keyword::Protocol(Test::Family(FAMILY_V6))),
    ("tcp", protocol(0, 6)),
    ("udp", protocol(0, 17)),
    ("sctp", protocol(0, 132)),
    ("icmp", protocol(FAMILY_V4, 1)),
    ("icmp6", protocol(FAMILY_V6, 58)),
    ("arp", protocol(FAMILY_V4, PROTO_ARP)),
    ("igmp", protocol(FAMILY_V4, 2)),
    ("esp", protocol(0, 50)),
    ("pim", protocol(0, 103)),
    ("vrrp", protocol(0, 112)),
    ("vlan", Keyword::Vlan),
    ("vxlan", Keyword::Tunnel),
    ("geneve", Keyword::Tunnel),
    ("inner", Keyword::Tunnel),
];

/// Words of pcap-filter that cannot be expressed here, and what to do instead.
pub(super) const REFUSED: &[(&str, &str)] = &[
    (
        "ether",
        "frames are matched by IP address: use `host ADDRESS`, or `arp`; the trace shows the MAC addresses",
    ),
    (
        "gateway",
        "use `host ADDRESS` of one end, and --interface for the way",
    ),
    ("broadcast", "use the address: `dst host 255.255.255.255`"),
    (
        "multicast",
        "use the range: `dst net 224.0.0.0/4`, or `dst net ff00::/8`",
    ),
    (
        "inbound",
        "both directions of every interface are watched; use `src` and `dst`",
    ),
    (
        "outbound",
        "both directions of every interface are watched; use `src` and `dst`",
    ),
    (
        "less",
        "lengths are not matched; leave it out and see the sizes in the trace",
    ),
    (
        "greater",
        "lengths are not matched; leave it out and see the sizes in the trace",
    ),
    (
        "len",
        "lengths are not matched; leave it out and see the sizes in the trace",
    ),
    (
        "protochain",
        "extension headers are passed over already: use `ip6 proto NUMBER`",
    ),
    ("rarp", "only IP and ARP packets are followed"),
    ("mpls", "only IP and ARP packets are followed"),
    ("pppoes", "only IP and ARP packets are followed"),
    ("pppoed", "only IP and ARP packets are followed"),
    ("stp", "only IP and ARP packets are followed"),
    ("wlan", "only IP and ARP packets are followed"),
    ("llc", "only IP and ARP packets are followed"),
    ("decnet", "only IP and ARP packets are followed"),
    ("ifname", "use --interface GLOB"),
    ("on", "use --interface GLOB"),
    ("ah", "use `proto 51`, which is seen in IPv4 only"),
];

/// Services: the few that are typed in incidents. Others by number.
pub(super) const SERVICES: &[(&str, u16)] = &[
    ("bgp", 179),
    ("bootpc", 68),
    ("bootps", 67),
    ("domain", 53),
    ("ftp", 21),
    ("ftp-data", 20),
    ("http", 80),
    ("https", 443),
    ("imap", 143),
    ("imaps", 993),
    ("isakmp", 500),
    ("kerberos", 88),
    ("ldap", 389),
    ("ldaps", 636),
    ("mysql", 3306),
    ("nfs", 2049),
    ("ntp", 123),
    ("pop3", 110),
    ("postgresql", 5432),
    ("redis", 6379),
    ("sip", 5060),
    ("smtp", 25),
    ("snmp", 161),
    ("ssh", 22),
    ("sunrpc", 111),
    ("syslog", 514),
    ("telnet", 23),
    ("tftp", 69),
];

/// Protocols after `proto`.
pub(super) const PROTOCOLS: &[(&str, u8)] = &[
    ("icmp", 1),
    ("igmp", 2),
    ("ipip", 4),
    ("tcp", 6),
    ("udp", 17),
    ("ipv6", 41),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmp6", 58),
    ("pim", 103),
    ("vrrp", 112),
    ("sctp", 132),
];

/// TCP flags.
pub(super) const TCP_FLAGS: &[(&str, u8)] = &[
    ("tcp-fin", 0x01),
    ("tcp-syn", 0x02),
    ("tcp-rst", 0x04),
    ("tcp-push", 0x08),
    ("tcp-ack", 0x10),
    ("tcp-urg", 0x20),
    ("tcp-ece", 0x40),
    ("tcp-cwr", 0x80),
];

/// ICMP types.
pub(super) const ICMP_TYPES: &[(&str, u8)] = &[
    ("icmp-echoreply", 0),
    ("icmp-unreach", 3),
    ("icmp-sourcequench", 4),
    ("icmp-redirect", 5),
    ("icmp-echo", 8),
    ("icmp-routeradvert", 9),
    ("icmp-routersolicit", 10),
    ("icmp-timxceed", 11),
    ("icmp-paramprob", 12),
    ("icmp-tstamp", 13),
    ("icmp-tstampreply", 14),
    ("icmp-ireq", 15),
    ("icmp-ireqreply", 16),
    ("icmp-maskreq", 17),
    ("icmp-maskreply", 18),
];

/// ICMPv6 types.
pub(super) const ICMP6_TYPES: &[(&str, u8)] = &[
    ("icmp6-destinationunreach", 1),
    ("icmp6-packettoobig", 2),
    ("icmp6-timeexceeded", 3),
    ("icmp6-parameterproblem", 4),
    ("icmp6-echo", 128),
    ("icmp6-echoreply", 129),
    ("icmp6-multicastlistenerquery", 130),
    ("icmp6-multicastlistenerreportv1", 131),
    ("icmp6-multicastlistenerdone", 132),
    ("icmp6-routersolicit", 133),
    ("icmp6-routeradvert", 134),
    ("icmp6-neighborsolicit", 135),
    ("icmp6-neighboradvert", 136),
    ("icmp6-redirect", 137),
    ("icmp6-routerrenum", 138),
    ("icmp6-multicastlistenerreportv2", 143),
];

/// The value of a name.
pub(super) fn lookup<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    table
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, value)| *value)
}

/// The name of a value.
pub(super) fn name_of<T: PartialEq>(table: &[(&'static str, T)], value: T) -> Option<&'static str> {
    table
        .iter()
        .find(|(_, known)| *known == value)
        .map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::{KEYWORDS, REFUSED};

    #[test]
    fn no_word_is_both_known_and_refused() {
        for (word, _) in REFUSED {
            assert!(KEYWORDS.iter().all(|(known, _)| known != word), "{word}");
        }
    }
}
