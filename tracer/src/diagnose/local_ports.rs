//! Senders that have no local port left for one more connection to the same remote end: connect() fails with
//! EADDRNOTAVAIL, and there is no packet. The kernel fires no event for it; what is left of it are the route lookup
//! before it, the packet that does not follow, and the sockets that have all ports.

use crate::correlate::Trace;
use crate::host::Host;
use crate::host::facts::{PortUse, Question};
use crate::model::{Detail, Event, KtimeNs, NetNs, Process, Proto, Tuple};
use crate::verdict::{Affected, Confidence, Outcome, Place, Verdict};

use super::candidate::{evidence, place_on};
use super::causes::SOCKET_NO_PORT;
use super::local;
use super::loss::tuple_of;
use super::remedy::{self, Remedy, Shell, command, sysctl, text};
use super::words;

/// From which ports the kernel chooses; of both families.
const RANGE: &str = "net/ipv4/ip_local_port_range";
/// Whether ports in TIME_WAIT can be taken again for new connections; of both families.
const REUSE: &str = "net/ipv4/tcp_tw_reuse";
/// A connection is made from its lookup on within this time.
const AT_ONCE_NS: u64 = 20_000_000;
/// From when on a packet that did not follow is missing.
const MISSING_NS: u64 = 300_000_000;

/// Remote ends that are asked about.
const FEW: usize = 4;

/// A sender that looked up a route for a new connection, and no connection followed.
#[derive(Clone, Debug)]
pub struct Attempt {
    netns: NetNs,
    /// Source, as far as chosen, and the remote end.
    tuple: Tuple,
    process: Option<Process>,
    /// How many.
    count: u64,
}

impl Attempt {
    /// By remote end.
    #[must_use]
    pub fn all(trace: &Trace, host: &Host) -> Vec<Self> {
        let mut list: Vec<Self> = Vec::new();
        for event in local::successes(trace, host) {
            let (Some(netns), Some(tuple)) = (event.netns, tuple_of(event)) else {
                continue;
            };
            let opens = tuple.proto == Proto::Tcp && tuple.sport == 0 && tuple.dport != 0;
            // IPv4 looks it up once more with the chosen source, before it chooses the port
            let chosen = !tuple.src.is_unspecified() || tuple.src.is_ipv6();
            let done = trace.now.since(event.at) >= MISSING_NS;
            if !opens || !chosen || !done || has_port(trace, event, &tuple) {
                continue;
            }
            let same = |a: &&mut Self| {
                (a.netns, a.tuple.dst, a.tuple.dport) == (netns, tuple.dst, tuple.dport)
            };
            match list.iter_mut().find(same) {
                Some(known) => known.count += 1,
                None => list.push(Self {
                    netns,
                    tuple,
                    process: event.process.clone(),
                    count: 1,
                }),
            }
        }
        list
    }

    /// What to read about it.
    #[must_use]
    pub fn questions(&self) -> [Question; 3] {
        let netns = self.netns;
        let sysctl = |name: &str| Question::Sysctl {
            netns,
            name: name.to_owned(),
        };
        [
            Question::LocalPorts {
                netns,
                proto: self.tuple.proto,
                dst: self.tuple.dst,
                port: self.tuple.dport,
            },
            sysctl(RANGE),
            sysctl(REUSE),
        ]
    }

    /// The verdict, where its ports are used up.
    #[must_use]
    pub fn verdict(&self, host: &Host) -> Option<Verdict> {
        let (first, last) = range(host, self.netns)?;
        let used = self.used(host)?;
        let size = u32::from(last - first) + 1;
        // some ports may be kept for others (ip_local_reserved_ports, bind)
        if used.ports < size - size / 10 {
            return None;
        }
        let all = used.ports >= size;
        let name = host.namespace(self.netns);
        let to = words::destination(&self.tuple);
        let who = self
            .process
            .as_ref()
            .map_or_else(|| "the sender".to_owned(), ToString::to_string);
        let summary = format!(
            "not sent: no local port left on {name} for one more connection to {to}: {} of {size} ports ({first} to {last}) are in use, {who} got EADDRNOTAVAIL",
            used.ports
        );
        Some(Verdict {
            outcome: Outcome::NotSent,
            cause: Some(SOCKET_NO_PORT.code.to_owned()),
            confidence: if all {
                Confidence::Certain
            } else {
                Confidence::Likely
            },
            summary,
            place: Some(Place {
                hook: Some("socket".to_owned()),
                ..place_on(host, self.netns)
            }),
            packets: Affected::default(),
            evidence: vec![
                evidence(
                    "socket",
                    format!(
                        "{} from {} to {to}: {} connected, {} in TIME_WAIT",
                        words::count(used.ports.into(), "socket"),
                        used.source,
                        used.ports - used.time_wait,
                        used.time_wait
                    ),
                ),
                evidence("sysctl", format!("{} = {first} {last}", sysctl(RANGE))),
                evidence(
                    "route",
                    format!(
                        "{who} looked up a route to {} and found one, {}; no port was chosen and no packet followed",
                        self.tuple.dst,
                        words::count(self.count, "time")
                    ),
                ),
            ],
            advice: remedy::advice(&self.advice(host, &used, (first, last))),
        })
    }

