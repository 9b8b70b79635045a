//! Limits that a router enforces: hops and packet sizes.

use crate::model::{Detail, Device, Direction, Event, IfIndex, NetNs, Proto, Step, Transport};

use super::super::candidate::{Candidate, Specificity};
use super::super::causes::{MTU_EXCEEDED, TTL_EXPIRED};
use super::super::chain_commands::default_program;
use super::super::loss::Loss;
use super::super::mtu;
use super::super::needs::Asked;
use super::super::overlay;
use super::super::remedy::{Remedy, Shell, command, ip, text};
use super::super::routers;
use super::super::routing;
use super::super::visits;
use super::super::words;
use super::looped;
use super::lost_error::{Errors, unreachable_sender};
use super::lowered::Lowered;
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
    } else if let Some((words, advice)) = Lowered::of(loss)
        .filter(|_| loops.is_empty())
        .and_then(|lowered| lowered.told(loss))
    {
        summary += &format!(": {words}");
        candidate = candidate.advise(advice);
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

/// What to read about a TTL that is used up.
pub fn about_ttl(loss: &Loss<'_>, asked: &mut Asked) {
    let plain = visits::looping(loss.journey).is_empty() && loss.tunnel().is_none();
    if let Some(lowered) = Lowered::of(loss).filter(|_| plain) {
        lowered.ask(loss, asked);
    }
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

/// How large the packets are that leave: of one that is still to be cut into segments (GSO), a segment.
fn on_the_wire(event: &Event) -> u32 {
    let Some(packet) = &event.packet else {
        return event.len;
    };
    let segments = u32::from(event.segments);
    match packet.transport {
        Transport::Tcp { payload, .. } if segments > 1 => {
            let data = payload;
            packet.ip_len.saturating_sub(data) + data.div_ceil(segments)
        }
        _ => packet.ip_len,
    }
}

/// Too big for the next link, said by the router or the fragmenting side.
pub fn too_big(loss: &Loss<'_>) -> Option<Candidate> {
    let size = on_the_wire(loss.event);
    if loss.unnamed() && is_forwarded(loss) && !exceeds(loss, size) {
        return None;
    }
    let errors = Errors::of(loss);
    let limit = next_mtu(loss).map_or_else(String::new, |m| format!(", the next hop takes {m}"));
    let shell = Shell::of(loss.host, loss.netns());
    let dst = loss.dst()?;
    let tcp = loss.tuple().is_some_and(|t| t.proto == Proto::Tcp);
    let clamp = tcp.then(|| clamp(&shell, loss.v6()));
    let may_know = matches!(errors, Errors::Told(_) | Errors::Unseen(_));
    let changes = mtu::make_room(loss, size, may_know);
    let mut candidate = Candidate::new(
        &MTU_EXCEEDED,
        loss.place(Some(HOOK)),
        format!(
            "packet too big (MTU){}: {size} bytes{limit}{}",
            loss.at_words(),
            errors.summary(loss)
        ),
    )
    .explains(Specificity::Reason)
    .because("icmp", errors.words());
    let mut let_pass = None;
    if let Errors::Lost(error) = &errors {
        candidate = candidate
            .because("rule", error.related_words())
            .advise(error.looks());
        let_pass = error.let_pass(mtu::sender(loss).map(|link| link.device.netns));
    }
    // TCP sends again what was too big, others do not.
    let (first, last) = if tcp {
        (let_pass, None)
    } else {
        (None, let_pass)
    };
    Some(
        candidate
            .advise([
                shell.look("MTU of the links", "ip link"),
                shell.look(
                    "MTU of the route",
                    command![..ip(loss.v6()), "route get", dst],
                ),
            ])
            .advise(way_to_sender(loss).filter(|_| matches!(errors, Errors::None)))
            .advise(first)
            .advise(changes)
            .advise(last)
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
