//! Which hop of one path has the same part as which hop of the other.
//!
//! The same place is the same part. Else position and kind decide: two flows of different pods go through interfaces of
//! different names, which do the same for each. Of all ways to pair hops in their order, the one with the most likeness
//! is taken (Needleman and Wunsch, where a gap costs nothing).

use super::context::Kinds;
use super::rewrites::{goal, source, verbs};
use super::{PathPair, Relation, Row, hops};
use crate::report::{FlowReport, HopReport};

/// Likeness of two hops at the same place: no number of lesser pairs is worth giving one up.
const SAME: u32 = 1000;

/// Both directions of two flows, hop beside hop.
pub(super) fn paths(
    good: Option<&FlowReport>,
    bad: Option<&FlowReport>,
    kinds: &[Kinds; 2],
) -> Vec<PathPair> {
    let pair = |direction: &str| PathPair {
        direction: direction.to_owned(),
        rows: rows(hops(good, direction), hops(bad, direction), kinds),
    };
    let mut paths = vec![pair("forward")];
    paths.extend(Some(pair("reply")).filter(|path| !path.rows.is_empty()));
    paths
}

/// Two paths, hop beside hop. Of hops that only one has, those of GOOD come first.
pub(super) fn rows(good: &[HopReport], bad: &[HopReport], [g, b]: &[Kinds; 2]) -> Vec<Row> {
    let good = Part::all(good, g);
    let bad = Part::all(bad, b);
    let width = bad.len() + 1;
    // best[i * width + j]: of the first i and j hops; met: whether any of those were at the same place
    let mut best = vec![0_u32; (good.len() + 1) * width];
    let mut met = vec![false; best.len()];
    let cell = |list: &[u32], i: usize, j: usize| list.get(i * width + j).copied().unwrap_or(0);
    let known = |list: &[bool], i: usize, j: usize| list.get(i * width + j).copied() == Some(true);
    let worth = |met: &[bool], i: usize, j: usize, one: &Part<'_>, other: &Part<'_>| {
        one.likeness(other, known(met, i, j))
    };
    for (i, one) in good.iter().enumerate() {
        for (j, other) in bad.iter().enumerate() {
            let paired = match worth(&met, i, j, one, other) {
                0 => 0,
                worth => cell(&best, i, j) + worth,
            };
            let skipped = cell(&best, i, j + 1).max(cell(&best, i + 1, j));
            let here = (i + 1) * width + j + 1;
            let same = known(&met, i, j + 1) || known(&met, i + 1, j) || one.is(other);
            if let Some(slot) = best.get_mut(here) {
                *slot = paired.max(skipped);
            }
            if let Some(slot) = met.get_mut(here) {
                *slot = same;
            }
        }
    }
    let mut rows = Vec::new();
    let (mut i, mut j) = (good.len(), bad.len());
    while i > 0 || j > 0 {
        let one = i.checked_sub(1).and_then(|at| good.get(at));
        let other = j.checked_sub(1).and_then(|at| bad.get(at));
        let paired = one.zip(other).filter(|(one, other)| {
            let worth = worth(&met, i - 1, j - 1, one, other);
            worth > 0 && cell(&best, i, j) == cell(&best, i - 1, j - 1) + worth
        });
        let (one, other, relation) = match (paired, one, other) {
            (Some((one, other)), ..) if one.is(other) => (Some(one), Some(other), Relation::Same),
            (Some((one, other)), ..) => (Some(one), Some(other), Relation::Alike),
            (None, one, Some(other))
                if one.is_none() || cell(&best, i, j) == cell(&best, i, j - 1) =>
            {
                (None, Some(other), Relation::BadOnly)
            }
            (None, one, _) => (one, None, Relation::GoodOnly),
        };
        i -= usize::from(one.is_some());
        j -= usize::from(other.is_some());
        rows.push(Row {
            relation,
            good: one.map(|part| part.hop.clone()),
            bad: other.map(|part| part.hop.clone()),
        });
    }
    rows.reverse();
    rows
}

/// A hop with what tells its part in the path.
struct Part<'a> {
    hop: &'a HopReport,
    index: usize,
    /// Kind of its interface, where the report tells.
    kind: Option<&'a str>,
    verbs: Vec<&'a str>,
    /// First hop of those in a row in this namespace.
    enters: bool,
    /// The last of them; none for the last hop of all, behind which it may have gone on.
    leaves: Option<bool>,
    /// All hops before it are in one other namespace: the sender's.
    near_source: bool,
    /// All hops after it are in one other namespace, or there are none.
    near_goal: bool,
}

