//! The columns of the list of hops: which of them a width has room for, their heading, and a hop's row.

use super::super::Picture;
use super::hop::about;
use crate::model::Latency;
use crate::render::figures::{count, duration};
use crate::render::page::{Line, columns};
use crate::render::style::Ink;
use crate::report::{HopReport, PathReport};
use crate::tui::changes::Fresh;
use crate::tui::rows::cut;

/// Eighths of a bar.
const EIGHTHS: [&str; 9] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"];
/// Widths of the figures.
const PACKETS: usize = 9;
const LOST: usize = 7;
const LATENCY: usize = 9;
const AGE: usize = 8;
const BAR: usize = 6;
const SIDE: usize = 4;
/// A column about the interface that is narrower says nothing.
const ABOUT: usize = 12;

/// Widths of the columns of one way; zero for those that are left out.
pub(super) struct Columns {
    /// BranchGraph and mark.
    graph: usize,
    interface: usize,
    about: usize,
    p99: usize,
    bar: usize,
    age: usize,
    /// The longest latency of the path: a full bar.
    longest: u64,
}

impl Columns {
    pub(super) fn of(picture: &Picture<'_>, path: &PathReport, width: usize, graph: usize) -> Self {
        let widest = |text: fn(&Picture<'_>, &HopReport) -> String| {
            let widths = path.hops.iter().map(|hop| columns(&text(picture, hop)));
            widths.max().unwrap_or_default()
        };
        let most = if width < 80 { 12 } else { 18 };
        let medians = path.hops.iter().filter_map(|hop| hop.latency_ns);
        let mut own = Self {
            // the screen's edge before it, the mark of a change and a space behind it
            graph: 1 + graph + 2,
            interface: widest(|_, hop| hop.interface.clone()).clamp(6, most),
            about: 0,
            p99: 0,
            bar: 0,
            age: 0,
            longest: medians.map(|l| l.p50).max().unwrap_or_default().max(1),
        };
        // in the order in which they are worth their room
        for (column, wanted) in [
            (Column::P99, LATENCY),
            (Column::Bar, BAR + 1),
            (Column::Age, AGE),
        ] {
            if own.width() + wanted <= width {
                *own.column(column) = wanted;
            }
        }
        let room = width.saturating_sub(own.width() + 2);
        own.about = if room < ABOUT {
            0
        } else {
            widest(about).min(room)
        };
        own
    }

    fn column(&mut self, column: Column) -> &mut usize {
        match column {
            Column::P99 => &mut self.p99,
            Column::Bar => &mut self.bar,
            Column::Age => &mut self.age,
        }
    }

    fn width(&self) -> usize {
        self.start() + PACKETS + LOST + LATENCY + self.p99 + self.bar + self.age
    }

    /// Where the figures begin.
    pub(super) fn start(&self) -> usize {
        let about = if self.about > 0 { self.about + 2 } else { 0 };
        self.graph + self.interface + 1 + SIDE + about
    }

    /// The heading, after words that fill the front.
    pub(super) fn heading(&self, front: Line) -> Line {
        let mut line = front
            .to(self.start())
            .right(Ink::Quiet, "packets", PACKETS)
            .right(Ink::Quiet, "lost", LOST)
            .right(Ink::Quiet, "p50", LATENCY);
        let optional = [(self.p99, "p99"), (self.bar, ""), (self.age, "age")];
        for (width, name) in optional.into_iter().filter(|(width, _)| *width > 0) {
            line = line.right(Ink::Quiet, name, width);
        }
        line
    }

    /// A hop.
    pub(super) fn row(
        &self,
        picture: &Picture<'_>,
        hop: &HopReport,
        graph: &str,
        fresh: Option<Fresh>,
    ) -> Line {
        let marks = &picture.marks;
        let (ink, mark) = match fresh {
            None => (Ink::Plain, " "),
            Some(Fresh::More) => (Ink::Fresh, "*"),
            Some(Fresh::New) => (Ink::Fresh, "+"),
        };
        let name = if fresh == Some(Fresh::New) {
            Ink::Fresh
        } else {
            Ink::Strong
        };
        let side = if hop.hook == "ingress" { "in" } else { "out" };
        let mut line = Line::default()
            .push(Ink::Quiet, &format!(" {graph}"))
            .push(ink, mark)
            .push(Ink::Plain, " ")
            .left(
                name,
                &cut(&hop.interface, self.interface, marks.more),
                self.interface + 1,
            )
            .left(Ink::Quiet, side, SIDE);
        if self.about > 0 {
            let text = cut(&about(picture, hop), self.about, marks.more);
            line = line.left(Ink::Quiet, &text, self.about + 2);
        }
        line = line.right(ink, &count(hop.packets), PACKETS);
        line = match hop.lost_after {
            0 => line.right(Ink::Quiet, marks.dot, LOST),
            lost => line.right(Ink::Bad, &format!("-{}", count(lost)), LOST),
        };
        let latency = |pick: fn(&Latency) -> u64| {
            let latency = hop.latency_ns.as_ref();
            latency.map_or_else(String::new, |l| duration(pick(l), marks))
        };
        line = line.right(Ink::Plain, &latency(|l| l.p50), LATENCY);
        if self.p99 > 0 {
            line = line.right(Ink::Quiet, &latency(|l| l.p99), self.p99);
        }
        if self.bar > 0 {
            let part = hop.latency_ns.map_or(0, |l| l.p50);
            let bar = bar(part, self.longest, BAR, picture.is_ascii());
            line = line
                .push(Ink::Plain, " ")
                .left(Ink::Change, &bar, self.bar - 1);
        }
        if self.age > 0 {
            let age = picture.now_ns().saturating_sub(hop.last_ns);
            line = line.right(Ink::Quiet, &duration(age, marks), self.age);
        }
        line
    }
}

/// Columns that narrow screens go without.
#[derive(Clone, Copy)]
enum Column {
    P99,
    Bar,
    Age,
}

/// `part` of `whole` as a bar of at most `width` columns.
fn bar(part: u64, whole: u64, width: usize, ascii: bool) -> String {
    let eighths = u128::from(part) * (width as u128 * 8) / u128::from(whole.max(1));
    let eighths = usize::try_from(eighths).unwrap_or(width * 8).min(width * 8);
    if ascii {
        return "=".repeat(eighths.div_ceil(8));
    }
    let rest = EIGHTHS.get(eighths % 8).copied().unwrap_or_default();
    "█".repeat(eighths / 8) + rest
}

#[cfg(test)]
mod tests {
    use super::bar;

    #[test]
    fn bars_are_never_longer_than_their_column() {
        assert_eq!(bar(0, 10, 4, false), "");
        assert_eq!(bar(10, 10, 4, false), "████");
        assert_eq!(bar(5, 10, 4, false), "██");
        assert_eq!(bar(1, 16, 4, false), "▎");
        assert_eq!(bar(99, 10, 4, true), "====");
    }
}
