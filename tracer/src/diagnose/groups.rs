//! Losses of a flow by cause and place, and which of them is the verdict.

use std::collections::{BTreeMap, BTreeSet};

use crate::host::Host;
use crate::model::{Device, Direction, DropSite, FateCounts, KtimeNs, Proto, Transport, Tuple};
use crate::uapi::{icmp, icmpv6};
use crate::verdict::{Affected, Confidence, Evidence, Outcome, Place, Verdict};

use super::arbitration::{self, Proposal};
use super::candidate::{Candidate, evidence};
use super::causes::NAT_ASYMMETRIC;
use super::loss::Loss;
use super::recovered::first_packet;
use super::remedy;
use super::rules::RULES;
use super::view::{Losses, View, total};
use super::words;

/// How many losses that look the same are looked at closely.
const LOOKED_AT: usize = 4;
/// Frames of a stack that are worth a line.
const FRAMES: usize = 6;

/// Losses with one cause at one place.
pub struct Group<'a> {
    /// Direction of the packets.
    pub direction: Direction,
    /// Why.
    pub candidate: Candidate,
    /// One of them.
    pub example: Loss<'a>,
    /// How many.
    pub count: u64,
    first: KtimeNs,
    last: KtimeNs,
    /// How many of them at each place and reason.
    sites: BTreeMap<DropSite, u64>,
}

/// A group as the report tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct LossGroup {
    /// Direction of the packets.
    pub direction: Direction,
    /// Code of the cause.
    pub cause: &'static str,
    /// How sure.
    pub confidence: Confidence,
    /// One line.
    pub summary: String,
    /// Where.
    pub place: Place,
    /// How many.
    pub packets: u64,
    /// The last one.
    pub last: KtimeNs,
    /// The kernel's reason for one of them.
    pub reason: Option<String>,
    /// Its stack, nearest caller first.
    pub stack: Vec<String>,
}

/// What losses of the same kind have in common.
#[derive(PartialEq)]
struct Signature<'a> {
    direction: Direction,
    reason: &'a str,
    function: &'a str,
    caller: Option<&'a str>,
    device: Option<Device>,
}

impl<'a> Signature<'a> {
    fn of(loss: &Loss<'a>) -> Self {
        Self {
            direction: loss.journey.direction,
            reason: loss.reason(),
            function: loss.function(),
            caller: loss
                .frames()
                .find(|f| !f.starts_with("nf") && *f != loss.function()),
            device: loss.device(),
        }
    }
}

struct Kind<'a> {
    signature: Signature<'a>,
    looked_at: usize,
    group: usize,
}

/// All groups of a flow.
#[must_use]
pub fn of<'a>(losses: &Losses<'a>) -> Vec<Group<'a>> {
    let mut groups = kept(&losses.lost);
    count_all(&mut groups, losses);
    groups
}

/// Adds the losses that were counted and not kept: they belong to the group that has all the kept ones of their place
/// and reason. What is harmless was counted too.
fn count_all(groups: &mut [Group<'_>], losses: &Losses<'_>) {
    let harmless: BTreeSet<DropSite> = losses.harmless().filter_map(Loss::site).collect();
    let mut shares: BTreeMap<DropSite, usize> = BTreeMap::new();
    for site in groups.iter().flat_map(|group| group.sites.keys()) {
        *shares.entry(*site).or_default() += 1;
    }
    for group in groups {
        let flow = group.example.flow;
        for (site, kept) in &group.sites {
            if shares.get(site) == Some(&1) && !harmless.contains(site) {
                let all = flow.drops.get(site).copied().unwrap_or_default();
                group.count += all.saturating_sub(*kept);
            }
        }
    }
}

/// Groups of the losses that are kept.
fn kept<'a>(losses: &[Loss<'a>]) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut kinds: Vec<Kind<'a>> = Vec::new();
    for loss in losses {
        let signature = Signature::of(loss);
        let known = kinds.iter_mut().find(|k| k.signature == signature);
        if let Some(kind) = known {
            if kind.looked_at >= LOOKED_AT {
                if let Some(group) = groups.get_mut(kind.group) {
                    group.add(loss);
                }
                continue;
            }
            kind.looked_at += 1;
            if let Some(candidate) = decide(loss) {
                kind.group = join(&mut groups, loss, candidate);
            }
        } else if let Some(candidate) = decide(loss) {
            let group = join(&mut groups, loss, candidate);
            kinds.push(Kind {
                signature,
                looked_at: 1,
                group,
            });
        }
    }
    groups
}

