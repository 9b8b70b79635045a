//! Limits that a router enforces: hops and packet sizes.

use std::net::IpAddr;

use crate::host::facts::FilterEngine;
use crate::model::{Detail, Device, Direction, IfIndex, Journey, NetNs, Proto, Step, Transport};

use super::super::candidate::{Candidate, Specificity};
use super::super::causes::{MTU_EXCEEDED, TTL_EXPIRED};
use super::super::chain_commands::default_program;
use super::super::hooks;
use super::super::loss::Loss;
use super::super::mtu;
use super::super::overlay;
use super::super::remedy::{Remedy, Shell, command, ip, text};
use super::super::routers;
use super::super::routing;
use super::super::visits;
use super::super::words;
use super::looped;
use super::route::HOOK;
use super::tunnel::hops::Hops;

/// TTL or hop limit used up. The reason says IP_INHDR on every kernel that has one.
pub fn ttl(loss: &Loss<'_>) -> Option<Candidate> {
    let forwarding = matches!(loss.function(), "ip_forward" | "ip6_forward");
    let named = loss.reason() == "IP_INHDR";
    if !forwarding || !(named || loss.unnamed() && hops_left(loss).is_some_and(|left| left <= 1)) {
        return None;
    }
    let what = if loss.v6() {
        "hop limit expired"
    } else {
        "TTL expired"
    };
    let loops = visits::looping(loss.journey);
    let dst = loss.dst()?;
    let ip = ip(loss.v6());
    let mut summary = format!("{what} (TTL){}", loss.at_words());
    if !loss.v6() {
        summary = format!("{what}{}", loss.at_words());
    }
    let mut candidate = Candidate::new(&TTL_EXPIRED, loss.place(Some(HOOK)), String::new())
        .explains(Specificity::Fact);
    if let Some(hops) = Hops::of(loss).filter(|_| loops.is_empty()) {
        summary += &format!(": {}", hops.words(loss));
        candidate = candidate.advise(hops.advice(loss));
    } else if loops.is_empty() {
        summary += &format!(": it came with too few hops left to reach {dst}");
        candidate = candidate.advise([
            Shell::of(loss.host, loss.netns())
                .look("where it would have gone", command![..ip, "route get", dst]),
            text(hop_limit_words(loss.v6())),
        ]);
    } else {
        let names: Vec<_> = loops
            .iter()
            .map(|(d, _)| words::interface(loss.host, *d))
            .collect();
        summary += &format!(": routing loop for {dst} between {}", names.join(" and "));
        candidate = of_loop(loss, &loops, candidate);
    }
    candidate.summary = summary;
    Some(candidate)
}

/// How often it went round, and where that can be broken.
fn of_loop(loss: &Loss<'_>, loops: &[(Device, usize)], candidate: Candidate) -> Candidate {
    let ip = ip(loss.v6());
    let passed: Vec<String> = loops
        .iter()
        .map(|(d, n)| format!("{} passed {n} times", words::interface(loss.host, *d)))
        .collect();
    let mut spaces: Vec<NetNs> = loops.iter().map(|(d, _)| d.netns).collect();
    spaces.sort_unstable();
    spaces.dedup();
    let looks = spaces.into_iter().map(|ns| {
        Shell::of(loss.host, Some(ns)).look(
            format!("where {} sends it", loss.host.namespace(ns)),
            command![..ip, "route get", loss.dst_words()],
        )
    });
    candidate
        .because("packet", passed.join(", "))
        .advise(looks)
        .advise(looped::deleted(loss, loops))
        .advise([text(format!(
            "one of these routes points back: {ip} route change the wrong one, or add the more specific route that is missing",
            ip = ip.join(" ")
        ))])
}

/// How many hops the packet had left, of a tunnel the outer one.
fn hops_left(loss: &Loss<'_>) -> Option<u8> {
    let packet = loss.event.packet.as_ref()?;
    Some(match packet.tunnel {
        Some(_) => packet.carrier_ttl.unwrap_or_default(),
        None => packet.ttl,
    })
}

/// What sets the number of hops at a sender.
fn hop_limit_words(v6: bool) -> &'static str {
    if v6 {
        "raise the sender's hop limit (its route's `hoplimit`: ip -6 route show; sysctl net.ipv6.conf.IF.hop_limit; ping -t), or look for a loop outside this host"
    } else {
        "raise the sender's TTL (sysctl net.ipv4.ip_default_ttl; ping -t), or look for a loop outside this host"
    }
}

