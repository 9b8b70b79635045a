//! The checks that a packet passes inside one namespace, in the order in which the kernel makes them: chains of the
//! packet filter, routing, the reverse-path filter, the bridge's forwarding database, the bond's choice of a slave, the
//! tunnel around the packet, the neighbour.
//!
//! What was seen of the packet (where it came in, where it went out, how it was translated) is taken as given; facts say
//! what was looked at in between, and which rule let it pass.

mod bonds;
mod chains;
mod routing;
mod tunnels;

#[cfg(test)]
mod tests;

pub use chains::verdict_words;

use crate::host::Host;
use crate::host::facts::{FilterEngine, Link, Question};
use crate::model::{Device, KtimeNs, NetNs, Tuple};
use crate::uapi::if_arp::ARPHRD_LOOPBACK;
use crate::uapi::if_packet::OTHERHOST;

use super::bonding::is_bond;
use super::bridging;
use super::filter::{Interface, Packet};
use super::links::master_of;
use super::route::Query;
use super::tunnel::Arrived;

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// `PREROUTING`, `BRIDGE-FORWARD` … of chains, as verdicts name hooks; else `route`, `rp-filter`, `fdb`, `bond`, `tunnel`,
    /// `neighbor`.
    pub hook: &'static str,
    /// The chain in which a rule stands.
    pub chain: Option<ChainName>,
    /// Number of the rule in its chain, from 1; `None` of a chain: its policy.
    pub rule: Option<u32>,
    /// Handle of the rule, in nftables.
    pub handle: Option<u64>,
    /// The rule, the route, the entry.
    pub text: String,
    /// What it says.
    pub verdict: String,
    /// Why it is not certain that the packet met it, or what the verdict would be: a code.
    pub undecided: Option<String>,
}

/// A chain by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainName {
    /// Whose it is.
    pub engine: FilterEngine,
    /// `ip`, `ip6`, `inet`, `bridge`, `netdev`.
    pub family: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub chain: String,
}

impl Check {
    fn new(hook: &'static str, text: String, verdict: impl Into<String>) -> Self {
        Self {
            hook,
            chain: None,
            rule: None,
            handle: None,
            text,
            verdict: verdict.into(),
            undecided: None,
        }
    }

    fn undecided(hook: &'static str, text: String, code: &str) -> Self {
        Self {
            undecided: Some(code.to_owned()),
            ..Self::new(hook, text, "unknown")
        }
    }

    /// Whether the packet surely went no further.
    #[must_use]
    pub fn stops(&self) -> bool {
        let ends = matches!(
            self.verdict.as_str(),
            "drop"
                | "reject"
                | "queue"
                | "refused"
                | "no-route"
                | "no-remote"
                | "no-slave"
                | "no-tunnel"
                | "martian"
                | "unresolved"
        );
        ends && self.undecided.is_none()
    }
}

/// Where a packet begins its way through a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It came in there.
    Device(Device),
    /// The namespace made it: a socket, or what encloses another packet.
    Made,
    /// It was handed to this tunnel device, to be enclosed in an outer packet.
    Tunnel(Device),
    /// It was handed to the bridge by its own host.
    Bridge(Device),
    /// It was handed to the bond by its own host.
    Bond(Device),
}

/// Where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It went out.
    Out,
    /// It was handed up: from a port to its bridge, or to a socket.
    Up,
    /// It was handed to the device that stands on the one at which it came in: a VLAN device, a macvlan, a bond.
    Upper,
    /// It was the outer packet of a tunnel, and what was inside came out of this device.
    Tunnel(Device),
    /// It went no further than this.
    Stage(Stage),
    /// It is not known: as facts say.
    Unknown,
}

/// Places at which a packet is checked, in the order of the way of one that is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The choice of a tunnel's remote end.
    Encapsulate,
    /// Chains of the device.
    Ingress,
    /// The choice of a slave, and whether a bond takes what came in at one.
    Bond,
    /// Chains of the bridge.
    BridgePrerouting,
    /// The forwarding database.
    Fdb,
    /// For the host itself.
    BridgeInput,
    /// From port to port.
    BridgeForward,
    /// From the host itself.
    BridgeOutput,
    /// Behind the choice of a port.
    BridgePostrouting,
    /// Chains of IP.
    Prerouting,
    /// The choice of a route, and the check of the source.
    Route,
    /// For the host itself.
    Input,
    /// The choice of the tunnel device that takes an outer packet in.
    Decapsulate,
    /// From the host itself.
    Output,
    /// For others.
    Forward,
    /// Behind the choice of a route.
    Postrouting,
    /// The MAC of the next hop.
    Neighbour,
}

