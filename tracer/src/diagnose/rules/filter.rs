//! Programs on interfaces that drop: tc and XDP. The kernel says that one did; which one is read from the interface.

use crate::host::Host;
use crate::host::facts::Attachment;
use crate::model::{Detail, Device};
use crate::network::links::peer_of;
use crate::sites;
use crate::verdict::Confidence;

use super::super::candidate::{Candidate, Specificity};
use super::super::causes::{TC_DROP, XDP_DROP};
use super::super::device_state;
use super::super::loss::Loss;
use super::super::remedy::{Remedy, Shell, command};
use super::super::words;
use super::link;

/// What is attached at a hook of the drop's device.
fn attached<'a>(loss: &Loss<'a>, hook: &'a str) -> Vec<&'a Attachment> {
    loss.last_device()
        .map(|device| device_state::at(loss.host, device, hook).collect())
        .unwrap_or_default()
}

/// `: bpf filter pref 50`, `: one of …`.
fn named(loss: &Loss<'_>, device: Device, list: &[&Attachment]) -> String {
    let names: Vec<String> = list
        .iter()
        .map(|a| device_state::attachment(loss.host, device, a))
        .collect();
    match names.as_slice() {
        [] => String::new(),
        [one] => format!(": {one}"),
        several => format!(": one of {}", several.join("; ")),
    }
}

/// tc programs and actions; also a redirect that failed (`tcf_mirred_to_dev` refuses a device that is down).
pub fn tc(loss: &Loss<'_>) -> Option<Candidate> {
    let (hook, side) = match (loss.reason(), loss.function()) {
        ("TC_INGRESS", _) | (_, sites::TC_INGRESS) => ("tc-ingress", "ingress"),
        ("TC_EGRESS", _) | (_, sites::TC_EGRESS) => ("tc-egress", "egress"),
        _ => return None,
    };
    let host = loss.host;
    let device = loss.last_device()?;
    let all = attached(loss, hook);
    let list = suspects(host, device, &all);
    // Other things end there too: without a name for the reason, somebody must be there who can have done it. What a queue
    // does not take is freed as a list, and what a filter refuses is not (sch_handle_egress and __dev_xmit_skb, both inlined
    // into __dev_queue_xmit).
    if loss.unnamed() && (list.is_empty() || loss.info.listed) {
        return None;
    }
    let what = if list.is_empty() {
        ": a program, an action, or a redirect that failed".to_owned()
    } else {
        named(loss, device, &list)
    };
    let down = list
        .iter()
        .flat_map(|a| device_state::redirects(device, a).chain(device_state::turned_in(device, a)))
        .find(|to| host.link(*to).is_none_or(|l| !l.up));
    let fate = down.map_or_else(String::new, |to| {
        format!(", and {} is down", host.interface(to))
    });
    let advice = match list.as_slice() {
        [] => look_for_filters(loss, device, side),
        list => taken_off(loss, list, down, all.len() > list.len()),
    };
    let candidate = Candidate::new(
        &TC_DROP,
        loss.place_at_device(hook),
        format!("tc {side} dropped it{}{what}{fate}", loss.at_words()),
    )
    .explains(Specificity::Reason)
    .sure(match loss.unnamed() {
        true => Confidence::Likely,
        false => Confidence::Certain,
    })
    .because(
        "link",
        down.map(|to| {
            format!(
                "the redirect leads to {}, which is down",
                words::interface(host, to)
            )
        }),
    );
    Some(candidate.advise(advice))
}

/// What can have dropped it taken off, or the interface raised to which it redirects, what is known to help first. `others`: other
/// filters there hand packets on.
fn taken_off(
    loss: &Loss<'_>,
    list: &[&Attachment],
    down: Option<Device>,
    others: bool,
) -> Vec<Remedy> {
    let host = loss.host;
    let device = loss.last_device();
    let off = list
        .iter()
        .zip(device.into_iter().cycle())
        .flat_map(|(attachment, device)| device_state::advice(host, device, attachment));
    match down {
        Some(to) if is_meant(loss, to) && !others => {
            std::iter::once(raise(host, to)).chain(off).collect()
        }
        _ => off.chain(down.map(|to| raise(host, to))).collect(),
    }
}

/// Those of some filters that can have dropped it, where there are such.
fn suspects<'a>(host: &Host, device: Device, all: &[&'a Attachment]) -> Vec<&'a Attachment> {
    let found = all.iter().copied().filter(|a| !hands_on(host, device, a));
    let found: Vec<_> = found.collect();
    if found.is_empty() {
        all.to_vec()
    } else {
        found
    }
}

