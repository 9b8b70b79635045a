//! Arguments of a merge, checked.

use super::cluster::is_name;
use super::names::told;
use super::trace::redaction;
use super::{MergeArgs, output};
use crate::config::{MergeConfig, NodeFile, RecordTo, Surroundings};
use crate::error::Error;

/// Checks what the command line says.
///
/// # Errors
/// A value that cannot be, with what to write instead.
pub(super) fn config(args: MergeArgs, surroundings: Surroundings) -> Result<MergeConfig, Error> {
    let mut output = output::config(&args.output, surroundings)?;
    output.hop_checks = args.verbose > 0;
    let nodes = args.files.iter().map(|text| node(text));
    let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
    if nodes.len() < 2 {
        return Err(
            Error::usage("merge needs the recordings of two nodes or more")
                .hint("tracer replay FILE shows a single one"),
        );
    }
    if let Some(record) = args.record.as_deref() {
        output::leave_room_for(&mut output, record, &args.output, surroundings)?;
        if nodes.iter().any(|node| node.file == record) {
            return Err(
                Error::usage("the merged recording cannot go to a file that is merged")
                    .hint("name another file after --record"),
            );
        }
    }
    Ok(MergeConfig {
        names: told(&args.names)?,
        nodes,
        record: args.record.map(|path| RecordTo { path, most: None }),
        output,
        redact: redaction(args.redact),
        verbosity: args.verbose,
    })
}

/// `NAME=FILE`, or `FILE`. What has a slash before the first `=` is a file.
fn node(text: &str) -> Result<NodeFile, Error> {
    let (name, file) = match text.split_once('=') {
        Some((name, file)) if !name.contains('/') => (Some(name), file),
        _ => (None, text),
    };
    if file == "-" {
        return Err(
            Error::usage("merge reads each recording twice: it needs files")
                .hint("save the stream first: ssh node1 tracer --record - … > node1.tracer"),
        );
    }
    if name.is_some_and(|name| !is_name(name)) || file.is_empty() {
        return Err(Error::usage(format!("`{text}` is not NAME=FILE"))
            .hint("write node1=node1.tracer, or the file alone"));
    }
    Ok(NodeFile {
        name: name.map(str::to_owned),
        file: file.into(),
    })
}
