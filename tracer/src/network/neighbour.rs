//! Who would answer for an address on a link (ARP, or neighbour discovery of IPv6), and why others that have to do with
//! the address do not.
//!
//! Only what the question reaches counts: a machine has many networks that use the same addresses.

mod arp;
pub mod filtered;
mod ndp;

use std::net::IpAddr;

use super::bridging::{Cast, bridge_of, way_to};
use super::links::peer_of;
use super::route::Query;
use super::segment::{Frame, Open, Reached, Segment, Stop};
use super::settings::{Combined, Setting, setting};
use crate::host::Host;
use crate::host::facts::{Link, Question};
use crate::model::{Device, Mac};

/// Most owners elsewhere that are looked for.
const ELSEWHERE: usize = 8;
/// On a segment of so few interfaces each is asked why it is no proxy.
const FEW: usize = 4;

/// A question for a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The interface that asks.
    pub device: Device,
    /// For whom.
    pub address: IpAddr,
    /// The address that asks; unspecified or none: only whether somebody has it.
    pub source: Option<IpAddr>,
}

/// Why somebody answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// The interface that owns the address, in the namespace.
    Owner(Device),
    /// The address is a local one by a route.
    LocalRoute,
    /// `proxy_arp` (or `proxy_arp_pvlan`), with the interface through which the address is routed.
    ProxyArp(Setting, u32),
    /// An entry of the table of proxies, for ARP with the interface of the route.
    ProxyEntry,
    /// A bridge or VXLAN device, from its own table of neighbours.
    Table,
}

/// Somebody who answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Answerer<'a> {
    /// The interface at which the question arrives.
    pub link: &'a Link,
    /// The MAC that the answer names.
    pub mac: Option<Mac>,
    /// Why.
    pub by: By,
}

/// Why somebody who has to do with the address does not answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Silence<'a> {
    /// The question does not come to it.
    Stopped(Stop<'a>),
    /// Its answer does not come back.
    AnswerStopped(Stop<'a>),
    /// There is no way back for its answer.
    NoWayBack,
    /// The asking interface is down.
    AskerDown,
    /// The asking interface asks nobody (NOARP).
    AskerNoArp,
    /// The interface takes no part in ARP (NOARP).
    NoArp,
    /// `arp_ignore`.
    Ignored(Setting),
    /// `arp_filter`: its route to the asker leaves through another interface.
    Filtered(Setting),
    /// The asker's address is one of its own (and `accept_local` is off).
    SourceOwn(IpAddr),
    /// No machine has the asker's address.
    SourceImpossible(IpAddr),
    /// The reverse-path filter refuses the asker.
    ReversePath(IpAddr, Setting),
    /// Its policy rules lead what is for the address elsewhere than to the table local: the packet as it comes in.
    LedAway(Query),
    /// The address is not ready yet: its duplicate check goes on.
    Tentative,
    /// The address is not used: its duplicate check failed.
    Duplicate,
    /// IPv6 answers only on the interface that has the address.
    OtherInterface,
    /// The address belongs to another VRF.
    OtherVrf,
    /// A proxy that does not forward: the setting of `forwarding`.
    NotForwarding(Setting),
    /// A proxy without a route for the address.
    ProxyNoRoute,
    /// A proxy whose route for the address leaves where the question came from.
    ProxySameInterface(u32),
    /// There is an entry in the table of proxies, and `proxy_ndp` is off.
    ProxyNdpOff,
}

/// Somebody who does not answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Silent<'a> {
    /// The interface at which the question arrives, or would.
    pub link: &'a Link,
    /// The interface that owns the address, where that is why it has to do with it.
    pub owner: Option<Device>,
    /// Why.
    pub why: Silence<'a>,
}

/// An owner that the question cannot reach, since it is behind another interface of the asker's namespace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Elsewhere<'a> {
    /// The interface behind which it is.
    pub through: &'a Link,
    /// The owner.
    pub owner: &'a Link,
}

/// A machine on the asker's segment that stands between it and an owner: it forwards, or could answer in its stead.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Between<'a> {
    /// Its interface on the asker's segment.
    pub near: &'a Link,
    /// Its interface on the owner's segment.
    pub far: &'a Link,
    /// The owner.
    pub owner: &'a Link,
}

/// Who answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer<'a> {
    /// Those who answer.
    pub answerers: Vec<Answerer<'a>>,
    /// Those who have to do with the address and do not.
    pub silent: Vec<Silent<'a>>,
    /// Where facts end.
    pub open: Vec<Open<'a>>,
    /// What has to be read to know more, what matters most first.
    pub missing: Vec<Question>,
    /// Owners behind other interfaces of the asker.
    pub elsewhere: Vec<Elsewhere<'a>>,
    /// Machines between the asker and an owner.
    pub between: Vec<Between<'a>>,
    /// Interfaces whose stack gets the question.
    pub asked: Vec<&'a Link>,
}

