//! Where a frame that is flooded from an interface comes to: through veths, bridges with their VLANs and port settings,
//! tunnels, VLAN devices, macvlans, bonds and interfaces that hand each other what comes in, to every interface whose
//! network stack gets it, or would get it but for one setting.
//!
//! Names and addresses are not looked at: two networks of one machine may use the same.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use super::bonding::{self, Choice};
use super::bridging::{self, Cast, Obstacle, VlanFault};
use super::links::{self, is_upper, lower_of, master_of};
use super::neighbour::{self, Ask, Told};
use super::redirects;
use super::suppression::{self, Suppressed};
use super::tunnel::{self, End, Remote};
use crate::host::Host;
use crate::host::facts::{Link, Question, VxlanLink};
use crate::model::{Device, IfIndex, Mac};

/// A VLAN tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag {
    /// Number.
    pub vlan: u16,
    /// A service tag (802.1ad), not one of 802.1Q.
    pub service: bool,
}

impl Tag {
    /// The one with which a VLAN device sends, and which alone it takes (vlan_do_receive, net/8021q/vlan_core.c).
    #[must_use]
    pub fn of(device: &Link) -> Option<Self> {
        Some(Self {
            vlan: device.vlan?,
            service: device.vlan_service,
        })
    }
}

/// `VLAN 10`, `VLAN 10 (802.1ad)`.
impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.service { " (802.1ad)" } else { "" };
        write!(f, "VLAN {}{kind}", self.vlan)
    }
}

/// A frame that is flooded.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// How it is addressed; [`Cast::Known`]: an answer to a MAC that bridges learned from the question.
    pub cast: Cast,
    /// Who sends it.
    pub source: Option<Mac>,
    /// The MAC of an answer.
    pub target: Option<Mac>,
    /// A question for a neighbour: the address that is asked for, and the one that asks.
    pub asks: Option<(IpAddr, Option<IpAddr>)>,
}

