//! A frame that a tc filter handed to another interface than the one behind which the owner of its MAC is.

use crate::host::Host;
use crate::host::facts::Attachment;
use crate::model::{Detail, Device, Mac};
use crate::network::links::peer_of;

use super::super::super::device_state;
use super::super::super::loss::Loss;
use super::super::super::needs::Asked;
use super::super::super::remedy::{Remedy, Shell, command};
use super::super::super::words;
use super::misled::Misled;

/// Most redirects of one packet that are looked at.
const MOST: usize = 4;

/// An interface, on which hook the packet was seen there, and the interface of the same namespace by which it left at once.
struct Handed {
    from: Device,
    hook: &'static str,
    to: Device,
}

/// Where the packet was handed from one interface to another without the stack between them.
fn handed(loss: &Loss<'_>) -> Vec<Handed> {
    let mut seen: Vec<(Device, &'static str)> = Vec::new();
    for step in loss.steps() {
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
    for Handed { from, .. } in handed(loss) {
        list.device_state(loss.host, from);
    }
}

/// The filter that did it.
fn filter<'a>(host: &'a Host, handed: &Handed) -> Option<&'a Attachment> {
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

/// What the story is.
pub(super) fn told(loss: &Loss<'_>, mac: Mac) -> Option<Misled> {
    let host = loss.host;
    let found = handed(loss).into_iter().rev().find_map(|handed| {
        let filter = filter(host, &handed)?;
        let behind = behind(host, &handed, mac)?;
        Some((handed, filter, behind))
    });
    let (handed, filter, behind) = found?;
    let (from, to) = (host.interface(handed.from), host.interface(handed.to));
    let does = match handed.hook {
        "tc-ingress" => "comes in there",
        _ => "goes out there",
    };
    Some(Misled {
        words: format!(
            "a tc filter of {} hands what {does} to {to}, and {mac} is behind {}",
            words::interface(host, handed.from),
            host.interface(behind)
        ),
        evidence: (
            "program",
            format!(
                "{from} has {}",
                device_state::attachment(host, handed.from, filter)
            ),
        ),
        advice: advice(host, &handed, filter, behind),
    })
}

/// The filter taken off where another one, or the interface itself, leads the packet right then.
fn advice(host: &Host, handed: &Handed, filter: &Attachment, behind: Device) -> Vec<Remedy> {
    let shell = Shell::of(host, Some(handed.from.netns));
    let (from, side) = (
        host.interface(handed.from),
        handed.hook.trim_start_matches("tc-"),
    );
    let mut others = device_state::at(host, handed.from, handed.hook);
    let right =
        others.any(|other| device_state::redirects(handed.from, other).any(|to| to == behind));
    let on_its_way = handed.hook == "tc-egress";
    let mut list = vec![shell.look(
        "look first: the filters of that interface, with what they match",
        command!["tc -s filter show dev", from, side],
    )];
    if right || on_its_way {
        let then = match right {
            true => format!("another filter hands it to {} then", host.interface(behind)),
            false => format!("it goes on by {from} then"),
        };
        list.push(
            shell
                .change(
                    format!(
                        "take the filter off, after noting what the command above shows; {then}"
                    ),
                    command![
                        "tc filter del dev",
                        from,
                        side,
                        "pref",
                        filter.priority,
                        filter.how
                    ],
                )
                .scope("all that the filter matches".to_owned()),
        );
    }
    list
}