/// The way of a packet through one namespace.
#[derive(Clone, Debug)]
pub struct Leg {
    /// The namespace.
    pub netns: NetNs,
    /// Where it begins.
    pub entry: Entry,
    /// Where it ends.
    pub exit: Exit,
    /// The interface through which it went, or was to go, out; `None`: as routing says.
    pub out: Option<Device>,
    /// Addresses as it came; of [`Entry::Tunnel`] those inside.
    pub before: Tuple,
    /// Addresses as it left, or as it was at its end.
    pub after: Tuple,
    /// The outer packet of a tunnel: the one that came, or the one that was seen to be made.
    pub outer: Option<Arrived>,
    /// What else is known of it. Addresses and interfaces are set here.
    pub packet: Packet,
    /// When.
    pub at: KtimeNs,
}

impl Leg {
    /// The addresses between both translations: the destination is translated first.
    #[must_use]
    pub fn routed(&self) -> Tuple {
        Tuple {
            dst: self.after.dst,
            dport: self.after.dport,
            ..self.before
        }
    }
}

/// What was looked at, and what has to be read to know more.
#[derive(Debug, Default)]
pub struct Walked {
    /// In order.
    pub checks: Vec<Check>,
    /// Questions, those that matter most first.
    pub missing: Vec<Question>,
}

/// The checks of a leg.
#[must_use]
pub fn walk(host: &Host, leg: &Leg) -> Walked {
    let mut walk = Walk::new(host, leg);
    match leg.entry {
        Entry::Device(device) => walk.received(device),
        Entry::Made => walk.made(),
        Entry::Tunnel(device) => walk.encapsulated(device),
        Entry::Bridge(bridge) => walk.bridge_output(bridge),
        Entry::Bond(bond) => walk.bond_output(bond),
    }
    walk.found
}

/// A leg while it is walked.
struct Walk<'a, 'l> {
    host: &'a Host,
    leg: &'l Leg,
    found: Walked,
    mark: Option<u32>,
    /// How a tunnel looks the route of what it made up.
    tunnel: Option<Query>,
    /// Where it goes out: seen, or by the route.
    oif: Option<Device>,
    /// For this namespace itself, by the route.
    local: Option<bool>,
    /// A check stopped it.
    stopped: bool,
}

impl<'a, 'l> Walk<'a, 'l> {
    fn new(host: &'a Host, leg: &'l Leg) -> Self {
        Self {
            host,
            leg,
            found: Walked::default(),
            mark: leg.packet.mark,
            tunnel: None,
            oif: leg.out,
            local: None,
            stopped: false,
        }
    }

    /// Whether the packet comes as far as a stage; what it is not known to have reached is not told.
    fn reaches(&self, stage: Stage) -> bool {
        let beyond = matches!(self.leg.exit, Exit::Stage(last) if last < stage);
        !self.stopped && !beyond
    }

    /// Whether the packet was seen behind a stage.
    fn passed(&self, stage: Stage) -> bool {
        match self.leg.exit {
            Exit::Out | Exit::Up | Exit::Upper | Exit::Tunnel(_) => true,
            Exit::Stage(last) => last > stage,
            Exit::Unknown => false,
        }
    }

    /// Takes a check down. What was read cannot have stopped a packet that was seen behind it.
    fn tell(&mut self, stage: Stage, mut check: Check) {
        if check.stops() {
            let passed = self.passed(stage);
            // A process may let a packet pass that it was given.
            if passed && check.verdict != "queue" {
                check.undecided = Some("passed-nevertheless".to_owned());
            }
            self.stopped |= !passed;
        }
        self.found.checks.push(check);
    }