/// What an answer comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// At least one answers.
    Somebody,
    /// Nobody does.
    Nobody,
    /// Facts do not tell.
    CannotTell,
}

impl Answer<'_> {
    /// What it comes to.
    #[must_use]
    pub fn told(&self) -> Told {
        if !self.answerers.is_empty() {
            Told::Somebody
        } else if self.open.is_empty() && self.missing.is_empty() {
            Told::Nobody
        } else {
            Told::CannotTell
        }
    }
}

/// What an interface does with a question that came to it.
enum Reaction<'a> {
    /// It answers.
    Answers(By),
    /// It does not.
    Silent(Option<Device>, Silence<'a>),
    /// It has nothing to do with the address.
    None,
}

/// Interfaces that own the address and are on one segment with the asker, however closed the way is.
#[must_use]
pub fn owners(host: &Host, device: Device, address: IpAddr) -> Vec<&Link> {
    let Some(asker) = host.link(device) else {
        return Vec::new();
    };
    let ask = Ask {
        device,
        address,
        source: None,
    };
    let segment = Segment::from(host, asker, question(asker, ask));
    let reached = |owner: &Device| {
        let here = |end: &Device| end.netns == owner.netns;
        segment.ends.iter().any(|end| here(&end.link.device))
    };
    host.owners(address)
        .filter(|owner| !host.is_gone(*owner) && reached(owner))
        .filter_map(|owner| host.link(owner))
        .collect()
}

/// Whether a MAC is that of an address on the segment of an interface: by the entry there, or by who owns the address.
#[must_use]
pub fn has_mac(host: &Host, device: Device, address: IpAddr, mac: Mac) -> bool {
    let entry = host.neighbor(device, address).and_then(|n| n.mac);
    let owners = || owners(host, device, address);
    entry == Some(mac) || owners().iter().any(|link| link.mac == Some(mac))
}

/// Those, or where there is none: owners that a bridge next to the asker leads to, or would if the interface that stands
/// unattached before them were a port.
#[must_use]
pub fn owners_at(host: &Host, device: Device, address: IpAddr) -> Vec<&Link> {
    let near = owners(host, device, address);
    if !near.is_empty() {
        return near;
    }
    let peer = peer_of(host, device).map(|l| l.device);
    let bridges: Vec<&Link> = [Some(device), peer]
        .into_iter()
        .flatten()
        .filter_map(|d| bridge_of(host, d))
        .collect();
    host.owners(address)
        .filter_map(|owner| host.link(owner))
        .filter(|owner| bridges.iter().any(|b| way_to(host, b, owner).is_some()))
        .collect()
}

/// Who would answer.
#[must_use]
pub fn answer(host: &Host, ask: Ask) -> Answer<'_> {
    let mut found = Answer::default();
    let Some(asker) = host.link(ask.device) else {
        let device = ask.device;
        found.missing.push(Question::Link { device });
        return found;
    };
    let refuses = match asker {
        _ if !asker.up || host.is_gone(asker.device) => Some(Silence::AskerDown),
        _ if asker.noarp && ask.address.is_ipv4() => Some(Silence::AskerNoArp),
        _ => None,
    };
    if let Some(why) = refuses {
        found.silent.push(Silent {
            link: asker,
            owner: None,
            why,
        });
        return found;
    }
    let mut segment = Segment::from(host, asker, question(asker, ask));
    found.open = std::mem::take(&mut segment.open);
    found.missing = std::mem::take(&mut segment.missing);
    for (link, mac) in std::mem::take(&mut segment.proxies) {
        found.answerers.push(Answerer {
            link,
            mac: Some(mac),
            by: By::Table,
        });
    }
    let reached = segment.ends.iter().filter(|end| end.stop.is_none());
    found.asked = reached.map(|end| end.link).collect();
    react(host, ask, &segment, &mut found);
    if found.answerers.is_empty() {
        owners_apart(host, ask, &segment, &mut found);
    }
    found
}

fn question(asker: &Link, ask: Ask) -> Frame {
    Frame {
        cast: match ask.address {
            IpAddr::V4(_) => Cast::Broadcast,
            IpAddr::V6(_) => Cast::Multicast,
        },
        source: asker.mac,
        target: None,
        asks: Some((ask.address, ask.source)),
    }
}

