//! What is attached to an interface, in words and as commands: programs, actions, queues and the processes of TUN devices.
//! Rules choose from it; nothing here says that it did anything.

use crate::host::Host;
use crate::host::facts::{Attachment, BpfProgram, DeviceState, Holder, Qdisc};
use crate::model::{Device, IfIndex};
use crate::network::links::peer_of;

use super::remedy::{Remedy, Shell, command};
use super::words;

/// What taking a program off does beside.
pub const LOADED: &str =
    "what it did for other traffic ends too; only whoever put it there can put it back";

/// What was read of an interface.
#[must_use]
pub fn of(host: &Host, device: Device) -> Option<&DeviceState> {
    host.device_states.get(&device).map(|dated| &dated.fact)
}

/// Programs and filters at one hook of an interface.
pub fn at<'a>(
    host: &'a Host,
    device: Device,
    hook: &'a str,
) -> impl Iterator<Item = &'a Attachment> {
    of(host, device)
        .into_iter()
        .flat_map(|s| &s.programs)
        .filter(move |a| a.hook == hook)
}

/// `guard (id 7)`.
#[must_use]
pub fn program(program: &BpfProgram) -> String {
    if program.name.is_empty() {
        format!("id {}", program.id)
    } else {
        format!("{} (id {})", program.name, program.id)
    }
}

/// `program guard (id 7)`, `bpf filter pref 50`, `u32 filter pref 60: mirred redirect to insp0`.
#[must_use]
pub fn attachment(host: &Host, device: Device, attachment: &Attachment) -> String {
    let what = attachment.program.as_ref().map(program);
    let mut text = match (attachment.hook.as_str(), attachment.how.as_str(), what) {
        ("xdp", mode, Some(what)) => format!("{what}, {mode}"),
        (_, "tcx" | "netkit", Some(what)) => format!("{} program {what}", attachment.how),
        (_, kind, Some(what)) => {
            format!("{kind} filter pref {}, program {what}", attachment.priority)
        }
        (_, kind, None) => format!("{kind} filter pref {}", attachment.priority),
    };
    for action in &attachment.actions {
        text += &format!(": {}", action.kind);
        if !action.verb.is_empty() {
            text += &format!(" {}", action.verb);
        }
        if let Some(to) = action.to {
            text += &format!(" to {}", host.interface(beside(device, to)));
        }
    }
    text
}

/// Devices to which the actions of a filter redirect, to be sent there.
pub fn redirects(device: Device, attachment: &Attachment) -> impl Iterator<Item = Device> {
    led(device, attachment, "redirect")
}

/// Devices to which they redirect as if it had come in there.
pub fn turned_in(device: Device, attachment: &Attachment) -> impl Iterator<Item = Device> {
    led(device, attachment, "ingress redirect")
}

fn led<'a>(
    device: Device,
    attachment: &'a Attachment,
    verb: &'static str,
) -> impl Iterator<Item = Device> + use<'a> {
    attachment
        .actions
        .iter()
        .filter(move |action| action.verb == verb)
        .filter_map(move |action| Some(beside(device, action.to?)))
}

fn beside(device: Device, ifindex: u32) -> Device {
    Device {
        ifindex: IfIndex(ifindex),
        ..device
    }
}

/// How to look at an attachment and how to take it off.
#[must_use]
pub fn advice(host: &Host, device: Device, attachment: &Attachment) -> Vec<Remedy> {
    let shell = Shell::of(host, Some(device.netns));
    let name = host.interface(device);
    let side = attachment.hook.trim_start_matches("tc-");
    let mut list = Vec::new();
    match (attachment.hook.as_str(), attachment.how.as_str()) {
        ("xdp", _) => list.push(shell.look(
            "look first: the program on the interface",
            command!["ip -d link show dev", name],
        )),
        (_, "tcx" | "netkit") => list.push(shell.look(
            "look first: programs on the interface, with their links",
            command!["bpftool net show dev", name],
        )),
        _ => list.push(shell.look(
            "look first: the filters and their counters",
            command!["tc -s filter show dev", name, side],
        )),
    }
    if let Some(program) = &attachment.program {
        // Programs have no namespace.
        list.push(Shell::of(host, None).look(
            "whose it is, and when it was loaded",
            command!["bpftool prog show id", program.id],
        ));
    }
    let off = "take it off if it is not wanted";
    let change = match (attachment.hook.as_str(), attachment.how.as_str()) {
        ("xdp", mode) => shell.change(off, command!["ip link set dev", name, mode, "off"]),
        (_, "tcx" | "netkit") => shell.change(
            format!("{off} (one with a link: bpftool link detach id LINK)"),
            command!["bpftool net detach", format!("tcx_{side}"), "dev", name],
        ),
        (_, kind) => shell.change(
            format!("{off}; note first what the command above shows"),
            command![
                "tc filter del dev",
                name,
                side,
                "pref",
                attachment.priority,
                kind
            ],
        ),
    };
    list.push(change.scope(LOADED.to_owned()));
    list
}

