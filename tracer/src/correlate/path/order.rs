//! The order of a path's hops: upstream first, the branches of a fork one after the other.

use std::collections::{BTreeMap, BTreeSet};

use super::{PathState, Place};

/// Hops in order, and the edges that remain when those that only skip hops are left out.
pub(super) struct Order {
    pub(super) places: Vec<Place>,
    next: BTreeMap<Place, BTreeSet<Place>>,
}

impl Order {
    /// Where packets go directly from here.
    pub(super) fn next(&self, place: &Place) -> impl Iterator<Item = Place> + '_ {
        self.next.get(place).into_iter().flatten().copied()
    }

    /// Whether the edge is one between neighbours.
    pub(super) fn keeps(&self, from: Place, to: Place) -> bool {
        self.next.get(&from).is_some_and(|next| next.contains(&to))
    }
}

/// Orders the hops of a path.
pub(super) fn order(path: &PathState) -> Order {
    let mut next: BTreeMap<Place, BTreeSet<Place>> = BTreeMap::new();
    for (from, to) in path.edges.keys() {
        next.entry(*from).or_default().insert(*to);
    }
    let places = sorted(path, &next);
    let rank: BTreeMap<Place, usize> = places.iter().copied().zip(0..).collect();
    for (from, list) in &mut next {
        // edges back close a circle: the order cannot hold them
        list.retain(|to| rank.get(from) < rank.get(to));
    }
    let next = reduced(&next);
    Order { places, next }
}

/// Topological order; what could come next is chosen so that a way is followed to its end before the next begins,
/// and by the time of its first packet otherwise. A circle is entered where it was seen first.
fn sorted(path: &PathState, next: &BTreeMap<Place, BTreeSet<Place>>) -> Vec<Place> {
    let mut waiting: BTreeMap<Place, usize> = path.hops.keys().map(|place| (*place, 0)).collect();
    for to in next.values().flatten() {
        if let Some(count) = waiting.get_mut(to) {
            *count += 1;
        }
    }
    let first = |place: &Place| path.hops.get(place).map(|hop| hop.first);
    let mut places: Vec<Place> = Vec::new();
    while !waiting.is_empty() {
        let after = places.last().and_then(|last| next.get(last));
        let chosen = waiting
            .iter()
            .min_by_key(|(place, count)| {
                let follows = after.is_some_and(|after| after.contains(*place));
                (**count > 0, !follows, first(place))
            })
            .map(|(place, _)| *place);
        let Some(place) = chosen else { break };
        waiting.remove(&place);
        for to in next.get(&place).into_iter().flatten() {
            if let Some(count) = waiting.get_mut(to) {
                *count = count.saturating_sub(1);
            }
        }
        places.push(place);
    }
    places
}

/// Without the edges between places that a longer way joins too: there a hop was not seen.
fn reduced(next: &BTreeMap<Place, BTreeSet<Place>>) -> BTreeMap<Place, BTreeSet<Place>> {
    let detour = |from: Place, to: Place| {
        let mut seen = BTreeSet::from([from]);
        let mut todo: Vec<Place> = next
            .get(&from)
            .into_iter()
            .flatten()
            .copied()
            .filter(|place| *place != to)
            .collect();
        while let Some(place) = todo.pop() {
            if place == to {
                return true;
            }
            if seen.insert(place) {
                todo.extend(next.get(&place).into_iter().flatten());
            }
        }
        false
    };
    next.iter()
        .map(|(from, list)| {
            let direct = list
                .iter()
                .copied()
                .filter(|to| !detour(*from, *to))
                .collect();
            (*from, direct)
        })
        .collect()
}
