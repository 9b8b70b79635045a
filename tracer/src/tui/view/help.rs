//! The help, made from the table of keys.

use crate::render::page::{Line, columns};
use crate::render::style::Ink;
use crate::tui::keys::Keymap;
use crate::tui::rows::{Row, Target};

/// Every action with its keys; in two columns where there is room.
pub(crate) fn rows(keys: &Keymap, width: usize) -> Vec<Row> {
    let texts: Vec<(String, &str)> = keys
        .rows()
        .map(|(key, chords)| {
            let chords: Vec<String> = chords.iter().map(ToString::to_string).collect();
            (chords.join(" "), key.help)
        })
        .collect();
    let widest = texts
        .iter()
        .map(|(keys, _)| columns(keys))
        .max()
        .unwrap_or_default();
    let cell = |line: Line, (keys, help): &(String, &str)| {
        line.push(Ink::Plain, " ")
            .left(Ink::Strong, keys, widest + 2)
            .push(Ink::Plain, help)
    };
    let longest = texts
        .iter()
        .map(|(_, help)| columns(help))
        .max()
        .unwrap_or_default();
    let column = widest + longest + 5;
    let two = width >= column * 2;
    let half = if two {
        texts.len().div_ceil(2)
    } else {
        texts.len()
    };
    let (left, right) = texts.split_at(half.min(texts.len()));
    left.iter()
        .enumerate()
        .map(|(at, text)| {
            let mut line = cell(Line::default(), text);
            if let Some(other) = right.get(at) {
                line = cell(line.to(column), other);
            }
            Row::of(line, Target::Line(at))
        })
        .collect()
}
