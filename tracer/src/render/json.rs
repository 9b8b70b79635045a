//! Reports and comparisons as JSON, events as lines of JSON, and the schemas of all.

use std::io::{self, Write};

use schemars::schema_for;
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

use crate::compare::Comparison;
use crate::model::clean::is_hazard;
use crate::report::Report;
use crate::report::event::NdjsonLine;

/// Writes a document (the report, a comparison), indented, with a line end.
///
/// # Errors
/// Those of the writer.
pub fn write(out: &mut impl Write, document: &impl Serialize) -> io::Result<()> {
    let mut serializer = Serializer::with_formatter(&mut *out, Safe(PrettyFormatter::new()));
    document.serialize(&mut serializer)?;
    out.write_all(b"\n")
}

/// Writes an event, or the report after the last one, in one line. It is put together in `room`, whose content is lost: a
/// line is a hundred pieces, and what is written to is often a file.
///
/// # Errors
/// Those of the writer.
pub fn line(out: &mut impl Write, line: &NdjsonLine<'_>, room: &mut Vec<u8>) -> io::Result<()> {
    room.clear();
    let mut serializer = Serializer::with_formatter(&mut *room, Safe(CompactFormatter));
    line.serialize(&mut serializer)?;
    room.push(b'\n');
    out.write_all(room)
}

/// The JSON Schema of lines, indented, with a line end: docs/ndjson.schema.json.
#[must_use]
pub fn line_schema() -> String {
    format!("{:#}\n", schema_for!(NdjsonLine<'_>).to_value())
}

/// The JSON Schema of comparisons, indented, with a line end: docs/diff.schema.json.
#[must_use]
pub fn comparison_schema() -> String {
    format!("{:#}\n", schema_for!(Comparison).to_value())
}

/// The JSON Schema of reports, indented, with a line end: docs/report.schema.json.
#[must_use]
pub fn schema() -> String {
    // `{:#}` of a value cannot fail as serialisation could
    format!("{:#}\n", schema_for!(Report).to_value())
}

/// Escapes what JSON would let through but a terminal must not see: the value stays the same.
struct Safe<F>(F);

impl<F: Formatter> Formatter for Safe<F> {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        if fragment.bytes().all(|byte| (b' '..0x7f).contains(&byte)) {
            return out.write_all(fragment.as_bytes());
        }
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_hazard(*c)) {
            let (before, after) = rest.split_at(at);
            out.write_all(before.as_bytes())?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = after.get(c.len_utf8()..).unwrap_or_default();
        }
        out.write_all(rest.as_bytes())
    }

    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_array(out)
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array(out)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(out, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array_value(out)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object(out)
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object(out)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(out, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object_value(out)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object_value(out)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;
    use crate::render::samples;

    fn text(report: &Report) -> String {
        let mut out = Vec::new();
        write(&mut out, report).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_committed_schema_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/report.schema.json");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == schema(),
            "run `tracer schema > docs/report.schema.json`"
        );
    }

    #[test]
    fn the_manual_names_every_field() {
        let manual = include_str!("../../../docs/report.md");
        let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
        let types = schema["$defs"].as_object().unwrap().values();
        let missing: Vec<&String> = types
            .chain([&schema])
            .filter_map(|object| object.get("properties")?.as_object())
            .flat_map(|properties| properties.keys())
            .filter(|field| !manual.contains(&format!("`{field}`")))
            .collect();
        assert_eq!(missing, Vec::<&String>::new());
    }

    #[test]
    fn the_committed_schema_of_lines_is_current_and_explained() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ndjson.schema.json");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == line_schema(),
            "run `tracer schema ndjson > docs/ndjson.schema.json`"
        );
        let manual = include_str!("../../../docs/outputs.md");
        let schema: serde_json::Value = serde_json::from_str(&committed).unwrap();
        for object in ["EventReport", "DropReport", "ProcessReport"] {
            for field in schema["$defs"][object]["properties"]
                .as_object()
                .unwrap()
                .keys()
            {
                assert!(manual.contains(&format!("`{field}`")), "{object}: {field}");
            }
        }
    }

    #[test]
    fn the_committed_schema_of_comparisons_is_current_and_explained() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/diff.schema.json");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == comparison_schema(),
            "run `tracer schema diff > docs/diff.schema.json`"
        );
        let manual = include_str!("../../../docs/diff.md");
        let schema: serde_json::Value = serde_json::from_str(&committed).unwrap();
        let own = ["Side", "End", "PathPair", "Row", "Parting", "Difference"];
        let types = own.iter().map(|name| &schema["$defs"][name]);
        for object in types.chain([&schema]) {
            for field in object["properties"].as_object().unwrap().keys() {
                assert!(manual.contains(&format!("`{field}`")), "{field}");
            }
        }
    }

    #[test]
    fn samples_meet_the_schema_and_come_back_unchanged() {
        let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        for (name, report) in samples::all() {
            let value: serde_json::Value = serde_json::from_str(&text(&report)).unwrap();
            let errors: Vec<String> = validator
                .iter_errors(&value)
                .map(|error| format!("{}: {error}", error.instance_path()))
                .collect();
            assert_eq!(errors, [""; 0], "{name}");
            let back: Report = serde_json::from_value(value).unwrap();
            assert_eq!(back, report, "{name}");
        }
    }

    #[test]
    fn the_schema_refuses_what_is_no_report() {
        let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let good: serde_json::Value =
            serde_json::from_str(&text(&samples::forward_drop())).unwrap();
        let changes = [
            ("/schema", "tracer.report/2"),
            ("/verdict/outcome", "lost"),
            ("/verdict/confidence", "sure"),
            ("/flows/0/paths/0/direction", "sideways"),
            ("/trace/packets", "many"),
        ];
        for (place, value) in changes {
            let mut bad = good.clone();
            *bad.pointer_mut(place).unwrap() = value.into();
            assert!(!validator.is_valid(&bad), "{place}");
        }
    }

    #[test]
    fn hazards_are_escaped_and_nothing_else_changes() {
        let mut report = samples::forward_drop();
        let name = "a\u{202e}b\x1b[2J\u{9b}\u{e0041}é\u{7f}";
        report.host.hostname = name.into();
        let text = text(&report);
        assert!(text.chars().all(|c| c == '\n' || !is_hazard(c)));
        assert!(text.contains(r"a\u202eb\u001b[2J\u009b\udb40\udc41é\u007f"));
        let back: Report = serde_json::from_str(&text).unwrap();
        assert_eq!(back.host.hostname, name);
    }
}
