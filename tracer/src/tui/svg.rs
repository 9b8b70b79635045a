//! A frame as a picture (SVG): for tickets, and for this project's own pages. Cells become text, nothing else: it can be
//! searched, and stays small.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};
use unicode_width::UnicodeWidthStr;

use crate::render::svg;

/// A cell, in pixels.
const CELL: (f32, f32) = (8.4, 18.0);
/// Space around the frame.
const EDGE: f32 = 12.0;
/// Text and background where a cell says nothing.
const PLAIN: (&str, &str) = ("#d4d8df", "#15181e");
/// The sixteen colours of terminals, in their order.
const ANSI: [&str; 16] = [
    "#2a2f38", "#e86671", "#8cc570", "#dcb86b", "#61a8e8", "#c57bdb", "#4fb8c0", "#c0c6d0",
    "#6b7280", "#ff7a85", "#a4dd88", "#f0cf82", "#7cbcf7", "#d795ec", "#6bd2d9", "#ffffff",
];

/// How a run of cells looks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Look {
    color: String,
    ground: Option<String>,
    bold: bool,
    dim: bool,
    underlined: bool,
}

/// Cells of one row that look alike.
struct Run {
    row: u16,
    column: u16,
    columns: u16,
    look: Look,
    text: String,
}

/// The frame as an SVG document.
#[must_use]
pub fn svg(frame: &Buffer) -> String {
    let runs = runs(frame);
    let mut looks: BTreeMap<&Look, usize> = BTreeMap::new();
    for run in &runs {
        let number = looks.len();
        looks.entry(&run.look).or_insert(number);
    }
    let width = f32::from(frame.area.width) * CELL.0 + 2.0 * EDGE;
    let height = f32::from(frame.area.height) * CELL.1 + 2.0 * EDGE;
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "{}<style>\ntext{{font:14px {};white-space:pre}}",
        svg::head(width, height),
        svg::FONT
    );
    for (look, number) in &looks {
        let mut rule = format!("fill:{}", look.color);
        for (on, words) in [
            (look.bold, ";font-weight:700"),
            (look.dim, ";opacity:.62"),
            (look.underlined, ";text-decoration:underline"),
        ] {
            if on {
                rule += words;
            }
        }
        let _ = writeln!(out, ".s{number}{{{rule}}}");
    }
    let _ = writeln!(
        out,
        "</style>\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{}\"/>",
        PLAIN.1
    );
    for run in &runs {
        draw(&mut out, run, looks.get(&run.look).copied());
    }
    out += "</svg>\n";
    out
}

fn draw(out: &mut String, run: &Run, number: Option<usize>) {
    let x = EDGE + f32::from(run.column) * CELL.0;
    let y = EDGE + f32::from(run.row) * CELL.1;
    let width = f32::from(run.columns) * CELL.0;
    if let Some(ground) = &run.look.ground {
        let _ = writeln!(
            out,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{}\" fill=\"{ground}\"/>",
            CELL.1
        );
    }
    if run.text.trim().is_empty() {
        return;
    }
    let text = svg::escape(&run.text);
    let _ = writeln!(
        out,
        "<text class=\"s{}\" x=\"{x:.1}\" y=\"{:.1}\" textLength=\"{width:.1}\">{text}</text>",
        number.unwrap_or_default(),
        y + 13.5
    );
}

fn runs(frame: &Buffer) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for row in 0..frame.area.height {
        let mut covered = 0;
        for column in 0..frame.area.width {
            let at = (frame.area.x + column, frame.area.y + row);
            let Some(cell) = frame.cell(at).filter(|_| column >= covered) else {
                continue;
            };
            let columns = u16::try_from(cell.symbol().width().max(1)).unwrap_or(1);
            covered = column + columns;
            let look = look(cell);
            match runs.last_mut() {
                Some(run) if run.row == row && run.look == look => {
                    run.columns += columns;
                    run.text.push_str(cell.symbol());
                }
                _ => runs.push(Run {
                    row,
                    column,
                    columns,
                    look,
                    text: cell.symbol().to_owned(),
                }),
            }
        }
    }
    for run in &mut runs {
        // Blank ends need no text; a ground does need its width.
        if run.look.ground.is_none() {
            let text = run.text.trim_end();
            run.columns = u16::try_from(text.width()).unwrap_or(run.columns);
            run.text.truncate(text.len());
        }
    }
    runs.retain(|run| run.columns > 0);
    runs
}

fn look(cell: &Cell) -> Look {
    let has = |modifier| cell.modifier.contains(modifier);
    let (mut color, mut ground) = (hex(cell.fg), hex(cell.bg));
    if has(Modifier::REVERSED) {
        (color, ground) = (
            Some(ground.unwrap_or_else(|| PLAIN.1.to_owned())),
            Some(color.unwrap_or_else(|| PLAIN.0.to_owned())),
        );
    }
    Look {
        color: color.unwrap_or_else(|| PLAIN.0.to_owned()),
        ground,
        bold: has(Modifier::BOLD),
        dim: has(Modifier::DIM),
        underlined: has(Modifier::UNDERLINED),
    }
}

/// A colour as SVG writes it; none for the terminal's own.
fn hex(color: Color) -> Option<String> {
    let number = match color {
        Color::Reset => return None,
        Color::Rgb(r, g, b) => return Some(format!("#{r:02x}{g:02x}{b:02x}")),
        Color::Indexed(n) => n,
        Color::Black => 0,
        Color::Red => 1,
        Color::Green => 2,
        Color::Yellow => 3,
        Color::Blue => 4,
        Color::Magenta => 5,
        Color::Cyan => 6,
        Color::Gray => 7,
        Color::DarkGray => 8,
        Color::LightRed => 9,
        Color::LightGreen => 10,
        Color::LightYellow => 11,
        Color::LightBlue => 12,
        Color::LightMagenta => 13,
        Color::LightCyan => 14,
        Color::White => 15,
    };
    Some(indexed(number))
}

/// One of the 256 colours: sixteen, a cube of 6×6×6, and 24 greys.
fn indexed(number: u8) -> String {
    if let Some(color) = ANSI.get(usize::from(number)) {
        return (*color).to_owned();
    }
    let [r, g, b] = match number.checked_sub(232) {
        Some(grey) => [8 + 10 * grey; 3],
        None => {
            let cube = number - 16;
            [cube / 36, cube / 6 % 6, cube % 6].map(|part| match part {
                0 => 0,
                part => 55 + 40 * part,
            })
        }
    };
    format!("#{r:02x}{g:02x}{b:02x}")
}

#[cfg(test)]
mod tests {
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    use super::*;

    #[test]
    fn runs_keep_their_columns_and_nothing_is_markup() {
        let mut frame = Buffer::empty(Rect::new(0, 0, 12, 2));
        frame.set_string(0, 0, "a<b 網", Style::default());
        frame.set_string(6, 0, "&", Style::default().fg(Color::Red));
        let picture = svg(&frame);
        assert!(picture.contains(">a&lt;b 網</text>"), "{picture}");
        assert!(picture.contains("x=\"62.4\" y=\"25.5\" textLength=\"8.4\">&amp;</text>"));
        assert!(picture.contains(&format!("fill:{}", ANSI[1])));
    }

    #[test]
    fn the_cube_and_the_greys_are_those_of_xterm() {
        assert_eq!(indexed(16), "#000000");
        assert_eq!(indexed(231), "#ffffff");
        assert_eq!(indexed(203), "#ff5f5f");
        assert_eq!(indexed(244), "#808080");
    }
}
