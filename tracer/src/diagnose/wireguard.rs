//! WireGuard tunnels that do not pass a packet: to whom the sending device gives it, from whom the receiving one takes it,
//! and whether the two know each other. Both ends are compared where both are on this machine.

use std::net::{IpAddr, SocketAddr};

use crate::host::Host;
use crate::host::facts::{AllowedNet, Link, Question, WireGuard, WireGuardKey, WireGuardPeer};
use crate::model::{Detail, Device, Direction, Event, Journey};
use crate::verdict::{Confidence, Outcome};

use super::candidate::{Candidate, Specificity, place_at};
use super::causes::{TUNNEL_NO_REMOTE, TUNNEL_WIREGUARD};
use super::loss::Loss;
use super::overlay;
use super::remedy::{Command, Remedy, Shell, command, text};
use super::view::View;
use super::words;

const KIND: &str = "wireguard";
/// `where.hook` of this family.
const HOOK: &str = "device";
/// What frees a packet that was decrypted and is not taken (drivers/net/wireguard/receive.c). Kernels before 6.3 do not tell
/// the function: there, a packet that ends at another WireGuard device than the one it was handed to was decrypted at it.
const RECEIVERS: &[&str] = &["wg_packet_rx_poll", "wg_packet_consume_data_done"];
/// Most devices that are asked about.
const MANY: usize = 16;
/// Longest list of addresses that is written out.
const LONG: usize = 32;

/// What to read of WireGuard devices.
#[must_use]
pub fn questions(host: &Host) -> Vec<Question> {
    let devices = host.links().filter(|l| l.kind == KIND);
    let questions = devices.map(|link| Question::WireGuard {
        device: link.device,
    });
    questions.take(MANY).collect()
}

/// The same, where a packet of the flow was handed to one.
#[must_use]
pub fn asked(view: &View<'_>) -> Vec<Question> {
    let ways = [Direction::Forward, Direction::Reply];
    let mut journeys = ways.into_iter().flat_map(|way| view.journeys(way));
    match journeys.any(|journey| Handed::of(view.host, journey).is_some()) {
        true => questions(view.host),
        false => Vec::new(),
    }
}

/// A device with what was read of it.
#[derive(Clone, Copy)]
struct End<'a> {
    link: &'a Link,
    set: &'a WireGuard,
}

impl<'a> End<'a> {
    fn of(host: &'a Host, device: Device) -> Option<Self> {
        Some(Self {
            link: host.link(device)?,
            set: &host.wireguard.get(&device)?.fact,
        })
    }

    fn all(host: &'a Host) -> impl Iterator<Item = Self> {
        let devices = host.wireguard.keys().filter(|d| !host.is_gone(**d));
        devices.filter_map(|device| Self::of(host, *device))
    }

    fn name(self, host: &Host) -> String {
        words::interface(host, self.link.device)
    }

    fn shell(self, host: &Host) -> Shell {
        Shell::of(host, Some(self.link.device.netns))
    }

    fn look(self, host: &Host) -> Remedy {
        let what = "look first: peers, endpoints, allowed ips, latest handshakes";
        self.shell(host)
            .look(what, command!["wg show", self.link.name])
    }

    /// `wg set wg0 peer KEY …`.
    fn set_peer(self, key: WireGuardKey, what: &[String]) -> Command {
        let what: Vec<&str> = what.iter().map(String::as_str).collect();
        command!["wg set", self.link.name, "peer", key, ..what]
    }

    /// A peer made as it is, under this key.
    fn made(self, peer: &WireGuardPeer, key: WireGuardKey) -> Command {
        let mut what = Vec::new();
        if let Some(endpoint) = peer.endpoint {
            what.extend(["endpoint".to_owned(), endpoint.to_string()]);
        }
        if peer.keepalive > 0 {
            what.extend([
                "persistent-keepalive".to_owned(),
                peer.keepalive.to_string(),
            ]);
        }
        what.extend(["allowed-ips".to_owned(), list(&peer.allowed)]);
        self.set_peer(key, &what)
    }

