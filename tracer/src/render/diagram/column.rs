//! One way of a flow: its hops from top to bottom, in boxes for their namespaces, joined by a line, with what changed
//! between them and the place where packets ended.

use std::borrow::Cow;

use super::canvas::{Canvas, LINE, Point, class, fall_class, shorten, width, wrap};
use crate::render::figures::{count, counted, duration};
use crate::render::page::columns;
use crate::render::style::UNICODE;
use crate::render::text::path::{End, changes};
use crate::render::window::Window;
use crate::report::{HopReport, PathReport};
use crate::verdict::Place;

/// Most hops that are drawn.
const HOPS: usize = 32;
/// Columns of text: at least, and at most.
const NARROWEST: usize = 48;
const WIDEST: usize = 72;
/// Longest name of an interface or hook.
const NAME: usize = 24;

/// A box: space inside, height of its title, space to the next one.
const PAD: f32 = 10.0;
const TITLE: f32 = 24.0;
const GAP: f32 = 16.0;
/// From one hop to the next.
const STEP: f32 = 26.0;
/// The line that joins hops, and text, from the left of a box.
const RAIL: f32 = 20.0;
const INDENT: f32 = 40.0;
/// How far an arc that leaves hops out swings out.
const SWING: f32 = 13.0;

/// What is drawn in one row.
enum Row<'a> {
    Hop(&'a HopReport),
    Change(String),
    End(&'a End),
    /// Hops that are left out.
    More(usize),
}

/// Rows of one namespace in a row; `None` where no namespace is known.
struct Space<'a> {
    name: Option<String>,
    rows: Vec<Row<'a>>,
}

/// One way of a flow, ready to be drawn.
pub(super) struct Column<'a> {
    title: String,
    path: &'a PathReport,
    /// Where the verdict stands, when on this way, and its reason in words.
    end: Option<(&'a End, &'a str)>,
    spaces: Vec<Space<'a>>,
    /// Columns of its text, and of its interface names, hooks, packets and times.
    columns: usize,
    cells: [usize; 4],
}

impl<'a> Column<'a> {
    pub(super) fn new(
        title: String,
        path: &'a PathReport,
        end: Option<(&'a End, &'a str)>,
    ) -> Self {
        let cell = |of: fn(&HopReport) -> String, least: usize| {
            let widths = path.hops.iter().map(|hop| columns(&of(hop)));
            widths.max().unwrap_or(0).clamp(least, NAME)
        };
        let cells = [
            cell(|hop| hop.interface.clone(), 4),
            cell(|hop| hop.hook.clone(), 4),
            cell(|hop| count(hop.packets), "packets".len()),
            cell(to_next, "to next".len()),
        ];
        let spaces = spaces(path, end.map(|(end, _)| end));
        let changes = spaces
            .iter()
            .flat_map(|space| &space.rows)
            .map(|row| match row {
                Row::Change(text) => columns(text) + 2,
                _ => 0,
            });
        let own = cells.iter().sum::<usize>() + 4 + 6;
        let widest = changes.chain([own, columns(&title)]).max().unwrap_or(0);
        Self {
            title,
            path,
            end,
            spaces,
            columns: widest.clamp(NARROWEST, WIDEST),
            cells,
        }
    }

    /// Its width.
    pub(super) fn width(&self) -> f32 {
        INDENT + width(self.columns) + PAD
    }

    /// Draws it from this point down; gives its height.
    pub(super) fn draw(&self, canvas: &mut Canvas, (x, top): Point) -> f32 {
        let right = x + self.width() - PAD;
        let mut y = top;
        for line in wrap(&self.title, self.columns + 4) {
            canvas.text((x, y), "strong", &line);
            y += LINE;
        }
        if !self.path.hops.is_empty() {
            let [_, _, _, time] = self.cells;
            canvas.text_to((right, y), "quiet", "to next");
            canvas.text_to((right - width(time + 2), y), "quiet", "packets");
            y += LINE;
        }
        y += 2.0;
        // Boxes lie below, then the line, then what is written.
        let mut dots = Vec::new();
        let mut rows = Canvas::default();
        let mut fall = None;
        for space in &self.spaces {
            let begin = y;
            y += if space.name.is_some() {
                TITLE + 4.0
            } else {
                4.0
            };
            for row in &space.rows {
                let at = (x, y);
                match row {
                    Row::Hop(hop) => dots.push((hop.n, y + LINE / 2.0)),
                    Row::End(_) => fall = Some((dots.last().copied(), y + LINE / 2.0)),
                    _ => {}
                }
                y += self.row(&mut rows, at, row);
            }
            y += 4.0;
            if let Some(name) = &space.name {
                canvas.rect((x, begin), (self.width(), y - begin), "box");
                let name = shorten(name, self.columns);
                rows.text((x + INDENT, begin + 4.0), "strong", &name);
            }
            y += GAP;
        }
        self.rail(canvas, x + RAIL, &dots);
        if let (Some((Some((_, from)), to)), Some((end, _))) = (fall, self.end) {
            let aside = self.aside(end.after);
            let path = format!("M{:.0} {from:.0}l{aside:.0} {:.0}", x + RAIL, to - from);
            canvas.path(fall_class(end.face.ink), &path);
        }
        canvas.append(rows);
        y - GAP - top
    }

