//! A frame that another machine took than the one it was for: the sender's neighbour entry names the MAC of a living
//! machine that does not have the address. It moved and was not announced, somebody answered for it by proxy ARP, or
//! the entry was typed.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{Link, Question, TableRoute};
use crate::model::{Detail, Device, Ethernet, Event, Mac, Tuple};
use crate::network::neighbour::owners;
use crate::network::route::route_words;
use crate::uapi::neighbour::NUD_PERMANENT;
use crate::uapi::rtnetlink::RT_TABLE_LOCAL;
use crate::verdict::{Confidence, Outcome};

use super::super::super::candidate::{Candidate, Specificity, place_at};
use super::super::super::causes::L2_WRONG_MAC;
use super::super::super::loss::Loss;
use super::super::super::needs::Asked;
use super::super::super::remedy::{Command, Remedy, Shell, command, ip, sysctl, text};
use super::super::super::route_commands;
use super::super::super::source_address::own_route;
use super::super::super::words;
use super::{came_to, entry_words, hop_towards, hop_without_source};

/// A frame's way from the interface that addressed it to the one that took it.
#[derive(Clone, Copy)]
struct Crossing {
    sender: Device,
    taker: Device,
    mac: Mac,
    /// The packet as it was there.
    tuple: Tuple,
}

/// Such a way to somebody who is not the next hop.
struct Taken<'a> {
    crossing: Crossing,
    hop: IpAddr,
    /// Who has that address on the sender's segment.
    owner: &'a Link,
    /// Its MAC.
    right: Mac,
}

/// The ways of the packet from machine to machine, in their order. What goes inside a tunnel has its next hop there.
fn crossings(loss: &Loss<'_>) -> Vec<Crossing> {
    let seen = |event: &Event| -> Option<(Device, Ethernet, Tuple)> {
        let packet = event.packet.as_ref().filter(|p| p.tunnel.is_none())?;
        Some((event.device?, packet.ethernet?, packet.tuple?))
    };
    let mut sent: Option<(Device, Ethernet, Tuple)> = None;
    let mut list = Vec::new();
    for event in loss.steps().iter().map(|step| &step.event) {
        let Some((device, frame, tuple)) = seen(event) else {
            continue;
        };
        match event.detail {
            // bridges pass a frame on as it is
            Detail::Egress if !sent.is_some_and(|(_, known, _)| is_same(known, frame)) => {
                sent = Some((device, frame, tuple));
            }
            Detail::Ingress => {
                let own = loss.host.link(device).and_then(|link| link.mac);
                let from = sent.filter(|(_, known, _)| is_same(*known, frame));
                if let Some((sender, ..)) = from.filter(|_| own == Some(frame.dst))
                    && sender.netns != device.netns
                    && !is_handed_on(loss, event, frame)
                {
                    list.push(Crossing {
                        sender,
                        taker: device,
                        mac: frame.dst,
                        tuple,
                    });
                }
            }
            _ => {}
        }
    }
    list
}

/// Whether the interface handed the frame on as it is, by a redirect: into a tunnel, or to another interface.
fn is_handed_on(loss: &Loss<'_>, came: &Event, frame: Ethernet) -> bool {
    let later = loss.steps().iter().map(|step| &step.event);
    let mut later = later
        .skip_while(|event| !std::ptr::eq(*event, came))
        .skip(1);
    later.any(|event| {
        let packet = event.packet.as_ref();
        let frames = packet.map(|p| [p.ethernet, p.inner_ethernet]);
        let same = |known: &Option<Ethernet>| known.is_some_and(|known| is_same(known, frame));
        let out = matches!(event.detail, Detail::Egress) && event.device != came.device;
        out && frames.is_some_and(|frames| frames.iter().any(same))
    })
}

fn is_same(a: Ethernet, b: Ethernet) -> bool {
    (a.src, a.dst) == (b.src, b.dst)
}