    /// One more address for a peer; the whole list is set, and another peer that had it gets it back in the end.
    fn allow(self, host: &Host, peer: &WireGuardPeer, address: IpAddr) -> Option<Remedy> {
        let net = host_net(address);
        let with = |nets: &[AllowedNet]| vec!["allowed-ips".to_owned(), list(nets)];
        let wider: Vec<AllowedNet> = peer.allowed.iter().copied().chain([net]).collect();
        if wider.len() > LONG {
            return None;
        }
        let change = self
            .shell(host)
            .change(
                format!("let the peer of {} have {address} too", self.link.name),
                self.set_peer(peer.key, &with(&wider)),
            )
            .undone_by(self.set_peer(peer.key, &with(&peer.allowed)));
        let other = self.set.peers.iter().find(|p| p.allowed.contains(&net));
        Some(match other {
            Some(other) => change.undone_by(self.set_peer(other.key, &with(&other.allowed))),
            None => change,
        })
    }

    fn endpoint(self, host: &Host, peer: &WireGuardPeer, to: SocketAddr) -> Remedy {
        let set =
            |to: SocketAddr| self.set_peer(peer.key, &["endpoint".to_owned(), to.to_string()]);
        let change = self
            .shell(host)
            .change(format!("send to where the peer listens, {to}"), set(to));
        match peer.endpoint {
            Some(before) => change.undone_by(set(before)),
            // an endpoint cannot be taken away from a peer
            None => change
                .undone_by(self.set_peer(peer.key, &["remove".to_owned()]))
                .undone_by(self.made(peer, peer.key)),
        }
    }

    /// A peer under another key. A preshared key, which is not known here, would be lost.
    fn rekeyed(self, host: &Host, peer: &WireGuardPeer, key: WireGuardKey) -> Option<Remedy> {
        let remove = |key| self.set_peer(key, &["remove".to_owned()]);
        let change = self
            .shell(host)
            .change("know the peer by the key that it has", remove(peer.key))
            .and(self.made(peer, key))
            .undone_by(remove(key))
            .undone_by(self.made(peer, peer.key));
        (!peer.preshared && peer.allowed.len() <= LONG).then_some(change)
    }

    /// Where it is reached from another namespace.
    fn reached_from(self, host: &Host, from: &Link) -> Option<SocketAddr> {
        let (near, far) = (from.device.netns, self.link.device.netns);
        let (_, address) = overlay::shared(host, near, far)?;
        Some(SocketAddr::new(address, self.set.port))
    }
}

fn host_net(address: IpAddr) -> AllowedNet {
    let prefix = if address.is_ipv4() { 32 } else { 128 };
    AllowedNet { address, prefix }
}

/// As wg(8) takes it; nothing at all is an empty word.
fn list(nets: &[AllowedNet]) -> String {
    let nets: Vec<String> = nets.iter().map(AllowedNet::to_string).collect();
    nets.join(",")
}

fn has_words(peer: &WireGuardPeer) -> String {
    match peer.allowed.as_slice() {
        [] => "it has none".to_owned(),
        nets => format!("it has {}", list(nets)),
    }
}

/// The sending device has no peer for the destination, or does not know where that peer is.
pub fn unsent(loss: &Loss<'_>) -> Option<Candidate> {
    let (host, dst) = (loss.host, loss.dst()?);
    let end = End::of(host, loss.last_device()?)?;
    let name = end.name(host);
    let (why, fix) = match end.set.peer_for(dst) {
        None => (
            format!("no peer of {name} has {dst} in its allowed-ips"),
            meant(host, end, dst).and_then(|peer| end.allow(host, peer, dst)),
        ),
        Some(peer) if peer.endpoint.is_none() => {
            let far = by_key(host, peer.key).and_then(|far| far.reached_from(host, end.link));
            (
                format!(
                    "{name} knows no endpoint of the peer {} that has {dst}",
                    peer.key
                ),
                far.map(|to| end.endpoint(host, peer, to)),
            )
        }
        Some(_) => return None,
    };
    let otherwise = fix.is_none().then(|| {
        text(format!(
            "give the peer that {dst} is behind its allowed-ips and endpoint: wg set {} peer KEY …",
            end.link.name
        ))
    });
    Some(
        Candidate::new(
            &TUNNEL_NO_REMOTE,
            loss.place_at_device(HOOK),
            format!("WireGuard does not send it: {why}"),
        )
        .explains(Specificity::Fact)
        .because(
            "icmp",
            loss.told().map(|t| format!("the sender was told: {t}")),
        )
        .advise([end.look(host)])
        .advise(fix)
        .advise(otherwise),
    )
}

