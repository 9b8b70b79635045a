//! Requests that come in by one interface of a namespace and are answered through another one. Many such flows are
//! well; a provider, a firewall or a reverse-path filter on the other way may refuse what it never saw begin.

mod commands;

pub use commands::{leaving_by, leaving_by_router};

use crate::host::Host;
use crate::host::facts::Question;
use crate::host::prefix::is_many;
use crate::model::{Detail, Device, Direction, Journey, NetNs, Tuple};
use crate::network::route::{Decision, Query, Tables, lookup};
use crate::sites;
use crate::uapi::if_arp::ARPHRD_LOOPBACK;
use crate::verdict::{Confidence, Evidence, Outcome, Place};

use super::Found;
use super::candidate::{Candidate, evidence, place_on};
use super::causes::{CONNTRACK_INVALID, NAT_ASYMMETRIC, ROUTE_RP_FILTER};
use super::loss::tuple_of;
use super::remedy::Remedy;
use super::rules::neighbor;
use super::stall::Stall;
use super::stray_source::Stray;
use super::translation;
use super::view::View;
use super::words;

/// A stay of a packet in one namespace: by which interfaces it came and went, of a stack of them the one that has the
/// addresses. `None`: it began or ended there.
struct Stay {
    netns: NetNs,
    came: Option<(Device, Tuple)>,
    went: Option<(Device, Tuple)>,
}

/// The stays of a packet, in order.
fn stays(journey: &Journey) -> Vec<Stay> {
    let mut list: Vec<Stay> = Vec::new();
    for event in journey.steps.iter().map(|s| &s.event) {
        let entering = match &event.detail {
            Detail::Ingress => true,
            Detail::Egress => false,
            // On its way out it waits for a neighbour.
            Detail::Drop(info) if sites::NEIGHBOR_QUEUE.is(info) => false,
            _ => continue,
        };
        let (Some(device), Some(tuple)) = (event.device, tuple_of(event)) else {
            continue;
        };
        let netns = device.netns;
        let goes_on = list
            .last()
            .is_some_and(|s| s.netns == netns && !(entering && s.went.is_some()));
        if !goes_on {
            list.push(Stay {
                netns,
                came: None,
                went: None,
            });
        }
        let Some(stay) = list.last_mut() else {
            continue;
        };
        if entering {
            // what is stacked upon an interface gets the packet after it
            stay.came = Some((device, tuple));
        } else {
            stay.went = stay.went.or(Some((device, tuple)));
        }
    }
    list
}

/// The two interfaces, and the answer on its way between.
#[derive(Clone, Copy)]
pub struct Detour<'a> {
    /// By which the request came in.
    pub came: Device,
    /// Through which the answer leaves.
    pub went: Device,
    /// The request as it came in.
    asked: Tuple,
    /// The answer as it was routed.
    routed: Tuple,
    /// The answer as it left.
    left: Tuple,
    /// By which the answer came into the namespace; `None`: it was made there.
    inside: Option<Device>,
    /// `None`: it waits for a neighbour, before any hook saw it.
    answer: Option<&'a Journey>,
}

impl<'a> Detour<'a> {
    /// The first of a flow. None where some answers leave as the request came.
    #[must_use]
    pub fn of(view: &View<'a>) -> Option<Self> {
        let to_one = view.tuple().is_some_and(|t| !is_many(t.dst));
        let requests: Vec<Stay> = view
            .journeys(Direction::Forward)
            .filter(|_| to_one)
            .flat_map(stays)
            .collect();
        let answers = || view.journeys(Direction::Reply);
        let found = answers().find_map(|answer| {
            stays(answer)
                .iter()
                .find_map(|stay| Self::between(view.host, &requests, answer, stay))
        });
        let found = found.or_else(|| Self::waiting(view, &requests))?;
        let straight = answers()
            .flat_map(stays)
            .any(|stay| stay.went.is_some_and(|(went, _)| went == found.came));
        (!straight).then_some(found)
    }