impl<'a> Taken<'a> {
    /// The first on the packet's way.
    fn of(loss: &Loss<'a>) -> Option<Self> {
        crossings(loss)
            .into_iter()
            .find_map(|crossing| Self::at(loss.host, crossing))
    }

    fn at(host: &'a Host, crossing: Crossing) -> Option<Self> {
        let hop = hop_towards(host, crossing.sender, crossing.tuple.dst);
        let unbound = hop_without_source(host, crossing.sender, crossing.tuple.dst);
        if [Some(hop), unbound]
            .into_iter()
            .flatten()
            .any(|hop| host.is_local(crossing.taker.netns, hop))
        {
            return None;
        }
        let owner = owners(host, crossing.sender, hop).into_iter().next()?;
        let right = owner.mac.filter(|mac| *mac != crossing.mac)?;
        Some(Self {
            crossing,
            hop,
            owner,
            right,
        })
    }

    /// A sysctl by which the taker answers for addresses of others, where it is set.
    fn proxy(&self, host: &Host) -> Option<String> {
        proxies(host, self.crossing.taker).into_iter().find(|name| {
            let key = (self.crossing.taker.netns, name.clone());
            let read = host.sysctls.get(&key);
            read.is_some_and(|value| value.fact.as_deref() == Some("1"))
        })
    }