/// The peer behind which an address is: the one whose device is in the namespace that has it, else the only one.
fn meant<'a>(host: &Host, end: End<'a>, dst: IpAddr) -> Option<&'a WireGuardPeer> {
    let behind = |peer: &&WireGuardPeer| {
        by_key(host, peer.key).is_some_and(|far| host.is_local(far.link.device.netns, dst))
    };
    match end.set.peers.as_slice() {
        [only] => Some(only),
        several => several.iter().find(behind),
    }
}

fn by_key(host: &Host, key: WireGuardKey) -> Option<End<'_>> {
    End::all(host).find(|end| end.set.key == Some(key))
}

/// A packet that was handed to a WireGuard device and was not seen to come out of one.
struct Handed<'a> {
    sender: Device,
    /// The inner packet, as the sender had it.
    src: IpAddr,
    dst: IpAddr,
    /// The device that decrypted it and took it not.
    receiver: Option<&'a Event>,
}

impl<'a> Handed<'a> {
    fn of(host: &Host, journey: &'a Journey) -> Option<Self> {
        let is_one = |device: Device| host.link(device).is_some_and(|l| l.kind == KIND);
        let mut receiver = None;
        for event in journey.steps.iter().rev().map(|s| &s.event) {
            match &event.detail {
                Detail::Consumed { function } => {
                    let here = event.device.is_some_and(is_one);
                    let receives = |function: &str| RECEIVERS.contains(&function);
                    receiver = (here && function.as_deref().is_none_or(receives)).then_some(event);
                }
                Detail::Egress => {
                    let sender = event.device.filter(|d| is_one(*d))?;
                    let tuple = event.tuple?;
                    return Some(Self {
                        sender,
                        src: tuple.src,
                        dst: tuple.dst,
                        receiver: receiver.filter(|event: &&Event| event.device != Some(sender)),
                    });
                }
                Detail::Ingress => return None,
                _ => {}
            }
        }
        None
    }
}

/// Why a packet that was handed to a WireGuard device did not come out at the other end, by the settings of both.
#[must_use]
pub fn refused(host: &Host, journey: &Journey) -> Option<Candidate> {
    let handed = Handed::of(host, journey)?;
    let near = End::of(host, handed.sender)?;
    if let Some(device) = handed.receiver.and_then(|event| event.device) {
        return not_allowed(host, near, End::of(host, device)?, handed.src);
    }
    let peer = near.set.peer_for(handed.dst)?;
    let case = Case { host, near, peer };
    match by_key(host, peer.key) {
        Some(far) => case
            .far_is_down(far)
            .or_else(|| case.elsewhere(far))
            .or_else(|| case.stranger(far, handed.src)),
        None => case.wrong_key(),
    }
    .or_else(|| case.never_met())
}

/// The receiver takes an inner address from one peer alone.
fn not_allowed(host: &Host, near: End<'_>, far: End<'_>, src: IpAddr) -> Option<Candidate> {
    let key = near.set.key?;
    let peer = far.set.peer(key)?;
    let holder = far.set.peer_for(src);
    if holder.is_some_and(|holder| holder.key == key) {
        return None;
    }
    let whose = holder.map_or_else(String::new, |other| {
        format!("; {src} is that of the peer {}", other.key)
    });
    let name = far.name(host);
    let candidate = Candidate::new(
        &TUNNEL_WIREGUARD,
        place_at(host, far.link.device, HOOK),
        format!(
            "WireGuard discards it at {name}: {src} is not in the allowed-ips of the peer that sends it ({}){whose}",
            has_words(peer)
        ),
    )
    .explains(Specificity::Linked)
    .because("packet", format!("{name} decrypted it and passed nothing on"))
    .because("link", format!("its peer {key} is {}", near.name(host)))
    .advise([far.look(host)])
    .advise(far.allow(host, peer, src));
    Some(candidate)
}

/// A packet for a peer that was not seen to arrive.
#[derive(Clone, Copy)]
struct Case<'a> {
    host: &'a Host,
    near: End<'a>,
    peer: &'a WireGuardPeer,
}

impl<'a> Case<'a> {
    fn candidate(self, at: End<'_>, why: String) -> Candidate {
        let place = place_at(self.host, at.link.device, HOOK);
        let seen = match self.peer.handshake {
            true => "there was a handshake with the peer before",
            false => "there was no handshake with the peer",
        };
        Candidate::new(&TUNNEL_WIREGUARD, place, why)
            .explains(Specificity::Linked)
            .leads_to(Outcome::Vanished)
            .because("link", seen.to_owned())
            .advise([self.near.look(self.host)])
    }

