//! A frame that a tc filter handed to another interface than the one behind which the owner of its MAC is.

use crate::host::Host;
use crate::host::facts::{Attachment, Question};
use crate::model::{Detail, Device, Mac, Step};
use crate::network::links::peer_of;

use super::super::super::device_state;
use super::super::super::loss::Loss;
use super::super::super::needs::Asked;
use super::super::super::remedy::{Remedy, Shell, command};
use super::super::super::words;
use super::misled::Misled;
use super::past_routing;

/// Most redirects of one packet that are looked at.
const MOST: usize = 4;

/// An interface, on which hook the packet was seen there, and the interface of the same namespace by which it left at once.
#[derive(Clone, Copy)]
pub(super) struct Handed {
    pub(super) from: Device,
    pub(super) hook: &'static str,
    pub(super) to: Device,
}

/// Where the packet was handed from one interface to another without the stack between them.
pub(super) fn handed(steps: &[Step]) -> Vec<Handed> {
    let mut seen: Vec<(Device, &'static str)> = Vec::new();
    for step in steps {
        let hook = match step.event.detail {
            Detail::Ingress => "tc-ingress",
            Detail::Egress => "tc-egress",
            _ => continue,
        };
        if let Some(device) = step.event.device
            && seen.last() != Some(&(device, hook))
        {
            seen.push((device, hook));
        }
    }
    let pairs = seen.iter().zip(seen.iter().skip(1));
    pairs
        .filter(|((from, _), (to, out))| {
            from.netns == to.netns && from != to && *out == "tc-egress"
        })
        .map(|((from, hook), (to, _))| Handed {
            from: *from,
            hook,
            to: *to,
        })
        .take(MOST)
        .collect()
}

/// What to read of these interfaces.
pub(super) fn questions(loss: &Loss<'_>, list: &mut Asked) {
    for Handed { from, to, .. } in handed(loss.steps()) {
        list.device_state(loss.host, from);
        list.device_state(loss.host, to);
        list.push(Question::Chains { netns: from.netns });
    }
}

/// The filter that did it.
pub(super) fn filter<'a>(host: &'a Host, handed: &Handed) -> Option<&'a Attachment> {
    let mut filters = device_state::at(host, handed.from, handed.hook);
    filters.find(|filter| device_state::redirects(handed.from, filter).any(|to| to == handed.to))
}

/// The interface of the namespace behind which the owner of the MAC is.
fn behind(host: &Host, handed: &Handed, mac: Mac) -> Option<Device> {
    let ends = host.by_mac(mac).filter(|end| !host.is_gone(end.device));
    let mut here = ends
        .filter_map(|end| peer_of(host, end.device))
        .map(|peer| peer.device)
        .filter(|device| device.netns == handed.from.netns && *device != handed.to);
    // Where the packet came from is no way on, unless it was on its way out there.
    here.find(|device| *device != handed.from || handed.hook == "tc-egress")
}

