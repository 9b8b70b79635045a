//! Connections that conntrack forgot because nothing of them passed for longer than it keeps an idle one.

use crate::host::facts::Question;
use crate::model::{Direction, Fate, Journey, KtimeNs, NetNs, Pause, Proto};

use super::loss::Loss;
use super::remedy::{Remedy, Shell, command, sysctl, text};
use super::view::View;

/// Nobody configures less, in nanoseconds: shorter pauses are not asked about.
const SHORTEST_NS: u64 = 1_000_000_000;
/// For so long conntrack takes UDP with answers for questions and answers, and then for a stream (nf_conntrack_udp_packet,
/// net/netfilter/nf_conntrack_proto_udp.c), in nanoseconds.
const STREAM_AFTER_NS: u64 = 2_000_000_000;

/// How long conntrack keeps an idle connection of some kind: the sysctl, and the kernel's default in seconds.
type Timeout = (&'static str, u64);

const ESTABLISHED: Timeout = (
    "net/netfilter/nf_conntrack_tcp_timeout_established",
    432_000,
);
const UDP: Timeout = ("net/netfilter/nf_conntrack_udp_timeout", 30);
const UDP_STREAM: Timeout = ("net/netfilter/nf_conntrack_udp_timeout_stream", 120);

/// A connection that was idle for longer than conntrack keeps one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    netns: NetNs,
    pause: Pause,
    timeout: Timeout,
    /// What it is set to, in seconds.
    seconds: u64,
}

/// The longest pause of the flow, and what decides how long conntrack remembers it meanwhile.
fn paused(view: &View<'_>, lost: KtimeNs) -> Option<(Pause, Timeout)> {
    let flow = view.flow;
    let pause = flow.pause.filter(|p| p.length() >= SHORTEST_NS)?;
    // what was not seen may have passed meanwhile
    if pause.until > lost || view.lost_observations() > 0 {
        return None;
    }
    // what came through since then had an entry, or made one
    let since = |journey: &Journey| {
        let begun = journey.steps.first().map(|step| step.event.at);
        begun.is_some_and(|at| at >= pause.until && at < lost)
    };
    let arrived = |journey: &Journey| matches!(journey.fate, Fate::Delivered);
    if view
        .kept()
        .any(|journey| since(journey) && arrived(journey))
    {
        return None;
    }
    let answered = view.seen(Direction::Reply) > 0;
    let talked = pause.since.since(flow.first);
    let timeout = match flow.asked()?.proto {
        Proto::Tcp => ESTABLISHED,
        Proto::Udp if answered && talked > STREAM_AFTER_NS => UDP_STREAM,
        Proto::Udp => UDP,
        _ => return None,
    };
    Some((pause, timeout))
}

fn begun(loss: &Loss<'_>) -> KtimeNs {
    let first = loss.journey.steps.first();
    first.map_or(loss.event.at, |step| step.event.at)
}

/// What to read where conntrack of a namespace does not know a packet's connection.
#[must_use]
pub fn question(loss: &Loss<'_>, netns: NetNs) -> Option<Question> {
    let (_, (name, _)) = paused(&loss.view(), begun(loss))?;
    Some(Question::Sysctl {
        netns,
        name: name.to_owned(),
    })
}

impl Idle {
    /// Whether it was idle for so long before this packet.
    #[must_use]
    pub fn before(loss: &Loss<'_>, netns: NetNs) -> Option<Self> {
        let (pause, timeout) = paused(&loss.view(), begun(loss))?;
        let read = loss.host.sysctls.get(&(netns, timeout.0.to_owned()))?;
        let seconds: u64 = read.fact.as_ref()?.parse().ok()?;
        (pause.length() / 1_000_000_000 >= seconds).then_some(Self {
            netns,
            pause,
            timeout,
            seconds,
        })
    }

    /// `nothing of it passed for 4.0 s, and an idle connection is kept for 2 s (net.netfilter.…)`.
    #[must_use]
    pub fn words(&self) -> String {
        let tenths = self.pause.length() / 100_000_000;
        format!(
            "nothing of it passed for {}.{} s, and an idle connection is kept for {} s ({})",
            tenths / 10,
            tenths % 10,
            self.seconds,
            sysctl(self.timeout.0)
        )
    }

    /// Longer memory, or fewer pauses.
    #[must_use]
    pub fn advice(&self, loss: &Loss<'_>) -> [Remedy; 2] {
        let (name, default) = self.timeout;
        // with some room beyond the pause that was seen
        let longer = self.pause.length() / 1_000_000_000 * 2;
        let set = |seconds: u64| command!["sysctl -w", format!("{}={seconds}", sysctl(name))];
        let change = Shell::of(loss.host, Some(self.netns))
            .change("keep idle connections for longer", set(default.max(longer)))
            .undone_by(set(self.seconds))
            .scope(
                "idle connections of this namespace take room in its table for so much longer"
                    .to_owned(),
            );
        let alive = text(format!(
            "or have the program or its socket send something more often than every {} s (keepalive)",
            self.seconds
        ));
        [change, alive]
    }
}