    fn far_is_down(self, far: End<'_>) -> Option<Candidate> {
        if far.link.up {
            return None;
        }
        let state = |to: &'static str| command!["ip link set dev", far.link.name, to];
        let change = far
            .shell(self.host)
            .change("raise it", state("up"))
            .undone_by(state("down"));
        let why = format!(
            "the other end of the WireGuard tunnel {} is down: {}",
            self.near.name(self.host),
            far.name(self.host)
        );
        Some(self.candidate(far, why).advise([change]))
    }

    /// It is sent to another address or port than the one at which the peer listens.
    fn elsewhere(self, far: End<'_>) -> Option<Candidate> {
        let (host, end) = (self.host, self.peer.endpoint?);
        let at_home = host.is_local(far.link.device.netns, end.ip());
        // Beyond a translator its address is another's.
        let foreign = !at_home && host.owners(end.ip()).next().is_none();
        if at_home && end.port() == far.set.port {
            return None;
        }
        let right = match at_home {
            true => SocketAddr::new(end.ip(), far.set.port),
            false => far.reached_from(host, self.near.link)?,
        };
        let why = format!(
            "WireGuard sends to the wrong end: {} has {end} as the endpoint of the peer {}, which is {} and listens at {right}",
            self.near.name(host),
            self.peer.key,
            far.name(host)
        );
        let sure = match foreign {
            true => Confidence::Likely,
            false => Confidence::Certain,
        };
        let change = self.near.endpoint(host, self.peer, right);
        Some(self.candidate(self.near, why).sure(sure).advise([change]))
    }

    /// The other end does not know the sender's key.
    fn stranger(self, far: End<'_>, src: IpAddr) -> Option<Candidate> {
        let (host, key) = (self.host, self.near.set.key?);
        if far.set.peer(key).is_some() {
            return None;
        }
        let why = format!(
            "WireGuard answers no handshake at {}: it has no peer with the key of {}, {key}",
            far.name(host),
            self.near.name(host)
        );
        let change = match far.set.peer_for(src) {
            Some(stale) => far.rekeyed(host, stale, key),
            None => {
                let what = ["allowed-ips".to_owned(), host_net(src).to_string()];
                let change = far
                    .shell(host)
                    .change("make it a peer", far.set_peer(key, &what))
                    .undone_by(far.set_peer(key, &["remove".to_owned()]));
                Some(change)
            }
        };
        let stale = far.set.peer_for(src).map(|stale| {
            format!(
                "{src} belongs to its peer {}, which is another key",
                stale.key
            )
        });
        Some(
            self.candidate(far, why)
                .because("link", stale)
                .advise([far.look(host)])
                .advise(change),
        )
    }

    /// Where it sends to, a device with another key listens.
    fn wrong_key(self) -> Option<Candidate> {
        let (host, end) = (self.host, self.peer.endpoint?);
        let far = End::all(host).find(|far| {
            far.set.port == end.port() && host.is_local(far.link.device.netns, end.ip())
        })?;
        let key = far.set.key?;
        let why = format!(
            "WireGuard gets no handshake: {} knows the peer at {end} by the key {}, and {}, which listens there, has {key}",
            self.near.name(host),
            self.peer.key,
            far.name(host)
        );
        let change = self.near.rekeyed(host, self.peer, key);
        Some(self.candidate(self.near, why).advise(change))
    }

    /// No more than that can be told.
    fn never_met(self) -> Option<Candidate> {
        let end = self.peer.endpoint.filter(|_| !self.peer.handshake)?;
        let why = format!(
            "WireGuard had no handshake with the peer {} at {end}: packets wait in {}",
            self.peer.key,
            self.near.name(self.host)
        );
        let advice = format!(
            "cannot tell which it is from here: nobody listens at {end}, a firewall drops the UDP packets, the peer has another key or does not know the one of {}, or preshared keys differ. Trace the outer packets: tracer udp port {} and host {}",
            self.near.link.name,
            end.port(),
            end.ip()
        );
        let candidate = self.candidate(self.near, why).sure(Confidence::Likely);
        Some(candidate.advise([text(advice)]))
    }
}