/// `tbf 8001: (root): 17 dropped, 40 times over its limit`.
#[must_use]
pub fn qdisc(qdisc: &Qdisc) -> String {
    let parent = match qdisc.parent.as_str() {
        "root" => "root".to_owned(),
        parent => format!("parent {parent}"),
    };
    format!(
        "{} {} ({parent}): {} dropped, {} times over its limit, {} waiting",
        qdisc.kind,
        qdisc.handle,
        qdisc.drops,
        qdisc.overlimits,
        words::count(u64::from(qdisc.queued), "packet")
    )
}

/// A holder with what keeps it from reading: `socat (pid 7, stopped)`.
#[must_use]
pub fn holder(holder: &Holder) -> String {
    let state = match holder.state {
        Some('T' | 't') => ", stopped",
        Some('D') => ", waiting for a driver",
        Some('Z' | 'X') => ", dead",
        _ => "",
    };
    format!(
        "{} (pid {}{state})",
        holder.process.comm, holder.process.pid
    )
}

/// Lets a stopped process go on. Processes have no namespace.
#[must_use]
pub fn let_go_on(host: &Host, pid: u32) -> Remedy {
    Shell::of(host, None)
        .change("it is stopped: let it go on", command!["kill -CONT", pid])
        .undone_by(command!["kill -STOP", pid])
}

/// How to see what a process is doing.
#[must_use]
pub fn doing(host: &Host, pid: u32, text: impl Into<String>) -> Remedy {
    Shell::of(host, None).look(text, command!["ps -o pid,stat,wchan:32,cmd -p", pid])
}

/// What a process that has something open is doing, and what lets it go on where it is stopped.
#[must_use]
pub fn held_up(host: &Host, holder: &Holder, text: &str) -> Vec<Remedy> {
    let pid = holder.process.pid;
    let stopped = matches!(holder.state, Some('T' | 't'));
    let mut list = vec![doing(host, pid, text)];
    list.extend(stopped.then(|| let_go_on(host, pid)));
    list
}

/// Everything between a device on which packets were seen and the next that did not see them: what stands on the
/// device, on its other end, and what kind of device it is. One line each.
#[must_use]
pub fn suspects(host: &Host, device: Device) -> Vec<String> {
    let mut list = Vec::new();
    let peer = peer_of(host, device).map(|link| link.device);
    for at in std::iter::once(device).chain(peer) {
        let place = words::interface(host, at);
        let Some(state) = of(host, at) else {
            continue;
        };
        list.extend(
            state
                .programs
                .iter()
                .map(|a| format!("{} on {place}: {}", a.hook, attachment(host, at, a))),
        );
        list.extend(
            state
                .qdiscs
                .iter()
                .filter(|q| q.drops > 0)
                .map(|q| format!("queue of {place}: {}", qdisc(q))),
        );
        let mode = host.link(at).and_then(|link| link.macvlan.as_deref());
        list.extend(mode.map(|mode| format!("{place} is a macvlan in mode {mode}")));
        list.extend(
            state
                .holders
                .iter()
                .flatten()
                .map(|h| format!("process behind {place}: {}", holder(h))),
        );
        let counters = state.counters;
        let lost: Vec<String> = [
            ("rx errors", counters.rx_errors),
            ("rx dropped", counters.rx_dropped),
            ("rx missed", counters.rx_missed),
            ("tx errors", counters.tx_errors),
            ("tx dropped", counters.tx_dropped),
            ("for another MAC", counters.rx_otherhost_dropped),
        ]
        .into_iter()
        .filter(|(_, n)| *n > 0)
        .map(|(what, n)| format!("{what} {n}"))
        .collect();
        if !lost.is_empty() {
            list.push(format!(
                "counters of {place} since it was made: {}",
                lost.join(", ")
            ));
        }
    }
    list
}