    /// Draws a row; gives its height.
    fn row(&self, canvas: &mut Canvas, (x, y): Point, row: &Row<'_>) -> f32 {
        let text = x + INDENT;
        let right = x + self.width() - PAD;
        match row {
            Row::Hop(hop) => {
                let [interface, _, _, time] = self.cells;
                canvas.dot((x + RAIL, y + LINE / 2.0));
                canvas.text((text, y), "quiet", &hop.n.to_string());
                let at = text + width(4);
                canvas.text((at, y), "strong", &shorten(&hop.interface, NAME));
                let at = at + width(interface + 2);
                canvas.text((at, y), "plain", &shorten(&hop.hook, NAME));
                canvas.text_to((right, y), "quiet", &to_next(hop));
                let at = right - width(time + 2);
                canvas.text_to((at, y), "plain", &count(hop.packets));
                STEP
            }
            Row::Change(words) => {
                let lines = wrap(&format!("{} {words}", UNICODE.change), self.columns);
                paragraph(canvas, (text, y), "change", &lines) + 4.0
            }
            Row::More(more) => {
                let words = format!("{} {}", UNICODE.more, counted(*more as u64, "more hop"));
                canvas.text((text, y), "quiet", &words);
                STEP
            }
            Row::End(end) => {
                let aside = self.aside(end.after);
                canvas.symbol((x + RAIL + aside, y + LINE / 2.0), end.face.ink);
                let lines = self.ending(end);
                let class = class(end.face.ink);
                if end.packets > 0 {
                    let [_, _, _, time] = self.cells;
                    let at = right - width(time + 2);
                    canvas.text_to((at, y), class, &count(end.packets));
                }
                paragraph(canvas, (text + aside, y), class, &lines) + 6.0
            }
        }
    }

    /// How far beside the line the end stands that comes after so many hops: it goes on to those that come later.
    fn aside(&self, hops: usize) -> f32 {
        if self.path.hops.len() > hops {
            SWING
        } else {
            0.0
        }
    }

    /// What stands at the end: word and hook, then the reason, then the kernel's function.
    fn ending(&self, end: &End) -> Vec<String> {
        let place = end.place.as_ref();
        let hook = place.and_then(|place| place.hook.as_deref());
        let head = match hook {
            Some(hook) => format!("{} at {hook}", end.face.word),
            None => end.face.word.to_owned(),
        };
        let [_, _, packets, time] = self.cells;
        // beside the line there is less room
        let room = self.columns - 2;
        let mut lines = wrap(&head, room.saturating_sub(packets + time + 4));
        if let Some((_, reason)) = self.end {
            lines.extend(wrap(reason, room));
        }
        if let Some(function) = end.function() {
            lines.extend(wrap(&format!("in {function}"), room));
        }
        lines
    }

    /// The line from hop to hop, as packets went: one that leaves hops out swings around them.
    fn rail(&self, canvas: &mut Canvas, x: f32, dots: &[(u32, f32)]) {
        let told = self.path.hops.iter().any(|hop| !hop.next.is_empty());
        for (i, (n, from)) in dots.iter().enumerate() {
            let hop = self.path.hops.iter().find(|hop| hop.n == *n);
            let next = hop.map_or(&[][..], |hop| &hop.next);
            for (j, (to_n, to)) in dots.iter().enumerate().skip(i + 1) {
                let beside = j == i + 1;
                // where hops were left out, the line shows that the way goes on
                let gap = beside && *to_n != n + 1;
                if !(next.contains(to_n) || gap || (beside && !told)) {
                    continue;
                }
                let path = if beside {
                    format!("M{x:.0} {from:.0}V{to:.0}")
                } else {
                    let out = x - SWING;
                    format!(
                        "M{x:.0} {from:.0}C{out:.0} {:.0} {out:.0} {:.0} {x:.0} {to:.0}",
                        from + STEP,
                        to - STEP
                    )
                };
                canvas.path("rail", &path);
            }
        }
    }
}

/// Lines of text from this point down; gives their height.
pub(super) fn paragraph(canvas: &mut Canvas, (x, y): Point, class: &str, lines: &[String]) -> f32 {
    let mut at = y;
    for line in lines {
        canvas.text((x, at), class, line);
        at += LINE;
    }
    at - y
}

fn to_next(hop: &HopReport) -> String {
    hop.latency_ns
        .map(|latency| duration(latency.p50, &UNICODE))
        .unwrap_or_default()
}

/// Rows by namespace, in order.
fn spaces<'a>(path: &'a PathReport, end: Option<&'a End>) -> Vec<Space<'a>> {
    let mut spaces: Vec<Space<'a>> = Vec::new();
    let mut add = |name: Option<&String>, row: Row<'a>| match spaces.last_mut() {
        Some(space) if space.name.as_ref() == name => space.rows.push(row),
        _ => spaces.push(Space {
            name: name.cloned(),
            rows: vec![row],
        }),
    };
    let place = end.and_then(|end| end.place.as_ref());
    let ends_in = place.and_then(Place::spot).map(Cow::into_owned);
    if let Some(end) = end.filter(|end| end.after == 0) {
        add(ends_in.as_ref(), Row::End(end));
    }
    let window = Window::new(path.hops.len(), end.map(|end| end.after), HOPS);
    for (i, hop) in path.hops.iter().enumerate() {
        let name = hop.spot().into_owned();
        if let Some(more) = window.left_out(i) {
            add(None, Row::More(more));
        }
        if window.shows(i) {
            for text in changes(&UNICODE, hop, false) {
                add(Some(&name), Row::Change(text));
            }
            add(Some(&name), Row::Hop(hop));
        }
        if let Some(end) = end.filter(|end| end.after == i + 1) {
            for text in changes(&UNICODE, hop, true) {
                add(Some(&name), Row::Change(text));
            }
            add(ends_in.as_ref().or(Some(&name)), Row::End(end));
        }
    }
    spaces
}
