//! The route that led to a neighbour which does not answer, and what to change about it: nothing is wrong with the
//! neighbour where its address is not on the link at all, or where there is another way.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{InterfaceAddress, Link, NextHop, PolicyRule, TableRoute};
use crate::host::prefix::{holds, network};
use crate::model::{Device, IfIndex, Tuple};
use crate::network::links::peer_of;
use crate::network::neighbour::{Answer, Answerer, By, Told};
use crate::network::path::{End, follow};
use crate::network::route::{Decision, Query, Tables, lookup, route_words, rule_words};
use crate::network::settings::{Combined, conf, setting};
use crate::uapi::rtnetlink::{RT_TABLE_LOCAL, RT_TABLE_MAIN};

use super::super::super::missing_route::Astray;
use super::super::super::needs::Asked;
use super::super::super::remedy::{Remedy, Shell, command, ip, sysctl};
use super::super::super::route_commands;
use super::super::super::words;
use super::Unresolved;
use super::preset::far_end;

/// Machines of a link that are asked.
const FEW: usize = 8;

/// A route that makes an address a neighbour: as its gateway, or by taking it to be on the link.
pub(super) struct Way<'a> {
    host: &'a Host,
    who: Unresolved,
    rule: &'a PolicyRule,
    route: &'a TableRoute,
    /// The route that would be used without it; none for a neighbour that a translation chose: nobody meant a machine
    /// beyond that has the same address.
    instead: Option<(&'a TableRoute, Vec<NextHop>)>,
    /// The address is the gateway.
    gateway: bool,
    /// The packet.
    tuple: Tuple,
}

/// Whether a machine passes on what comes in by its interface.
fn forwards(host: &Host, near: &Link, v6: bool) -> bool {
    let read = setting(host, near.device, (v6, "forwarding"), Combined::Own);
    read.is_ok_and(|setting| setting.value != 0)
}

/// Where a packet would come to by a machine to which it would be given.
fn onwards(host: &Host, near: &Link, tuple: Tuple) -> End {
    let query = Query::input(tuple, near.device.ifindex, 0);
    follow(&Tables::of(host, near.device.netns), &query)
}

/// What to read of machines on the link by which a packet could go.
pub(in super::super::super) fn ask_of_others(
    host: &Host,
    told: &Answer<'_>,
    tuple: Tuple,
    asked: &mut Asked,
) {
    let forwarders = told
        .asked
        .iter()
        .filter(|link| forwards(host, link, tuple.dst.is_ipv6()));
    for link in forwarders.take(FEW) {
        if let End::Unknown(Some(question)) = onwards(host, link, tuple) {
            asked.push(question);
        }
    }
}

/// Whether somebody on the link has the address, even if no answer comes.
fn is_behind(told: &Answer<'_>) -> bool {
    let answers = |a: &Answerer<'_>| matches!(a.by, By::Owner(_));
    told.answerers.iter().any(answers) || told.silent.iter().any(|s| s.owner.is_some())
}

impl<'a> Way<'a> {
    /// The route of a packet that waited for this neighbour; `None` where what was read of routes tells another one.
    /// `translated`: to this destination.
    pub(super) fn of(
        host: &'a Host,
        who: Unresolved,
        query: &Query,
        translated: bool,
    ) -> Option<Self> {
        let tables = Tables::of(host, who.device.netns);
        let Decision::Route { rule, route, hops } = lookup(&tables, query).decision else {
            return None;
        };
        // Not the hops alone that would be used now: an IPv6 host leaves out what failed meanwhile.
        let gateway = route
            .hops()
            .iter()
            .any(|hop| hop.gateway == Some(who.address));
        let on_link = || {
            let here =
                |hop: &NextHop| hop.gateway.is_none() && hop.oif == Some(who.device.ifindex.0);
            query.tuple.dst == who.address && hops.iter().any(here)
        };
        if !gateway && !on_link() {
            return None;
        }
        let instead = match lookup(&tables.without(route), query).decision {
            Decision::Route { route, hops, .. } if gateway || !translated => Some((route, hops)),
            _ => None,
        };
        Some(Self {
            host,
            who,
            rule,
            route,
            instead,
            gateway,
            tuple: query.tuple,
        })
    }

    fn shell(&self) -> Shell {
        Shell::of(self.host, Some(self.who.device.netns))
    }

    fn name(&self) -> String {
        self.host.interface(self.who.device)
    }

    fn route_words(&self, route: &TableRoute) -> String {
        route_words(self.host, self.who.device.netns, route)
    }

    fn paths(&self) -> usize {
        self.route.paths.len()
    }

