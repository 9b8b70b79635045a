//! Frames that came to an interface with another MAC.

use crate::model::{Ethernet, Mac};

use super::super::advice::{Shell, ip, text};
use super::super::candidate::{Candidate, Specificity};
use super::super::causes::L2_WRONG_MAC;
use super::super::loss::Loss;
use super::super::words;

/// The Ethernet header that the dropping interface saw: the inner one after decapsulation.
fn frame(loss: &Loss<'_>) -> Option<Ethernet> {
    let here = loss.device()?;
    let events = || {
        std::iter::once(loss.event).chain(
            loss.steps()
                .iter()
                .rev()
                .map(|s| &s.event)
                .filter(|e| e.device == Some(here)),
        )
    };
    events()
        .filter_map(|e| e.packet.as_ref())
        .find_map(|p| p.ethernet)
        .or_else(|| {
            // A tunnel device shows the inner header only while it is inside.
            loss.steps()
                .iter()
                .rev()
                .find_map(|s| s.event.packet.as_ref()?.inner_ethernet)
        })
        .or_else(|| {
            loss.steps()
                .iter()
                .rev()
                .find_map(|s| s.event.packet.as_ref()?.ethernet)
        })
}

/// OTHERHOST where no other copy was taken.
pub fn wrong_mac(loss: &Loss<'_>) -> Option<Candidate> {
    let strayed = loss.reason() == "OTHERHOST"
        || loss.unnamed()
            && loss.event.pkt_type == 3
            && matches!(
                loss.function(),
                "ip_rcv_core" | "ip_rcv" | "ip6_rcv_core" | "ipv6_rcv"
            );
    if !strayed {
        return None;
    }
    let device = loss.device()?;
    let name = loss.host.interface(device);
    let has: Option<Mac> = loss.host.link(device).and_then(|l| l.mac);
    let carries = frame(loss).map(|f| f.dst).filter(|m| Some(*m) != has);
    let mut summary = format!("wrong destination MAC (OTHERHOST){}", loss.at_words());
    match (carries, has) {
        (Some(c), Some(h)) => summary += &format!(": the frame is for {c}, the interface has {h}"),
        (Some(c), None) => summary += &format!(": the frame is for {c}"),
        (None, Some(h)) => summary += &format!(": the frame is not for {h}"),
        (None, None) => {}
    }
    let here = Shell::of(loss.host, loss.netns());
    let mut candidate = Candidate::new(&L2_WRONG_MAC, loss.place(Some("device")), summary)
        .explains(Specificity::Fact);
    let owners: Vec<_> = carries
        .map(|mac| {
            loss.host
                .by_mac(mac)
                .map(|l| words::interface(loss.host, l.device))
                .collect()
        })
        .unwrap_or_default();
    if let Some(mac) = carries {
        candidate = candidate.because(
            "link",
            if owners.is_empty() {
                format!("no interface of this host has {mac}")
            } else {
                format!("{mac} belongs to {}", owners.join(", "))
            },
        );
    }
    let bridged = loss.host.link(device).is_some_and(|l| l.kind == "bridge");
    if bridged {
        candidate = candidate.because(
            "link",
            format!("{name} is a bridge: an FDB entry marks the address as its own"),
        );
    }
    // Who put that MAC on the frame: the last interface from which it was sent by an IP stack.
    let sender = loss
        .steps()
        .iter()
        .filter(|s| matches!(s.event.detail, crate::model::Detail::Egress))
        .filter(|s| {
            s.event
                .packet
                .as_ref()
                .and_then(|p| p.ethernet)
                .map(|e| e.dst)
                == carries
        })
        .find_map(|s| s.event.device);
    let ip = ip(loss.v6());
    if let Some(sender) = sender {
        let shell = Shell::of(loss.host, Some(sender.netns));
        candidate = candidate
            .because(
                "neighbor",
                format!(
                    "that MAC was put on the frame at {}",
                    words::interface(loss.host, sender)
                ),
            )
            .advise([shell.run(
                "look first: the neighbour entry that the sender uses",
                format!("{ip} neigh show dev {}", loss.host.interface(sender)),
            )]);
    } else {
        candidate = candidate
            .advise([here.run("look first: neighbour entries", format!("{ip} neigh show"))]);
    }
    candidate = candidate.advise([here.run(
        "forwarding entries of bridges and VXLANs",
        "bridge fdb show",
    )]);
    if let (Some(sender), Some(mac)) = (sender, has) {
        let next_hop = loss
            .tuple()
            .map(|t| t.dst)
            .filter(|dst| loss.host.is_local(device.netns, *dst));
        if let Some(dst) = next_hop {
            candidate = candidate.advise([Shell::of(loss.host, Some(sender.netns)).run(
                "give the sender's entry the right MAC",
                format!(
                    "{ip} neigh replace {dst} lladdr {mac} dev {}",
                    loss.host.interface(sender)
                ),
            )]);
        }
    }
    if let Some(mac) = carries {
        candidate = candidate.advise([here.run(
            "or give the interface the MAC that the others expect",
            format!("ip link set dev {name} address {mac}"),
        )]);
        if let Some(mac) = has {
            candidate = candidate.advise([here.run(
                "to take that back",
                format!("ip link set dev {name} address {mac}"),
            )]);
        }
    } else {
        candidate = candidate.advise([text(
            "correct the entry that names the wrong MAC: ip link shows the right one",
        )]);
    }
    Some(candidate)
}