/// The losses to which rules are put, of each kind the first few; and the last, beside which counters may have moved on.
#[must_use]
pub fn examples<'l, 'a>(losses: &'l [Loss<'a>]) -> Vec<&'l Loss<'a>> {
    let mut kinds: Vec<(Signature<'a>, usize, &Loss<'a>)> = Vec::new();
    let mut list = Vec::new();
    for loss in losses {
        let signature = Signature::of(loss);
        match kinds.iter_mut().find(|(known, ..)| *known == signature) {
            Some((_, taken, last)) if *taken >= LOOKED_AT => *last = loss,
            Some((_, taken, last)) => {
                (*taken, *last) = (*taken + 1, loss);
                list.push(loss);
            }
            None => {
                kinds.push((signature, 1, loss));
                list.push(loss);
            }
        }
    }
    let last = kinds
        .into_iter()
        .filter(|(_, taken, _)| *taken >= LOOKED_AT);
    list.extend(last.map(|(.., loss)| loss));
    list
}

/// The rules' answer for one loss.
#[must_use]
pub fn decide(loss: &Loss<'_>) -> Option<Candidate> {
    arbitration::decide(proposals(loss)).winner
}

/// What each rule proposes that looks at a loss.
#[must_use]
pub fn proposals(loss: &Loss<'_>) -> Vec<Proposal> {
    RULES
        .iter()
        .filter(|rule| rule.looks_at(loss))
        .filter_map(|rule| Some(Proposal::new(rule.name, (rule.propose)(loss)?)))
        .collect()
}

/// Adds a loss to its group, or makes one; the group takes the better explanation.
fn join<'a>(groups: &mut Vec<Group<'a>>, loss: &Loss<'a>, candidate: Candidate) -> usize {
    let same_place = |g: &Group<'_>| {
        g.candidate.place.namespace == candidate.place.namespace
            && g.candidate.place.interface == candidate.place.interface
    };
    // What was read meanwhile may explain later losses of the same kind better.
    let same_kind = |g: &Group<'_>| {
        (g.example.reason(), g.example.function()) == (loss.reason(), loss.function())
    };
    let beats = |a: &Candidate, b: &Candidate| a.cause.beats(b.cause).is_some();
    let found = groups.iter().position(|g| {
        g.direction == loss.journey.direction
            && same_place(g)
            && (g.candidate.cause == candidate.cause
                || same_kind(g)
                    && (beats(&g.candidate, &candidate) || beats(&candidate, &g.candidate)))
    });
    if let Some((at, group)) = found.and_then(|at| Some((at, groups.get_mut(at)?))) {
        group.add(loss);
        let better = beats(&candidate, &group.candidate)
            || candidate.cause == group.candidate.cause
                && candidate.specificity > group.candidate.specificity;
        if better {
            group.candidate = candidate;
            group.example = *loss;
        }
        return at;
    }
    let mut group = Group {
        direction: loss.journey.direction,
        candidate,
        example: *loss,
        count: 0,
        first: loss.event.at,
        last: loss.event.at,
        sites: BTreeMap::new(),
    };
    group.add(loss);
    groups.push(group);
    groups.len() - 1
}

/// Packets that came to their end without harm: kernels before 6.3 do not tell that a datagram's reader ended it.
const fn came(fates: &FateCounts) -> u64 {
    fates.delivered + fates.consumed
}

