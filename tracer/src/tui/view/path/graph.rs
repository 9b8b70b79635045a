//! the graph at the left of the list of hops: one branch for each way that packets take at the same time. It forks where a hop has
//! several next ones and joins where they meet again. Knows hops by their numbers alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::report::PathReport;

/// Most branches that are drawn; further ones share the last.
const BRANCHES: usize = 6;

/// The characters of a graph.
struct Strokes {
    down: char,
    across: char,
    cross: char,
    from: char,
    fork: (char, char),
    join: (char, char),
    hop: char,
}

const UNICODE: Strokes = Strokes {
    down: '│',
    across: '─',
    cross: '┼',
    from: '├',
    fork: ('┬', '┐'),
    join: ('┴', '┘'),
    hop: '●',
};

const ASCII: Strokes = Strokes {
    down: '|',
    across: '-',
    cross: '+',
    from: '|',
    fork: ('.', '.'),
    join: ('\'', '\''),
    hop: 'o',
};

/// The branches between two rows.
#[derive(Clone)]
pub(super) struct BranchGraph<'a> {
    next: BTreeMap<u32, Vec<u32>>,
    /// The hop that each branch leads to.
    branches: Vec<Option<u32>>,
    /// The branch of the hop that was entered last.
    at: usize,
    width: usize,
    strokes: &'a Strokes,
}

impl BranchGraph<'_> {
    pub(super) fn of(path: &PathReport, ascii: bool) -> Self {
        let mut graph = Self {
            next: edges(path),
            branches: Vec::new(),
            at: 0,
            width: 1,
            strokes: if ascii { &ASCII } else { &UNICODE },
        };
        let mut trial = graph.clone();
        for hop in &path.hops {
            trial.enter(hop.n);
            graph.width = graph.width.max(trial.branches.len());
            trial.leave();
            graph.width = graph.width.max(trial.branches.len());
        }
        graph.width = graph.width.min(BRANCHES);
        graph
    }

    /// Columns.
    pub(super) fn width(&self) -> usize {
        self.width * 2
    }

    /// Goes on to a hop. Gives the row in which branches join, where some do.
    pub(super) fn enter(&mut self, hop: u32) -> Option<String> {
        let waiting: Vec<usize> = (0..self.branches.len())
            .filter(|branch| self.leads_to(*branch) == Some(hop))
            .collect();
        let (first, others) = match waiting.split_first() {
            Some((first, others)) => (*first, others),
            None => (self.free(), [].as_slice()),
        };
        self.at = first;
        let row = (!others.is_empty()).then(|| self.across(others, self.strokes.join));
        for branch in others {
            self.set(*branch, None);
        }
        self.set(first, Some(hop));
        self.trim();
        row
    }

    /// Goes on behind the hop. Gives the row in which its branch forks, where it does.
    pub(super) fn leave(&mut self) -> Option<String> {
        let next = self
            .leads_to(self.at)
            .and_then(|hop| self.next.get(&hop).cloned())
            .unwrap_or_default();
        let (first, others) = match next.split_first() {
            Some((first, others)) => (Some(*first), others.to_vec()),
            None => (None, Vec::new()),
        };
        self.set(self.at, first);
        let mut new = Vec::new();
        for hop in others {
            let branch = self.free();
            self.set(branch, Some(hop));
            new.push(branch);
        }
        let row = (!new.is_empty()).then(|| self.across(&new, self.strokes.fork));
        self.trim();
        row
    }

    /// The branches as they pass a row of words.
    pub(super) fn passing(&self) -> String {
        self.row(None)
    }

    /// The branches beside the hop itself.
    pub(super) fn hop(&self) -> String {
        self.row(Some(self.strokes.hop))
    }

    /// Whether packets go on from the hop.
    pub(super) fn goes_on(&self) -> bool {
        self.leads_to(self.at)
            .and_then(|hop| self.next.get(&hop))
            .is_some_and(|next| !next.is_empty())
    }

    /// The branches where the hop's own one ends with a mark; it passes where some packets go on.
    pub(super) fn end(&self, mark: char) -> String {
        self.row((!self.goes_on()).then_some(mark))
    }

    fn row(&self, own: Option<char>) -> String {
        let mut cells = self.cells();
        if let (Some(mark), Some(cell)) = (own, cells.get_mut(self.at.min(BRANCHES - 1) * 2)) {
            *cell = mark;
        }
        cells.into_iter().collect()
    }

    /// A row that goes across from the hop's branch to others at its right or left.
    fn across(&self, others: &[usize], (middle, last): (char, char)) -> String {
        let mut cells = self.cells();
        let here = self.at * 2;
        let far = others.iter().copied().max().unwrap_or_default();
        for column in here + 1..(far * 2).max(here + 1) {
            if let Some(cell) = cells.get_mut(column) {
                let crossed = column % 2 == 0 && *cell == self.strokes.down;
                *cell = if crossed {
                    self.strokes.cross
                } else {
                    self.strokes.across
                };
            }
        }
        for branch in others {
            if let Some(cell) = cells.get_mut(branch * 2) {
                *cell = if *branch == far { last } else { middle };
            }
        }
        if let Some(cell) = cells.get_mut(here) {
            *cell = self.strokes.from;
        }
        cells.into_iter().collect()
    }

    fn cells(&self) -> Vec<char> {
        let mut cells = vec![' '; self.width()];
        for (cell, branch) in cells.iter_mut().step_by(2).zip(&self.branches) {
            if branch.is_some() {
                *cell = self.strokes.down;
            }
        }
        cells
    }

    fn leads_to(&self, branch: usize) -> Option<u32> {
        self.branches.get(branch).copied().flatten()
    }

    fn set(&mut self, branch: usize, hop: Option<u32>) {
        if let Some(slot) = self.branches.get_mut(branch) {
            *slot = hop;
        }
    }

    /// A branch that leads nowhere; to the right of the hop's own one, so that forks open to one side.
    fn free(&mut self) -> usize {
        let own = self.leads_to(self.at).map_or(0, |_| self.at + 1);
        let free = (own..self.branches.len()).find(|branch| self.leads_to(*branch).is_none());
        free.unwrap_or_else(|| {
            self.branches.push(None);
            self.branches.len() - 1
        })
    }

    fn trim(&mut self) {
        while self.branches.len() > self.at + 1 && self.branches.last() == Some(&None) {
            self.branches.pop();
        }
    }
}