/// An ICMP error about the flow that died.
struct LostError {
    netns: NetNs,
    /// The hook of the packet filter in which it died.
    hook: Option<&'static str>,
    words: String,
}

/// Where an ICMP error about the flow died: the second half of a path MTU black hole.
fn error_lost(loss: &Loss<'_>) -> Option<LostError> {
    let mut lost = loss.journeys(Direction::Error).filter_map(|j| {
        let step = j
            .steps
            .iter()
            .rev()
            .find(|s| matches!(s.event.detail, Detail::Drop(_)))?;
        let own = Loss::at((loss.trace, loss.host), loss.flow, j, step_of(j, step)?)?;
        Some((own.netns()?, own))
    });
    let (netns, first) = lost.next()?;
    let count = lost.count() as u64 + 1;
    let hook = hooks::of(&first.info.stack).map(|h| h.name);
    let at = hook.map_or_else(String::new, |name| format!(", hook {name}"));
    let words = format!(
        "{} about it died{}: {} in {}{at}: a path MTU black hole",
        words::count(count, "ICMP error"),
        first.at_words(),
        first.reason(),
        first.function(),
    );
    Some(LostError { netns, hook, words })
}

fn step_of(journey: &Journey, step: &Step) -> Option<usize> {
    journey.steps.iter().position(|s| std::ptr::eq(s, step))
}

/// Too big for the next link, said by the router or the fragmenting side.
pub fn too_big(loss: &Loss<'_>) -> Option<Candidate> {
    let size = loss
        .event
        .packet
        .as_ref()
        .map_or(loss.event.len, |p| p.ip_len);
    if loss.unnamed() && is_forwarded(loss) && !exceeds(loss, size) {
        return None;
    }
    let lost = error_lost(loss);
    let limit = next_mtu(loss).map_or_else(String::new, |m| format!(", the next hop takes {m}"));
    let told = told_words(loss, lost.as_ref());
    let shell = Shell::of(loss.host, loss.netns());
    let dst = loss.dst()?;
    let (rules, let_pass) = lost
        .as_ref()
        .map(|error| filter_of(loss, error))
        .unwrap_or_default();
    let tcp = loss.tuple().is_some_and(|t| t.proto == Proto::Tcp);
    let clamp = tcp.then(|| clamp(&shell, loss.v6()));
    let changes = mtu::make_room(loss, size, loss.told().is_some() && lost.is_none());
    Some(
        Candidate::new(
            &MTU_EXCEEDED,
            loss.place(Some(HOOK)),
            format!(
                "packet too big (MTU){}: {size} bytes{limit}{told}",
                loss.at_words()
            ),
        )
        .explains(Specificity::Reason)
        .because("icmp", lost.map(|error| error.words))
        .advise(rules)
        .advise([
            shell.look("MTU of the links", "ip link"),
            shell.look(
                "MTU of the route",
                command![..ip(loss.v6()), "route get", dst],
            ),
        ])
        .advise(way_to_sender(loss).filter(|_| loss.told().is_none()))
        .advise(changes)
        .advise(let_pass)
        .advise(clamp)
        .advise([text(
            "give the sender's interface the smallest MTU of the path, or let ICMP errors pass",
        )]),
    )
}

/// Freed where packets are forwarded, which kernels before 5.19 do for every reason alike.
fn is_forwarded(loss: &Loss<'_>) -> bool {
    matches!(loss.function(), "ip_forward" | "ip6_forward")
}

/// Whether it is larger than what the route, its interface or an ICMP error takes.
fn exceeds(loss: &Loss<'_>, size: u32) -> bool {
    let route = || {
        let netns = loss.netns()?;
        let answer = routing::answer(loss.host, netns, loss.dst()?)?;
        let route = answer.result.as_ref().ok()?;
        let ifindex = IfIndex(route.oif?);
        let link = loss.host.link(Device { netns, ifindex })?;
        Some(route.mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu)))
    };
    let limit = next_mtu(loss).or_else(route);
    limit.is_some_and(|limit| size > limit)
}

/// The MTU that an ICMP error about the flow names.
fn next_mtu(loss: &Loss<'_>) -> Option<u32> {
    let errors = loss.journeys(Direction::Error).flat_map(|j| &j.steps);
    errors
        .filter_map(|s| s.event.packet.as_ref())
        .find_map(|p| match p.transport {
            Transport::Icmp { mtu, .. } => mtu,
            _ => None,
        })
}

