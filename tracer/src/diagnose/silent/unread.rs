//! Requests that the kernel took in and no process read: the process is stopped, or hangs. The kernel acknowledges for
//! it meanwhile, so that what came back says nothing.

use crate::host::Host;
use crate::host::facts::{OpenSocket, Question};
use crate::model::{Detail, Device, Direction, Proto, Side, Tuple};
use crate::network::sockets::Wanted;
use crate::verdict::Confidence;

use super::super::candidate::{Candidate, place_at};
use super::super::causes::SOCKET_UNANSWERED;
use super::super::device_state;
use super::super::ports;
use super::super::remedy::{Remedy, Shell, command};
use super::super::view::{GRACE_NS, View};
use super::super::words;
use super::{Counts, Silence};

/// What to read about the sockets that should have read.
#[must_use]
pub fn question(view: &View<'_>, counts: &Counts) -> Option<Question> {
    let (device, arrived) = waits(view, counts)?;
    ports::question(device.netns, &arrived)
}

/// TCP data that left for another machine, where it was acknowledged, and to which no data came back to the end of the trace.
pub(super) fn acknowledged_only(view: &View<'_>, counts: &Counts) -> bool {
    let sent = |direction| view.flow.sending.get(&direction);
    let Some(forward) = sent(Direction::Forward) else {
        return false;
    };
    let waits = |at| view.trace.now.since(at) >= GRACE_NS;
    counts.forward.left > 0
        && counts.forward.delivered == 0
        && forward.last_data.is_some_and(waits)
        && forward.acked.is_some()
        && forward.unacked.is_empty()
        && sent(Direction::Reply).is_some_and(|reply| reply.last_data.is_none())
}

/// Where a request arrived whose answer is still to come, and as what.
fn waits(view: &View<'_>, counts: &Counts) -> Option<(Device, Tuple)> {
    let hops = view.flow.forward.hops.iter().rev();
    let mut local = hops.filter(|hop| {
        hop.side == Side::Ingress && view.host.is_local(hop.device.netns, hop.tuple.dst)
    });
    let hop = local.next()?;
    let since = match hop.tuple.proto {
        Proto::Tcp => {
            // An answer of which no event was sent may have come since.
            if view.is_thinned(Direction::Reply) {
                return None;
            }
            let data = |direction| view.flow.sending.get(&direction).map(|s| s.last_data);
            let asked = data(Direction::Forward).flatten()?;
            let acked = view.flow.sending.get(&Direction::Forward)?.acked.is_some();
            let answered = data(Direction::Reply)
                .flatten()
                .is_some_and(|at| at > asked);
            (acked && !answered).then_some(asked)?
        }
        Proto::Udp if counts.forward.delivered > 0 && view.answers(counts) == 0 => hop.last_seen,
        _ => return None,
    };
    (view.trace.now.since(since) >= GRACE_NS).then_some((hop.device, hop.tuple))
}

/// A socket whose packets nobody reads, and how many share its port.
struct Unread<'a> {
    socket: &'a OpenSocket,
    /// All processes that could read are stopped.
    stopped: bool,
    sharing: usize,
}

impl<'a> Unread<'a> {
    fn of(view: &View<'a>, arrived: &Tuple, device: Device) -> Option<Self> {
        let netns = device.netns;
        let wanted = Wanted {
            netns,
            tuple: *arrived,
            interface: Some(device.ifindex),
        };
        let takers = match arrived.proto {
            Proto::Tcp => {
                let of_its_own = ports::connection(view.host, netns, arrived);
                // a connection that waits to be accepted has no process yet
                let owned = of_its_own.filter(|socket| !socket.holders.is_empty());
                match owned {
                    Some(socket) => vec![socket],
                    None => ports::listeners(view.host, &wanted).collect(),
                }
            }
            _ => ports::takers(view.host, &wanted),
        };
        let stopped = takers.iter().find(|socket| ports::is_stopped(socket));
        let full = || takers.iter().find(|socket| socket.waiting > 0);
        Some(Self {
            socket: stopped.or_else(full)?,
            stopped: stopped.is_some(),
            sharing: takers.len(),
        })
    }

    /// What happened to a request for an address, in a namespace.
    fn summary(&self, to: &str, namespace: &str) -> String {
        let who = ports::holder(self.socket);
        match self.sharing {
            0 | 1 => format!(
                "no answer from {to}: the request reached its socket on {namespace} and waits there unread: {who} does not read"
            ),
            sharing => format!(
                "no answer from {to}: the request reached a socket on {namespace} and was not read: of {sharing} sockets that share the port, one is that of {who} and gets its part of the requests"
            ),
        }
    }

    /// What waits in the socket's queue.
    fn queued(&self) -> Option<String> {
        let waiting = self.socket.waiting;
        (waiting > 0).then(|| {
            if self.socket.listens() {
                let connections = words::count(waiting.into(), "connection");
                format!("{connections} wait to be accepted")
            } else {
                let bytes = words::count(waiting.into(), "byte");
                format!("{bytes} wait to be read (Recv-Q)")
            }
        })
    }

    /// How to see what its process is doing.
    fn doing(&self, host: &Host) -> Option<Remedy> {
        let process = self.socket.holders.first()?;
        let what = format!(
            "what {} is doing (T: stopped, D: waits for a driver or a file system)",
            process.comm
        );
        Some(device_state::doing(host, process.pid, what))
    }
}

/// Whether a process was seen to read anything of the flow.
fn is_read(view: &View<'_>) -> bool {
    view.journeys(Direction::Forward)
        .flat_map(|j| &j.steps)
        .any(|s| matches!(s.event.detail, Detail::SocketRead { length } if length > 0))
}

/// The verdict's candidate.
pub(super) fn unread(view: &View<'_>, counts: &Counts) -> Option<Silence> {
    let (device, arrived) = waits(view, counts)?;
    let unread = Unread::of(view, &arrived, device)?;
    // a stopped process may have read what came before
    let reads = is_read(view);
    let tcp = arrived.proto == Proto::Tcp;
    if reads && !(tcp && unread.stopped) || !unread.stopped && !tcp && !view.expects_reply() {
        return None;
    }
    let transport = if tcp { "-ltnp" } else { "-lunp" };
    let candidate = Candidate::new(
        &SOCKET_UNANSWERED,
        place_at(view.host, device, "socket"),
        unread.summary(
            &words::destination(&arrived),
            &view.host.namespace(device.netns),
        ),
    )
    .sure(match (unread.stopped, unread.sharing) {
        (true, 0 | 1) => Confidence::Certain,
        _ => Confidence::Likely,
    })
    .because("socket", unread.queued())
    .because(
        "socket",
        (!reads).then(|| "no process was seen to read anything of this flow".to_owned()),
    )
    .advise(unread.doing(view.host))
    .advise([Shell::of(view.host, Some(device.netns)).look(
        "Recv-Q: what waits",
        command!["ss", transport, "sport =", format!(":{}", arrived.dport)],
    )])
    .advise(ports::go_on(view.host, unread.socket));
    Some(Silence::of_requests(view, candidate))
}
