//! The views: a table of them, and one file each, which makes rows of a snapshot. They draw nothing and change nothing.

mod context;
mod drops;
pub(crate) mod header;
mod help;
mod interfaces;
mod journey;
mod log;
mod packets;
mod path;
pub(crate) mod verdict;

use super::keys::Keymap;
use super::rows::{Row, Target};
use super::snapshot::Snapshot;
use crate::render::style::Marks;
use crate::report::{FlowReport, PathReport};

pub(crate) use help::rows as help;

/// A view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum View {
    /// Hops of a flow.
    Path,
    /// Packets.
    Packets,
    /// Losses by cause and place.
    Drops,
    /// Namespaces and interfaces.
    Interfaces,
    /// What was read beside the losses.
    Context,
    /// What happened to the trace.
    Log,
}

/// What a view is made from.
pub(crate) struct Picture<'a> {
    /// The data.
    pub(crate) snapshot: &'a Snapshot,
    /// The flow that is looked at.
    pub(crate) flow: Option<&'a FlowReport>,
    /// Index of the path that comes first: the reply path where it was asked for.
    pub(crate) way: usize,
    /// Columns.
    pub(crate) width: usize,
    /// Marks of this terminal.
    pub(crate) marks: Marks,
}

impl<'a> Picture<'a> {
    /// Whether the terminal knows no more than ASCII.
    pub(crate) fn is_ascii(&self) -> bool {
        self.marks.more.is_ascii()
    }

    /// Nanoseconds since the start of the trace, now.
    pub(crate) fn now_ns(&self) -> u64 {
        self.snapshot
            .report
            .trace
            .duration_ms
            .saturating_mul(1_000_000)
    }

    /// The paths of the flow, the one asked for first.
    pub(crate) fn paths(&self) -> impl Iterator<Item = (usize, &'a PathReport)> {
        let paths: &[PathReport] = self.flow.map_or(&[], |flow| &flow.paths);
        let way = self.way.min(paths.len().saturating_sub(1));
        let first = paths.iter().enumerate().skip(way).take(1);
        first.chain(paths.iter().enumerate().filter(move |(i, _)| *i != way))
    }
}

type Rows = fn(&Picture<'_>) -> Vec<Row>;

/// Every view with its title and how its rows are made.
static VIEWS: &[(View, &str, Rows)] = &[
    (View::Path, "path", path::rows),
    (View::Packets, "packets", packets::rows),
    (View::Drops, "drops", drops::rows),
    (View::Interfaces, "interfaces", interfaces::rows),
    (View::Context, "context", context::rows),
    (View::Log, "log", log::rows),
];

impl View {
    /// How many there are.
    pub const COUNT: usize = 6;

    /// All of them, in their order.
    pub fn all() -> impl Iterator<Item = Self> {
        VIEWS.iter().map(|(view, ..)| *view)
    }

    /// Place in the table.
    #[must_use]
    pub fn index(self) -> usize {
        VIEWS
            .iter()
            .position(|(view, ..)| *view == self)
            .unwrap_or_default()
    }

    /// Its title.
    #[must_use]
    pub fn title(self) -> &'static str {
        VIEWS.get(self.index()).map_or("", |(_, title, _)| title)
    }

    /// The view so many places on, round and round.
    #[must_use]
    pub fn step(self, by: usize) -> Self {
        let at = (self.index() + by) % VIEWS.len();
        VIEWS.get(at).map_or(self, |(view, ..)| *view)
    }

    /// Its rows.
    pub(crate) fn rows(self, picture: &Picture<'_>) -> Vec<Row> {
        VIEWS
            .get(self.index())
            .map(|(.., rows)| rows(picture))
            .unwrap_or_default()
    }
}

/// What Enter shows for a row: a title and rows.
pub(crate) fn open(target: &Target, picture: &Picture<'_>) -> Option<(String, Vec<Row>)> {
    match target {
        Target::Journey(id) => journey::rows(*id, picture),
        Target::Loss(flow, index) => drops::open(*flow, *index, picture),
        Target::Hop(path, number) => path::open(*path, *number, picture),
        Target::Interface(namespace, ifindex) => interfaces::open(namespace, *ifindex, picture),
        Target::Line(_) => None,
    }
}

/// The keys, as the help shows them.
pub(crate) fn help_title(keys: &Keymap) -> String {
    format!("keys ({} closes)", keys.hint(super::keys::Action::Back))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_view_once() {
        assert_eq!(VIEWS.len(), View::COUNT);
        for (at, view) in View::all().enumerate() {
            assert_eq!(view.index(), at);
            assert_eq!(view.step(View::COUNT), view);
        }
    }
}
