//! Facts with pseudonyms. Every fact is taken apart field by field, without `..`: a field that is added does not compile
//! until somebody has decided whether it is to be hidden.

use std::net::IpAddr;

use super::Pseudonyms;
use super::names::Kind;
use crate::host::facts::{
    AddressOwner, AllowedNet, BpfProgram, CgroupProgram, Cgroups, ConntrackAnswer, ConntrackEntry,
    ContainerName, Fact, FdbEntry, Forwarding, GroupMember, InterfaceAddress, IpvsAnswer,
    IpvsDestination, IpvsService, Link, LocalPorts, MulticastPorts, Namespace, Neighbor, NextHop,
    OpenSocket, OvsAnswer, OvsBridge, OvsDatapath, OvsFlow, OvsPort, OvsStep, OvsTrace, Owner,
    OwnerKind, PolicyRule, PortSockets, PortUse, Probe, ProcessOwner, ProxyNeighbors, Route,
    RouteAnswer, Routed, RoutingChange, Run, TableRoute, TracedNode, TunnelLink, VxlanLink,
    WireGuard, WireGuardKey, WireGuardPeer, XfrmPolicy,
};
use crate::model::{Mac, Process, Tuple};

/// What the kernel calls BPF programs among its functions: a tag, then their own name (bpf_get_prog_name of kernel/bpf/core.c).
const PROGRAM: &str = "bpf_prog_";

impl Pseudonyms {
    /// Puts pseudonyms into a fact.
    pub(super) fn fact(&mut self, fact: &mut Fact) {
        match fact {
            Fact::Run(run) => self.run(run),
            Fact::Node(node) => self.node(node),
            Fact::Namespace(namespace) => self.namespace(namespace),
            Fact::Link(link) => self.link(link),
            Fact::Addresses(_, list) => list.iter_mut().for_each(|own| self.own_address(own)),
            Fact::Owners(list) => list.iter_mut().for_each(|owner| self.owner(owner)),
            Fact::Symbols(list) => list.iter_mut().for_each(|(_, name)| self.symbol(name)),
            Fact::Probe(probe) => self.probe(probe),
            Fact::Route(answer) => self.route_answer(answer),
            Fact::Neighbor(entry) => self.neighbor(entry),
            Fact::Forwarding(answer) => self.forwarding(answer),
            Fact::MulticastPorts(ports) => self.multicast_ports(ports),
            Fact::ProxyNeighbors(proxies) => self.proxies(proxies),
            Fact::Sysctl {
                netns: _,
                name,
                value,
            } => self.sysctl(name, value),
            Fact::Rules(_, _, list) => list.iter_mut().for_each(|rule| self.policy_rule(rule)),
            Fact::XfrmPolicies(_, list) => list.iter_mut().for_each(|policy| self.xfrm(policy)),
            Fact::RoutesTowards(_, dst, list) => {
                self.hide(dst);
                list.iter_mut().for_each(|route| self.table_route(route));
            }
            Fact::Chains(_, list) => list.iter_mut().for_each(|chain| self.base_chain(chain)),
            Fact::DeviceState(_, state) => self.device_state(state),
            Fact::Ruleset(_, ruleset) => self.ruleset(ruleset),
            Fact::Sockets(found) => self.port_sockets(found),
            Fact::LocalPorts(found) => self.local_ports(found),
            Fact::ProcessOwner(owner) => self.process_owner(owner),
            Fact::Cgroups(found) => self.cgroups(found),
            Fact::Cgroup(_, path) => path.iter_mut().for_each(|path| self.cgroup(path)),
            Fact::Conntrack(answer) => self.conntrack_answer(answer),
            Fact::RuleTrace(trace) => self.rule_trace(trace),
            Fact::Ipvs(answer) => self.ipvs(answer),
            Fact::WireGuard(_, device) => self.wireguard(device),
            Fact::Ovs(answer) => self.ovs(answer),
            Fact::Routing(change) => {
                let RoutingChange {
                    netns: _,
                    gone: _,
                    what,
                } = change.as_mut();
                match what {
                    Routed::Route(route) => self.table_route(route),
                    Routed::Rule(_, rule) => self.policy_rule(rule),
                }
            }
            Fact::PacketQueues(_, queues) => {
                let holders = queues.iter_mut().flat_map(|queue| &mut queue.holders);
                holders.for_each(|holder| self.process(&mut holder.process));
            }
            Fact::Unread { what, why } => {
                *what = self.told(what);
                *why = self.told(why);
            }
            // numbers, and names that are the kernel's own
            Fact::NamespaceGone(_)
            | Fact::PortVlans(_)
            | Fact::LinkGone(_)
            | Fact::Cost(_)
            | Fact::DropReasons(_)
            | Fact::ResetReasons(_)
            | Fact::Coverage {
                covered: _,
                total: _,
            }
            | Fact::Advertisements(_, _)
            | Fact::ConntrackCounters(_, _) => {}
        }
    }

