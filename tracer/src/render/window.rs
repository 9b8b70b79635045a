//! Which part of something long is shown where there is no room for all of it.

use std::ops::Range;

/// The first ones of a row, and those up to the one that matters (or the last ones), by index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    first: Range<usize>,
    then: Range<usize>,
    all: usize,
}

impl Window {
    /// What to show of `all` where there is room for so many. The one that matters is the last of `matters`.
    #[must_use]
    pub(crate) fn new(all: usize, matters: Option<usize>, room: usize) -> Self {
        if all <= room {
            return Self {
                first: 0..all,
                then: all..all,
                all,
            };
        }
        let first = room.div_ceil(2);
        let until = matters.unwrap_or(all).clamp(room, all);
        Self {
            first: 0..first,
            then: until - (room - first)..until,
            all,
        }
    }

    /// Whether this one is shown.
    #[must_use]
    pub(crate) fn shows(&self, index: usize) -> bool {
        self.first.contains(&index) || self.then.contains(&index)
    }

    /// How many are left out from this one on, where it is the first of them.
    #[must_use]
    pub(crate) fn left_out(&self, index: usize) -> Option<usize> {
        let end = match index {
            _ if self.shows(index) => return None,
            at if at == self.first.end && at < self.then.start => self.then.start,
            at if at == self.then.end => self.all,
            _ => return None,
        };
        Some(end - index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(all: usize, matters: Option<usize>, room: usize) -> String {
        let window = Window::new(all, matters, room);
        let words = (0..all).filter_map(|i| match window.left_out(i) {
            Some(more) => Some(format!("+{more}")),
            None => window.shows(i).then(|| i.to_string()),
        });
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_matters_is_shown_and_the_rest_is_counted() {
        let cases = [
            (5, Some(3), 5, "0 1 2 3 4"),
            (100, None, 6, "0 1 2 +94 97 98 99"),
            (100, Some(50), 6, "0 1 2 +44 47 48 49 +50"),
            (100, Some(1), 6, "0 1 2 3 4 5 +94"),
            (100, Some(100), 5, "0 1 2 +95 98 99"),
            (3, None, 0, "+3"),
        ];
        for (all, matters, room, text) in cases {
            assert_eq!(shown(all, matters, room), text);
        }
    }
}