/// Owners are looked at first: what is asked about them comes before what is asked about possible proxies.
fn react<'a>(host: &'a Host, ask: Ask, segment: &Segment<'a>, found: &mut Answer<'a>) {
    let owns = |link: &Link| host.is_local(link.device.netns, ask.address);
    let has = |link: &Link| {
        let mut own = host.addresses(link.device).iter();
        own.any(|a| a.address == ask.address)
    };
    let (mut near, others): (Vec<&Reached<'a>>, Vec<&Reached<'a>>) =
        segment.ends.iter().partition(|end| owns(end.link));
    // Of several interfaces of one owner the one that has the address is expected to answer.
    near.sort_by_key(|end| !has(end.link));
    let few = segment.ends.len() <= FEW;
    for end in near.into_iter().chain(others) {
        let link = end.link;
        let mut missing = Vec::new();
        // Whether it has joined the group of its address depends on what it was when it got it (addrconf_join_solict).
        if link.noarp && ask.address.is_ipv6() {
            found.open.push(Open::Unmodelled(link));
            continue;
        }
        let reaction = match ask.address {
            IpAddr::V4(_) => arp::reaction(host, (link, ask, few), &mut missing),
            IpAddr::V6(_) => ndp::reaction(host, (link, ask), &mut missing),
        };
        let (owner, why) = match (reaction, end.stop) {
            (Reaction::None, None) => {
                found.missing.extend(missing);
                continue;
            }
            // A question that does not come to an owner needs no word about how it would answer.
            (Reaction::None, Some(stop)) => match owner_in(host, link, ask.address) {
                Some(owner) => (Some(owner), Silence::Stopped(stop)),
                None => continue,
            },
            (Reaction::Answers(by), Some(stop)) => (owner_of(&by), Silence::Stopped(stop)),
            (Reaction::Silent(owner, _), Some(stop)) => (owner, Silence::Stopped(stop)),
            (Reaction::Silent(owner, why), None) => (owner, why),
            (Reaction::Answers(by), None) => match way_back(host, link, ask, &mut missing) {
                None => {
                    found.missing.extend(missing);
                    let mac = link.mac;
                    found.answerers.push(Answerer { link, mac, by });
                    continue;
                }
                Some(why) => {
                    found.missing.extend(missing);
                    (owner_of(&by), why)
                }
            },
        };
        found.silent.push(Silent { link, owner, why });
    }
    let mut known = Vec::new();
    found.missing.retain(|question| {
        let new = !known.contains(question);
        if new {
            known.push(question.clone());
        }
        new
    });
}

/// The interface that has an address in the namespace of another one.
fn owner_in(host: &Host, link: &Link, address: IpAddr) -> Option<Device> {
    host.owners(address)
        .find(|owner| owner.netns == link.device.netns && !host.is_gone(*owner))
}

fn owner_of(by: &By) -> Option<Device> {
    match by {
        By::Owner(owner) => Some(*owner),
        _ => None,
    }
}

/// Why an answer does not come back to the asker.
fn way_back<'a>(
    host: &'a Host,
    link: &'a Link,
    ask: Ask,
    missing: &mut Vec<Question>,
) -> Option<Silence<'a>> {
    let frame = Frame {
        cast: Cast::Known,
        source: link.mac,
        target: host.link(ask.device).and_then(|l| l.mac),
        asks: None,
    };
    let back = Segment::from(host, link, frame);
    missing.extend(back.missing.iter().cloned());
    match back.end(ask.device) {
        Some(end) => end.stop.map(Silence::AnswerStopped),
        None => Some(Silence::NoWayBack),
    }
}

/// Owners that are not on the asker's segment, but on one with another interface of the asker, or of a machine that the
/// question reaches.
fn owners_apart<'a>(host: &'a Host, ask: Ask, segment: &Segment<'a>, found: &mut Answer<'a>) {
    for owner in host.owners(ask.address).take(ELSEWHERE) {
        let same = owner.netns == ask.device.netns || segment.end(owner).is_some();
        let Some(link) = host.link(owner).filter(|_| !same && !host.is_gone(owner)) else {
            continue;
        };
        let towards = Segment::of_broadcast(host, link);
        for end in towards.ends.iter().map(|end| end.link) {
            if end.device == ask.device {
                continue;
            }
            if end.device.netns == ask.device.netns {
                found.elsewhere.push(Elsewhere {
                    through: end,
                    owner: link,
                });
            }
            let near = found.asked.iter().find(|l| {
                let device = l.device;
                device.netns == end.device.netns
                    && device.netns != owner.netns
                    && device != end.device
            });
            if let Some(near) = near.copied() {
                found.between.push(Between {
                    near,
                    far: end,
                    owner: link,
                });
            }
        }
    }
    for Between { near, .. } in &found.between {
        let v6 = ask.address.is_ipv6();
        let keys: &[(&str, Combined)] = match v6 {
            true => &[
                ("forwarding", Combined::Own),
                ("proxy_ndp", Combined::Larger),
            ],
            false => &[("forwarding", Combined::Own)],
        };
        for (key, combined) in keys {
            let read = setting(host, near.device, (v6, key), *combined);
            found.missing.extend(read.err().into_iter().flatten());
        }
    }
}

#[cfg(test)]
mod tests;
