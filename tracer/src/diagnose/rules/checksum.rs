//! Wrong checksums of what carries a tunnel: the sender's outer header is to blame, and nothing inside.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::Link;
use crate::model::{Detail, Device, Journey, NetNs};
use crate::network::tunnel::underlay_netns;

use super::super::candidate::{Candidate, Specificity, place_on};
use super::super::causes::CHECKSUM;
use super::super::loss::Loss;
use super::super::remedy::{Remedy, Shell, command, text};
use super::super::words;

/// The offload that makes checksums in the driver, or leaves them to it.
const OFFLOAD: &str = "tx-checksum-ip-generic";

/// The outer header of a tunnel's packet has a wrong checksum.
pub fn outer(loss: &Loss<'_>) -> Option<Candidate> {
    let kind = match loss.reason() {
        "UDP_CSUM" => "UDP",
        "IP_CSUM" => "IP header",
        _ => return None,
    };
    let outer = loss.event.packet.as_ref()?.tunnel?.outer;
    let host = loss.host;
    let underlay = sender(loss, outer.src);
    let sender = underlay.map_or_else(
        || outer.src.to_string(),
        |device| format!("{} ({})", outer.src, host.namespace(device.netns)),
    );
    let here = Shell::of(host, loss.netns());
    if let Some(candidate) = underlay.and_then(|device| without(loss, device)) {
        return Some(candidate);
    }
    let candidate = Candidate::new(
        &CHECKSUM,
        loss.place(None),
        format!(
            "bad outer {kind} checksum{}: that of the tunnel's packet {} → {}, as {sender} sent it",
            loss.at_words(),
            outer.src,
            outer.destination()
        ),
    )
    .explains(Specificity::Linked)
    .because(
        "packet",
        format!("the outer packet is {outer}; what is inside was not looked at yet"),
    )
    .advise([here.look(
        "counters of wrong checksums here",
        command!["nstat -az"].piped_to(command!["grep -i -e csum -e inerr"]),
    )]);
    let Some(underlay) = underlay else {
        return Some(candidate.advise([text(format!(
            "on the sender {}: let the kernel make the checksum of what goes into the tunnel (ethtool -K TUNNEL {OFFLOAD} off), or without outer checksums (udpcsum off)",
            outer.src
        ))]));
    };
    let tunnel = tunnel(loss.journey, host, underlay.netns);
    let changes = tunnel
        .map(|link| link.device)
        .into_iter()
        .chain([underlay])
        .map(|device| in_software(host, device));
    Some(candidate.advise(changes).advise([text(
        "or make the tunnel without outer UDP checksums (ip link add … noudpcsum; over IPv6 udp6zerocsumtx on the sender and udp6zerocsumrx on the receiver)",
    )]))
}

/// One end of a VXLAN over IPv6 sends no outer checksums, and the other one does not take such packets (__udp6_lib_rcv,
/// net/ipv6/udp.c).
fn without(loss: &Loss<'_>, underlay: Device) -> Option<Candidate> {
    let host = loss.host;
    let carried = loss.event.packet.as_ref()?.tunnel?;
    let outer = carried.outer;
    let made = |link: &&Link| {
        let vxlan = link.vxlan.as_ref();
        let same = vxlan.is_some_and(|v| Some(v.vni) == carried.id && v.port == outer.dport);
        same && link.device.netns == underlay.netns
    };
    let sends = tunnel(loss.journey, host, underlay.netns).or_else(|| host.links().find(made))?;
    let far = |link: &&Link| {
        let vxlan = link
            .vxlan
            .as_ref()
            .filter(|vxlan| vxlan.port == outer.dport);
        Some(link.device.netns) == loss.netns() && vxlan.is_some_and(|v| !v.takes_no_checksum6)
    };
    let takes = host.links().find(far)?;
    let candidate = unfit(host, (sends, takes), outer.dst)?;
    Some(
        Candidate {
            place: loss.place(None),
            ..candidate
        }
        .because("packet", format!("the outer packet is {outer}")),
    )
}

/// One of two VXLAN devices sends over IPv6 without outer checksums, and the other one takes nothing without.
#[must_use]
pub(super) fn unfit(host: &Host, (sends, takes): (&Link, &Link), to: IpAddr) -> Option<Candidate> {
    let without = sends.vxlan.as_ref()?.no_checksum6 && !takes.vxlan.as_ref()?.takes_no_checksum6;
    if !to.is_ipv6() || !without {
        return None;
    }
    let at = host.namespace(underlay_netns(takes));
    let (near, far) = (
        words::interface(host, sends.device),
        words::interface(host, takes.device),
    );
    let shell = |link: &Link| Shell::of(host, Some(link.device.netns));
    let looks = [sends, takes].map(|link| {
        let which = words::interface(host, link.device);
        shell(link).look(
            format!("look first: checksums of {which} (udp6zerocsumtx, udp6zerocsumrx)"),
            command!["ip -d link show dev", link.name],
        )
    });
    Some(
        Candidate::new(
            &CHECKSUM,
            place_on(host, underlay_netns(takes)),
            format!(
                "outer UDP checksum missing on {at}: {near} sends its packets over IPv6 without (udp6zerocsumtx), and {far} takes none without (no udp6zerocsumrx)"
            ),
        )
        .explains(Specificity::Linked)
        .because("link", format!("{near} has udp6zerocsumtx, {far} has no udp6zerocsumrx"))
        .advise(looks)
        .advise([text(format!(
            "neither can be changed while the device stands: make {far} anew with udp6zerocsumrx, or {near} without udp6zerocsumtx (ip link del, ip link add, then its addresses, routes and entries)"
        ))]),
    )
}

/// Who sent the outer packet: of several that have its address the one that the packet passed.
fn sender(loss: &Loss<'_>, address: IpAddr) -> Option<Device> {
    let passed = |owner: &Device| {
        let steps = &loss.journey.steps;
        steps
            .iter()
            .any(|s| s.event.device.is_some_and(|d| d.netns == owner.netns))
    };
    let mut owners = loss.host.owners(address);
    owners.find(passed).or_else(|| {
        let all: Vec<Device> = loss.host.owners(address).collect();
        all.first().copied().filter(|_| all.len() == 1)
    })
}

/// The tunnel device through which the packet left its sender.
fn tunnel<'a>(journey: &Journey, host: &'a Host, netns: NetNs) -> Option<&'a Link> {
    let out = journey.steps.iter().map(|s| &s.event).filter_map(|event| {
        let out = matches!(event.detail, Detail::Egress);
        event.device.filter(|device| out && device.netns == netns)
    });
    out.filter_map(|device| host.link(device))
        .find(|link| matches!(link.kind.as_str(), "vxlan" | "geneve"))
}

/// Checksums made by the kernel and not by the device.
fn in_software(host: &Host, device: Device) -> Remedy {
    let name = host.interface(device);
    let set = |value: &str| command!["ethtool -K", name, OFFLOAD, value];
    Shell::of(host, Some(device.netns))
        .change(
            format!("on the sending node: let the kernel make the checksums of what leaves through {name}"),
            set("off"),
        )
        .undone_by(set("on"))
        .scope("sending costs more of the processor; to last, it has to be set where the interface is made".to_owned())
}