/// Whether the sender heard of it.
fn told_words(loss: &Loss<'_>, lost: Option<&LostError>) -> String {
    match (lost, loss.told()) {
        (Some(error), _) => format!(
            "; the ICMP error that tells the sender was lost on {} (path MTU black hole)",
            loss.host.namespace(error.netns)
        ),
        (None, Some(told)) => format!("; the sender was told ({told})"),
        (None, None) => match unreachable_sender(loss) {
            Some(sender) => format!(
                "; the sender was not told: {} has no route of its own to {sender}",
                loss.namespace_words()
            ),
            None => "; the sender was not told".to_owned(),
        },
    }
}

/// The sender, where the kernel said that what this host itself sends there finds no route: an ICMP error is looked up so
/// (`icmp_route_lookup`, net/ipv4/icmp.c), whatever way packets of others have.
fn unreachable_sender(loss: &Loss<'_>) -> Option<IpAddr> {
    let (netns, sender) = (loss.netns()?, loss.outermost()?.src);
    let mut answers = loss.host.routes.iter().rev().map(|dated| &dated.fact);
    let answer = answers.find(|a| a.netns == netns && a.iif == 0 && a.tuple.dst == sender)?;
    answer.result.is_err().then_some(sender)
}

/// The route to the sender that this host lacks for its ICMP errors: by the machine that handed the packet over.
fn way_to_sender(loss: &Loss<'_>) -> Option<Remedy> {
    let (host, sender) = (loss.host, unreachable_sender(loss)?);
    let came = loss.came_in()?;
    let entered =
        |s: &&Step| s.event.device == Some(came) && matches!(s.event.detail, Detail::Ingress);
    let from = loss.steps().iter().rev().find(entered)?;
    let mac = from.event.packet.as_ref()?.ethernet?.src;
    let gateway = routers::address_of(&loss.view(), came, mac)
        .filter(|gateway| gateway.is_ipv6() == sender.is_ipv6() && *gateway != sender)?;
    let made = loss.steps().iter().find_map(|s| s.event.netns)?;
    let (network, length) = overlay::network_of(host, made, sender);
    let name = host.interface(came);
    let route = |verb: &'static str| {
        let network = format!("{network}/{length}");
        command![
            ..ip(sender.is_ipv6()),
            "route",
            verb,
            network,
            "via",
            gateway,
            "dev",
            name
        ]
    };
    let shell = Shell::of(host, Some(came.netns));
    Some(
        shell
            .change(
                "give it a route to the sender, so that its ICMP errors come there",
                route("add"),
            )
            .undone_by(route("del")),
    )
}

/// The filter that drops the ICMP error: what to look at, and the change where it is a chain of iptables.
fn filter_of(loss: &Loss<'_>, error: &LostError) -> (Vec<Remedy>, Option<Remedy>) {
    let shell = Shell::of(loss.host, Some(error.netns));
    let (iptables, family, which) = if loss.v6() {
        ("ip6tables", "ip6", "-p icmpv6 --icmpv6-type packet-too-big")
    } else {
        ("iptables", "ip", "-p icmp --icmp-type fragmentation-needed")
    };
    let hook = error.hook.unwrap_or("OUTPUT");
    let looks = vec![
        shell.look(
            "look first: the filter that drops the ICMP error; it should let \"fragmentation needed\" and \"packet too big\" pass",
            command![iptables, "-S", hook],
        ),
        shell.look("or a chain of nftables", "nft list ruleset"),
    ];
    let chains = loss.host.filters.get(&error.netns);
    let chain = chains
        .into_iter()
        .flat_map(|dated| &dated.fact.base)
        .find(|c| c.family == family && c.table == "filter" && c.chain == hook);
    let change = chain.map(|chain| {
        let program = match chain.engine {
            FilterEngine::Legacy => format!("{iptables}-legacy"),
            FilterEngine::Nftables => iptables.to_owned(),
        };
        let rule = |verb: &'static str| {
            let which = which.split(' ');
            command![program, verb, hook, ..which, "-j ACCEPT"]
        };
        shell
            .change("and let the sender be told", rule("-I"))
            .undone_by(rule("-D"))
    });
    (looks, change)
}

/// New connections are told to send smaller segments, which needs no ICMP error.
fn clamp(shell: &Shell, v6: bool) -> Remedy {
    let iptables = default_program(v6);
    let rule = |verb: &'static str| {
        command![
            iptables,
            "-t mangle",
            verb,
            "FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu"
        ]
    };
    shell
        .change(
            "for TCP, clamp the segment size where it is forwarded",
            rule("-A"),
        )
        .undone_by(rule("-D"))
        .scope("connections that stand already keep their segment size".to_owned())
}
