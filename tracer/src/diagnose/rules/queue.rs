//! Queues without room: queueing disciplines, and rings of devices.

use crate::host::facts::{Holder, Qdisc};
use crate::model::Device;
use crate::verdict::Confidence;

use super::super::candidate::{Candidate, Specificity};
use super::super::causes::{DEVICE_FULL, QDISC_FULL};
use super::super::device_state;
use super::super::loss::Loss;
use super::super::remedy::{Command, Remedy, Shell, command, text};
use super::super::words;

/// Disciplines with classes, of which each has a queue of its own.
const CLASSFUL: &[&str] = &["htb", "hfsc", "drr", "qfq", "prio", "cbq", "ets", "mqprio"];

/// Disciplines that hold packets back to keep a rate: a longer queue before them is a longer wait.
const SHAPERS: &[&str] = &["tbf", "htb", "hfsc", "cbq", "cake"];

/// Disciplines without a queue: what they count as dropped, their filters refused.
const FILTERING: &[&str] = &["clsact", "ingress"];

/// Disciplines that hold nothing back.
const QUEUELESS: &[&str] = &["noqueue", "noop"];

/// A queueing discipline had no room. With carrier only: a device without one has its queue taken out of work, and
/// drops by the same reason.
pub fn qdisc(loss: &Loss<'_>) -> Option<Candidate> {
    if !is_by_queue(loss) {
        return None;
    }
    let device = loss.last_device()?;
    let name = loss.host.interface(device);
    let shell = Shell::of(loss.host, loss.netns());
    let kind = loss.info.qdisc.as_deref().unwrap_or("qdisc");
    let qdiscs = device_state::of(loss.host, device).map_or(&[][..], |s| &s.qdiscs);
    // Counters of a parent hold those of its children: the innermost with drops is the one.
    let dropping = |q: &&Qdisc| q.drops > 0 && !FILTERING.contains(&q.kind.as_str());
    let full = qdiscs
        .iter()
        .filter(dropping)
        .max_by_key(|q| (q.parent != "root", q.drops));
    let (specificity, confidence) = told_by(loss, device, (kind, full.is_some()))?;
    if QUEUELESS.contains(&kind) && full.is_none() {
        return Some(replaced(loss, &shell, (kind, &name)).explains(specificity));
    }
    let inner = inner(full);
    let mut candidate = Candidate::new(
        &QDISC_FULL,
        loss.place_at_device("qdisc"),
        match full.filter(|q| q.kind == "netem").or(netem(kind, qdiscs)) {
            Some(netem) => format!("{}{}", on_purpose(netem), loss.at_words()),
            None => format!(
                "queue full or shaped (qdisc {kind}{inner}){}",
                loss.at_words()
            ),
        },
    )
    .explains(specificity)
    .sure(confidence)
    .advise([shell.look(
        "look first: dropped and overlimits",
        command!["tc -s qdisc show dev", name],
    )]);
    for qdisc in qdiscs.iter().filter(dropping) {
        candidate = candidate.because("qdisc", device_state::qdisc(qdisc));
    }
    if CLASSFUL.contains(&kind) {
        candidate = candidate.advise([shell.look(
            "which class is over its rate",
            command!["tc -s class show dev", name],
        )]);
    }
    let root = qdiscs.iter().find(|q| q.parent == "root");
    let shaper = root.filter(|q| SHAPERS.contains(&q.kind.as_str()));
    candidate = candidate.advise(shaper.map(|_| without_shaper(&shell, &name, qdiscs)));
    let fifo = full.filter(|q| matches!(q.kind.as_str(), "pfifo" | "bfifo") && shaper.is_none());
    candidate = candidate.advise(fifo.map(|fifo| more_room(&shell, &name, fifo)));
    candidate = candidate.advise([text(
        "raise the rate or the limit of the shaper, or send less and in smaller bursts",
    )]);
    if shaper.is_none() && root.is_some_and(|q| q.handle != "0:") {
        candidate = candidate.advise([without_shaper(&shell, &name, qdiscs)]);
    }
    Some(candidate)
}

/// `, its fq 2: under 1:1 has no room`; nothing of the root.
fn inner(full: Option<&Qdisc>) -> String {
    full.filter(|q| q.parent != "root")
        .map_or_else(String::new, |q| {
            let Qdisc {
                kind,
                handle,
                parent,
                ..
            } = q;
            format!(", its {kind} {handle} under {parent} has no room")
        })
}

/// What has no queue is not full: a device whose discipline is replaced, or to which clsact is added or removed, has one
/// for that moment that drops all (dev_deactivate_many, net/sched/sch_generic.c: noop_qdisc).
fn replaced(loss: &Loss<'_>, shell: &Shell, (kind, name): (&str, &str)) -> Candidate {
    Candidate::new(
        &QDISC_FULL,
        loss.place_at_device("qdisc"),
        format!(
            "dropped while queueing disciplines were set up or removed{} ({kind} has no queue that could be full)",
            loss.at_words()
        ),
    )
    .sure(Confidence::Likely)
    .advise([
        shell.look(
            "what changes there, as it happens",
            command!["tc monitor"],
        ),
        shell.look("what is there now", command!["tc qdisc show dev", name]),
        text("each such change loses what is sent in that moment: find what makes them (tc, a CNI plugin, an agent that attaches programs)"),
    ])
}

