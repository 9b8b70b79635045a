//! What else was seen to differ: at the hops that both have, and of what was read of both hosts.

use std::collections::BTreeSet;

use super::context::{self, READINGS, Reading};
use super::figures::{latency, losses};
use super::parting::changes_behind;
use super::rewrites::{goal, on_the_way};
use super::summary::name;
use super::{Comparison, Difference, PartingKind, PathPair, Relation, Row};
use crate::report::{HopReport, Report};

/// All of it: what is at the parting first, then in order of the way.
pub(super) fn all(comparison: &Comparison, good: &Report, bad: &Report) -> Vec<Difference> {
    let mut list = Vec::new();
    let mut spaces: Vec<Space> = Vec::new();
    let mut links = BTreeSet::new();
    for (path, stretch) in stretches(comparison) {
        let rows = path.rows.get(..stretch.shown).unwrap_or_default();
        let mut before: Option<&Row> = None;
        for (i, row) in rows.iter().enumerate() {
            let at_parting = stretch.parting == Some(i);
            let Some((one, other)) = row.both() else {
                list.extend(alone(row, at_parting).filter(|_| !stretch.parts_beyond(i)));
                continue;
            };
            list.extend(changes(before, row, at_parting));
            list.extend(losses(row, one, other, at_parting));
            let next = rows.get(i + 1).and_then(Row::both);
            list.extend(next.and_then(|_| latency(row, one, other, at_parting)));
            if links.insert((one.spot(), &one.interface, other.spot(), &other.interface)) {
                list.extend(link(row, (good, bad), at_parting));
            }
            Space::add(&mut spaces, one, other, at_parting);
            before = Some(row);
        }
    }
    for space in &spaces {
        for reading in READINGS {
            list.extend(read(space, reading, good, bad));
        }
    }
    list.extend(reply(comparison));
    let kernels = [&good.host.kernel, &bad.host.kernel];
    if let [one, other] = kernels
        && one != other
        && kernels.iter().all(|kernel| !kernel.is_empty())
    {
        list.push(Difference {
            kind: "kernel".into(),
            place: None,
            at_parting: false,
            what: "release of the kernel".into(),
            good: one.clone(),
            bad: other.clone(),
        });
    }
    let ends = comparison
        .parting
        .as_ref()
        .is_some_and(|parting| parting.kind == PartingKind::End);
    // what the parting itself says is not said twice
    list.retain(|difference| !(ends && difference.at_parting && difference.kind == "loss"));
    list.retain(|difference| {
        comparison.parting.as_ref().is_none_or(|parting| {
            (&parting.good, &parting.bad) != (&difference.good, &difference.bad)
        })
    });
    list.sort_by_key(|difference| !difference.at_parting);
    list
}

/// How much of a path is compared: behind the parting everything differs.
struct Stretch {
    shown: usize,
    /// The row behind which they part.
    parting: Option<usize>,
}

impl Stretch {
    /// Whether a hop of one side alone belongs to the parting.
    fn parts_beyond(&self, row: usize) -> bool {
        self.parting.is_some_and(|last| row > last)
    }
}

fn stretches(comparison: &Comparison) -> Vec<(&PathPair, Stretch)> {
    let mut list = Vec::new();
    for path in &comparison.paths {
        let here = comparison
            .parting
            .as_ref()
            .filter(|parting| parting.direction == path.direction);
        let Some(parting) = here else {
            let shown = path.rows.len();
            list.push((
                path,
                Stretch {
                    shown,
                    parting: None,
                },
            ));
            continue;
        };
        let shown = parting.after_row.map_or(0, |row| row + 1);
        list.push((
            path,
            Stretch {
                shown,
                parting: parting.after_row,
            },
        ));
        break;
    }
    list
}

/// A hop that only one has, though both arrive behind it.
fn alone(row: &Row, at_parting: bool) -> Option<Difference> {
    let (hop, good, bad) = match row.relation {
        Relation::GoodOnly => (row.good.as_ref()?, "comes by", "does not"),
        _ => (row.bad.as_ref()?, "does not", "comes by"),
    };
    Some(Difference {
        kind: "hop".into(),
        place: name(row),
        at_parting,
        what: format!("a branch of the path ({})", hop.hook),
        good: good.into(),
        bad: bad.into(),
    })
}

/// Changes of headers on the way to a row that do the same for other ends, and those behind it.
fn changes(before: Option<&Row>, row: &Row, at_parting: bool) -> Vec<Difference> {
    let Some((one, other)) = row.both() else {
        return Vec::new();
    };
    let difference = |good: String, bad: String| Difference {
        kind: "rewrite".into(),
        place: name(row),
        at_parting,
        what: "headers on the path to it".into(),
        good,
        bad,
    };
    let last = before.and_then(Row::both);
    let good = on_the_way(last.map(|(good, _)| good), one);
    let bad = on_the_way(last.map(|(_, bad)| bad), other);
    let pairs = good.iter().zip(&bad);
    let mut list: Vec<Difference> = pairs
        .filter(|(one, two)| one.verb == two.verb && one.to != two.to)
        // whose address a source gets is seen at the sender; ports are chosen by nobody
        .filter(|(one, _)| one.verb == "dnat" || one.verb.ends_with(" push"))
        .map(|(one, two)| difference(one.words(), two.words()))
        .collect();
    if goal(one) == goal(other) {
        list.extend(changes_behind(row).map(|(good, bad)| difference(good, bad)));
    }
    list
}