    fn namespace(&mut self, namespace: &mut Namespace) {
        let Namespace {
            netns: _,
            name,
            process: _,
            path,
            node: _,
        } = namespace;
        self.rename(Kind::Namespace, name);
        if let Some(path) = path {
            *path = self.names.path(Kind::File, path);
        }
    }

    fn process_owner(&mut self, owner: &mut ProcessOwner) {
        let ProcessOwner {
            netns: _,
            pid: _,
            comm,
            container,
            unit,
        } = owner;
        self.rename(Kind::Process, comm);
        if let Some(ContainerName { name, pod }) = container {
            for name in name.iter_mut().chain(pod) {
                *name = self.names.path(Kind::Namespace, name);
            }
        }
        unit.iter_mut()
            .for_each(|unit| self.rename(Kind::Namespace, unit));
    }

    fn owner(&mut self, owner: &mut AddressOwner) {
        let AddressOwner { address, owner } = owner;
        let Owner { kind, name, node } = owner;
        self.hide(address);
        let kind = match kind {
            OwnerKind::HostName | OwnerKind::Node => Kind::Host,
            OwnerKind::Pod | OwnerKind::Container | OwnerKind::Service | OwnerKind::Endpoint => {
                Kind::Namespace
            }
        };
        *name = self.names.path(kind, name);
        if let Some(node) = node {
            *node = self.names.path(Kind::Host, node);
        }
    }

    fn route_answer(&mut self, answer: &mut RouteAnswer) {
        let RouteAnswer {
            netns: _,
            tuple,
            iif: _,
            with: _,
            result,
        } = answer;
        self.tuple(tuple);
        result.iter_mut().for_each(|route| self.route(route));
    }

    fn neighbor(&mut self, entry: &mut Neighbor) {
        let Neighbor {
            device: _,
            address,
            state: _,
            mac,
        } = entry;
        self.hide(address);
        mac.iter_mut().for_each(|mac| self.hide_mac(mac));
    }

    fn ovs(&mut self, answer: &mut OvsAnswer) {
        let OvsAnswer {
            device: _,
            flow,
            bridges,
            daemons,
            datapath,
            traces,
        } = answer;
        let OvsFlow {
            tuple,
            macs,
            vlan: _,
            kind: _,
            ttl: _,
        } = flow;
        self.tuple(tuple);
        if let Some((from, to)) = macs {
            self.hide_mac(from);
            self.hide_mac(to);
        }
        for bridge in bridges {
            self.ovs_bridge(bridge);
        }
        for daemon in daemons {
            self.process(&mut daemon.process);
        }
        if let Some(OvsDatapath {
            name,
            missed: _,
            lost: _,
            listened: _,
            overflowed: _,
        }) = datapath
        {
            self.rename(Kind::Interface, name);
        }
        for trace in traces {
            self.ovs_trace(trace);
        }
    }

    fn ovs_bridge(&mut self, bridge: &mut OvsBridge) {
        let OvsBridge {
            name,
            fail_mode: _,
            protocols: _,
            controlled: _,
            ports,
        } = bridge;
        self.rename(Kind::Interface, name);
        for port in ports {
            let OvsPort {
                name,
                number: _,
                datapath: _,
                kind: _,
                options,
                tag: _,
                trunks: _,
            } = port;
            self.rename(Kind::Interface, name);
            for (key, value) in options {
                match key.as_str() {
                    "peer" => self.rename(Kind::Interface, value),
                    _ => *value = self.told(value),
                }
            }
        }
    }

