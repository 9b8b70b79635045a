//! What a merge is to do, checked.

use std::path::PathBuf;

use super::cluster::is_name;
use super::{OutputConfig, RecordTo, Redaction, Surroundings};
use crate::cli::MergeArgs;
use crate::error::Error;

/// A merge.
#[derive(Clone, Debug)]
pub struct MergeConfig {
    /// The recordings, two or more.
    pub nodes: Vec<NodeFile>,
    /// Where the merged recording goes.
    pub record: Option<RecordTo>,
    /// What is shown and written.
    pub output: OutputConfig,
    /// Pseudonyms instead of addresses and names.
    pub redact: Option<Redaction>,
    /// How often `-v` was given.
    pub verbosity: u8,
}

/// A node's recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFile {
    /// The node's name, where it was given.
    pub name: Option<String>,
    /// The recording.
    pub file: PathBuf,
}

impl NodeFile {
    /// `NAME=FILE`, or `FILE`. What has a slash before the first `=` is a file.
    fn new(text: &str) -> Result<Self, Error> {
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
        Ok(Self {
            name: name.map(str::to_owned),
            file: file.into(),
        })
    }
}

impl MergeConfig {
    /// Checks what the command line says.
    ///
    /// # Errors
    /// A value that cannot be, with what to write instead.
    pub fn new(args: MergeArgs, surroundings: Surroundings) -> Result<Self, Error> {
        let mut output = OutputConfig::new(&args.output, surroundings)?;
        let nodes = args.files.iter().map(|text| NodeFile::new(text));
        let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
        if nodes.len() < 2 {
            return Err(
                Error::usage("merge needs the recordings of two nodes or more")
                    .hint("tracer replay FILE shows a single one"),
            );
        }
        if let Some(record) = args.record.as_deref() {
            output.leave_room_for(record, &args.output, surroundings)?;
            if nodes.iter().any(|node| node.file == record) {
                return Err(Error::usage(
                    "the merged recording cannot go to a file that is merged",
                )
                .hint("name another file after --record"));
            }
        }
        Ok(Self {
            nodes,
            record: args.record.map(|path| RecordTo { path, most: None }),
            output,
            redact: Redaction::new(args.redact),
            verbosity: args.verbose,
        })
    }
}
