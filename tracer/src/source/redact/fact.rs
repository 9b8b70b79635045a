//! Facts with pseudonyms. Every fact is taken apart field by field, without `..`: a field that is added does not compile
//! until somebody has decided whether it is to be hidden.

use std::net::IpAddr;

use super::Pseudonyms;
use super::names::Kind;
use crate::host::facts::{
    BpfProgram, CgroupProgram, Cgroups, ConntrackAnswer, ConntrackEntry, Fact, FdbEntry,
    Forwarding, InterfaceAddress, Link, Namespace, Neighbor, OpenSocket, PolicyRule, PortSockets,
    Probe, Route, RouteAnswer, Run, TableRoute, TracedNode, VxlanLink, XfrmPolicy,
};
use crate::model::{Process, Tuple};

/// What the kernel calls BPF programs among its functions: a tag, then their own name (bpf_get_prog_name of kernel/bpf/core.c).
const PROGRAM: &str = "bpf_prog_";

impl Pseudonyms {
    /// The fact with pseudonyms.
    pub(super) fn fact(&mut self, fact: Fact) -> Fact {
        match fact {
            Fact::Run(run) => Fact::Run(Box::new(self.run(*run))),
            Fact::Node(node) => Fact::Node(Box::new(self.node(*node))),
            Fact::Namespace(Namespace { netns, name, node }) => Fact::Namespace(Namespace {
                netns,
                name: self.names.name(Kind::Namespace, &name),
                node,
            }),
            Fact::Link(link) => Fact::Link(self.link(link)),
            Fact::Addresses(device, list) => {
                let own = list.into_iter().map(|address| self.own_address(address));
                Fact::Addresses(device, own.collect())
            }
            Fact::Symbols(list) => {
                let named = |(at, name): (u64, String)| (at, self.symbol(name));
                Fact::Symbols(list.into_iter().map(named).collect())
            }
            Fact::Probe(probe) => Fact::Probe(self.probe(probe)),
            Fact::Route(RouteAnswer {
                netns,
                tuple,
                iif,
                result,
            }) => Fact::Route(RouteAnswer {
                netns,
                tuple: self.tuple(tuple),
                iif,
                result: result.map(|route| self.route(route)),
            }),
            Fact::Neighbor(Neighbor {
                device,
                address,
                state,
                mac,
            }) => Fact::Neighbor(Neighbor {
                device,
                address: self.addresses.address(address),
                state,
                mac: mac.map(|mac| self.addresses.mac(mac)),
            }),
            Fact::Forwarding(Forwarding {
                device,
                mac,
                entries,
            }) => Fact::Forwarding(Forwarding {
                device,
                mac: self.addresses.mac(mac),
                entries: entries.into_iter().map(|e| self.fdb_entry(e)).collect(),
            }),
            Fact::Sysctl { netns, name, value } => Fact::Sysctl {
                netns,
                name: self.names.sysctl(&name),
                value: value.map(|value| self.remark(&value)),
            },
            Fact::Rules(netns, v6, list) => {
                let hidden = list.into_iter().map(|rule| self.policy_rule(rule));
                Fact::Rules(netns, v6, hidden.collect())
            }
            Fact::XfrmPolicies(netns, list) => {
                let hidden = list.into_iter().map(|policy| self.xfrm(policy));
                Fact::XfrmPolicies(netns, hidden.collect())
            }
            Fact::RoutesTowards(netns, dst, list) => {
                let dst = self.addresses.address(dst);
                let hidden = list.into_iter().map(|route| self.table_route(route));
                Fact::RoutesTowards(netns, dst, hidden.collect())
            }
            Fact::Chains(netns, list) => {
                let hidden = list.into_iter().map(|chain| self.base_chain(chain));
                Fact::Chains(netns, hidden.collect())
            }
            Fact::Standing(device, standing) => Fact::Standing(device, self.standing(standing)),
            Fact::Sockets(found) => Fact::Sockets(self.sockets(found)),
            Fact::Cgroups(found) => Fact::Cgroups(self.cgroups(found)),
            Fact::Cgroup(id, path) => {
                Fact::Cgroup(id, path.map(|path| self.names.path(Kind::Cgroup, &path)))
            }
            Fact::Conntrack(ConntrackAnswer {
                netns,
                tuple,
                entry,
            }) => Fact::Conntrack(ConntrackAnswer {
                netns,
                tuple: self.tuple(tuple),
                entry: entry.map(|entry| self.connection(entry)),
            }),
            Fact::Unread { what, why } => Fact::Unread {
                what: self.told(&what),
                why: self.told(&why),
            },
            // numbers, and names that are the kernel's own
            fact @ (Fact::NamespaceGone(_)
            | Fact::LinkGone(_)
            | Fact::DropReasons(_)
            | Fact::ResetReasons(_)
            | Fact::Coverage {
                covered: _,
                total: _,
            }
            | Fact::ConntrackCounters(_, _)) => fact,
        }
    }