    /// The route by which the taker leads the address elsewhere, so that it answers for it.
    fn astray(&self, host: &'a Host) -> Option<&'a TableRoute> {
        let taker = self.crossing.taker;
        let routes = &host.towards.get(&(taker.netns, self.hop))?.fact;
        let whole = if self.hop.is_ipv6() { 128 } else { 32 };
        routes.iter().find(|route| {
            let away = route.oif.is_some_and(|oif| oif != taker.ifindex.0);
            route.length == whole
                && route.kind == "unicast"
                && route.table != RT_TABLE_LOCAL
                && away
        })
    }

    /// Why the entry is wrong: a setting of the taker, else what was not announced. With the entry corrected, and what led to it.
    fn why(&self, host: &'a Host, mut candidate: Candidate) -> Candidate {
        let [look, entry] = self.entry(host);
        let Some(name) = self.proxy(host) else {
            return candidate.advise([look, entry]).advise([text(
                "who takes an address over has to announce it (gratuitous ARP, unsolicited neighbour advertisement): until then all who know the old MAC send there",
            )]);
        };
        let taker = self.crossing.taker;
        let shell = Shell::of(host, Some(taker.netns));
        let set = |value: &str| command!["sysctl -w", format!("{}={value}", sysctl(&name))];
        let quiet = shell
            .change("let it no longer answer for others", set("0"))
            .undone_by(set("1"));
        let why = format!(
            "{} = 1: it answers for addresses that it would send elsewhere",
            sysctl(&name)
        );
        let by = words::interface(host, taker);
        candidate.summary += &format!("; {by} answers for it (proxy_arp)");
        let forgotten = |change: Remedy| {
            let change = change.and_in(&self.sender_shell(host), self.replaced(host, self.right));
            change.undone_in(
                &self.sender_shell(host),
                self.replaced(host, self.crossing.mac),
            )
        };
        let without = self.astray(host).and_then(|route| {
            let place = (host, taker.netns);
            let text = "take away the route for which it answers";
            let remedy = route_commands::delete(&shell, place, route, text.to_owned())?;
            Some((route_words(host, taker.netns, route), remedy))
        });
        let candidate = candidate.because("sysctl", why);
        match without {
            Some((words, remedy)) => {
                let mut candidate = candidate;
                candidate.summary += &format!(", since it has the route {words}");
                candidate.advise([look, forgotten(remedy)]).advise([quiet])
            }
            None => candidate.advise([look, forgotten(quiet)]),
        }
    }

    fn sender_shell(&self, host: &Host) -> Shell {
        Shell::of(host, Some(self.crossing.sender.netns))
    }

    /// The sender's entry with another MAC; as lasting as it was.
    fn replaced(&self, host: &Host, mac: Mac) -> Command {
        let sender = self.crossing.sender;
        let entry = host.neighbor(sender, self.hop);
        let by_hand = entry.is_some_and(|entry| entry.state & NUD_PERMANENT != 0);
        let state: &[&str] = if by_hand { &[] } else { &["nud", "reachable"] };
        command![
            ..ip(self.hop.is_ipv6()),
            "neigh replace",
            self.hop,
            "lladdr",
            mac,
            "dev",
            host.interface(sender),
            ..state
        ]
    }

    /// The sender's entry, to look at and corrected.
    fn entry(&self, host: &Host) -> [Remedy; 2] {
        let shell = self.sender_shell(host);
        let name = host.interface(self.crossing.sender);
        [
            shell.look(
                "look first: the neighbour entry that the sender uses",
                command![
                    ..ip(self.hop.is_ipv6()),
                    "neigh show",
                    self.hop,
                    "dev",
                    name
                ],
            ),
            shell
                .change(
                    "give the sender's entry the MAC of who has the address",
                    self.replaced(host, self.right),
                )
                .undone_by(self.replaced(host, self.crossing.mac)),
        ]
    }
}

/// Settings by which an interface answers for addresses of others.
fn proxies(host: &Host, device: Device) -> [String; 2] {
    [host.interface(device), "all".to_owned()].map(|name| format!("net/ipv4/conf/{name}/proxy_arp"))
}

/// The sender's routes and entries, and whether who took a frame answers for others.
pub(in super::super::super) fn questions(loss: &Loss<'_>, list: &mut Asked) {
    let host = loss.host;
    for Crossing {
        sender,
        taker,
        tuple,
        ..
    } in crossings(loss)
    {
        if host.is_local(taker.netns, tuple.dst) {
            continue;
        }
        let came_in = came_to(loss, sender).map_or(0, |device| device.ifindex.0);
        list.push(Question::route(sender.netns, tuple, came_in));
        // A socket that is not bound looks its route up before it has a source.
        if host.is_local(sender.netns, tuple.src) {
            list.push(own_route(sender.netns, tuple.dst, &tuple));
        }
        let address = hop_towards(host, sender, tuple.dst);
        if !host.is_local(taker.netns, address) {
            list.push(Question::Neighbor {
                device: sender,
                address,
            });
            for name in proxies(host, taker) {
                list.sysctl(taker.netns, name);
            }
            list.push(Question::RoutesTowards {
                netns: taker.netns,
                dst: address,
            });
        }
    }
}

/// A machine that is not the next hop got the packet, and the packet was lost there or behind.
pub fn by_another(loss: &Loss<'_>) -> Option<Candidate> {
    let host = loss.host;
    let taken = Taken::of(loss)?;
    let Crossing {
        sender, taker, mac, ..
    } = taken.crossing;
    let hop = taken.hop;
    let [from, by, owner] = [sender, taker, taken.owner.device].map(|d| words::interface(host, d));
    let summary = format!(
        "wrong destination MAC on {} at {}: {from} sends what is for {hop} to {mac}, which is {by}; {owner} has {hop}",
        host.namespace(taker.netns),
        host.interface(taker),
    );
    let candidate = Candidate::new(&L2_WRONG_MAC, place_at(host, taker, "device"), summary)
        .explains(Specificity::Linked)
        .sure(if loss.netns() == Some(taker.netns) {
            Confidence::Certain
        } else {
            Confidence::Likely
        })
        .leads_to(match loss.told() {
            Some(_) => Outcome::Rejected,
            None => Outcome::Dropped,
        })
        .because(
            "neighbor",
            entry_words(host, sender, hop).map(|entry| format!("the entry of {from} {entry}")),
        )
        .because(
            "link",
            format!("{hop} is on {owner} ({}), on the same segment", taken.right),
        );
    Some(taken.why(host, candidate))
}