    fn ovs_trace(&mut self, trace: &mut OvsTrace) {
        let OvsTrace {
            assumed: _,
            steps,
            output,
        } = trace;
        for step in steps {
            let OvsStep {
                bridge,
                table: _,
                matched,
                priority: _,
                cookie: _,
                actions,
                remarks,
            } = step;
            self.rename(Kind::Interface, bridge);
            for text in matched.iter_mut().chain(actions).chain(remarks) {
                *text = self.told(text);
            }
        }
        *output = self.told(output);
    }

    fn ipvs(&mut self, answer: &mut IpvsAnswer) {
        let IpvsAnswer {
            netns: _,
            tuple,
            services,
            connections,
        } = answer;
        self.tuple(tuple);
        for service in services {
            let IpvsService {
                proto: _,
                address,
                port: _,
                scheduler: _,
                destinations,
            } = service;
            self.hide(address);
            for destination in destinations {
                let IpvsDestination {
                    address,
                    port: _,
                    method: _,
                    weight: _,
                } = destination;
                self.hide(address);
            }
        }
        for (address, _) in connections {
            self.hide(address);
        }
    }

    fn wireguard(&mut self, device: &mut WireGuard) {
        let WireGuard {
            key,
            port: _,
            peers,
        } = device;
        key.iter_mut().for_each(|key| self.wireguard_key(key));
        for peer in peers {
            let WireGuardPeer {
                key,
                endpoint,
                keepalive: _,
                handshake: _,
                preshared: _,
                allowed,
            } = peer;
            self.wireguard_key(key);
            if let Some(endpoint) = endpoint {
                endpoint.set_ip(self.addresses.address(endpoint.ip()));
            }
            for AllowedNet { address, prefix } in allowed {
                self.hide_network(address, *prefix);
            }
        }
    }

    /// A public key tells who somebody is: another one stands for it, the same each time.
    fn wireguard_key(&mut self, key: &mut WireGuardKey) {
        let original = key.0;
        for (part, bytes) in (0u8..).zip(key.0.chunks_mut(8)) {
            let mut seed = original.to_vec();
            seed.push(part);
            bytes.copy_from_slice(&self.keys.hash(&seed).to_ne_bytes());
        }
    }

    fn forwarding(&mut self, answer: &mut Forwarding) {
        let Forwarding {
            device: _,
            mac,
            entries,
        } = answer;
        self.hide_mac(mac);
        entries.iter_mut().for_each(|entry| self.fdb_entry(entry));
    }

    fn multicast_ports(&mut self, ports: &mut MulticastPorts) {
        let MulticastPorts {
            bridge: _,
            members,
            routers: _,
        } = ports;
        for GroupMember {
            port: _,
            group,
            vlan: _,
        } in members
        {
            self.hide(group);
        }
    }

    fn proxies(&mut self, proxies: &mut ProxyNeighbors) {
        let ProxyNeighbors {
            netns: _,
            v6: _,
            entries,
        } = proxies;
        self.hide_all(entries.iter_mut().map(|(_, address)| address));
    }

    fn sysctl(&mut self, name: &mut String, value: &mut Option<String>) {
        *name = self.names.sysctl(name);
        value
            .iter_mut()
            .for_each(|value| *value = self.remark(value));
    }

    fn port_sockets(&mut self, found: &mut PortSockets) {
        let PortSockets {
            netns: _,
            proto: _,
            port: _,
            sockets,
        } = found;
        sockets.iter_mut().for_each(|socket| self.socket(socket));
    }

    fn local_ports(&mut self, found: &mut LocalPorts) {
        let LocalPorts {
            netns: _,
            proto: _,
            dst,
            port: _,
            used,
        } = found;
        self.hide(dst);
        for PortUse {
            source,
            ports: _,
            time_wait: _,
        } in used
        {
            self.hide(source);
        }
    }

    fn conntrack_answer(&mut self, answer: &mut ConntrackAnswer) {
        let ConntrackAnswer {
            netns: _,
            tuple,
            zone: _,
            entry,
        } = answer;
        self.tuple(tuple);
        entry.iter_mut().for_each(|entry| self.connection(entry));
    }