    /// How the route makes the address a neighbour, as evidence.
    pub(super) fn words(&self) -> String {
        let address = self.who.address;
        let how = match (self.gateway, self.paths()) {
            (true, 0 | 1) => format!("{address} is the next hop by the route"),
            (true, paths) => format!(
                "{address} is one of the {paths} next hops, among which a hash of each flow chooses, of the route"
            ),
            (false, _) => format!(
                "{address} is taken to be on the link of {} by the route",
                self.name()
            ),
        };
        format!(
            "{how} {} (policy rule {}: {})",
            self.route_words(self.route),
            self.rule.priority,
            rule_words(self.rule)
        )
    }

    /// What the route has to do with it, as the end of the summary.
    pub(super) fn summary(&self, told: &Answer<'_>) -> Option<String> {
        if let Some(elsewhere) = told.elsewhere.first().filter(|_| self.gateway) {
            return Some(format!(
                "; {} is behind {}, and the route names another interface",
                words::interface(self.host, elsewhere.owner.device),
                words::interface(self.host, elsewhere.through.device)
            ));
        }
        if self.gateway {
            let paths = self.paths();
            return (paths > 1).then(|| format!(", one of {paths} next hops of the route"));
        }
        if let Some(masks) = self.masks(told) {
            return Some(format!(
                "; it is taken to be on the link by the prefix length of {}/{}, where {}/{} is that of {}",
                masks.own.address,
                masks.own.prefix,
                masks.other.address,
                masks.other.prefix,
                words::interface(self.host, masks.end.device)
            ));
        }
        if let Some(behind) = self.behind() {
            let (hop, machine) = (behind.next_hop, behind.machine(self.host));
            return Some(format!("; it is behind {hop} ({machine})"));
        }
        let (instead, _) = self.instead.as_ref()?;
        (told.told() == Told::Nobody && !told.elsewhere.is_empty() || self.is_deserted(told)).then(
            || {
                format!(
                    "; the route {} takes it there, without which {} would be used",
                    self.route_words(self.route),
                    self.route_words(instead)
                )
            },
        )
    }

    /// Nobody at all gets what is sent to the link.
    fn is_deserted(&self, told: &Answer<'_>) -> bool {
        told.asked.is_empty() && told.open.is_empty()
    }

    /// What to change, what is nearest to the mistake first.
    pub(super) fn remedies(&self, told: &Answer<'_>) -> Vec<Remedy> {
        let mut list = if self.gateway {
            self.of_gateway(told)
        } else {
            self.of_link(told)
        };
        if !matches!(self.rule.table, 253..=255) && self.gateway && !is_behind(told) {
            list.push(route_commands::delete_rule(
                &self.shell(),
                self.who.address.is_ipv6(),
                self.rule,
                "or the policy rule that leads to its table",
            ));
        }
        list
    }

    fn of_gateway(&self, told: &Answer<'_>) -> Vec<Remedy> {
        if self.paths() > 1 {
            return self.without_path().into_iter().collect();
        }
        if self.route.nexthop.is_some() {
            let look = self.shell().look(
                "the next-hop object that names it",
                command!["ip nexthop show"],
            );
            return vec![look];
        }
        if let Some(proxy) = self.gateway_by_proxy(told) {
            return vec![proxy];
        }
        // a next hop that is where the route says is no reason to take the route away
        if is_behind(told) {
            return Vec::new();
        }
        if let Some(elsewhere) = told.elsewhere.first() {
            return self.by_other(elsewhere.through).into_iter().collect();
        }
        let deleted = self.deleted();
        // A table of its own is there for what must not go by the others.
        let apart = !matches!(self.rule.table, 253..=255);
        // Others that take the default route may have no business there.
        let missed = self.missed().filter(|_| deleted.is_none());
        if let Some(missed) = missed {
            return vec![missed.added(self.host)];
        }
        let renamed = (apart || deleted.is_none()).then(|| self.other_gateway(told));
        renamed.flatten().into_iter().chain(deleted).collect()
    }

    /// The route without the path that leads to the neighbour.
    fn without_path(&self) -> Option<Remedy> {
        let mut kept = self.route.clone();
        kept.paths
            .retain(|hop| hop.gateway != Some(self.who.address));
        if let [only] = kept.paths[..] {
            (kept.gateway, kept.oif) = (only.gateway, only.oif);
            kept.flags = only.flags;
            kept.paths.clear();
        }
        self.replaced(
            &kept,
            format!(
                "leave out the nexthop {} until it answers again",
                self.who.address
            ),
        )
    }