    fn run(&mut self, run: Run) -> Run {
        let Run {
            tool_version,
            hostname,
            kernel,
            arch,
            boot_id,
            expression,
            clauses,
            asked_src,
            asked_dst,
            asked,
            asked_ports,
            names_addresses,
            started_unix_ns,
            started_ktime,
            one_way,
            only_netns,
            // what they leave out is left out already
            only_interfaces: _,
        } = run;
        let mut all = |list: Vec<IpAddr>| -> Vec<IpAddr> {
            list.into_iter()
                .map(|address| self.addresses.address(address))
                .collect()
        };
        let (asked_src, asked_dst, asked) = (all(asked_src), all(asked_dst), all(asked));
        let name = |name: &String| self.names.name(Kind::Namespace, name);
        let only_netns = only_netns.iter().map(name).collect();
        Run {
            tool_version,
            hostname: self.names.name(Kind::Host, &hostname),
            kernel,
            arch,
            boot_id: self.names.name(Kind::Boot, &boot_id),
            expression: self.expression(&expression),
            clauses: clauses.iter().map(|text| self.expression(text)).collect(),
            asked_src,
            asked_dst,
            asked,
            asked_ports,
            names_addresses,
            started_unix_ns,
            started_ktime,
            one_way,
            only_netns,
            only_interfaces: Vec::new(),
        }
    }

    fn node(&mut self, node: TracedNode) -> TracedNode {
        let TracedNode {
            id,
            name,
            run,
            clock,
            from,
            until,
        } = node;
        TracedNode {
            id,
            name: self.names.name(Kind::Host, &name),
            run: self.run(run),
            clock,
            from,
            until,
        }
    }

    fn link(&mut self, link: Link) -> Link {
        let Link {
            device,
            name,
            kind,
            mac,
            mtu,
            up,
            carrier,
            arp_type,
            master,
            peer,
            vxlan,
            bridge,
            port,
            macvlan,
        } = link;
        Link {
            device,
            name: self.names.name(Kind::Interface, &name),
            kind,
            mac: mac.map(|mac| self.addresses.mac(mac)),
            mtu,
            up,
            carrier,
            arp_type,
            master,
            peer,
            vxlan: vxlan.map(|vxlan| self.vxlan(vxlan)),
            bridge,
            port,
            macvlan,
        }
    }

    fn vxlan(&mut self, vxlan: VxlanLink) -> VxlanLink {
        let VxlanLink {
            vni,
            port,
            remote,
            local,
            learning,
            df,
        } = vxlan;
        VxlanLink {
            vni,
            port,
            remote: self.maybe(remote),
            local: self.maybe(local),
            learning,
            df,
        }
    }

    fn own_address(&mut self, own: InterfaceAddress) -> InterfaceAddress {
        let InterfaceAddress {
            address,
            prefix,
            tentative,
            dad_failed,
            secondary,
        } = own;
        InterfaceAddress {
            address: self.addresses.address(address),
            prefix,
            tentative,
            dad_failed,
            secondary,
        }
    }

    /// Functions are the kernel's; programs have names of their own.
    fn symbol(&mut self, name: String) -> String {
        let Some((tag, own)) = name
            .strip_prefix(PROGRAM)
            .and_then(|rest| rest.split_once('_'))
        else {
            return name;
        };
        let own = self.names.name(Kind::Program, own).replace('-', "_");
        format!("{PROGRAM}{tag}_{own}")
    }

    /// A hook's name, or `tc NAMESPACE/INTERFACE`, perhaps behind a node's name.
    fn probe(&mut self, probe: Probe) -> Probe {
        let Probe {
            name,
            state,
            detail,
        } = probe;
        let (node, own) = name
            .split_once(": ")
            .map_or((None, name.as_str()), |(node, own)| (Some(node), own));
        let own = match own
            .strip_prefix("tc ")
            .and_then(|place| place.rsplit_once('/'))
        {
            Some((netns, interface)) => format!(
                "tc {}/{}",
                self.names.name(Kind::Namespace, netns),
                self.names.name(Kind::Interface, interface)
            ),
            None => own.to_owned(),
        };
        let name = match node {
            Some(node) => format!("{}: {own}", self.names.name(Kind::Host, node)),
            None => own,
        };
        Probe {
            name,
            state,
            detail: self.remark(&detail),
        }
    }

    fn route(&mut self, route: Route) -> Route {
        let Route {
            kind,
            oif,
            gateway,
            source,
            table,
            mtu,
        } = route;
        Route {
            kind,
            oif,
            gateway: self.maybe(gateway),
            source: self.maybe(source),
            table,
            mtu,
        }
    }