/// Whether a filter can only hand packets to an interface that takes them: it dropped none, and without it others do not get what
/// is theirs.
fn hands_on(host: &Host, device: Device, attachment: &Attachment) -> bool {
    let mut to = device_state::redirects(device, attachment).peekable();
    let hands = attachment.program.is_none() && to.peek().is_some();
    hands && to.all(|to| host.link(to).is_some_and(|link| link.up))
}

/// Whether raised the interface is known to help: what an ifb sends goes on where it was taken away, behind other filters there, and
/// the receiver may be behind another.
fn is_meant(loss: &Loss<'_>, to: Device) -> bool {
    let host = loss.host;
    let behind = |owner: Device| peer_of(host, owner).is_some_and(|peer| peer.device == to);
    host.link(to).is_some_and(|link| link.kind == "ifb")
        || loss
            .outermost()
            .is_some_and(|t| host.owners(t.dst).any(behind))
}

/// The interface to which a program redirects raised. What is behind it is not known: the filter off is known to help.
pub(super) fn raise(host: &Host, to: Device) -> Remedy {
    let set = |state: &'static str| command!["ip link set dev", host.interface(to), state];
    Shell::of(host, Some(to.netns))
        .change("raise the interface to which it redirects", set("up"))
        .undone_by(set("down"))
}

/// What is attached was not read.
fn look_for_filters(loss: &Loss<'_>, device: Device, side: &str) -> Vec<Remedy> {
    let shell = Shell::of(loss.host, loss.netns());
    let name = loss.host.interface(device);
    vec![
        shell.look(
            "look at the filters and their counters",
            command!["tc -s filter show dev", name, side],
        ),
        shell.look("and at programs", command!["bpftool net show dev", name]),
        shell.change(
            "take the filter off, if it is not wanted",
            command!["tc filter del dev", name, side],
        ),
    ]
}

/// A tc or XDP program's redirect to a device that cannot send: freed while being handed on, on the device that it was
/// redirected to.
pub fn redirect(loss: &Loss<'_>) -> Option<Candidate> {
    if !super::is_redirect(loss) {
        return None;
    }
    let device = loss.last_device()?;
    let link = loss.host.link(device)?;
    if link.up {
        return None;
    }
    let from = loss.steps().iter().rev().find_map(|s| {
        s.event
            .device
            .filter(|d| *d != device && d.netns == device.netns)
    });
    let mut candidate = link::down(
        loss.host,
        device,
        loss.info.function.clone(),
        &link::ends(loss),
    );
    if let Some(from) = from {
        let programs: Vec<&Attachment> = ["tc-ingress", "tc-egress"]
            .into_iter()
            .flat_map(|hook| device_state::at(loss.host, from, hook))
            .collect();
        candidate.summary = format!(
            "{}; a program on {} redirects to it{}",
            candidate.summary,
            words::interface(loss.host, from),
            named(loss, from, &programs)
        );
        let raise = std::mem::take(&mut candidate.remedies);
        for attachment in programs {
            candidate = candidate.advise(device_state::advice(loss.host, from, attachment));
        }
        candidate = candidate.advise(raise);
    }
    Some(candidate)
}

/// XDP programs, generic or native on veth.
pub fn xdp(loss: &Loss<'_>) -> Option<Candidate> {
    let device = loss.last_device()?;
    let name = loss.host.interface(device);
    let aborted = loss
        .trace
        .beside
        .iter()
        .any(|e| matches!(e.detail, Detail::XdpException { .. }) && loss.same_call(e));
    let how = if aborted {
        "failed (XDP_ABORTED)"
    } else {
        "dropped it"
    };
    let shell = Shell::of(loss.host, loss.netns());
    let list = attached(loss, "xdp");
    let mut candidate = Candidate::new(
        &XDP_DROP,
        loss.place_at_device("xdp"),
        format!(
            "XDP program {how}{}{}",
            loss.at_words(),
            named(loss, device, &list)
        ),
    );
    for attachment in &list {
        candidate = candidate.advise(device_state::advice(loss.host, device, attachment));
    }
    if list.is_empty() {
        candidate = candidate.advise([
            shell.look("which program", command!["ip -d link show dev", name]),
            shell.change(
                "take it off, if it is not wanted",
                command!["ip link set dev", name, "xdp off"],
            ),
        ]);
    }
    Some(candidate.sure(Confidence::Certain))
}