/// Whether a queue in work can have dropped it. Where no reason is given (before 5.17), what it has no room for is freed as a
/// list (__dev_xmit_skb, net/core/dev.c).
fn is_by_queue(loss: &Loss<'_>) -> bool {
    let works = loss.info.no_carrier != Some(true) && loss.info.device_up != Some(false);
    works && (!loss.unnamed() || loss.info.listed)
}

/// A frame that is longer than what the shaper ever lets go at once: no rate and no limit helps (tbf_enqueue,
/// net/sched/sch_tbf.c).
pub fn too_long(loss: &Loss<'_>) -> Option<Candidate> {
    let device = loss.last_device()?;
    let link = loss.host.link(device)?;
    let state = device_state::of(loss.host, device)?;
    let (tbf, burst) = state.qdiscs.iter().find_map(|q| Some((q, burst(q)?)))?;
    let length = loss.event.len;
    let one = loss.event.segments <= 1 && loss.info.qdisc.as_deref() == Some("tbf");
    if !one || length <= burst {
        return None;
    }
    let shell = Shell::of(loss.host, loss.netns());
    // Some frames of the largest kind.
    let room = format!("{}b", (link.mtu + ETHERNET) * 10);
    let was = format!("{burst}b");
    let with = |burst: &str| {
        let settings = tbf.settings.iter().flat_map(|s| s.split_whitespace());
        let settings = with_burst(settings, burst);
        command![
            "tc qdisc change dev",
            link.name,
            ..parent(tbf),
            "handle",
            tbf.handle,
            "tbf",
            ..settings
        ]
    };
    Some(
        Candidate::new(
            &QDISC_FULL,
            loss.place_at_device("qdisc"),
            format!(
                "frame of {length} bytes is longer than the burst of {burst} bytes that tbf lets go at once{}",
                loss.at_words()
            ),
        )
        .explains(Specificity::Linked)
        .because("qdisc", device_state::qdisc(tbf))
        .advise([
            shell.look("look first", command!["tc -s qdisc show dev", link.name]),
            shell
                .change("give the shaper room for whole frames; its rate stays", with(&room))
                .undone_by(with(&was)),
        ]),
    )
}

/// Header of Ethernet in bytes.
const ETHERNET: u32 = 14;

/// Most bytes that a token bucket lets go at once.
fn burst(qdisc: &Qdisc) -> Option<u32> {
    let settings = qdisc.settings.as_ref().filter(|_| qdisc.kind == "tbf")?;
    let mut words = settings.split_whitespace();
    words.find(|word| *word == "burst")?;
    words.next()?.strip_suffix('b')?.parse().ok()
}

/// The settings of a token bucket with another burst.
fn with_burst<'a>(settings: impl Iterator<Item = &'a str>, burst: &'a str) -> Vec<&'a str> {
    let mut before = "";
    let word = |word| {
        let is_burst = std::mem::replace(&mut before, word) == "burst";
        if is_burst { burst } else { word }
    };
    settings.map(word).collect()
}

/// The discipline that loses packets by chance, where it is the interface's own.
fn netem<'a>(kind: &str, qdiscs: &'a [Qdisc]) -> Option<&'a Qdisc> {
    let root = qdiscs.iter().find(|q| q.parent == "root");
    root.filter(|q| kind == "netem" && q.kind == "netem")
}

/// What netem does with packets, which is a test's doing and no want of room.
fn on_purpose(netem: &Qdisc) -> String {
    match &netem.settings {
        Some(settings) if settings.contains(" loss ") => {
            format!("netem discards packets on purpose ({settings})")
        }
        Some(settings) => format!("the queue of netem is full ({settings})"),
        None => "netem discards packets: by its settings, or for want of room".to_owned(),
    }
}

/// What tells that it was the queue: the reason; without one (before 5.17) its counter, or, where that was not read, that
/// the device sends and has a queue. `counted`: a counter of drops is not zero.
fn told_by(
    loss: &Loss<'_>,
    device: Device,
    (kind, counted): (&str, bool),
) -> Option<(Specificity, Confidence)> {
    if !loss.unnamed() {
        return Some((Specificity::Reason, Confidence::Certain));
    }
    if counted {
        return Some((Specificity::Fact, Confidence::Certain));
    }
    let read = device_state::of(loss.host, device).is_some();
    let works = loss.info.device_up == Some(true) && kind != "noqueue";
    (!read && works).then_some((Specificity::Location, Confidence::Likely))
}