/// A filter that turns the packet in at the interface behind which the owner of the MAC is, where it should be sent by it: it is
/// taken for a packet of that owner.
fn turned_in(loss: &Loss<'_>, mac: Mac) -> Option<Misled> {
    let host = loss.host;
    let behind = |to: &Device| {
        let end = peer_of(host, *to);
        end.is_some_and(|end| end.mac == Some(mac))
    };
    let devices = loss.steps().iter().filter_map(|step| step.event.device);
    let (from, filter, to) = devices.into_iter().find_map(|device| {
        let mut filters = device_state::at(host, device, "tc-ingress");
        filters.find_map(|filter| {
            let to = device_state::turned_in(device, filter).find(behind)?;
            Some((device, filter, to))
        })
    })?;
    let words = format!(
        "a tc filter of {} takes what comes in there for what came in at {} (mirred ingress redirect), behind which {mac} is: it should be sent by it (egress)",
        words::interface(host, from),
        host.interface(to)
    );
    let (name, into) = (host.interface(from), host.interface(to));
    let off = || {
        command![
            "tc filter del dev",
            name,
            "ingress pref",
            filter.priority,
            filter.how
        ]
    };
    let anew = |side: &'static str| {
        command![
            "tc filter add dev",
            name,
            "ingress protocol all pref",
            filter.priority,
            "u32 match u8 0 0 action mirred",
            side,
            "redirect dev",
            into
        ]
    };
    let change = Shell::of(host, Some(from.netns))
        .change(format!("send by {into} what comes in at {name}"), off())
        .and(anew("egress"))
        .undone_by(command![
            "tc filter del dev",
            name,
            "ingress pref",
            filter.priority,
            "u32"
        ])
        .undone_by(anew("ingress"))
        .scope(
            "the filter is made anew for all packets: note first what it matches (tc -s filter show)"
                .to_owned(),
        );
    let advice = vec![look(host, from, filter), change];
    Some(Misled::by(host, (from, filter), words, advice))
}

/// What the story is.
pub(super) fn told(loss: &Loss<'_>, mac: Mac) -> Option<Misled> {
    turned_in(loss, mac)
        .or_else(|| behind_another(loss, mac))
        .or_else(|| past_routing::told(loss, mac))
}

/// A filter that hands what is for a MAC to another interface than the one behind which that is.
fn behind_another(loss: &Loss<'_>, mac: Mac) -> Option<Misled> {
    let host = loss.host;
    let found = handed(loss.steps()).into_iter().rev().find_map(|handed| {
        let filter = filter(host, &handed)?;
        let behind = behind(host, &handed, mac)?;
        Some((handed, filter, behind))
    });
    let (handed, filter, behind) = found?;
    let to = host.interface(handed.to);
    let does = match handed.hook {
        "tc-ingress" => "comes in there",
        _ => "goes out there",
    };
    let words = format!(
        "a tc filter of {} hands what {does} to {to}, and {mac} is behind {}",
        words::interface(host, handed.from),
        host.interface(behind)
    );
    let advice = advice(host, &handed, filter, behind);
    Some(Misled::by(host, (handed.from, filter), words, advice))
}

/// How to look at the filters beside one, with what they match.
pub(super) fn look(host: &Host, device: Device, filter: &Attachment) -> Remedy {
    Shell::of(host, Some(device.netns)).look(
        "look first: the filters of that interface, with what they match",
        command![
            "tc -s filter show dev",
            host.interface(device),
            side(filter)
        ],
    )
}

/// The filter taken off. What it matches is not read, so that it cannot be put back.
pub(super) fn without(host: &Host, device: Device, filter: &Attachment, then: &str) -> Remedy {
    Shell::of(host, Some(device.netns))
        .change(
            format!("take the filter off, after noting what the command above shows; {then}"),
            command![
                "tc filter del dev",
                host.interface(device),
                side(filter),
                "pref",
                filter.priority,
                filter.how
            ],
        )
        .scope("all that the filter matches".to_owned())
}

/// `ingress` or `egress`.
pub(super) fn side(filter: &Attachment) -> &str {
    filter.hook.trim_start_matches("tc-")
}

/// The filter taken off where another one, or the interface itself, leads the packet right then.
fn advice(host: &Host, handed: &Handed, filter: &Attachment, behind: Device) -> Vec<Remedy> {
    let mut others = device_state::at(host, handed.from, handed.hook);
    let right =
        others.any(|other| device_state::redirects(handed.from, other).any(|to| to == behind));
    let on_its_way = handed.hook == "tc-egress";
    let then = match right {
        true => format!("another filter hands it to {} then", host.interface(behind)),
        false => format!("it goes on by {} then", host.interface(handed.from)),
    };
    let off = (right || on_its_way).then(|| without(host, handed.from, filter, &then));
    [look(host, handed.from, filter)]
        .into_iter()
        .chain(off)
        .collect()
}