    fn run(&mut self, run: &mut Run) {
        let Run {
            tool_version: _,
            hostname,
            kernel: _,
            arch: _,
            boot_id,
            expression,
            clauses,
            asked_src,
            asked_dst,
            asked,
            asked_ports: _,
            names_addresses: _,
            started_unix_ns: _,
            started_ktime: _,
            one_way: _,
            rules: _,
            only_netns,
            only_interfaces,
            also,
        } = run;
        for address in asked_src.iter_mut().chain(asked_dst).chain(asked) {
            self.hide(address);
        }
        for name in only_netns {
            self.rename(Kind::Namespace, name);
        }
        self.rename(Kind::Host, hostname);
        self.rename(Kind::Boot, boot_id);
        let also = also.iter_mut().map(|also| &mut also.expression);
        for text in std::iter::once(expression).chain(clauses).chain(also) {
            *text = self.expression(text);
        }
        // what they leave out is left out already
        only_interfaces.clear();
    }

    fn node(&mut self, node: &mut TracedNode) {
        let TracedNode {
            id: _,
            name,
            run,
            clock: _,
            from: _,
            until: _,
        } = node;
        self.rename(Kind::Host, name);
        self.run(run);
    }

    fn link(&mut self, link: &mut Link) {
        let Link {
            device: _,
            name,
            kind: _,
            mac,
            mtu: _,
            up: _,
            carrier: _,
            arp_type: _,
            master: _,
            peer: _,
            vxlan,
            tunnel,
            bond: _,
            slave: _,
            bridge: _,
            port: _,
            macvlan: _,
            ipvlan: _,
            noarp: _,
            vlan: _,
            vlan_service: _,
            generic_xdp: _,
        } = link;
        self.rename(Kind::Interface, name);
        mac.iter_mut().for_each(|mac| self.hide_mac(mac));
        if let Some(VxlanLink {
            vni: _,
            port: _,
            remote,
            local,
            learning: _,
            df: _,
            proxy: _,
            external: _,
            ttl: _,
            no_checksum6: _,
            takes_no_checksum6: _,
        }) = vxlan
        {
            self.hide_all(remote.iter_mut().chain(local));
        }
        if let Some(TunnelLink {
            local,
            remote,
            output_key: _,
            input_key: _,
            port: _,
            inside: _,
            mark: _,
            external: _,
            ttl: _,
        }) = tunnel.as_deref_mut()
        {
            self.hide_all(remote.iter_mut().chain(local));
        }
    }

    fn own_address(&mut self, own: &mut InterfaceAddress) {
        let InterfaceAddress {
            address,
            prefix: _,
            tentative: _,
            dad_failed: _,
            deprecated: _,
            secondary: _,
            scope: _,
        } = own;
        self.hide(address);
    }

    /// Functions are the kernel's; programs have names of their own.
    fn symbol(&mut self, name: &mut String) {
        let Some((tag, own)) = name
            .strip_prefix(PROGRAM)
            .and_then(|rest| rest.split_once('_'))
        else {
            return;
        };
        let own = self.names.name(Kind::Program, own).replace('-', "_");
        *name = format!("{PROGRAM}{tag}_{own}");
    }

