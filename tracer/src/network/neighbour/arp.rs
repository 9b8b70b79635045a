//! What an interface does with an ARP request that came to it (`arp_process`, net/ipv4/arp.c).

use std::net::IpAddr;

use super::super::links::master_of;
use super::super::route::{Decision, Query, Tables, lookup};
use super::super::settings::{Combined, Setting, setting};
use super::{Ask, By, Reaction, Silence};
use crate::host::Host;
use crate::host::facts::{InterfaceAddress, Link, Question, Route, Selectors};
use crate::host::prefix::holds;
use crate::model::{Device, Proto, Tuple};
use crate::uapi::rtnetlink::RT_TABLE_LOCAL;

/// RT_SCOPE_LINK: addresses of a larger scope are of the host alone.
const SCOPE_LINK: u8 = 253;

/// One request at one interface.
struct Request<'a, 'm> {
    host: &'a Host,
    link: &'a Link,
    target: IpAddr,
    source: Option<IpAddr>,
    missing: &'m mut Vec<Question>,
}

pub(super) fn reaction<'a>(
    host: &'a Host,
    (link, ask, few): (&'a Link, Ask, bool),
    missing: &mut Vec<Question>,
) -> Reaction<'a> {
    let mut request = Request {
        host,
        link,
        target: ask.address,
        source: ask.source.filter(|s| !s.is_unspecified()),
        missing,
    };
    let vrf = |link: &Link| {
        master_of(host, link)
            .filter(|m| m.kind == "vrf")
            .map(|m| m.device)
    };
    let owners = || {
        host.owners(ask.address)
            .filter(|d| d.netns == link.device.netns && !host.is_gone(*d))
            .filter_map(|d| host.link(d))
    };
    let here = owners().find(|owner| vrf(owner) == vrf(link));
    match here {
        Some(owner) => request.local(Some(owner.device)),
        None if request.is_local_by_route() => request.local(None),
        None => match (request.proxy(few), owners().next()) {
            (Reaction::None, Some(owner)) => {
                Reaction::Silent(Some(owner.device), Silence::OtherVrf)
            }
            (reaction, _) => reaction,
        },
    }
}

