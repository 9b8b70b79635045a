//! Lines of coloured text, and the measures of a page: widths, wrapping, shortening. Knows nothing of reports.

use std::borrow::Cow;
use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

use super::style::{Ink, Marks};
use crate::model::clean::clean;

/// Columns that a text takes on a terminal, once cleaned.
pub(crate) fn columns(text: &str) -> usize {
    clean(text).width()
}

/// A line in the making: pieces with their colours.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line(Vec<(Ink, String)>);

impl Line {
    /// Adds a piece. Whatever comes from outside comes through here, and is cleaned here.
    pub(crate) fn push(mut self, ink: Ink, text: &str) -> Self {
        let text = clean(text);
        match self.0.last_mut() {
            _ if text.is_empty() => {}
            Some((last, before)) if *last == ink => before.push_str(&text),
            _ => self.0.push((ink, text.into_owned())),
        }
        self
    }

    /// Adds spaces up to a column.
    pub(crate) fn to(self, column: usize) -> Self {
        let missing = column.saturating_sub(self.width());
        self.push(Ink::Plain, &" ".repeat(missing))
    }

    /// Adds a cell of a column to the left.
    pub(crate) fn left(self, ink: Ink, text: &str, width: usize) -> Self {
        let missing = width.saturating_sub(columns(text));
        self.push(ink, text).push(Ink::Plain, &" ".repeat(missing))
    }

    /// Adds a cell of a column to the right.
    pub(crate) fn right(self, ink: Ink, text: &str, width: usize) -> Self {
        let missing = width.saturating_sub(columns(text));
        self.push(Ink::Plain, &" ".repeat(missing)).push(ink, text)
    }

    /// Columns taken.
    pub(crate) fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| text.width()).sum()
    }

    /// Its pieces with their colours.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = (Ink, &str)> {
        self.0.iter().map(|(ink, text)| (*ink, text.as_str()))
    }

    /// The text without colours.
    pub(crate) fn text(&self) -> String {
        self.0.iter().map(|(_, text)| text.as_str()).collect()
    }

    fn write(&self, out: &mut impl Write, color: bool) -> io::Result<()> {
        let used = |(_, text): &(Ink, String)| !text.trim_end().is_empty();
        let count = self.0.iter().rposition(used).map_or(0, |last| last + 1);
        for (i, (ink, text)) in self.0.iter().take(count).enumerate() {
            let text = if i + 1 == count {
                text.trim_end()
            } else {
                text
            };
            let style = if color {
                ink.style()
            } else {
                Ink::Plain.style()
            };
            write!(out, "{style}{text}{style:#}")?;
        }
        out.write_all(b"\n")
    }
}

/// All lines of a text.
pub(crate) struct Page {
    lines: Vec<Line>,
    width: usize,
    /// The marks in use.
    pub(crate) marks: Marks,
}

impl Page {
    pub(crate) fn new(width: usize, marks: Marks) -> Self {
        Self {
            lines: Vec::new(),
            width,
            marks,
        }
    }

    /// Columns of the page.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Adds a line as it is, however long.
    pub(crate) fn line(&mut self, line: Line) {
        self.lines.push(line);
    }

    /// An empty line between two blocks.
    pub(crate) fn gap(&mut self) {
        self.lines.push(Line::default());
    }

    /// Adds `pieces` after `first`, with `between` them, in as many lines as are needed. Later lines begin where
    /// the first piece began. A piece that is longer than a line is not cut.
    pub(crate) fn flow<'a>(
        &mut self,
        first: Line,
        between: &str,
        pieces: impl IntoIterator<Item = (Ink, Cow<'a, str>)>,
    ) {
        let indent = first.width();
        let mut line = first;
        let mut begun = false;
        for (ink, piece) in pieces {
            let needed = columns(between) + columns(&piece);
            if begun && line.width() + needed > self.width {
                self.lines.push(std::mem::take(&mut line));
                line = line.to(indent);
            } else if begun {
                line = line.push(ink, between);
            }
            line = line.push(ink, &piece);
            begun = true;
        }
        self.lines.push(line);
    }

    /// Adds prose after `first`, wrapped at spaces.
    pub(crate) fn prose(&mut self, first: Line, ink: Ink, text: &str) {
        let words = text.split_whitespace();
        self.flow(first, " ", words.map(|word| (ink, Cow::Borrowed(word))));
    }

    /// The text in at most `width` columns: its middle is left out, for both ends of names tell.
    pub(crate) fn shorten(&self, text: &str, width: usize) -> String {
        let text = clean(text);
        if text.width() <= width {
            return text.into_owned();
        }
        let room = width.saturating_sub(1);
        let mut head = String::new();
        for c in text.chars() {
            if head.width() + columns(c.encode_utf8(&mut [0; 4])) > room.div_ceil(2) {
                break;
            }
            head.push(c);
        }
        let mut tail = String::new();
        for c in text.chars().rev() {
            let with = columns(c.encode_utf8(&mut [0; 4])) + tail.width() + head.width();
            if with > room {
                break;
            }
            tail.insert(0, c);
        }
        format!("{head}{}{tail}", self.marks.more)
    }

    /// Its lines, for a renderer of its own.
    pub(crate) fn into_lines(self) -> Vec<Line> {
        self.lines
    }

    pub(crate) fn write(&self, out: &mut impl Write, color: bool) -> io::Result<()> {
        self.lines
            .iter()
            .try_for_each(|line| line.write(out, color))
    }
}