/// What is known of the interface of a row.
fn link(row: &Row, (good, bad): (&Report, &Report), at_parting: bool) -> Vec<Difference> {
    let Some((one, other)) = row.both() else {
        return Vec::new();
    };
    let words = |report, hop: &HopReport| context::link(report, &hop.spot(), &hop.interface);
    let (Some(good), Some(bad)) = (words(good, one), words(bad, other)) else {
        return Vec::new();
    };
    let difference = |what: &str, good: String, bad: String| Difference {
        kind: "link".into(),
        place: name(row),
        at_parting,
        what: what.into(),
        good,
        bad,
    };
    let value = |words: &[&str], key: &str| {
        let mut rest = words.iter().skip_while(|word| **word != key);
        rest.nth(1).map(|value| (*value).to_owned())
    };
    let mut list = Vec::new();
    for (key, what) in LINK_VALUES {
        if let (Some(good), Some(bad)) = (value(&good, key), value(&bad, key))
            && good != bad
        {
            list.push(difference(what, good, bad));
        }
    }
    let plain = |words: &[&str]| {
        let mut rest = words.iter();
        let mut kept = Vec::new();
        while let Some(word) = rest.next() {
            if LINK_ENDS.contains(word) || LINK_VALUES.iter().any(|(key, _)| key == word) {
                rest.next();
            } else {
                kept.push(*word);
            }
        }
        kept.join(" ")
    };
    let (good, bad) = (plain(&good), plain(&bad));
    if good != bad {
        list.push(difference("kind and state of the interface", good, bad));
    }
    list
}

/// Words of a `link` line before a value, and what that is.
const LINK_VALUES: &[(&str, &str)] = &[
    ("mtu", "MTU"),
    ("vni", "VNI"),
    ("port", "port"),
    ("mode", "mode"),
];
/// Words before a value that every interface has its own of.
const LINK_ENDS: &[&str] = &["mac", "local", "remote"];

/// A namespace of both that have the same part.
struct Space {
    good: String,
    bad: String,
    at_parting: bool,
}

impl Space {
    fn add(list: &mut Vec<Self>, good: &HopReport, bad: &HopReport, at_parting: bool) {
        let (good, bad) = (good.spot(), bad.spot());
        match list
            .iter_mut()
            .find(|space| space.good == good && space.bad == bad)
        {
            Some(space) => space.at_parting |= at_parting,
            None => list.push(Self {
                good: good.into_owned(),
                bad: bad.into_owned(),
                at_parting,
            }),
        }
    }

    fn name(&self) -> String {
        if self.good == self.bad {
            self.good.clone()
        } else {
            format!("{} (BAD: {})", self.good, self.bad)
        }
    }
}

/// What was read on both sides of one namespace.
fn read(space: &Space, reading: &Reading, good: &Report, bad: &Report) -> Vec<Difference> {
    let of_good = context::values(good, reading, &space.good);
    let of_bad = context::values(bad, reading, &space.bad);
    let all = (
        reading.all_read(good, &space.good),
        reading.all_read(bad, &space.bad),
    );
    let keys: BTreeSet<&String> = of_good.keys().chain(of_bad.keys()).collect();
    keys.into_iter()
        .filter_map(|key| {
            let (good, bad) = match (of_good.get(key), of_bad.get(key), all) {
                (Some(good), Some(bad), _) if good != bad => (good.clone(), bad.clone()),
                (Some(good), None, (_, true)) => (good.clone(), "none".into()),
                (None, Some(bad), (true, _)) => ("none".into(), bad.clone()),
                _ => return None,
            };
            Some(Difference {
                kind: reading.kind.into(),
                place: Some(space.name()),
                at_parting: space.at_parting,
                what: format!("{} {key}", reading.what).trim_start().to_owned(),
                good,
                bad,
            })
        })
        .collect()
}

/// One of two that arrived was answered, the other was not, and none was expected.
fn reply(comparison: &Comparison) -> Option<Difference> {
    let parted = comparison.parting.as_ref().map(|parting| parting.kind);
    if parted == Some(PartingKind::Answer)
        || !comparison.good.delivered()
        || !comparison.bad.delivered()
    {
        return None;
    }
    let rows = &comparison.path("reply")?.rows;
    let seen = |is: bool| if is { "seen" } else { "not seen" }.to_owned();
    let good = rows.iter().any(|row| row.good.is_some());
    let bad = rows.iter().any(|row| row.bad.is_some());
    (good != bad).then(|| Difference {
        kind: "reply".into(),
        place: None,
        at_parting: false,
        what: "answers".into(),
        good: seen(good),
        bad: seen(bad),
    })
}