impl<'a> Request<'a, '_> {
    fn setting(&mut self, key: &str, combined: Combined) -> Option<Setting> {
        match setting(self.host, self.link.device, (false, key), combined) {
            Ok(setting) => Some(setting),
            Err(questions) => {
                self.missing.extend(questions);
                None
            }
        }
    }

    /// A route of type `local` that is no interface's address.
    fn is_local_by_route(&self) -> bool {
        let key = (self.link.device.netns, self.target);
        let towards = self.host.towards.get(&key);
        towards.is_some_and(|list| {
            list.fact
                .iter()
                .find(|r| r.table == RT_TABLE_LOCAL)
                .is_some_and(|r| r.kind == "local")
        })
    }

    /// What the kernel said about this packet, coming in here: its route, or the errno with which it refuses it.
    fn input(&self) -> Option<&'a Result<Route, u32>> {
        let source = self.source?;
        self.host
            .routes
            .iter()
            .rev()
            .map(|dated| &dated.fact)
            .find(|r| {
                r.netns == self.link.device.netns
                    && r.iif == self.link.device.ifindex.0
                    && (r.tuple.src, r.tuple.dst) == (source, self.target)
            })
            .map(|r| &r.result)
    }

    fn ask_for_input(&mut self) {
        let Some(source) = self.source else {
            return;
        };
        self.missing.push(Question::Route {
            netns: self.link.device.netns,
            tuple: tuple(source, self.target),
            iif: self.link.device.ifindex.0,
            with: Selectors::default(),
        });
    }

    fn local(&mut self, owner: Option<Device>) -> Reaction<'a> {
        let silent = |why| Reaction::Silent(owner, why);
        if self.link.noarp {
            return silent(Silence::NoArp);
        }
        let refused = match self.source {
            Some(source) => self.refused(source),
            None => Ok(None),
        };
        match refused {
            Err(()) => return Reaction::None,
            Ok(Some(why)) => return silent(why),
            Ok(None) => {}
        }
        let Some(ignore) = self.setting("arp_ignore", Combined::Larger) else {
            return Reaction::None;
        };
        if self.is_ignored(ignore.value) {
            return silent(Silence::Ignored(ignore));
        }
        match self.is_filtered() {
            Err(()) => return Reaction::None,
            Ok(Some(setting)) => return silent(Silence::Filtered(setting)),
            Ok(None) => {}
        }
        if let Some(query) = self.led_away() {
            return silent(Silence::LedAway(query));
        }
        Reaction::Answers(owner.map_or(By::LocalRoute, By::Owner))
    }

    /// The request as its route is looked up, where that is none to this host itself: rules lead past the table local.
    fn led_away(&self) -> Option<Query> {
        let device = self.link.device;
        let asked = tuple(self.source?, self.target);
        let query = Query::input(asked, device.ifindex, 0);
        match lookup(&Tables::of(self.host, device.netns), &query).decision {
            Decision::Route { route, .. } => (route.kind == "unicast").then_some(query),
            _ => None,
        }
    }

    /// Why the look-up of the request's route, which precedes an answer, refuses the asker (`fib_validate_source`).
    fn refused(&mut self, source: IpAddr) -> Result<Option<Silence<'a>>, ()> {
        let IpAddr::V4(v4) = source else {
            return Ok(None);
        };
        if v4.is_loopback() || v4.is_multicast() || v4.is_broadcast() || v4.octets()[0] == 0 {
            return Ok(Some(Silence::SourceImpossible(source)));
        }
        if self.host.is_local(self.link.device.netns, source) {
            // Off, where nobody has looked.
            let accepts = self.setting("accept_local", Combined::Larger);
            let accepts = accepts.is_some_and(|s| s.value != 0);
            return Ok((!accepts).then_some(Silence::SourceOwn(source)));
        }
        let filter = self.setting("rp_filter", Combined::Larger).ok_or(())?;
        if filter.value == 0 {
            return Ok(None);
        }
        let refuses = match (self.input(), self.route_back(source)) {
            (Some(answer), _) => answer.is_err(),
            (None, Some(Ok(route))) => {
                filter.value == 1 && route.oif != Some(self.link.device.ifindex.0)
            }
            (None, Some(Err(_))) => true,
            (None, None) => {
                self.ask_for_input();
                return Err(());
            }
        };
        Ok(refuses.then_some(Silence::ReversePath(source, filter)))
    }

    /// The route of an answer, where it was asked for.
    fn route_back(&self, source: IpAddr) -> Option<&'a Result<Route, u32>> {
        let netns = self.link.device.netns;
        let mut read = self.host.routes.iter().rev().map(|dated| &dated.fact);
        read.find(|r| r.netns == netns && r.iif == 0 && r.tuple.dst == source)
            .map(|r| &r.result)
    }

    /// `arp_ignore()`.
    fn is_ignored(&self, value: u32) -> bool {
        let own = self.host.addresses(self.link.device);
        let entries = || own.iter().filter(|a| a.address == self.target);
        match value {
            1 => entries().next().is_none(),
            2 => !entries().any(|a| match self.source {
                Some(source) => holds(a.address, a.prefix, source),
                None => true,
            }),
            3 => !self.entries_of_namespace().any(|a| a.scope <= SCOPE_LINK),
            8 => true,
            _ => false,
        }
    }

    fn entries_of_namespace(&self) -> impl Iterator<Item = &'a InterfaceAddress> {
        let (host, netns, target) = (self.host, self.link.device.netns, self.target);
        host.owners(target)
            .filter(move |d| d.netns == netns)
            .flat_map(move |d| host.addresses(d))
            .filter(move |a| a.address == target)
    }

    /// `arp_filter()`: the answer's own route has to leave where the question came from.
    fn is_filtered(&mut self) -> Result<Option<Setting>, ()> {
        let filter = self.setting("arp_filter", Combined::Larger).ok_or(())?;
        let Some(source) = self.source.filter(|_| filter.value != 0) else {
            return Ok(None);
        };
        let Some(route) = self.route_back(source) else {
            self.missing.push(Question::Route {
                netns: self.link.device.netns,
                tuple: tuple(self.target, source),
                iif: 0,
                with: Selectors::default(),
            });
            return Err(());
        };
        let here = route
            .as_ref()
            .is_ok_and(|r| r.oif == Some(self.link.device.ifindex.0));
        Ok((!here).then_some(filter))
    }

    /// A namespace that does not have the address and may answer for who does. A request from nobody is never
    /// answered so.
    fn proxy(&mut self, few: bool) -> Reaction<'a> {
        if self.source.is_none() || self.link.noarp {
            return Reaction::None;
        }
        let Some(forwarding) = self.setting("forwarding", Combined::Own) else {
            return Reaction::None;
        };
        if forwarding.value == 0 && !few {
            return Reaction::None;
        }
        let (Some(proxy), Some(private)) = (
            self.setting("proxy_arp", Combined::Larger),
            self.setting("proxy_arp_pvlan", Combined::Larger),
        ) else {
            return Reaction::None;
        };
        let key = (self.link.device.netns, false);
        let Some(entries) = self.host.proxies.get(&key) else {
            let (netns, v6) = key;
            self.missing.push(Question::ProxyNeighbors { netns, v6 });
            return Reaction::None;
        };
        let entry = entries.fact.iter().any(|(interface, address)| {
            *address == self.target && [0, self.link.device.ifindex.0].contains(interface)
        });
        if proxy.value == 0 && private.value == 0 && !entry {
            return Reaction::None;
        }
        if forwarding.value == 0 {
            return Reaction::Silent(None, Silence::NotForwarding(forwarding));
        }
        self.routed((proxy, private, entry))
    }

    /// A proxy needs a route for the address that leaves through another interface (`arp_fwd_proxy`), or, for private
    /// VLANs, through the same (`arp_fwd_pvlan`).
    fn routed(&mut self, (proxy, private, entry): (Setting, Setting, bool)) -> Reaction<'a> {
        let Some(answer) = self.input() else {
            self.ask_for_input();
            return Reaction::None;
        };
        let out = match answer {
            Ok(route) if route.kind == "unicast" => route.oif,
            _ => None,
        };
        let Some(out) = out else {
            return Reaction::Silent(None, Silence::ProxyNoRoute);
        };
        let same = out == self.link.device.ifindex.0;
        if !same && proxy.value != 0 {
            Reaction::Answers(By::ProxyArp(proxy, out))
        } else if same && private.value != 0 {
            Reaction::Answers(By::ProxyArp(private, out))
        } else if !same && entry {
            Reaction::Answers(By::ProxyEntry)
        } else {
            Reaction::Silent(None, Silence::ProxySameInterface(out))
        }
    }
}

/// A request as a route look-up: only addresses count.
fn tuple(src: IpAddr, dst: IpAddr) -> Tuple {
    Tuple {
        proto: Proto::Arp,
        src,
        sport: 0,
        dst,
        dport: 0,
        icmp_id: 0,
    }
}
