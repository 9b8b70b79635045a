//! What Open vSwitch has for a packet, as facts.

use serde::{Deserialize, Serialize};

use super::Holder;
use crate::model::{Device, Mac, Proto, Tuple};

/// The headers of a packet as Open vSwitch looks at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OvsFlow {
    /// Its addresses and ports.
    pub tuple: Tuple,
    /// Source and destination MAC, where they were captured.
    pub macs: Option<(Mac, Mac)>,
    /// The outermost VLAN id.
    pub vlan: Option<u16>,
    /// Type and code of ICMP; for ARP the operation and zero.
    pub kind: Option<(u8, u8)>,
    /// TTL or hop limit.
    pub ttl: u8,
}

/// What Open vSwitch says of a packet that came to one of its ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OvsAnswer {
    /// The port's interface.
    pub device: Device,
    /// The packet.
    pub flow: OvsFlow,
    /// All bridges; empty where neither the database nor the daemon could be asked.
    pub bridges: Vec<OvsBridge>,
    /// Processes of ovs-vswitchd in the interface's namespace.
    pub daemons: Vec<Holder>,
    /// What the kernel's side tells of itself.
    pub datapath: Option<OvsDatapath>,
    /// What the daemon says that it would do with the packet (`ofproto/trace`): without conntrack one, else one for each
    /// state that conntrack may give it.
    pub traces: Vec<OvsTrace>,
}

/// The kernel's side, by generic netlink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OvsDatapath {
    /// Its name.
    pub name: String,
    /// Packets that no flow of the kernel matched: they were handed to the daemon.
    pub missed: u64,
    /// Packets that could not be handed to it.
    pub lost: u64,
    /// Whether a socket is there to which the port's packets are handed; `None` where the kernel does not tell which.
    pub listened: Option<bool>,
    /// Packets that did not fit into such sockets.
    pub overflowed: u64,
}

/// A bridge as its users know it; the kernel has one datapath for all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OvsBridge {
    /// Its name.
    pub name: String,
    /// What it does without a controller: `secure`, `standalone`; `None` where nothing is set.
    pub fail_mode: Option<String>,
    /// Versions of OpenFlow that it is restricted to (`OpenFlow13`).
    pub protocols: Vec<String>,
    /// It has a controller, which writes its flows.
    pub controlled: bool,
    /// Its ports.
    pub ports: Vec<OvsPort>,
}

/// A port of a bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OvsPort {
    /// Its name, which is that of its interface where it has one.
    pub name: String,
    /// OpenFlow's number; zero where it has none.
    pub number: u32,
    /// The kernel's number; patch ports have none.
    pub datapath: Option<u32>,
    /// `system`, `internal`, `patch`, `vxlan`, `geneve`…
    pub kind: String,
    /// Options (`remote_ip`, `key`, `peer`).
    pub options: Vec<(String, String)>,
    /// The VLAN of an access port.
    pub tag: Option<u16>,
    /// VLANs that it takes with their tag; empty: all, where it has no `tag`.
    pub trunks: Vec<u16>,
}

/// A packet's way through the tables of bridges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OvsTrace {
    /// What conntrack was assumed to say (`trk,new`); empty where it was not asked.
    pub assumed: String,
    /// Rules that it met, in order.
    pub steps: Vec<OvsStep>,
    /// What the kernel is told to do at last (`drop`, `4,2`).
    pub output: String,
}

/// A rule that a packet met.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OvsStep {
    /// The bridge.
    pub bridge: String,
    /// The table.
    pub table: u8,
    /// What the rule matches, as ovs-ofctl takes it; empty for all. `None`: no rule of the table matched.
    pub matched: Option<String>,
    /// Its priority.
    pub priority: u16,
    /// Its cookie.
    pub cookie: Option<String>,
    /// Its actions, each of them.
    pub actions: Vec<String>,
    /// What Open vSwitch remarks on them.
    pub remarks: Vec<String>,
}