    fn between(host: &Host, requests: &[Stay], answer: &'a Journey, stay: &Stay) -> Option<Self> {
        let (went, left) = stay.went?;
        let inside = stay.came.map(|(device, _)| device);
        let mut here = requests.iter().filter(|r| r.netns == stay.netns);
        let (came, asked) = here.find_map(|r| r.came)?;
        let both = wired(host, came) && wired(host, went);
        (came != went && inside != Some(went) && both).then_some(Self {
            came,
            went,
            asked,
            routed: stay.came.map_or(left, |(_, tuple)| tuple),
            left,
            inside,
            answer: Some(answer),
        })
    }

    /// An answer, of which no packet was seen, that waits for a neighbour on another interface.
    fn waiting(view: &View<'_>, requests: &[Stay]) -> Option<Self> {
        if view.seen(Direction::Reply) > 0 {
            return None;
        }
        neighbor::pending(view.trace).find_map(|who| {
            let ended = |stay: &&Stay| stay.netns == who.device.netns && stay.went.is_none();
            let (came, asked) = requests.iter().filter(ended).find_map(|stay| stay.came)?;
            // The asker itself is on that link too: what keeps the two apart says more.
            if who.address == asked.src {
                return None;
            }
            let answer = asked.reversed();
            let ends = |tuple: &Tuple| (tuple.src, tuple.dst);
            let mut waits = neighbor::senders(view.trace, who);
            let waits = waits.any(|tuple| ends(&tuple) == ends(&answer));
            let both = wired(view.host, came) && wired(view.host, who.device);
            (waits && came != who.device && both).then_some(Self {
                came,
                went: who.device,
                asked,
                routed: answer,
                left: answer,
                inside: None,
                answer: None,
            })
        })
    }

    fn netns(&self) -> NetNs {
        self.came.netns
    }

    /// What to read about it.
    #[must_use]
    pub fn questions(&self) -> [Question; 3] {
        let (netns, dst) = (self.netns(), self.routed.dst);
        [
            Question::Rules {
                netns,
                v6: dst.is_ipv6(),
            },
            Question::RoutesTowards { netns, dst },
            Question::Chains { netns },
        ]
    }

    /// The answer as it is routed.
    fn query(&self) -> Query {
        match self.inside {
            Some(inside) => Query::input(self.routed, inside.ifindex, 0),
            None => Query::output(self.routed, 0),
        }
    }

    /// Whether the route of the answer has next hops by both interfaces, for a source that is an address of neither link: a fabric
    /// in which ways differ by design.
    fn is_balanced(&self, host: &Host) -> bool {
        let query = self.query();
        let Decision::Route { hops, .. } = lookup(&Tables::of(host, self.netns()), &query).decision
        else {
            return false;
        };
        let by = |device: Device| hops.iter().any(|hop| hop.oif == Some(device.ifindex.0));
        let of_a_link = |device| host.near(device, self.routed.src).is_some();
        by(self.came) && by(self.went) && !of_a_link(self.came) && !of_a_link(self.went)
    }

    /// `the request came in on dock/eno2 and is answered through dock/eno1`.
    fn words(&self, host: &Host) -> String {
        format!(
            "the request to {} came in on {} and is answered through {}",
            words::destination(&self.asked),
            words::interface(host, self.came),
            words::interface(host, self.went)
        )
    }
}

/// Whether an interface leads to others, by itself.
fn wired(host: &Host, device: Device) -> bool {
    let link = host.link(device);
    link.is_some_and(|l| l.arp_type != ARPHRD_LOOPBACK && l.master.is_none())
}

/// What makes the answers of a flow leave as its requests came in; `None` where they do.
#[must_use]
pub fn leading_back(view: &View<'_>) -> Option<Vec<Remedy>> {
    Some(commands::advice(view, &Detour::of(view)?))
}

/// For flows of which it is not the verdict.
#[must_use]
pub fn told(view: &View<'_>) -> Option<Evidence> {
    let detour = Detour::of(view)?;
    Some(evidence("route", detour.words(view.host)))
}