impl<'a> Part<'a> {
    fn all(hops: &'a [HopReport], kinds: &'a Kinds) -> Vec<Self> {
        let alone = |hops: &[HopReport]| {
            let first = hops.first().map(HopReport::spot);
            hops.iter().all(|hop| Some(hop.spot()) == first)
        };
        hops.iter()
            .enumerate()
            .map(|(index, hop)| {
                let (before, rest) = hops.split_at(index);
                let after = rest.get(1..).unwrap_or_default();
                let apart =
                    |other: Option<&HopReport>| other.is_none_or(|o| o.spot() != hop.spot());
                let key = (hop.spot().into_owned(), hop.interface.clone());
                Self {
                    hop,
                    index,
                    kind: kinds.get(&key).map(String::as_str),
                    verbs: verbs(hop),
                    enters: apart(before.last()),
                    leaves: after.first().map(|next| apart(Some(next))),
                    near_source: !before.is_empty() && alone(before) && apart(before.last()),
                    near_goal: alone(after) && apart(after.first()),
                }
            })
            .collect()
    }

    /// Whether both are at the same side of the same interface.
    fn is(&self, other: &Self) -> bool {
        self.hop.hook == other.hop.hook
            && self.hop.interface == other.hop.interface
            && self.hop.spot() == other.hop.spot()
    }

    /// Zero: they cannot have the same part. `met`: both paths were at the same place before.
    fn likeness(&self, other: &Self, met: bool) -> u32 {
        if self.is(other) {
            return SAME;
        }
        if self.hop.hook != other.hop.hook || !self.excused(other, met) {
            return 0;
        }
        let name = self.hop.interface == other.hop.interface;
        let stem = stem(&self.hop.interface) == stem(&other.hop.interface);
        let kind = match (self.kind, other.kind) {
            (Some(one), Some(other)) if one != other && !name => return 0,
            (one, other) => one.is_some() && one == other,
        };
        let ends = self.index == 0 && other.index == 0;
        if !(name || stem || kind || ends) {
            return 0;
        }
        let signs = [
            (name, 6),
            (stem, 3),
            (kind, 4),
            (self.enters == other.enters, 3),
            (self.leaves == other.leaves, 3),
            (self.leaves.is_some() != other.leaves.is_some(), 2),
            (self.verbs == other.verbs, 4),
            (self.hop.spot() == other.hop.spot(), 4),
            (self.index == other.index, 2),
        ];
        10 + signs
            .iter()
            .map(|(is, worth)| u32::from(*is) * worth)
            .sum::<u32>()
    }

    /// Whether there is a reason why flows with the same part are at different places here: they have another sender or
    /// another goal. Without one, they took different ways.
    fn excused(&self, other: &Self, met: bool) -> bool {
        let (one, two) = (self.hop, other.hop);
        let same_space = one.spot() == two.spot();
        let made_up = same_space && made_up(&one.interface, &two.interface);
        let nameless = nameless(one) && nameless(two) && one.interface == two.interface;
        if made_up || nameless {
            return true;
        }
        let other_goal = goal(one) != goal(two);
        if same_space {
            return match one.hook.as_str() {
                "ingress" => source(one) != source(two) && self.near_source && other.near_source,
                _ => other_goal && met && self.near_goal && other.near_goal,
            };
        }
        !met || other_goal
    }
}

/// Namespaces without a name are told by their inode, which every run has anew.
fn nameless(hop: &HopReport) -> bool {
    hop.namespace.starts_with("netns:")
}

/// What CNI plugins and container engines call the host's end of a pod's cable, before letters of no meaning.
const PER_POD: &[&str] = &["veth", "cali", "lxc", "azv", "eni", "tap", "vnet", "vif"];
/// Fewer letters may have been chosen by a person.
const MADE_UP: usize = 4;

/// Whether both names were made up by the same program: they differ from run to run.
fn made_up(one: &str, other: &str) -> bool {
    PER_POD.iter().any(|lead| {
        [one, other].iter().all(|name| {
            name.strip_prefix(lead)
                .is_some_and(|rest| rest.len() >= MADE_UP)
        })
    })
}

/// The letters that a name begins with: `veth`, `flannel`, `ens`.
fn stem(name: &str) -> &str {
    let end = name.find(|c: char| !c.is_alphabetic());
    let stem = name.split_at(end.unwrap_or(name.len())).0;
    // veth1a2b: what was made up may begin with letters
    PER_POD
        .iter()
        .find(|lead| stem.starts_with(**lead))
        .copied()
        .unwrap_or(stem)
}