impl Group<'_> {
    /// One more.
    fn add(&mut self, loss: &Loss<'_>) {
        self.count += 1;
        self.last = self.last.max(loss.event.at);
        if let Some(site) = loss.site() {
            *self.sites.entry(site).or_default() += 1;
        }
    }

    /// The flow did well in spite of it: what came after its end, or answers that nobody waited for any more.
    #[must_use]
    pub fn is_incidental(&self, forward: &FateCounts, reply: &FateCounts) -> bool {
        let conversation = came(forward) > 0 && came(reply) > 0;
        match self.direction {
            // Errors that other losses made belong to them; alone they only matter where nothing came through, or where
            // the sender has to learn from them that its packets are too big.
            Direction::Error => {
                let passed = |counts: &FateCounts| counts.delivered + counts.left > 0;
                conversation
                    || came(forward) > 0 && total(reply) == 0
                    || self.is_redirect()
                    || passed(forward) && passed(reply) && !self.says_too_big()
            }
            _ if !matches!(
                self.candidate.cause.code,
                "socket.none" | "socket.refused-segment"
            ) =>
            {
                false
            }
            Direction::Reply if came(reply) >= self.count.max(1) => true,
            Direction::Reply if self.is_answered_by_another() => true,
            // Data that the connection refused and that never came is missing.
            _ if self.candidate.cause.code == "socket.refused-segment"
                && first_packet(self.example.journey).is_some_and(
                    |p| matches!(p.transport, Transport::Tcp { payload, .. } if payload > 0),
                ) =>
            {
                false
            }
            _ => {
                let syn = first_packet(self.example.journey).is_some_and(
                    |p| matches!(p.transport, Transport::Tcp { flags, .. } if flags & 2 != 0),
                );
                conversation && !syn && self.example.tuple().is_some_and(|t| t.proto == Proto::Tcp)
            }
        }
    }

    /// Whether a datagram's asker asked another server from the same socket, and got its answer: as a resolver that asks all at once,
    /// takes the first answer and closes the socket.
    fn is_answered_by_another(&self) -> bool {
        let Some(answer) = self.example.tuple().filter(|t| t.proto == Proto::Udp) else {
            return false;
        };
        let mut flows = self.example.trace.flows.iter();
        flows.any(|flow| {
            let fates = flow.fates.get(&Direction::Reply);
            let same =
                |t: Tuple| t.proto == Proto::Udp && (t.src, t.sport) == (answer.dst, answer.dport);
            flow.id != self.example.flow.id
                && flow.asked().is_some_and(same)
                && fates.is_some_and(|fates| came(fates) > 0)
        })
    }

    /// Type and code of the ICMP message that was lost, and whether it is IPv6's.
    fn message(&self) -> Option<(bool, u8, u8)> {
        let packet = first_packet(self.example.journey)?;
        let Transport::Icmp {
            icmp_type, code, ..
        } = packet.transport
        else {
            return None;
        };
        Some((packet.tuple?.dst.is_ipv6(), icmp_type, code))
    }

    /// A router names a shorter way, and forwards the packet all the same (RFC 792, RFC 4861 8.2).
    fn is_redirect(&self) -> bool {
        matches!(
            self.message(),
            Some((false, icmp::REDIRECT, _) | (true, icmpv6::REDIRECT, _))
        )
    }

    fn says_too_big(&self) -> bool {
        matches!(
            self.message(),
            Some((false, icmp::DEST_UNREACH, icmp::FRAG_NEEDED) | (true, icmpv6::PKT_TOOBIG, _))
        )
    }

    /// For the report.
    #[must_use]
    pub fn summary(&self) -> LossGroup {
        let Candidate {
            cause,
            confidence,
            place,
            summary,
            ..
        } = &self.candidate;
        LossGroup {
            direction: self.direction,
            cause: cause.code,
            confidence: *confidence,
            summary: summary.clone(),
            place: place.clone(),
            packets: self.count,
            last: self.last,
            reason: self.example.info.reason.clone(),
            stack: self.example.frames().map(str::to_owned).collect(),
        }
    }

    /// In one line, for the evidence of another verdict.
    #[must_use]
    pub fn line(&self) -> Evidence {
        if self.direction == Direction::Error && self.is_redirect() {
            let count = words::count(self.count, "ICMP redirect");
            return evidence(
                "other-loss",
                format!("{count} lost, which the flow does not need: the packet itself went on"),
            );
        }
        let direction = match self.direction {
            Direction::Forward => "",
            Direction::Reply => " of the reply",
            Direction::Error => " (an ICMP error about the flow)",
        };
        evidence(
            "other-loss",
            format!(
                "{}{direction}: {} ({})",
                words::count(self.count, "packet"),
                self.candidate.summary,
                self.candidate.cause.code
            ),
        )
    }
}

