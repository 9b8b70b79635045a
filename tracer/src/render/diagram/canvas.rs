//! What a picture is drawn with: text, lines, boxes and symbols of one size, each with the class that its colours come
//! from.

use std::fmt::Write as _;

use crate::render::page::{Page, columns};
use crate::render::style::{Ink, UNICODE};
use crate::render::svg;

/// Size of text and width of one of its columns, in pixels.
pub(super) const TEXT: f32 = 13.0;
const COLUMN: f32 = 7.85;
/// From one line of text to the next.
pub(super) const LINE: f32 = 19.0;
/// From the top of a line to its base line.
const BASE: f32 = 14.0;
/// Radius of a symbol.
const SYMBOL: f32 = 8.0;

/// Classes and their rules. The card has its own ground, so that it looks the same on dark and light pages.
pub(super) const RULES: &[(&str, &str)] = &[
    ("card", "fill:#fff;stroke:#c3c9d2"),
    ("box", "fill:#f3f5f8;stroke:#a9b2be"),
    ("rail", "fill:none;stroke:#5a6472;stroke-width:2"),
    ("dot", "fill:#1d2430"),
    ("plain", "fill:#1d2430"),
    ("strong", "fill:#1d2430;font-weight:700"),
    ("quiet", "fill:#5a6472"),
    ("change", "fill:#6d3a9c"),
    ("bad", "fill:#b3261e;font-weight:700"),
    ("doubt", "fill:#855400;font-weight:700"),
    ("good", "fill:#1b6e3c;font-weight:700"),
    (
        "fall-bad",
        "fill:none;stroke:#b3261e;stroke-width:2;stroke-dasharray:4 3",
    ),
    (
        "fall-doubt",
        "fill:none;stroke:#855400;stroke-width:2;stroke-dasharray:4 3",
    ),
    ("fall-good", "fill:none;stroke:#1b6e3c;stroke-width:2"),
    (
        "sign",
        "fill:none;stroke:#fff;stroke-width:2.4;stroke-linecap:round",
    ),
];

/// The class of an ink.
pub(super) fn class(ink: Ink) -> &'static str {
    match ink {
        Ink::Good => "good",
        Ink::Bad => "bad",
        Ink::Doubt => "doubt",
        Ink::Quiet => "quiet",
        Ink::Strong => "strong",
        Ink::Change => "change",
        Ink::Plain | Ink::Command | Ink::Fresh => "plain",
    }
}

/// The class of the line from the last hop to what became of the packets.
pub(super) fn fall_class(ink: Ink) -> &'static str {
    match ink {
        Ink::Bad => "fall-bad",
        Ink::Good => "fall-good",
        _ => "fall-doubt",
    }
}

/// A point, in pixels from the upper left corner.
pub(super) type Point = (f32, f32);

/// The elements so far.
#[derive(Default)]
pub(super) struct Canvas(String);

impl Canvas {
    /// Text whose line begins at this point.
    pub(super) fn text(&mut self, at: Point, class: &str, text: &str) {
        self.anchored(at, class, "", text);
    }

    /// Text whose line ends at this point.
    pub(super) fn text_to(&mut self, at: Point, class: &str, text: &str) {
        self.anchored(at, class, " text-anchor=\"end\"", text);
    }

    fn anchored(&mut self, (x, y): Point, class: &str, anchor: &str, text: &str) {
        if !text.is_empty() {
            let (y, text) = (y + BASE, svg::escape(text));
            self.add(&format!(
                "<text class=\"{class}\" x=\"{x:.0}\" y=\"{y:.0}\"{anchor}>{text}</text>"
            ));
        }
    }

    /// A box with round corners.
    pub(super) fn rect(&mut self, (x, y): Point, (width, height): Point, class: &str) {
        self.add(&format!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.0}\" height=\"{height:.0}\" rx=\"6\"/>"
        ));
    }

    /// A line.
    pub(super) fn path(&mut self, class: &str, path: &str) {
        self.add(&format!("<path class=\"{class}\" d=\"{path}\"/>"));
    }

    /// A place that packets pass.
    pub(super) fn dot(&mut self, (x, y): Point) {
        self.add(&format!(
            "<circle class=\"dot\" cx=\"{x:.0}\" cy=\"{y:.0}\" r=\"4.5\"/>"
        ));
    }

    /// What became of packets, told by shape and colour: a cross, a tick, a question mark.
    pub(super) fn symbol(&mut self, (x, y): Point, ink: Ink) {
        self.add(&format!(
            "<circle class=\"{}\" cx=\"{x:.0}\" cy=\"{y:.0}\" r=\"{SYMBOL}\"/>",
            class(ink)
        ));
        let sign = match ink {
            Ink::Bad => "m-3.5-3.5 7 7m0-7-7 7",
            Ink::Good => "m-4 .5 3 3 5-6",
            _ => "m-2.5-2.2c0-3.2 5-3.2 5 0 0 2-2.5 1.8-2.5 3.8m0 2.6v.1",
        };
        self.path("sign", &format!("M{x:.0} {y:.0}{sign}"));
    }

    /// Adds what is to lie above all that is there.
    pub(super) fn append(&mut self, above: Self) {
        self.0 += &above.0;
    }

    /// The whole document.
    pub(super) fn document(self, width: f32, height: f32, title: &str) -> String {
        let mut out = svg::head(width, height);
        let title = svg::escape(title);
        // Writing to a string does not fail.
        let _ = write!(
            out,
            "<title>{title}</title>\n<style>\ntext{{font:{TEXT}px {};white-space:pre}}\n",
            svg::FONT
        );
        for (class, rule) in RULES {
            let _ = writeln!(out, ".{class}{{{rule}}}");
        }
        out += "</style>\n";
        out += &self.0;
        out += "</svg>\n";
        out
    }

    fn add(&mut self, element: &str) {
        self.0 += element;
        self.0.push('\n');
    }
}

/// Width of so many columns of text.
pub(super) fn width(columns: usize) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "columns of a line")]
    let columns = columns as f32;
    columns * COLUMN
}

/// The text in lines of at most so many columns, broken at spaces; what is longer than a line is shortened in its
/// middle.
pub(super) fn wrap(text: &str, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word = shorten(word, most);
        match lines.last_mut() {
            Some(line) if columns(line) + 1 + columns(&word) <= most => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

/// The text in at most so many columns.
pub(super) fn shorten(text: &str, most: usize) -> String {
    Page::new(most, UNICODE).shorten(text, most)
}