/// Takes a shaper off. It can be put back where all that it is made of is known.
fn without_shaper(shell: &Shell, name: &str, qdiscs: &[Qdisc]) -> Remedy {
    let remedy = shell.change(
        "to see whether it is the shaper, take it off",
        command!["tc qdisc del dev", name, "root"],
    );
    let made: Option<Vec<Command>> = qdiscs
        .iter()
        .filter(|q| q.handle != "0:" && !matches!(q.kind.as_str(), "clsact" | "ingress"))
        .map(|qdisc| made(name, qdisc))
        .collect();
    let Some(made) = made else {
        return remedy.scope(
            "the rate is not limited then; note its settings and classes first, to put it back"
                .to_owned(),
        );
    };
    made.into_iter()
        .fold(remedy, Remedy::undone_by)
        .scope("the rate is not limited then".to_owned())
}

/// Where a queueing discipline stands, for tc(8).
fn parent(qdisc: &Qdisc) -> Vec<&str> {
    match qdisc.parent.as_str() {
        "root" => vec!["root"],
        parent => vec!["parent", parent],
    }
}

/// How it is made again, where its settings are known.
fn made(name: &str, qdisc: &Qdisc) -> Option<Command> {
    let settings = qdisc.settings.as_ref()?;
    Some(command![
        "tc qdisc add dev",
        name,
        ..parent(qdisc),
        "handle",
        qdisc.handle,
        qdisc.kind,
        ..settings.split_whitespace()
    ])
}

/// A longer first-in first-out queue.
fn more_room(shell: &Shell, name: &str, fifo: &Qdisc) -> Remedy {
    let (limit, unit) = match fifo.kind.as_str() {
        "bfifo" => (1_000_000, "bytes"),
        _ => (1000, "packets"),
    };
    let change = |settings: &str| {
        command![
            "tc qdisc change dev",
            name,
            ..parent(fifo),
            "handle",
            fifo.handle,
            fifo.kind,
            ..settings.split_whitespace()
        ]
    };
    let remedy = shell.change(
        format!("give the queue more room ({unit})"),
        change(&format!("limit {limit}")),
    );
    match &fifo.settings {
        Some(settings) => remedy.undone_by(change(settings)),
        None => remedy,
    }
}

/// The CPU's backlog, the ring of a TUN or TAP device that its process does not read, or another device's own queue.
pub fn ring(loss: &Loss<'_>) -> Option<Candidate> {
    if loss.reason() == "CPU_BACKLOG" {
        return Some(backlog(loss));
    }
    // Where the kernel has no reasons, a device that no process has open frees at the same place (tun_net_xmit).
    let open = || {
        let state = device_state::of(loss.host, loss.last_device()?)?;
        state.holders.as_ref().filter(|holders| !holders.is_empty())
    };
    (loss.info.reason.is_some() || open().is_some()).then(|| device_ring(loss))
}

fn backlog(loss: &Loss<'_>) -> Candidate {
    let shell = Shell::of(loss.host, loss.netns());
    full(
        loss,
        format!("the CPU's backlog is full{}", loss.at_words()),
    )
    .advise([
        shell.look(
            "look first: the second column counts what was dropped",
            "cat /proc/net/softnet_stat",
        ),
        shell.look(
            "the longest backlog, for the whole machine",
            "sysctl net.core.netdev_max_backlog",
        ),
    ])
}

fn device_ring(loss: &Loss<'_>) -> Candidate {
    let host = loss.host;
    let device = loss.last_device();
    let name = device.map_or_else(String::new, |d| host.interface(d));
    let read = device.and_then(|d| device_state::of(host, d));
    let holders = read.and_then(|s| s.holders.as_deref()).unwrap_or_default();
    let length = read.and_then(|s| s.queue_length);
    let shell = Shell::of(host, loss.netns());
    let held_up = holders.iter().flat_map(|holder| {
        let what = "what the process that has it open is doing";
        device_state::held_up(host, holder, what)
    });
    let longer = length.map(|length| {
        let set = |to: u32| command!["ip link set dev", name, "txqueuelen", to];
        shell
            .change(
                "only for short bursts: a longer ring (txqueuelen)",
                set(length.saturating_mul(4).max(1000)),
            )
            .undone_by(set(length))
    });
    full(
        loss,
        format!("device ring full{}: {}", loss.at_words(), unread(holders)),
    )
    .because(
        "link",
        length.map(|n| {
            let packets = words::count(u64::from(n), "packet");
            format!("its ring takes {packets} (txqueuelen)")
        }),
    )
    .advise([shell.look(
        "look first: its drops and its queue length",
        command!["ip -s -d link show dev", name],
    )])
    .advise(held_up)
    .advise([text("fix or restart the process that has to read it")])
    .advise(longer)
}

fn full(loss: &Loss<'_>, summary: String) -> Candidate {
    Candidate::new(&DEVICE_FULL, loss.place_at_device("device"), summary)
        .explains(Specificity::Reason)
}

/// Who does not read a device.
fn unread(holders: &[Holder]) -> String {
    match holders {
        [] => "nobody reads it fast enough".to_owned(),
        [one] => format!("{} does not read it", device_state::holder(one)),
        several => {
            let names: Vec<_> = several.iter().map(device_state::holder).collect();
            format!("its processes do not read it: {}", names.join(", "))
        }
    }
}