    fn link(&self, device: Device) -> Option<&'a Link> {
        self.host.link(device)
    }

    fn received(&mut self, device: Device) {
        let in_name = self.name(device);
        self.chains(
            (Stage::Ingress, "INGRESS"),
            self.leg.before,
            (in_name, Interface::Absent),
        );
        match self.link(device).and_then(|l| master_of(self.host, l)) {
            Some(bond) if is_bond(bond) => self.bond_input(bond, device),
            _ if self.leg.exit == Exit::Upper => {}
            Some(bridge) if bridge.kind == "bridge" => self.bridged(bridge.device, device),
            _ => self.ip(device),
        }
    }

    fn bridged(&mut self, bridge: Device, port: Device) {
        let before = self.leg.before;
        let came = self.name(port);
        self.chains(
            (Stage::BridgePrerouting, "BRIDGE-PREROUTING"),
            before,
            (came.clone(), Interface::Absent),
        );
        let called = self.is_called_by_bridges();
        let own = self.name(bridge);
        if called {
            self.ip_chains(
                (Stage::BridgePrerouting, "PREROUTING"),
                before,
                (own.clone(), Interface::Absent),
                &(came.clone(), Interface::Unknown),
            );
            self.translated(before, self.leg.routed(), "PREROUTING");
        }
        self.fdb(bridge, port);
        if matches!(self.leg.exit, Exit::Up | Exit::Tunnel(_)) {
            self.chains(
                (Stage::BridgeInput, "BRIDGE-INPUT"),
                self.leg.routed(),
                (came, Interface::Absent),
            );
            return;
        }
        if let Some(out) = self.oif {
            self.bridged_out((came, self.name(out)), own, called);
        }
    }

    /// From port to port of a bridge. `called`: see [`Self::is_called_by_bridges`].
    fn bridged_out(&mut self, ports: (Interface, Interface), own: Interface, called: bool) {
        let both = (own.clone(), own);
        let routed = self.leg.routed();
        self.chains(
            (Stage::BridgeForward, "BRIDGE-FORWARD"),
            routed,
            ports.clone(),
        );
        if called {
            self.ip_chains(
                (Stage::BridgeForward, "FORWARD"),
                routed,
                both.clone(),
                &ports,
            );
        }
        self.chains(
            (Stage::BridgePostrouting, "BRIDGE-POSTROUTING"),
            routed,
            (Interface::Unknown, ports.1.clone()),
        );
        if called {
            self.ip_chains(
                (Stage::BridgePostrouting, "POSTROUTING"),
                routed,
                both,
                &ports,
            );
            if self.leg.exit == Exit::Out {
                self.translated(routed, self.leg.after, "POSTROUTING");
            }
        }
    }

    /// Whether bridges call chains of IP for what they carry (br_netfilter).
    fn is_called_by_bridges(&mut self) -> bool {
        let name = match self.leg.before.dst.is_ipv6() {
            true => "net/bridge/bridge-nf-call-ip6tables",
            false => "net/bridge/bridge-nf-call-iptables",
        };
        match super::settings::value(self.host, self.leg.netns, name) {
            Ok(value) => value != 0,
            Err(question) => {
                self.found.missing.push(question);
                false
            }
        }
    }

    fn bridge_output(&mut self, bridge: Device) {
        let after = self.leg.after;
        let out = self.oif.map_or(Interface::Unknown, |d| self.name(d));
        self.fdb(bridge, bridge);
        self.chains(
            (Stage::BridgeOutput, "BRIDGE-OUTPUT"),
            after,
            (Interface::Absent, out.clone()),
        );
        self.chains(
            (Stage::BridgePostrouting, "BRIDGE-POSTROUTING"),
            after,
            (Interface::Unknown, out),
        );
    }

    /// Which port the bridge chooses; an exit that was seen elsewhere was flooded.
    fn fdb(&mut self, bridge: Device, from: Device) {
        if !self.reaches(Stage::Fdb) {
            return;
        }
        let Some(mac) = self.leg.packet.destination_mac else {
            return;
        };
        let (Some(own), Some(port)) = (self.link(bridge), self.link(from)) else {
            return;
        };
        if self.host.forwarding(bridge, mac).is_none() {
            let device = bridge;
            self.found
                .missing
                .push(Question::Forwarding { device, mac });
            return;
        }
        let name = &own.name;
        let to = bridging::forward(self.host, own, port, (self.leg.packet.source_mac, mac));
        let names: Vec<&str> = to.ports.iter().map(|l| l.name.as_str()).collect();
        let check = if to.up && to.ports.is_empty() {
            Check::new("fdb", format!("{mac} is {name}'s own"), "up")
        } else if let Some(learned) = bridging::learned_port(self.host, own, mac) {
            let goes = to.ports.iter().any(|l| l.device == learned.device);
            let verdict = if goes { "forward" } else { "drop" };
            let text = format!("{name} has {mac} on port {}", learned.name);
            let check = Check::new("fdb", text, verdict);
            let seen = self.oif.is_some_and(|out| out == learned.device) == goes;
            Check {
                undecided: (!seen && self.leg.exit == Exit::Out)
                    .then(|| "changed-since".to_owned()),
                ..check
            }
        } else {
            let text = match names.as_slice() {
                [] => format!("{name} knows no port for {mac}"),
                names => format!("{name} floods {mac} to {}", names.join(", ")),
            };
            Check::new("fdb", text, "flood")
        };
        self.tell(Stage::Fdb, check);
    }

    fn ip(&mut self, device: Device) {
        // A frame for another machine, flooded or overheard, goes no further (ip_rcv_core).
        if self.leg.packet.packet_type == Some(OTHERHOST) {
            return;
        }
        let came = self.name(device);
        let bridge = self.link(device).is_some_and(|l| l.kind == "bridge");
        // A bridge that calls these chains for its ports does not call them again (ip_sabotage_in).
        if !(bridge && self.is_called_by_bridges()) {
            self.chains(
                (Stage::Prerouting, "PREROUTING"),
                self.leg.before,
                (came.clone(), Interface::Absent),
            );
        }
        self.translated(self.leg.before, self.leg.routed(), "PREROUTING");
        // What this host sent itself by `lo` was routed when it was sent; groups have routes of their own (mroute).
        let loops = self
            .link(device)
            .is_some_and(|l| l.arp_type == ARPHRD_LOOPBACK);
        if loops {
            self.local = Some(true);
        } else if self.reaches(Stage::Route) && !self.leg.routed().dst.is_multicast() {
            self.receive(device);
        }
        let up = match self.leg.exit {
            Exit::Up | Exit::Tunnel(_) | Exit::Stage(Stage::Input | Stage::Decapsulate) => true,
            Exit::Unknown => self.local == Some(true),
            _ => false,
        };
        let tuple = self.leg.routed();
        if up {
            self.chains((Stage::Input, "INPUT"), tuple, (came, Interface::Absent));
            self.decapsulated(device);
            return;
        }
        if self.local == Some(true) && matches!(self.leg.exit, Exit::Stage(_)) {
            return;
        }
        let out = self.oif.map_or(Interface::Unknown, |d| self.name(d));
        self.chains(
            (Stage::Forward, "FORWARD"),
            tuple,
            (came.clone(), out.clone()),
        );
        self.leaves((came, out));
    }

    fn made(&mut self) {
        if self.reaches(Stage::Route) {
            self.output_route();
        }
        let out = self.oif.map_or(Interface::Unknown, |d| self.name(d));
        self.chains(
            (Stage::Output, "OUTPUT"),
            self.leg.before,
            (Interface::Absent, out.clone()),
        );
        self.translated(self.leg.before, self.leg.routed(), "OUTPUT");
        self.leaves((Interface::Absent, out));
    }

    /// Behind the choice of a route.
    fn leaves(&mut self, (came, out): (Interface, Interface)) {
        self.chains(
            (Stage::Postrouting, "POSTROUTING"),
            self.leg.routed(),
            (came, out),
        );
        if !matches!(self.leg.exit, Exit::Stage(_)) {
            self.translated(self.leg.routed(), self.leg.after, "POSTROUTING");
        }
        if self.reaches(Stage::Neighbour) {
            self.neighbour();
        }
    }

    /// A translation that was seen, and that no rule gave just now: the connection has it.
    fn translated(&mut self, from: Tuple, to: Tuple, hook: &'static str) {
        let by_rule = |check: &Check| check.hook == hook && check.verdict.starts_with("translate");
        if from == to || self.found.checks.iter().any(by_rule) {
            return;
        }
        let text = format!("as its connection is translated: {from} becomes {to}");
        self.found.checks.push(Check::new(hook, text, "translate"));
    }

    fn name(&self, device: Device) -> Interface {
        self.link(device)
            .map_or(Interface::Unknown, |l| Interface::Named(l.name.clone()))
    }
}