/// Why a frame does not come to an interface.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stop<'a> {
    /// A bridge keeps back what came in at this port, or what its own host sends.
    Bridge(&'a Link, &'a Link, Obstacle<'a>),
    /// The interface is down.
    Down(&'a Link),
    /// The other end of the veth, or the device below, was removed or moved away.
    Gone(&'a Link),
    /// The VXLAN device answers questions itself and floods none (`proxy`).
    Proxy(&'a Link),
    /// A bridge answers instead, or keeps it from this port (`neigh_suppress`, `proxy_arp_wifi`).
    Suppressed(&'a Link, &'a Link),
    /// The remote end of the tunnel is an address of its own host.
    OwnEnd(&'a Link, IpAddr),
    /// No route to the remote end.
    NoRoute(&'a Link, IpAddr),
    /// Nobody answers for the remote end on the underlay.
    Underlay(&'a Link, IpAddr),
    /// At the remote end is no tunnel device that takes its packets.
    NoDevice(&'a Link, IpAddr),
    /// Two macvlans of one parent that are not both in bridge mode, or a macvlan and its parent.
    Apart(&'a Link, &'a Link),
    /// The bond takes nothing at this slave, which is a backup.
    Backup(&'a Link, &'a Link),
    /// It comes to the interface with this outer tag (or without one), and what should take it takes another.
    Tagged(&'a Link, Option<Tag>),
}

/// Where facts end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Open<'a> {
    /// A wire.
    Wire(&'a Link),
    /// A process that has the TUN or TAP device open.
    Process(&'a Link),
    /// A remote end on another machine.
    Remote(&'a Link, IpAddr),
    /// The other end of a veth in a namespace that is not known.
    Peer(&'a Link),
    /// A kind of device, or a mode, whose ways are not known here.
    Unmodelled(&'a Link),
}

/// A tunnel that a frame goes through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crossed<'a> {
    /// The device that sends it there.
    pub from: &'a Link,
    /// The device that takes it in.
    pub to: &'a Link,
    /// The remote end, with the address to which the outer packet goes.
    pub remote: Remote,
}

/// An interface that a frame comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reached<'a> {
    /// Which.
    pub link: &'a Link,
    /// The last tunnel on the way.
    pub tunnel: Option<Crossed<'a>>,
    /// Why it does not, or the first of the reasons.
    pub stop: Option<Stop<'a>>,
}

/// All that a frame comes to, and where that is not known.
#[derive(Clone, Debug, Default)]
pub struct Segment<'a> {
    /// Interfaces whose stack gets the frame; those that are kept from it come last.
    pub ends: Vec<Reached<'a>>,
    /// Where facts end, on ways that are open.
    pub open: Vec<Open<'a>>,
    /// Bridges and VXLAN devices that answer a question themselves, with the MAC that they tell.
    pub proxies: Vec<(&'a Link, Mac)>,
    /// Reasons met, on whichever way.
    pub stops: Vec<Stop<'a>>,
    /// What has to be read to know more.
    pub missing: Vec<Question>,
}

impl<'a> Segment<'a> {
    /// Where a frame comes to that an interface's own stack sends.
    #[must_use]
    pub fn from(host: &'a Host, from: &'a Link, frame: Frame) -> Self {
        Self::walked(Walk::new(host, frame), from)
    }

    fn walked(mut walk: Walk<'a>, from: &'a Link) -> Self {
        walk.go(
            None,
            At {
                link: from,
                side: Side::Out,
                tag: None,
                inner: None,
                tunnel: None,
            },
        );
        walk.run();
        walk.found.ends.retain(|end| end.link.device != from.device);
        walk.found
    }

    /// Where a frame for all comes to.
    #[must_use]
    pub fn of_broadcast(host: &'a Host, from: &'a Link) -> Self {
        Self::from(host, from, broadcast(from))
    }

    /// Where a frame for one MAC comes to, where no bridge has learned it.
    #[must_use]
    pub fn of_mac(host: &'a Host, from: &'a Link, mac: Mac) -> Self {
        let frame = Frame {
            cast: Cast::Unknown,
            source: from.mac,
            target: Some(mac),
            asks: None,
        };
        Self::from(host, from, frame)
    }

    /// The interface among the ends.
    #[must_use]
    pub fn end(&self, device: Device) -> Option<&Reached<'a>> {
        self.ends.iter().find(|end| end.link.device == device)
    }
}

/// A frame for all.
fn broadcast(from: &Link) -> Frame {
    Frame {
        cast: Cast::Broadcast,
        source: from.mac,
        target: None,
        asks: None,
    }
}

/// Whether slaves of a bond lead to the same interfaces, so that it makes no difference by which one it sends.
#[must_use]
pub fn are_alike(host: &Host, slaves: &[&Link]) -> bool {
    let reached = |slave: &&Link| -> BTreeSet<Device> {
        // Bonds behind it are not asked the same again: they may lead back.
        let walk = Walk {
            nested: true,
            ..Walk::new(host, broadcast(slave))
        };
        let segment = Segment::walked(walk, slave);
        let open = segment.ends.iter().filter(|end| end.stop.is_none());
        open.map(|end| end.link.device).collect()
    };
    let mut sets = slaves.iter().map(reached);
    let first = sets.next();
    sets.all(|set| Some(set) == first)
}

/// The group in which an address's owner is asked for (RFC 4291, 2.7.1).
pub(super) fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    /// Leaves through the interface.
    Out,
    /// Comes in at the interface.
    In,
}

#[derive(Clone, Copy, Debug)]
struct At<'a> {
    link: &'a Link,
    side: Side,
    tag: Option<Tag>,
    /// The tag within that one (802.1Q in 802.1ad).
    inner: Option<Tag>,
    /// The last tunnel on the way.
    tunnel: Option<Crossed<'a>>,
}

impl<'a> At<'a> {
    /// At the device that takes in what another one sends through a tunnel.
    fn behind(from: &'a Link, to: &'a Link, remote: Option<Remote>) -> Self {
        Self {
            link: to,
            side: Side::In,
            tag: None,
            inner: None,
            tunnel: remote.map(|remote| Crossed { from, to, remote }),
        }
    }
}

/// A walk over all ways at once, open ones first: what is reached at all is reached without a reason against it if
/// there is such a way.
struct Walk<'a> {
    host: &'a Host,
    frame: Frame,
    members: BTreeMap<Device, Vec<&'a Link>>,
    uppers: BTreeMap<Device, Vec<&'a Link>>,
    found: Segment<'a>,
    open: VecDeque<At<'a>>,
    stopped: VecDeque<(Stop<'a>, At<'a>)>,
    known: BTreeSet<(Device, Side, Option<Tag>, Option<Tag>)>,
    /// A walk of [`are_alike`].
    nested: bool,
}

impl<'a> Walk<'a> {
    fn new(host: &'a Host, frame: Frame) -> Self {
        let mut members: BTreeMap<Device, Vec<&Link>> = BTreeMap::new();
        let mut uppers: BTreeMap<Device, Vec<&Link>> = BTreeMap::new();
        for link in host.links().filter(|l| !host.is_gone(l.device)) {
            if let Some(master) = link.master {
                let ifindex = IfIndex(master);
                let master = Device {
                    ifindex,
                    ..link.device
                };
                members.entry(master).or_default().push(link);
            }
            if let Some(lower) = link.peer.filter(|_| is_upper(link)) {
                uppers.entry(lower).or_default().push(link);
            }
        }
        Self {
            host,
            frame,
            members,
            uppers,
            found: Segment::default(),
            open: VecDeque::new(),
            stopped: VecDeque::new(),
            known: BTreeSet::new(),
            nested: false,
        }
    }

    fn members(&self, master: &Link) -> Vec<&'a Link> {
        self.members
            .get(&master.device)
            .cloned()
            .unwrap_or_default()
    }

    fn uppers(&self, lower: &Link) -> Vec<&'a Link> {
        self.uppers.get(&lower.device).cloned().unwrap_or_default()
    }

    fn run(&mut self) {
        loop {
            let (stop, at) = match self.open.pop_front() {
                Some(at) => (None, at),
                None => match self.stopped.pop_front() {
                    Some((stop, at)) => (Some(stop), at),
                    None => return,
                },
            };
            let key = (at.link.device, at.side, at.tag, at.inner);
            if !self.known.insert(key) {
                continue;
            }
            match at.side {
                Side::Out => self.leave(stop, at),
                Side::In => self.enter(stop, at),
            }
        }
    }

    fn go(&mut self, stop: Option<Stop<'a>>, at: At<'a>) {
        match stop {
            None => self.open.push_back(at),
            Some(stop) => self.stopped.push_back((stop, at)),
        }
    }

    fn note(&mut self, stop: Option<Stop<'a>>, open: Open<'a>) {
        if stop.is_none() && !self.found.open.contains(&open) {
            self.found.open.push(open);
        }
    }

    fn ask(&mut self, stop: Option<Stop<'a>>, question: Question) {
        if stop.is_none() && !self.found.missing.contains(&question) {
            self.found.missing.push(question);
        }
    }

    /// One more reason; the first one on a way counts.
    fn because(&mut self, before: Option<Stop<'a>>, stop: Stop<'a>) -> Option<Stop<'a>> {
        if before.is_none() && !self.found.stops.contains(&stop) {
            self.found.stops.push(stop);
        }
        before.or(Some(stop))
    }

    fn down(&mut self, stop: Option<Stop<'a>>, link: &'a Link) -> Option<Stop<'a>> {
        if self.host.is_gone(link.device) {
            self.because(stop, Stop::Gone(link))
        } else if !link.up {
            self.because(stop, Stop::Down(link))
        } else {
            stop
        }
    }

    fn leave(&mut self, stop: Option<Stop<'a>>, at: At<'a>) {
        let link = at.link;
        let stop = self.down(stop, link);
        // What a parent sends goes out, and never to a macvlan on it.
        for upper in self.uppers(link) {
            if links::is_on_parent(upper) {
                let apart = self.because(stop, Stop::Apart(link, upper));
                self.go(
                    apart,
                    At {
                        link: upper,
                        side: Side::In,
                        ..at
                    },
                );
            }
        }
        match link.kind.as_str() {
            "veth" | "netkit" => match links::peer_of(self.host, link.device) {
                Some(peer) => self.go(
                    stop,
                    At {
                        link: peer,
                        side: Side::In,
                        ..at
                    },
                ),
                None => self.note(stop, Open::Peer(link)),
            },
            "bridge" => self.flood(stop, link, at),
            "vlan" if at.inner.is_none() => match lower_of(self.host, link) {
                Some(lower) => self.go(
                    stop,
                    At {
                        link: lower,
                        side: Side::Out,
                        tag: Tag::of(link),
                        inner: at.tag,
                        ..at
                    },
                ),
                None => self.note(stop, Open::Unmodelled(link)),
            },
            "macvlan" | "macvtap" => self.leave_macvlan(stop, at),
            "ipvlan" | "ipvtap" if links::is_on_parent(link) => self.leave_macvlan(stop, at),
            "vxlan" | "geneve" | "gretap" | "ip6gretap" => self.encapsulate(stop, link),
            "dummy" => {}
            "bond" | "team" => self.leave_bond(stop, at),
            "tun" => self.note(stop, Open::Process(link)),
            "" => self.note(stop, Open::Wire(link)),
            _ => self.note(stop, Open::Unmodelled(link)),
        }
    }

    /// A macvlan's broadcast goes to its siblings in bridge mode and out of the parent, whose own stack never gets it
    /// (`macvlan_queue_xmit`, drivers/net/macvlan.c); an ipvlan's to all siblings (`ipvlan_process_multicast`).
    fn leave_macvlan(&mut self, stop: Option<Stop<'a>>, at: At<'a>) {
        let Some(lower) = lower_of(self.host, at.link) else {
            return self.note(stop, Open::Unmodelled(at.link));
        };
        for sibling in self.uppers(lower) {
            if sibling.device == at.link.device || !links::is_on_parent(sibling) {
                continue;
            }
            let apart = !(links::is_switched(at.link) && links::is_switched(sibling));
            let stop = match apart {
                true => self.because(stop, Stop::Apart(at.link, sibling)),
                false => stop,
            };
            self.go(
                stop,
                At {
                    link: sibling,
                    side: Side::In,
                    ..at
                },
            );
        }
        self.go(stop, At { link: lower, ..at });
        let apart = self.because(stop, Stop::Apart(at.link, lower));
        self.go(
            apart,
            At {
                link: lower,
                side: Side::In,
                ..at
            },
        );
    }

    /// A bond sends by one slave, and by which one is not always known.
    fn leave_bond(&mut self, stop: Option<Stop<'a>>, at: At<'a>) {
        let bond = at.link;
        let slaves = match bonding::choice(self.host, bond) {
            Choice::One(slave) => vec![slave],
            Choice::Each(slaves) | Choice::Nobody(slaves) => slaves,
            Choice::OneOf(slaves) => {
                if !self.nested && !are_alike(self.host, &slaves) {
                    self.note(stop, Open::Unmodelled(bond));
                }
                slaves
            }
        };
        for slave in slaves {
            self.go(stop, At { link: slave, ..at });
        }
    }

    fn encapsulate(&mut self, stop: Option<Stop<'a>>, link: &'a Link) {
        let mut stop = stop;
        let has = |flag: fn(&VxlanLink) -> bool| link.vxlan.as_ref().is_some_and(flag);
        if !tunnel::is_known(link) || tunnel::is_external(link) {
            return self.note(stop, Open::Unmodelled(link));
        }
        if has(|vxlan| vxlan.proxy) && self.frame.asks.is_some() {
            self.answer_for(stop, link, None);
            stop = self.because(stop, Stop::Proxy(link));
        }
        if self.frame.cast == Cast::Known && has(|vxlan| vxlan.learning) {
            for (end, learned) in tunnel::senders_to(self.host, link) {
                self.go(stop, At::behind(link, end, learned));
            }
            return;
        }
        let remotes = self.remotes(stop, link);
        if remotes.is_empty() && link.vxlan.is_none() {
            return self.note(stop, Open::Unmodelled(link));
        }
        for remote in remotes {
            let address = remote.address;
            match tunnel::end_of(self.host, link, remote) {
                End::Devices(ends) => {
                    let stop = self.underlay(stop, link, remote);
                    for end in ends {
                        self.go(stop, At::behind(link, end, Some(remote)));
                    }
                }
                End::Own => drop(self.because(stop, Stop::OwnEnd(link, address))),
                End::NoDevice(_) => drop(self.because(stop, Stop::NoDevice(link, address))),
                End::NoRoute(_) => drop(self.because(stop, Stop::NoRoute(link, address))),
                End::Unknown => self.note(stop, Open::Remote(link, address)),
            }
        }
    }

    /// Whether the remote end can be reached, where it is on a link of the sending namespace.
    fn underlay(
        &mut self,
        stop: Option<Stop<'a>>,
        link: &'a Link,
        remote: Remote,
    ) -> Option<Stop<'a>> {
        let out = tunnel::on_link(self.host, tunnel::underlay_netns(link), remote.address);
        let Some((out, source)) = out.filter(|(out, _)| !tunnel::is_known(out) && stop.is_none())
        else {
            return stop;
        };
        let ask = Ask {
            device: out.device,
            address: remote.address,
            source: Some(remote.local.unwrap_or(source)),
        };
        let answer = neighbour::answer(self.host, ask);
        match answer.told() {
            Told::Somebody => stop,
            Told::CannotTell => {
                for question in answer.missing {
                    self.ask(stop, question);
                }
                stop
            }
            Told::Nobody => self.because(stop, Stop::Underlay(link, remote.address)),
        }
    }

    /// Remote ends of a frame: an answer goes to the one of its MAC, all else to those of the flood.
    fn remotes(&mut self, stop: Option<Stop<'a>>, link: &'a Link) -> Vec<Remote> {
        let device = link.device;
        let by_mac = link.vxlan.is_some() && self.frame.cast == Cast::Known;
        if let Some(mac) = self.frame.target.filter(|_| by_mac) {
            match self.host.forwarding(device, mac) {
                None => self.ask(stop, Question::Forwarding { device, mac }),
                Some(answer) if answer.entries.iter().any(|e| !e.default) => {
                    let remote = tunnel::remote_of(self.host, device, mac);
                    return remote.into_iter().collect();
                }
                Some(_) => {}
            }
        }
        tunnel::flooded_to(self.host, link).unwrap_or_else(|question| {
            self.ask(stop, question);
            tunnel::remote_of(self.host, device, Mac([0xff; 6]))
                .into_iter()
                .collect()
        })
    }

    fn enter(&mut self, stop: Option<Stop<'a>>, at: At<'a>) {
        let link = at.link;
        let stop = self.down(stop, link);
        // tc comes before all else that takes a frame (sch_handle_ingress in __netif_receive_skb_core, net/core/dev.c).
        if let Some(other) = redirects::other_end(self.host, link) {
            return self.go(
                stop,
                At {
                    link: other,
                    side: Side::Out,
                    ..at
                },
            );
        }
        // A tag is looked at before anything else (vlan_do_receive in __netif_receive_skb_core, net/core/dev.c).
        if at.tag.is_some() {
            let mut uppers = self.uppers(link).into_iter();
            if let Some(vlan) = uppers.find(|l| Tag::of(l) == at.tag) {
                return self.go(
                    stop,
                    At {
                        link: vlan,
                        side: Side::In,
                        tag: at.inner,
                        inner: None,
                        ..at
                    },
                );
            }
        }
        for upper in self.uppers(link) {
            if upper.vlan.is_some() {
                continue;
            }
            match upper.macvlan.as_deref() {
                None if !links::is_on_parent(upper) => self.note(stop, Open::Unmodelled(upper)),
                Some("source") => self.note(stop, Open::Unmodelled(upper)),
                _ => self.go(stop, At { link: upper, ..at }),
            }
        }
        let master = master_of(self.host, link);
        match master.map(|m| (m, m.kind.as_str())) {
            Some((bridge, "bridge")) => self.enter_bridge(stop, bridge, at),
            Some((bond, "bond" | "team")) => {
                let stop = match bonding::is_backup(link) {
                    true => self.because(stop, Stop::Backup(link, bond)),
                    false => stop,
                };
                self.go(stop, At { link: bond, ..at });
            }
            // its rules, or its daemon, say where to
            Some((datapath, "openvswitch")) => self.note(stop, Open::Unmodelled(datapath)),
            _ => self.end_with(stop, at),
        }
    }

    /// The stack gets what has no tag. Devices of other VLANs, and the stack where there is a tag, would be reached but
    /// for the tag.
    fn end_with(&mut self, stop: Option<Stop<'a>>, at: At<'a>) {
        let link = at.link;
        let kept = Stop::Tagged(link, at.tag);
        if at.tag.is_none() {
            self.arrive(stop, at);
        }
        let vlans = self.uppers(link).into_iter().filter(|l| l.vlan.is_some());
        let vlans: Vec<&Link> = vlans.collect();
        if at.tag.is_some() {
            let stop = self.because(stop, kept);
            self.arrive(stop, at);
        }
        for vlan in vlans {
            let stop = stop.or(Some(kept));
            self.go(
                stop,
                At {
                    link: vlan,
                    side: Side::In,
                    tag: None,
                    inner: None,
                    ..at
                },
            );
        }
    }

    fn arrive(&mut self, stop: Option<Stop<'a>>, at: At<'a>) {
        let At { link, tunnel, .. } = at;
        if self.found.end(link.device).is_none() {
            self.found.ends.push(Reached { link, tunnel, stop });
        }
    }

    fn enter_bridge(&mut self, stop: Option<Stop<'a>>, bridge: &'a Link, at: At<'a>) {
        let obstacle = bridging::at_entry(self.host, bridge, at.link, self.frame.source);
        let stop = match obstacle {
            Some(obstacle) => self.because(stop, Stop::Bridge(bridge, at.link, obstacle)),
            None => stop,
        };
        let locked = at.link.port.is_some_and(|p| p.locked);
        if let Some(mac) = self.frame.source.filter(|_| locked)
            && self.host.forwarding(bridge.device, mac).is_none()
        {
            let device = bridge.device;
            self.ask(stop, Question::Forwarding { device, mac });
        }
        self.flood(stop, bridge, at);
    }

    /// To all other ports, and up to the bridge's own stack.
    fn flood(&mut self, stop: Option<Stop<'a>>, bridge: &'a Link, at: At<'a>) {
        let from = at.link;
        let filters = bridge.bridge.is_some_and(|b| b.vlan_filtering);
        let tag = at.tag.map(|tag| tag.vlan);
        let (vlan, stop) = match filters {
            true => match bridging::vlan_in(self.host, bridge, from, tag) {
                Ok(vlan) => (Some(vlan), stop),
                Err(fault) => (tag, self.fault(stop, (bridge, from), fault)),
            },
            false => (None, stop),
        };
        let suppressed = self.suppression(stop, bridge, from, vlan);
        let target = self.learned(bridge);
        self.ask_for_answer(stop, bridge);
        let ports = self
            .members(bridge)
            .into_iter()
            .filter(|p| p.device != from.device || p.port.is_some_and(|s| s.hairpin));
        for to in ports {
            let (tag, mut stop) = self.out_of(stop, (bridge, at), to, vlan);
            let obstacle = self
                .towards(bridge, from, to, target)
                .or_else(|| self.snooped(stop, bridge, to));
            if let Some(obstacle) = obstacle {
                stop = self.because(stop, Stop::Bridge(bridge, from, obstacle));
            }
            if suppressed
                && to
                    .port
                    .is_some_and(|p| p.neigh_suppress || p.proxy_arp_wifi)
            {
                stop = self.because(stop, Stop::Suppressed(bridge, to));
            }
            self.go(
                stop,
                At {
                    link: to,
                    side: Side::Out,
                    tag,
                    ..at
                },
            );
        }
        if from.device != bridge.device {
            let (tag, stop) = self.out_of(stop, (bridge, at), bridge, vlan);
            self.go(
                stop,
                At {
                    link: bridge,
                    side: Side::In,
                    tag,
                    ..at
                },
            );
        }
    }

    /// Where a port does not learn, what the bridge had before counts.
    fn ask_for_answer(&mut self, stop: Option<Stop<'a>>, bridge: &'a Link) {
        let silent = |l: &&Link| l.port.is_some_and(|p| !p.learning);
        let device = bridge.device;
        if let Some(mac) = self.frame.target
            && self.host.forwarding(device, mac).is_none()
            && self.members(bridge).iter().any(silent)
        {
            self.ask(stop, Question::Forwarding { device, mac });
        }
    }

    /// The port on which the bridge has the MAC of an answer.
    fn learned(&self, bridge: &'a Link) -> Option<(Mac, &'a Link)> {
        let mac = self.frame.target?;
        Some((mac, bridging::learned_port(self.host, bridge, mac)?))
    }

    fn towards(
        &self,
        bridge: &'a Link,
        from: &'a Link,
        to: &'a Link,
        target: Option<(Mac, &'a Link)>,
    ) -> Option<Obstacle<'a>> {
        let fixed = target.filter(|(_, port)| port.device != to.device);
        if let Some((mac, port)) = fixed {
            return Some(Obstacle::Elsewhere(port, mac));
        }
        let port = to.port.unwrap_or_default();
        // An answer goes to the port on which the question came in, or is flooded where that port does not learn.
        let cast = match self.frame.cast {
            Cast::Known if !port.learning && target.is_none() => Cast::Unknown,
            cast => cast,
        };
        if cast != Cast::Known && port.proxy_arp {
            return Some(Obstacle::Flood(to, "proxy_arp"));
        }
        bridging::towards(self.host, bridge, from, to, cast)
    }

    /// A solicitation goes to a group of its target's.
    fn snooped(
        &mut self,
        stop: Option<Stop<'a>>,
        bridge: &'a Link,
        to: &'a Link,
    ) -> Option<Obstacle<'a>> {
        let Some((IpAddr::V6(target), _)) = self.frame.asks else {
            return None;
        };
        match bridging::snooped(self.host, bridge, to, solicited_node(target).into()) {
            Ok(obstacle) => obstacle,
            Err(question) => {
                self.ask(stop, question);
                None
            }
        }
    }

    /// The tag with which a frame goes on to a port or up.
    fn out_of(
        &mut self,
        stop: Option<Stop<'a>>,
        (bridge, at): (&'a Link, At<'a>),
        to: &'a Link,
        vlan: Option<u16>,
    ) -> (Option<Tag>, Option<Stop<'a>>) {
        let Some(vlan) = vlan else {
            return (at.tag, stop);
        };
        let service = at.tag.is_some_and(|tag| tag.service);
        match bridging::vlan_out(self.host, bridge, at.link, to, vlan) {
            Ok(tag) => (tag.map(|vlan| Tag { vlan, service }), stop),
            Err(fault) => (at.tag, self.fault(stop, (bridge, at.link), fault)),
        }
    }

    fn fault(
        &mut self,
        stop: Option<Stop<'a>>,
        (bridge, from): (&'a Link, &'a Link),
        fault: VlanFault<'a>,
    ) -> Option<Stop<'a>> {
        match fault {
            VlanFault::Obstacle(obstacle) => {
                self.because(stop, Stop::Bridge(bridge, from, obstacle))
            }
            VlanFault::Unread(question) => {
                self.ask(stop, question);
                stop
            }
        }
    }

    /// Whether ports with suppression get no copy of a question; who answers it instead is noted.
    fn suppression(
        &mut self,
        stop: Option<Stop<'a>>,
        bridge: &'a Link,
        from: &'a Link,
        vlan: Option<u16>,
    ) -> bool {
        let Some((target, asker)) = self.frame.asks.filter(|(t, _)| t.is_ipv4()) else {
            return false;
        };
        let question = suppression::Question {
            target,
            asker,
            vlan,
        };
        match suppression::of_bridge(self.host, bridge, from, question) {
            Suppressed::No => false,
            Suppressed::Kept => true,
            Suppressed::Answered(mac) => {
                self.answer_for(stop, bridge, Some(mac));
                true
            }
            Suppressed::Unread(questions) => {
                for question in questions {
                    self.ask(stop, question);
                }
                false
            }
        }
    }

    /// A device that answers itself: the MAC is the one that it was found to tell, or that of its own table.
    fn answer_for(&mut self, stop: Option<Stop<'a>>, link: &'a Link, mac: Option<Mac>) {
        if stop.is_some() {
            return;
        }
        let Some((target, _)) = self.frame.asks else {
            return;
        };
        let found = match mac {
            Some(mac) => Ok(Some(mac)),
            None => suppression::of_vxlan(self.host, link, target),
        };
        match found {
            Ok(Some(mac)) => self.found.proxies.push((link, mac)),
            Ok(None) => {}
            Err(question) => self.ask(stop, question),
        }
    }
}