    /// The next hop is behind another interface than the one that the route names.
    fn by_other(&self, link: &Link) -> Option<Remedy> {
        let changed = TableRoute {
            oif: Some(link.device.ifindex.0),
            flags: 0,
            ..self.route.clone()
        };
        self.replaced(
            &changed,
            format!(
                "{} is behind {}: lead the route through that interface",
                self.who.address, link.name
            ),
        )
    }

    /// The machine on a network of this namespace behind which the packet's destination is, where only the default route
    /// takes it to the gateway.
    pub(super) fn missed(&self) -> Option<Astray<'a>> {
        let default = self.gateway && self.route.length == 0;
        let missed = Astray::behind(self.host, (self.who.device, None), self.tuple.dst);
        missed.filter(|_| default)
    }

    /// There is another way.
    fn deleted(&self) -> Option<Remedy> {
        let (instead, _) = self.instead.as_ref()?;
        route_commands::delete(
            &self.shell(),
            (self.host, self.who.device.netns),
            self.route,
            format!(
                "if the next hop is the wrong one: delete the route that names it; {} is used then",
                self.route_words(instead)
            ),
        )
    }

    fn replaced(&self, after: &TableRoute, text: String) -> Option<Remedy> {
        let place = (self.host, self.who.device.netns);
        route_commands::replace(&self.shell(), place, (self.route, after), text)
    }

    /// By the only machine on the link that forwards: its address becomes the next hop, or it gets the one that is named.
    /// Where the link goes on outside of what is known, there may be others.
    fn other_gateway(&self, told: &Answer<'_>) -> Option<Remedy> {
        if !told.open.is_empty() {
            return None;
        }
        let v6 = self.who.address.is_ipv6();
        let leads = |link: &&&Link| {
            let end = onwards(self.host, link, self.tuple);
            let somewhere = matches!(end, End::Owner(_) | End::Unknown(None));
            somewhere && forwards(self.host, link, v6)
        };
        let mut found = told.asked.iter().filter(leads);
        let (link, None) = (found.next()?, found.next()) else {
            return None;
        };
        let own = self
            .host
            .addresses(self.who.device)
            .iter()
            .find(|o| holds(o.address, o.prefix, self.who.address))?;
        let mut addresses = self.host.addresses(link.device).iter();
        match addresses.find(|a| holds(own.address, own.prefix, a.address)) {
            Some(other) => self.renamed(link, other.address),
            None => Some(self.given(link, own.prefix)),
        }
    }

    /// The route with another gateway.
    fn renamed(&self, link: &Link, gateway: IpAddr) -> Option<Remedy> {
        let changed = TableRoute {
            gateway: Some(gateway),
            ..self.route.clone()
        };
        self.replaced(
            &changed,
            format!(
                "{gateway} ({}) is the only machine on this link that forwards: name it as the next hop",
                words::interface(self.host, link.device)
            ),
        )
    }

    /// The address that the route names, for a machine that has none of the link's network.
    fn given(&self, link: &Link, prefix: u8) -> Remedy {
        let address = self.who.address;
        let ip = ip(address.is_ipv6());
        let nodad = address.is_ipv6().then_some("nodad");
        let full = format!("{address}/{prefix}");
        Shell::of(self.host, Some(link.device.netns))
            .change(
                format!(
                    "{} is the only machine on this link that forwards, and has no address of its network: if it is the gateway, give it {address}",
                    words::interface(self.host, link.device)
                ),
                command![..ip, "addr add", full, "dev", link.name, ..nodad],
            )
            .undone_by(command![..ip, "addr del", full, "dev", link.name])
    }

    /// Nobody has the address, and at the other end of the cable is an interface without one of its network, as
    /// networks of pods have it: only a proxy can answer there.
    fn gateway_by_proxy(&self, told: &Answer<'_>) -> Option<Remedy> {
        let address = self.who.address;
        let peer = peer_of(self.host, self.who.device)?;
        // What tc hands on does not come to the stack of who hands it on.
        let peer = far_end(self.host, peer);
        if peer.master.is_some() {
            return None;
        }
        let nobody = told.told() != Told::Somebody && told.silent.iter().all(|s| s.owner.is_none());
        let own = self.host.addresses(self.who.device);
        let in_network = own.iter().any(|a| holds(a.address, a.prefix, address));
        let numbered = |a: &InterfaceAddress| {
            a.address.is_ipv4() == address.is_ipv4() && holds(a.address, a.prefix, address)
        };
        let bare = !self.host.addresses(peer.device).iter().any(numbered);
        if !nobody || !bare || in_network || address.is_ipv6() {
            return None;
        }
        let proxy = setting(
            self.host,
            peer.device,
            (false, "proxy_arp"),
            Combined::Larger,
        )
        .ok()?;
        let name = sysctl(&conf(false, &peer.name, "proxy_arp"));
        (proxy.value == 0).then(|| {
            Shell::of(self.host, Some(peer.device.netns))
                .change(
                    format!(
                        "nobody has {address}, and {} has no address of its network: let it answer as a proxy",
                        words::interface(self.host, peer.device)
                    ),
                    command!["sysctl -w", format!("{name}=1")],
                )
                .undone_by(command!["sysctl -w", format!("{name}=0")])
        })
    }

    /// The address is taken to be on the link, and is not there.
    fn of_link(&self, told: &Answer<'_>) -> Vec<Remedy> {
        if let Some(masks) = self.masks(told) {
            return vec![self.corrected(&masks)];
        }
        let proxies = || {
            told.between
                .iter()
                .take(1)
                .map(|between| self.proxy(between.near))
        };
        let directly = told.elsewhere.first().and_then(|e| self.through(e.through));
        let past = self.past_the_link(told);
        // What stands in between answers in its owner's stead where that is how its network works: IPv6 has no other
        // way for a prefix that is on the link.
        let proxy_first = self.who.address.is_ipv6() || past.is_none();
        let (first, then): (Vec<Remedy>, Vec<Remedy>) = match proxy_first {
            true => (proxies().collect(), past.into_iter().collect()),
            false => (past.into_iter().collect(), proxies().collect()),
        };
        let behind = self.behind().and_then(|machine| self.by(&machine));
        directly
            .into_iter()
            .chain(behind)
            .chain(first)
            .chain(then)
            .collect()
    }

    /// The machine on the link behind which the address is.
    fn behind(&self) -> Option<Astray<'a>> {
        Astray::behind(self.host, (self.who.device, None), self.who.address)
    }

    /// That machine carries it on.
    fn by(&self, machine: &Astray<'_>) -> Option<Remedy> {
        let hop = machine.next_hop;
        let text = format!(
            "it is not on this link, but behind {hop} ({}): route it there",
            machine.machine(self.host)
        );
        self.sent((self.who.device, Some(hop)), text)
    }

    /// A network of the interface that is larger than a neighbour on the same link has it, and holds the address only so.
    fn masks<'h>(&'h self, told: &Answer<'h>) -> Option<Masks<'h>> {
        let address = self.who.address;
        let own = self.host.addresses(self.who.device).iter().find(|a| {
            let prefix = network(a.address, a.prefix);
            a.prefix == self.route.length && prefix == self.route.prefix
        })?;
        told.asked.iter().find_map(|end| {
            let other = self.host.addresses(end.device).iter().find(|a| {
                let same = holds(a.address, a.prefix, own.address);
                same && a.prefix > own.prefix && !holds(a.address, a.prefix, address)
            })?;
            Some(Masks { own, other, end })
        })
    }

    fn corrected(&self, Masks { own, other, end }: &Masks<'_>) -> Remedy {
        let (address, name) = (own.address, self.name());
        let ip = ip(address.is_ipv6());
        let nodad = address.is_ipv6().then_some("nodad");
        let add = |prefix: u8| {
            let full = format!("{address}/{prefix}");
            command![..ip, "addr add", full, "dev", name, ..nodad]
        };
        let del = |prefix: u8| {
            let full = format!("{address}/{prefix}");
            command![..ip, "addr del", full, "dev", name]
        };
        // IPv6 has an address once on an interface, with whatever prefix length; IPv4 keeps routes through a gateway only as
        // long as there is an address.
        let swap = |from: u8, to: u8| match address {
            IpAddr::V4(_) => [add(to), del(from)],
            IpAddr::V6(_) => [del(from), add(to)],
        };
        let [first, second] = swap(own.prefix, other.prefix);
        let net = |prefix: u8| format!("{}/{prefix}", network(address, prefix));
        let change = self
            .shell()
            .change(
                format!(
                    "{} is not on this link, though its network {} says so: give the interface the prefix length that {} has",
                    self.who.address,
                    net(own.prefix),
                    words::interface(self.host, end.device)
                ),
                first,
            )
            .and(second);
        swap(other.prefix, own.prefix)
            .into_iter()
            .fold(change, Remedy::undone_by)
            .scope(format!(
                "whatever set {}/{} up has to know of it",
                own.address, own.prefix
            ))
    }

    /// This address alone sent another way. A route that is to it alone already is replaced.
    fn sent(&self, (out, gateway): (Device, Option<IpAddr>), text: String) -> Option<Remedy> {
        if self.is_host_route() {
            let after = TableRoute {
                gateway,
                oif: Some(out.ifindex.0),
                flags: 0,
                paths: Vec::new(),
                nexthop: None,
                scope: gateway.map_or(self.route.scope, |_| 0),
                ..self.route.clone()
            };
            return self.replaced(&after, text);
        }
        let (address, dev) = (self.who.address, self.host.interface(out));
        let table = (!matches!(self.route.table, RT_TABLE_MAIN | RT_TABLE_LOCAL))
            .then(|| ["table".to_owned(), self.route.table.to_string()]);
        let via = gateway.map(|gateway| ["via".to_owned(), gateway.to_string()]);
        let route = |verb: &'static str| {
            command![
                ..ip(address.is_ipv6()),
                "route",
                verb,
                address,
                ..via.clone().into_iter().flatten(),
                "dev",
                dev,
                ..table.clone().into_iter().flatten()
            ]
        };
        Some(
            self.shell()
                .change(text, route("add"))
                .undone_by(route("del")),
        )
    }

    fn is_host_route(&self) -> bool {
        let whole = if self.who.address.is_ipv6() { 128 } else { 32 };
        (self.route.prefix, self.route.length) == (self.who.address, whole)
    }

    /// By the route that would be used if the network of the link were not there, for this address alone.
    fn past_the_link(&self, told: &Answer<'_>) -> Option<Remedy> {
        let (instead, hops) = self.instead.as_ref()?;
        let hop = hops.iter().find(|hop| hop.gateway.is_some())?;
        let gateway = hop.gateway.filter(|g| *g != self.who.address)?;
        let out = Device {
            netns: self.who.device.netns,
            ifindex: IfIndex(hop.oif?),
        };
        let route = self.route_words(self.route);
        let deserted = match self.is_deserted(told) {
            true => format!(", and nothing is attached to {}", self.name()),
            false => String::new(),
        };
        let text = format!(
            "if it is not meant to be on this link: the route {route} takes it there{deserted}; send this address by what is used without that route ({})",
            self.route_words(instead)
        );
        let sent = self.sent((out, Some(gateway)), text)?;
        if self.is_host_route() {
            return Some(sent);
        }
        Some(sent.scope(format!(
            "other addresses of {route} still go to the link; the cure for all is another network for {}",
            self.name()
        )))
    }

    /// The owner is behind another interface of the same namespace: by the route that leads there, where only the wrong one
    /// hides it.
    fn through(&self, link: &Link) -> Option<Remedy> {
        let there = |hop: &NextHop| hop.oif == Some(link.device.ifindex.0);
        if let Some((instead, hops)) = &self.instead
            && self.is_host_route()
            && !hops.is_empty()
            && hops.iter().all(there)
        {
            let text = format!(
                "it is behind {}: delete the route that takes it to {}; {} is used then",
                link.name,
                self.name(),
                self.route_words(instead)
            );
            let place = (self.host, self.who.device.netns);
            return route_commands::delete(&self.shell(), place, self.route, text);
        }
        let text = format!("it is behind {}: route it there", link.name);
        self.sent((link.device, None), text)
    }

    /// The machine between here and the owner answers in the owner's stead.
    fn proxy(&self, near: &Link) -> Remedy {
        let address = self.who.address;
        let v6 = address.is_ipv6();
        let (ip, shell) = (ip(v6), Shell::of(self.host, Some(near.device.netns)));
        let entry =
            |verb: &'static str| command![..ip, "neigh", verb, "proxy", address, "dev", near.name];
        let mut change = shell.change(
            format!(
                "let {} answer for it as a proxy",
                words::interface(self.host, near.device)
            ),
            entry("add"),
        );
        let mut undo = Vec::new();
        let key = if v6 { "proxy_ndp" } else { "forwarding" };
        let combined = if v6 { Combined::Larger } else { Combined::Own };
        let off = setting(self.host, near.device, (v6, key), combined).is_ok_and(|s| s.value == 0);
        if off {
            let name = sysctl(&conf(v6, &near.name, key));
            change = change.and(command!["sysctl -w", format!("{name}=1")]);
            undo.push(command!["sysctl -w", format!("{name}=0")]);
        }
        undo.insert(0, entry("del"));
        undo.into_iter().fold(change, Remedy::undone_by)
    }
}

/// Two prefix lengths of one link.
struct Masks<'a> {
    own: &'a InterfaceAddress,
    other: &'a InterfaceAddress,
    /// Who has the other.
    end: &'a Link,
}