/// The group that decides: the way there before the way back before errors; the most packets; the first in time. An
/// answer that missed its translator is what everything after it comes from.
#[must_use]
pub fn decisive(groups: &[Group<'_>], incidental: &[bool]) -> Option<usize> {
    let serious = || {
        (0..)
            .zip(groups.iter().zip(incidental))
            .filter(|(_, (_, incidental))| !**incidental)
            .map(|(n, (group, _))| (n, group))
    };
    let first = serious().min_by_key(|(_, g)| g.first);
    first
        .filter(|(_, g)| g.candidate.cause == &NAT_ASYMMETRIC)
        .or_else(|| {
            serious().min_by_key(|(_, g)| (g.direction, std::cmp::Reverse(g.count), g.first))
        })
        .map(|(n, _)| n)
}

/// The verdict of a flow whose packets were lost.
#[must_use]
pub fn verdict(view: &View<'_>, group: &Group<'_>, counts: &FateCounts) -> Verdict {
    let candidate = &group.candidate;
    let mut summary = candidate.summary.clone();
    match group.direction {
        Direction::Forward => {}
        // it speaks of the answer already
        Direction::Reply if candidate.cause == &NAT_ASYMMETRIC => {}
        Direction::Reply => summary = format!("reply lost: {summary}"),
        Direction::Error => summary = format!("ICMP error lost: {summary}"),
    }
    let affected = group
        .count
        .max(if counts.dropped > group.count && alone(view, group) {
            counts.dropped
        } else {
            0
        });
    // A segment that TCP answers with a reset is refused, whatever the kernel calls its end.
    let reset = group.example.told().is_some_and(|told| told == "TCP reset");
    let outcome = match candidate.outcome {
        Outcome::Dropped if reset && candidate.cause.code.starts_with("socket.") => {
            Outcome::Rejected
        }
        outcome => outcome,
    };
    let mut list = drop_evidence(view.host, &group.example, group.count);
    list.extend(candidate.evidence.iter().cloned());
    let told = group.example.told();
    if let Some(told) = told
        && !candidate
            .evidence
            .iter()
            .any(|e| e.kind == "icmp" || e.kind == "tcp")
    {
        list.push(evidence(
            "icmp",
            format!("this host told the sender: {told}"),
        ));
    }
    Verdict {
        outcome,
        cause: Some(candidate.cause.code.to_owned()),
        confidence: candidate.confidence,
        summary,
        place: Some(candidate.place.clone()),
        packets: Affected {
            seen: view.seen(group.direction).max(affected),
            affected,
        },
        evidence: list,
        advice: remedy::advice(&candidate.remedies),
    }
}

/// All kept drops of the direction are of this group: so are those that were not kept.
fn alone(view: &View<'_>, group: &Group<'_>) -> bool {
    let kept = view
        .journeys(group.direction)
        .filter(|j| matches!(j.fate, crate::model::Fate::Dropped { .. }))
        .count() as u64;
    kept == group.sites.values().sum::<u64>()
}

/// What the kernel said.
fn drop_evidence(host: &Host, loss: &Loss<'_>, count: u64) -> Vec<Evidence> {
    let place = loss.device().map_or_else(String::new, |d| {
        format!(", on {}", words::interface(host, d))
    });
    let mut list = vec![evidence(
        "drop",
        format!(
            "{} freed in {} with reason {}{place}",
            words::count(count, "packet"),
            loss.info
                .function
                .as_deref()
                .unwrap_or("an unknown function"),
            loss.info
                .reason
                .as_deref()
                .unwrap_or("unknown (this kernel gives none)"),
        ),
    )];
    let frames: Vec<_> = loss.frames().take(FRAMES).collect();
    if !frames.is_empty() {
        list.push(evidence("stack", frames.join(" < ")));
    }
    if let Some(tuple) = loss.tuple() {
        let headers = loss.event.packet.as_ref().map_or_else(String::new, |p| {
            let fragment = p.fragment.map_or_else(String::new, |fragment| {
                format!(", fragment at offset {}", fragment.offset)
            });
            format!(", {} bytes, TTL {}{fragment}", p.ip_len, p.ttl)
        });
        list.push(evidence("packet", format!("{tuple}{headers}")));
    }
    if let Some(tunnel) = loss.tunnel() {
        let ttl = loss.event.packet.as_ref().and_then(|p| p.carrier_ttl);
        let ttl = ttl.map_or_else(String::new, |ttl| format!(", outer TTL {ttl}"));
        list.push(evidence("packet", format!("it was in {tunnel}{ttl}")));
    }
    if loss.info.mark != 0 {
        list.push(evidence(
            "packet",
            format!("skb mark {:#x}", loss.info.mark),
        ));
    }
    list
}
