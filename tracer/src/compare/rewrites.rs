//! What changed of packets between two hops, without what differs from run to run.

use super::context::host_of;
use crate::report::HopReport;

/// A change of headers: `dnat 10.96.0.1:443 > 10.0.0.5:6443`, `vxlan push vni 42 192.0.2.1 > 192.0.2.2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change<'a> {
    /// `dnat`, `snat`, `vxlan push` …
    pub(super) verb: &'a str,
    /// `vni 42`; empty where there is none.
    number: &'a str,
    from: &'a str,
    pub(super) to: &'a str,
}

impl<'a> Change<'a> {
    /// None for a smaller hop limit, which says only that the packet was routed.
    fn parse(text: &'a str) -> Option<Self> {
        let (left, to) = text.split_once(" > ")?;
        let (words, from) = left.rsplit_once(' ')?;
        let at = ["vni ", "key "].iter().find_map(|word| words.find(word));
        let (verb, number) = words.split_at(at.unwrap_or(words.len()));
        Some(Self {
            verb: verb.trim_end(),
            number,
            from,
            to,
        })
    }

    /// Whether another flow's change does the same. `same_goal`: both packets go to the same address.
    fn does_as(&self, other: &Self, same_goal: bool) -> bool {
        self.verb == other.verb
            && match self.verb {
                "dnat" => self.from != other.from || self.to == other.to,
                // which port is taken, nobody chooses
                "snat" => {
                    host_of(self.from) != host_of(other.from)
                        || host_of(self.to) == host_of(other.to)
                }
                verb if verb.ends_with(" push") => {
                    !same_goal || (self.number == other.number && self.to == other.to)
                }
                _ => true,
            }
    }

    /// What it does, in words.
    pub(super) fn words(&self) -> String {
        let to = self.to;
        match (self.verb, self.verb.split_once(' ')) {
            ("dnat", _) => format!("is translated to {to}"),
            ("snat", _) => format!("gets the source {to}"),
            (_, Some((tunnel, "push"))) if self.number.is_empty() => {
                format!("is encapsulated in {tunnel} to {to}")
            }
            (_, Some((tunnel, "push"))) => {
                format!("is encapsulated in {tunnel} {} to {to}", self.number)
            }
            (_, Some((tunnel, "pop"))) => format!("is decapsulated from {tunnel}"),
            (verb, _) => format!("is changed ({verb} to {to})"),
        }
    }

    /// That it was not done.
    pub(super) fn denied(&self) -> String {
        match (self.verb, self.verb.split_once(' ')) {
            ("dnat", _) => "is not translated".to_owned(),
            ("snat", _) => "keeps its source".to_owned(),
            (_, Some((tunnel, "push"))) => format!("is not encapsulated in {tunnel}"),
            (_, Some((tunnel, "pop"))) => format!("is not decapsulated from {tunnel}"),
            _ => "is not changed".to_owned(),
        }
    }
}

/// Changes on the way to a hop: what came about behind the one before, and before this one.
pub(super) fn on_the_way<'a>(before: Option<&'a HopReport>, hop: &'a HopReport) -> Vec<Change<'a>> {
    let behind = before.into_iter().flat_map(behind);
    let changes = hop.rewrites.iter().filter(|text| !hop.changed_behind(text));
    behind
        .chain(changes.filter_map(|text| Change::parse(text)))
        .collect()
}

/// Changes behind a hop, of packets that came no further.
pub(super) fn behind(hop: &HopReport) -> impl Iterator<Item = Change<'_>> {
    let changes = hop.rewrites.iter().filter(|text| hop.changed_behind(text));
    changes.filter_map(|text| Change::parse(text))
}

/// Kinds of changes, to tell whether two hops have the same part.
pub(super) fn verbs(hop: &HopReport) -> Vec<&str> {
    let changes = hop.rewrites.iter().filter_map(|text| Change::parse(text));
    changes.map(|change| change.verb).collect()
}

/// The first change that one has and the other has not, in words: what GOOD does, what BAD does.
pub(super) fn unlike(
    good: &[Change<'_>],
    bad: &[Change<'_>],
    same_goal: bool,
) -> Option<(String, String)> {
    let lone = |change: &&Change<'_>, others: &[Change<'_>]| {
        !others.iter().any(|other| change.does_as(other, same_goal))
    };
    let of_good = good.iter().find(|change| lone(change, bad));
    let of_bad = bad.iter().find(|change| lone(change, good));
    match (of_good, of_bad) {
        (None, None) => None,
        (Some(one), Some(other)) => Some((one.words(), other.words())),
        (Some(one), None) => Some((one.words(), one.denied())),
        (None, Some(one)) => Some((one.denied(), one.words())),
    }
}

/// The sending end of a hop's packets, without the port.
pub(super) fn source(hop: &HopReport) -> &str {
    let mut words = hop
        .tuple
        .split(" > ")
        .next()
        .unwrap_or_default()
        .rsplit(' ');
    host_of(words.next().unwrap_or_default())
}

/// The receiving end, likewise.
pub(super) fn goal(hop: &HopReport) -> &str {
    let end = hop.tuple.split_once(" > ").map_or("", |(_, end)| end);
    host_of(end.split(' ').next().unwrap_or_default())
}