/// Which hops come next. Ways back (loops) are not drawn. A hop that nobody leads to follows the one above it, when
/// that one leads nowhere: counters alone tell no order of packets.
fn edges(path: &PathReport) -> BTreeMap<u32, Vec<u32>> {
    let place: BTreeMap<u32, usize> = path.hops.iter().map(|hop| hop.n).zip(0..).collect();
    let reached: BTreeSet<u32> = path
        .hops
        .iter()
        .flat_map(|hop| hop.next.iter().copied())
        .collect();
    let mut edges = BTreeMap::new();
    for (at, hop) in path.hops.iter().enumerate() {
        let mut next: Vec<u32> = hop.next.clone();
        next.retain(|n| place.get(n).is_some_and(|other| *other > at));
        next.sort_by_key(|n| place.get(n));
        next.dedup();
        let below = path.hops.get(at + 1);
        if let Some(below) = below.filter(|below| next.is_empty() && !reached.contains(&below.n)) {
            next.push(below.n);
        }
        edges.insert(hop.n, next);
    }
    edges
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test ends where it fails")]
mod tests {
    use super::*;
    use crate::render::samples;

    /// `1>2,3` for each hop: what the graph draws.
    fn draw(hops: &[(u32, &[u32])], ascii: bool) -> Vec<String> {
        let sample = samples::forward_drop();
        let mut path = sample.flows[0].paths[0].clone();
        let hop = path.hops[0].clone();
        path.hops = hops
            .iter()
            .map(|(n, next)| {
                let mut hop = hop.clone();
                (hop.n, hop.next) = (*n, next.to_vec());
                hop
            })
            .collect();
        let mut graph = BranchGraph::of(&path, ascii);
        let mut rows = Vec::new();
        for hop in &path.hops {
            rows.extend(graph.enter(hop.n));
            rows.push(format!("{}{}", graph.hop(), hop.n));
            rows.extend(graph.leave());
        }
        rows
    }

    #[test]
    fn one_way_is_one_lane() {
        assert_eq!(draw(&[(1, &[2]), (2, &[])], false), ["● 1", "● 2"]);
    }

    #[test]
    fn a_fork_opens_and_closes() {
        let rows = draw(&[(1, &[2, 3]), (2, &[4]), (3, &[4]), (4, &[])], false);
        assert_eq!(rows, ["●   1", "├─┐ ", "● │ 2", "│ ● 3", "├─┘ ", "●   4"]);
    }

    #[test]
    fn branches_end_one_by_one() {
        let rows = draw(
            &[(1, &[2, 4, 5]), (2, &[3]), (3, &[]), (4, &[]), (5, &[])],
            false,
        );
        assert_eq!(
            rows,
            [
                "●     1",
                "├─┬─┐ ",
                "● │ │ 2",
                "● │ │ 3",
                "  ● │ 4",
                "    ● 5"
            ]
        );
    }

    #[test]
    fn plain_terminals_get_plain_strokes() {
        let rows = draw(&[(1, &[2, 3]), (2, &[4]), (3, &[4]), (4, &[])], true);
        assert_eq!(rows, ["o   1", "|-. ", "o | 2", "| o 3", "|-' ", "o   4"]);
    }

    #[test]
    fn what_leads_back_or_nowhere_is_not_drawn() {
        let rows = draw(&[(1, &[2]), (2, &[1, 9]), (3, &[])], false);
        assert_eq!(rows, ["● 1", "● 2", "● 3"]);
    }

    #[test]
    fn many_branches_stay_within_bounds() {
        let next: Vec<u32> = (2..12).collect();
        let mut hops: Vec<(u32, &[u32])> = vec![(1, &next)];
        hops.extend((2..12).map(|n| (n, [].as_slice())));
        for row in draw(&hops, false) {
            let columns = row.trim_end_matches(|c: char| c.is_ascii_digit());
            assert!(columns.chars().count() <= BRANCHES * 2, "{row}");
        }
    }
}