    /// A hook's name, or `tc NAMESPACE/INTERFACE`, perhaps behind a node's name.
    fn probe(&mut self, probe: &mut Probe) {
        let Probe {
            name,
            state: _,
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
        *name = match node {
            Some(node) => format!("{}: {own}", self.names.name(Kind::Host, node)),
            None => own,
        };
        *detail = self.remark(detail);
    }

    fn route(&mut self, route: &mut Route) {
        let Route {
            kind: _,
            oif: _,
            gateway,
            source,
            table: _,
            mtu: _,
            learned: _,
        } = route;
        self.hide_all(gateway.iter_mut().chain(source));
    }

    fn fdb_entry(&mut self, entry: &mut FdbEntry) {
        let FdbEntry {
            port: _,
            default: _,
            remote,
            state: _,
            sticky: _,
        } = entry;
        self.hide_all(remote);
    }

    fn policy_rule(&mut self, rule: &mut PolicyRule) {
        let PolicyRule {
            priority: _,
            action: _,
            table: _,
            goto: _,
            inverted: _,
            src,
            dst,
            iif,
            oif,
            mark: _,
            mark_mask: _,
            protocol: _,
            sport: _,
            dport: _,
            sport_mask: _,
            dport_mask: _,
            tos: _,
            dscp: _,
            uid: _,
            l3mdev: _,
            tunnel: _,
            suppress_prefix: _,
            suppress_group: _,
            origin: _,
            unknown: _,
        } = rule;
        for (address, length) in src.iter_mut().chain(dst) {
            self.hide_network(address, *length);
        }
        for name in iif.iter_mut().chain(oif) {
            self.rename(Kind::Interface, name);
        }
    }

    fn xfrm(&mut self, policy: &mut XfrmPolicy) {
        let XfrmPolicy {
            src,
            src_prefix,
            dst,
            dst_prefix,
            protocol: _,
            sport: _,
            dport: _,
            direction: _,
            blocks: _,
            priority: _,
            index: _,
        } = policy;
        self.hide_network(src, *src_prefix);
        self.hide_network(dst, *dst_prefix);
    }

    fn table_route(&mut self, route: &mut TableRoute) {
        let TableRoute {
            kind: _,
            table: _,
            prefix,
            length,
            gateway,
            oif: _,
            metric: _,
            flags: _,
            paths,
            nexthop: _,
            protocol: _,
            scope: _,
            tos: _,
            source,
            from,
            preference: _,
            metrics: _,
            unknown: _,
        } = route;
        self.hide_network(prefix, *length);
        self.hide_all(gateway.iter_mut().chain(source));
        for NextHop {
            gateway,
            oif: _,
            weight: _,
            flags: _,
        } in paths
        {
            self.hide_all(gateway);
        }
        if let Some((address, length)) = from {
            self.hide_network(address, *length);
        }
    }

    fn connection(&mut self, entry: &mut ConntrackEntry) {
        let ConntrackEntry {
            original,
            reply,
            status: _,
            tcp_state: _,
            timeout: _,
            zone: _,
        } = entry;
        let ends = original.iter_mut().chain(reply);
        self.hide_all(ends.map(|(address, _)| address));
    }

    fn socket(&mut self, socket: &mut OpenSocket) {
        let OpenSocket {
            port: _,
            local,
            peer,
            interface: _,
            state: _,
            waiting: _,
            limit: _,
            only_v6: _,
            holders,
            stopped: _,
            tcp: _,
        } = socket;
        self.hide(local);
        self.hide_all(peer.iter_mut().map(|(address, _)| address));
        holders.iter_mut().for_each(|process| self.process(process));
    }

    fn cgroups(&mut self, found: &mut Cgroups) {
        let Cgroups { mount, programs } = found;
        for CgroupProgram {
            cgroup,
            hook: _,
            program,
            node: _,
        } in programs
        {
            self.cgroup(cgroup);
            self.program(program);
        }
        self.cgroup(mount);
    }

    fn cgroup(&mut self, path: &mut String) {
        *path = self.names.path(Kind::Cgroup, path);
    }

    pub(super) fn program(&mut self, program: &mut BpfProgram) {
        let BpfProgram { id: _, name } = program;
        self.rename(Kind::Program, name);
    }

    pub(super) fn process(&mut self, process: &mut Process) {
        let Process { pid: _, comm } = process;
        self.rename(Kind::Process, comm);
    }

    pub(super) fn tuple(&mut self, tuple: &mut Tuple) {
        let Tuple {
            proto: _,
            src,
            sport: _,
            dst,
            dport: _,
            icmp_id: _,
        } = tuple;
        self.hide(src);
        self.hide(dst);
    }

    pub(super) fn rename(&mut self, kind: Kind, name: &mut String) {
        *name = self.names.name(kind, name);
    }

    fn hide(&mut self, address: &mut IpAddr) {
        *address = self.addresses.address(*address);
    }

    fn hide_all<'a>(&mut self, addresses: impl IntoIterator<Item = &'a mut IpAddr>) {
        for address in addresses {
            self.hide(address);
        }
    }

    fn hide_network(&mut self, address: &mut IpAddr, length: u8) {
        *address = self.addresses.network(*address, length);
    }

    fn hide_mac(&mut self, mac: &mut Mac) {
        *mac = self.addresses.mac(*mac);
    }
}