    fn fdb_entry(&mut self, entry: FdbEntry) -> FdbEntry {
        let FdbEntry {
            port,
            default,
            remote,
            state,
        } = entry;
        FdbEntry {
            port,
            default,
            remote: self.maybe(remote),
            state,
        }
    }

    fn policy_rule(&mut self, rule: PolicyRule) -> PolicyRule {
        let PolicyRule {
            priority,
            action,
            table,
            goto,
            inverted,
            src,
            dst,
            iif,
            oif,
            mark,
            mark_mask,
            protocol,
            sport,
            dport,
        } = rule;
        let mut network = |net: Option<(IpAddr, u8)>| {
            net.map(|(address, length)| (self.addresses.network(address, length), length))
        };
        let (src, dst) = (network(src), network(dst));
        let mut interface =
            |name: Option<String>| name.map(|name| self.names.name(Kind::Interface, &name));
        PolicyRule {
            priority,
            action,
            table,
            goto,
            inverted,
            src,
            dst,
            iif: interface(iif),
            oif: interface(oif),
            mark,
            mark_mask,
            protocol,
            sport,
            dport,
        }
    }

    fn xfrm(&mut self, policy: XfrmPolicy) -> XfrmPolicy {
        let XfrmPolicy {
            src,
            src_prefix,
            dst,
            dst_prefix,
            protocol,
            sport,
            dport,
            direction,
            blocks,
            priority,
            index,
        } = policy;
        XfrmPolicy {
            src: self.addresses.network(src, src_prefix),
            src_prefix,
            dst: self.addresses.network(dst, dst_prefix),
            dst_prefix,
            protocol,
            sport,
            dport,
            direction,
            blocks,
            priority,
            index,
        }
    }

    fn table_route(&mut self, route: TableRoute) -> TableRoute {
        let TableRoute {
            kind,
            table,
            prefix,
            length,
            gateway,
            oif,
            metric,
        } = route;
        TableRoute {
            kind,
            table,
            prefix: self.addresses.network(prefix, length),
            length,
            gateway: self.maybe(gateway),
            oif,
            metric,
        }
    }

    fn connection(&mut self, entry: ConntrackEntry) -> ConntrackEntry {
        let ConntrackEntry {
            original,
            reply,
            status,
            tcp_state,
            timeout,
            zone,
        } = entry;
        let mut ends = |ends: [(IpAddr, u16); 2]| {
            ends.map(|(address, port)| (self.addresses.address(address), port))
        };
        ConntrackEntry {
            original: ends(original),
            reply: ends(reply),
            status,
            tcp_state,
            timeout,
            zone,
        }
    }

    fn sockets(&mut self, found: PortSockets) -> PortSockets {
        let PortSockets {
            netns,
            proto,
            port,
            sockets,
        } = found;
        PortSockets {
            netns,
            proto,
            port,
            sockets: sockets.into_iter().map(|s| self.socket(s)).collect(),
        }
    }

    fn socket(&mut self, socket: OpenSocket) -> OpenSocket {
        let OpenSocket {
            local,
            peer,
            interface,
            state,
            waiting,
            limit,
            only_v6,
            holders,
        } = socket;
        OpenSocket {
            local: self.addresses.address(local),
            peer: peer.map(|(address, port)| (self.addresses.address(address), port)),
            interface,
            state,
            waiting,
            limit,
            only_v6,
            holders: holders.into_iter().map(|p| self.process(p)).collect(),
        }
    }

    fn cgroups(&mut self, found: Cgroups) -> Cgroups {
        let Cgroups { mount, programs } = found;
        let program = |of: CgroupProgram| {
            let CgroupProgram {
                cgroup,
                hook,
                program,
                node,
            } = of;
            CgroupProgram {
                cgroup: self.names.path(Kind::Cgroup, &cgroup),
                hook,
                program: self.program(program),
                node,
            }
        };
        let programs = programs.into_iter().map(program).collect();
        Cgroups {
            mount: self.names.path(Kind::Cgroup, &mount),
            programs,
        }
    }

    pub(super) fn program(&mut self, program: BpfProgram) -> BpfProgram {
        let BpfProgram { id, name } = program;
        BpfProgram {
            id,
            name: self.names.name(Kind::Program, &name),
        }
    }

    pub(super) fn process(&mut self, process: Process) -> Process {
        let Process { pid, comm } = process;
        Process {
            pid,
            comm: self.names.name(Kind::Process, &comm),
        }
    }

    fn tuple(&mut self, tuple: Tuple) -> Tuple {
        let Tuple {
            proto,
            src,
            sport,
            dst,
            dport,
            icmp_id,
        } = tuple;
        Tuple {
            proto,
            src: self.addresses.address(src),
            sport,
            dst: self.addresses.address(dst),
            dport,
            icmp_id,
        }
    }

    fn maybe(&mut self, address: Option<IpAddr>) -> Option<IpAddr> {
        address.map(|address| self.addresses.address(address))
    }
}