/// The verdict's candidate, where the answer was lost on its own way.
#[must_use]
pub fn parted(view: &View<'_>, found: &Found<'_>) -> Option<Candidate> {
    let detour = Detour::of(view)?;
    if found.counts.reply.delivered > 0 {
        return None;
    }
    let lost = found.chosen();
    let how = match lost {
        // a firewall that saw one direction alone says so itself
        Some(group) if group.candidate.cause == &CONNTRACK_INVALID => return None,
        // whoever asks for symmetry where there is none by design says so too
        Some(group)
            if group.candidate.cause == &ROUTE_RP_FILTER && detour.is_balanced(view.host) =>
        {
            return None;
        }
        Some(group) if group.direction == Direction::Reply => {
            let strange = group.example.came_in().or(group.example.last_device())?;
            // where the request was, its way is not what is wrong
            let shared = view
                .journeys(Direction::Forward)
                .flat_map(translation::passed)
                .any(|device| device == strange);
            let beyond = strange.netns != detour.netns();
            (!shared && beyond)
                .then(|| format!("where it was lost: {}", group.candidate.summary))?
        }
        Some(_) => return None,
        None => unacknowledged(view, found, &detour)?,
    };
    let summary = format!(
        "the answer takes another uplink: {}, {how}",
        detour.words(view.host)
    );
    let place = Place {
        interface: Some(view.host.interface(detour.went)),
        ..place_on(view.host, detour.netns())
    };
    let candidate = Candidate::new(&NAT_ASYMMETRIC, place, summary)
        .because("route", detour.words(view.host))
        .because(
            "packet",
            (detour.routed.src != detour.left.src).then(|| {
                format!(
                    "it is routed as {}, before its source is translated back to {}",
                    detour.routed,
                    detour.left.source()
                )
            }),
        );
    let candidate = led_there(candidate, view, &detour).advise(commands::advice(view, &detour));
    Some(match lost {
        Some(_) => candidate,
        None => candidate
            .leads_to(Outcome::Unanswered)
            .sure(Confidence::Likely),
    })
}

/// What to read of who asked with the address of another of its interfaces.
#[must_use]
pub fn asker(view: &View<'_>) -> Vec<Question> {
    let of_other = Detour::of(view).and_then(|detour| {
        let stray = Stray::of_request(view)?;
        (stray.netns() != detour.netns()).then(|| stray.questions(detour.netns()))
    });
    of_other.unwrap_or_default()
}

/// Adds that the one who asked did so with the address of another of its interfaces, to which answers go by another uplink.
fn led_there(candidate: Candidate, view: &View<'_>, detour: &Detour<'_>) -> Candidate {
    let stray = Stray::of_request(view).filter(|stray| stray.netns() != detour.netns());
    let Some(stray) = stray else {
        return candidate;
    };
    let fits = stray.mended(detour.asked).is_some_and(|asked| {
        let back = Query::output(asked.reversed(), 0);
        match lookup(&Tables::of(view.host, detour.netns()), &back).decision {
            Decision::Route { hops, .. } => {
                let mut hops = hops.iter();
                hops.any(|hop| hop.oif == Some(detour.came.ifindex.0))
            }
            _ => false,
        }
    });
    stray.told(candidate).advise(stray.remedies(fits))
}

/// What says that the answer did not come, where nothing here lost it.
fn unacknowledged(view: &View<'_>, found: &Found<'_>, detour: &Detour<'_>) -> Option<String> {
    let Some(answer) = detour.answer else {
        return Some(format!("where it waits: {}", found.verdict.summary));
    };
    let stall = Stall::of(view).filter(|s| s.direction == Direction::Reply);
    if let Some(stall) = stall {
        return (stall.device.netns == detour.netns())
            .then(|| format!("where {}", stall.repeated_words()));
    }
    let last = answer.steps.iter().rev().find_map(|s| s.event.device);
    let gone = found.verdict.outcome == Outcome::Vanished && found.counts.reply.vanished > 0;
    (gone && last.is_some_and(|d| d.netns != detour.netns()))
        .then(|| format!("where {}", found.verdict.summary))
}