impl OvsFlow {
    /// A packet as `ofproto/trace` takes it: `in_port=3,icmp,dl_src=…`.
    #[must_use]
    pub fn words(&self, port: &str) -> String {
        let Tuple {
            proto, src, dst, ..
        } = self.tuple;
        let v6 = dst.is_ipv6();
        let mut words = vec![format!("in_port={port}")];
        if let Some((from, to)) = self.macs {
            words.push(format!("dl_src={from},dl_dst={to}"));
        }
        words.extend(self.vlan.map(|vlan| format!("dl_vlan={vlan}")));
        let kind = match proto {
            Proto::Arp => "arp",
            Proto::Tcp if v6 => "tcp6",
            Proto::Udp if v6 => "udp6",
            Proto::Sctp if v6 => "sctp6",
            Proto::Tcp => "tcp",
            Proto::Udp => "udp",
            Proto::Sctp => "sctp",
            Proto::Icmp6 => "icmp6",
            Proto::Icmp => "icmp",
            Proto::Other(_) if v6 => "ipv6",
            Proto::Other(_) => "ip",
        };
        words.push(kind.to_owned());
        match proto {
            Proto::Arp => words.push(format!("arp_spa={src},arp_tpa={dst}")),
            _ if v6 => words.push(format!("ipv6_src={src},ipv6_dst={dst},nw_ttl={}", self.ttl)),
            _ => words.push(format!("nw_src={src},nw_dst={dst},nw_ttl={}", self.ttl)),
        }
        // exact flows know the fields by their protocol's names alone
        let ports = |name: &str| {
            let Tuple { sport, dport, .. } = self.tuple;
            format!("{name}_src={sport},{name}_dst={dport}")
        };
        match (proto, self.kind) {
            (Proto::Tcp, _) => words.push(ports("tcp")),
            (Proto::Udp, _) => words.push(ports("udp")),
            (Proto::Sctp, _) => words.push(ports("sctp")),
            (Proto::Icmp, Some((kind, code))) => {
                words.push(format!("icmp_type={kind},icmp_code={code}"));
            }
            (Proto::Icmp6, Some((kind, code))) => {
                words.push(format!("icmpv6_type={kind},icmpv6_code={code}"));
            }
            (Proto::Arp, Some((operation, _))) => words.push(format!("arp_op={operation}")),
            (Proto::Other(number), _) => words.push(format!("nw_proto={number}")),
            _ => {}
        }
        words.join(",")
    }
}

impl OvsAnswer {
    /// The bridge that has the port, and the port.
    #[must_use]
    pub fn port(&self, name: &str) -> Option<(&OvsBridge, &OvsPort)> {
        self.bridges.iter().find_map(|bridge| {
            let port = bridge.ports.iter().find(|port| port.name == name)?;
            Some((bridge, port))
        })
    }

    /// The bridge of this name.
    #[must_use]
    pub fn bridge(&self, name: &str) -> Option<&OvsBridge> {
        self.bridges.iter().find(|bridge| bridge.name == name)
    }
}

impl OvsPort {
    /// One of its options.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<&str> {
        let mut options = self.options.iter();
        let found = options.find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl OvsTrace {
    /// Whether the packet goes nowhere.
    #[must_use]
    pub fn drops(&self) -> bool {
        self.output == "drop"
    }

    /// The datapath's ports to which it is sent; `None` where more than that, and than changes of its headers, is done
    /// with it (`ct`, `recirc`, `userspace`, `clone`…).
    #[must_use]
    pub fn outputs(&self) -> Option<Vec<u32>> {
        let mut depth = 0_u32;
        let parts = self.output.split(|c| {
            match c {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            c == ',' && depth == 0
        });
        let mut ports = Vec::new();
        for part in parts {
            let changes = ["push_", "pop_", "set("];
            if !changes.iter().any(|word| part.starts_with(word)) {
                ports.push(part.parse().ok()?);
            }
        }
        Some(ports)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "addresses are written below")]
mod tests {
    use super::*;

    #[test]
    fn where_a_packet_is_sent() {
        let of = |output: &str| {
            let trace = OvsTrace {
                assumed: String::new(),
                steps: Vec::new(),
                output: output.to_owned(),
            };
            trace.outputs()
        };
        assert_eq!(of("3"), Some(vec![3]));
        assert_eq!(
            of("push_vlan(vid=110,pcp=0),100,pop_vlan,4"),
            Some(vec![100, 4])
        );
        assert_eq!(
            of("set(eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02)),7"),
            Some(vec![7])
        );
        assert_eq!(of("ct(zone=1),recirc(0x2)"), None);
        assert_eq!(of("drop"), None);
    }

    #[test]
    fn a_packet_is_told_with_all_its_headers() {
        let flow = OvsFlow {
            tuple: Tuple {
                proto: Proto::Tcp,
                src: "fd00::1".parse().unwrap(),
                sport: 4711,
                dst: "fd00::2".parse().unwrap(),
                dport: 443,
                icmp_id: 0,
            },
            macs: Some((Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]))),
            vlan: None,
            kind: None,
            ttl: 63,
        };
        assert_eq!(
            flow.words("3"),
            "in_port=3,dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02,tcp6,\
             ipv6_src=fd00::1,ipv6_dst=fd00::2,nw_ttl=63,tcp_src=4711,tcp_dst=443"
        );
    }
}