    /// The ports in use from the source that it would have; where that was not told, from the one that has most.
    fn used(&self, host: &Host) -> Option<PortUse> {
        let key = (
            self.netns,
            self.tuple.proto,
            self.tuple.dst,
            self.tuple.dport,
        );
        let list = &host.local_ports.get(&key)?.fact;
        let wanted = self.tuple.src;
        list.iter()
            .copied()
            .filter(|used| wanted.is_unspecified() || used.source == wanted)
            .max_by_key(|used| used.ports)
    }

    fn advice(&self, host: &Host, used: &PortUse, (first, last): (u16, u16)) -> Vec<Remedy> {
        let shell = Shell::of(host, Some(self.netns));
        let to = |first: u16, last: u16| {
            command!["sysctl -w", format!("{}={first} {last}", sysctl(RANGE))]
        };
        let mut list = vec![shell.look(
            "look first: who has the ports, and in which state",
            command![
                "ss -Htanp dst",
                self.tuple.dst,
                "dport =",
                format!(":{}", self.tuple.dport)
            ],
        )];
        let widest = (first.min(10_000), u16::MAX);
        if widest != (first, last) {
            list.push(
                shell
                    .change(
                        "a wider range of local ports",
                        to(widest.0, widest.1),
                    )
                    .undone_by(to(first, last))
                    .scope("servers that listen within the range have to be started before clients take their ports (net.ipv4.ip_local_reserved_ports)".to_owned()),
            );
        }
        let reuse = host.sysctls.get(&(self.netns, REUSE.to_owned()));
        let value = reuse.and_then(|dated| dated.fact.clone());
        if used.time_wait > 0 && value.as_deref() != Some("1") {
            let set = |to: &str| command!["sysctl -w", format!("{}={to}", sysctl(REUSE))];
            let change = shell.change(
                "or let new connections take ports in TIME_WAIT (needs TCP timestamps at both ends)",
                set("1"),
            );
            list.push(match value.as_deref() {
                Some(old) => change.undone_by(set(old)),
                None => change,
            });
        }
        list.push(text(
            "to last: keep connections and use them again (keep-alive, a pool), close what is idle, or spread them over more addresses or ports of the server, or more source addresses",
        ));
        list
    }
}

/// The ports from which the kernel chooses.
fn range(host: &Host, netns: NetNs) -> Option<(u16, u16)> {
    let value = host.sysctls.get(&(netns, RANGE.to_owned()))?;
    let mut numbers = value.fact.as_ref()?.split_whitespace();
    let first = numbers.next()?.parse().ok()?;
    let last = numbers.next()?.parse().ok()?;
    (first <= last).then_some((first, last))
}

/// Whether a connection came of a lookup: one more lookup with its port (ip_route_newports, IPv4), or its packets.
fn has_port(trace: &Trace, lookup: &Event, wanted: &Tuple) -> bool {
    let soon = |at: KtimeNs| at >= lookup.at && at.since(lookup.at) < AT_ONCE_NS;
    let same_end = |t: &Tuple| {
        (t.proto, t.dst, t.dport) == (wanted.proto, wanted.dst, wanted.dport) && t.sport != 0
    };
    let from = trace.beside.partition_point(|e| e.at < lookup.at);
    let since = trace.beside.iter().skip(from);
    let looked_up = since.take_while(|e| soon(e.at)).any(|e| {
        matches!(e.detail, Detail::Fib(_))
            && e.cpu == lookup.cpu
            && tuple_of(e).is_some_and(|t| same_end(&t))
    });
    looked_up
        || trace
            .flows
            .iter()
            .any(|flow| soon(flow.first) && flow.tuples.iter().any(|(_, t)| same_end(t)))
}

/// The first sender whose ports are used up.
#[must_use]
pub fn used_up(trace: &Trace, host: &Host) -> Option<Verdict> {
    let attempts = Attempt::all(trace, host);
    attempts.iter().find_map(|attempt| attempt.verdict(host))
}

/// What to read while connections do not follow.
#[must_use]
pub fn questions(trace: &Trace, host: &Host) -> Vec<Question> {
    let attempts = Attempt::all(trace, host);
    let few = attempts.iter().take(FEW);
    few.flat_map(Attempt::questions).collect()
}
