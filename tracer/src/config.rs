//! What a run is to do, checked: everything that can be refused without touching the kernel is refused here.
//!
//! [`crate::cli`] reads the words, this module gives them meaning; nothing behind it sees an unchecked value.

mod cluster;
mod diff;
mod duration;
mod glob;
mod merge;
mod output;
mod sink;
mod speed;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tracer_common::event::MAX_SNAPLEN;

use crate::cli::{Args, RedactArgs, ReplayArgs};
use crate::error::Error;
use crate::filter::{self, Compiled, Request};
pub use cluster::{ClusterConfig, NodeCommand};
pub use diff::DiffConfig;
pub use glob::Glob;
pub use merge::{MergeConfig, NodeFile};
pub use output::{Drawable, OutputConfig, OutputFormat, RecordTo, ScreenConfig, Surroundings};
pub use sink::{ReportTo, Sink};
pub use speed::Speed;

/// Bytes captured of each packet unless `--snaplen` says otherwise.
pub const DEFAULT_SNAPLEN: u16 = 128;
/// Fewer would cut headers off that the path is told from.
pub const MIN_SNAPLEN: u16 = 64;
/// Events a second unless `--budget` says otherwise.
pub const DEFAULT_BUDGET: u32 = 20_000;
/// Most events a second: above it user space cannot keep up.
pub const MAX_BUDGET: u32 = 10_000_000;

/// Pseudonyms instead of addresses and names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redaction {
    /// The key that makes them; none: a random one.
    pub key_file: Option<PathBuf>,
}

impl Redaction {
    fn new(args: RedactArgs) -> Option<Self> {
        args.redact.then_some(Self {
            key_file: args.redact_key,
        })
    }
}

/// A live trace.
#[derive(Clone, Debug)]
pub struct Config {
    /// What is followed.
    pub filter: Compiled,
    /// Names of the namespaces to look at; empty: all.
    pub only_netns: Vec<String>,
    /// Interfaces to look at; empty: all.
    pub only_interfaces: Vec<Glob>,
    /// End after this time.
    pub duration: Option<Duration>,
    /// End after so many packets.
    pub packets: Option<u64>,
    /// End when the verdict is certain.
    pub until_verdict: bool,
    /// End with the standard input.
    pub until_eof: bool,
    /// What is shown and written.
    pub output: OutputConfig,
    /// Where the recording goes.
    pub record: Option<RecordTo>,
    /// Events a second.
    pub budget: u32,
    /// Bytes captured of each packet, a multiple of 8, at most [`MAX_SNAPLEN`].
    pub snaplen: u16,
    /// BTF file to read instead of the running kernel's own.
    pub btf: Option<PathBuf>,
    /// Pseudonyms instead of addresses and names.
    pub redact: Option<Redaction>,
    /// How often `-v` was given.
    pub verbosity: u8,
}

/// A replay.
#[derive(Clone, Debug)]
pub struct ReplayConfig {
    /// The recording.
    pub file: PathBuf,
    /// Where another recording goes.
    pub record: Option<RecordTo>,
    /// How fast it is played.
    pub speed: Speed,
    /// What is shown and written.
    pub output: OutputConfig,
    /// Pseudonyms instead of addresses and names.
    pub redact: Option<Redaction>,
    /// How often `-v` was given.
    pub verbosity: u8,
}

impl Config {
    /// Checks what the command line says.
    ///
    /// # Errors
    /// A value that cannot be, with what to write instead.
    pub fn new(args: Args, surroundings: Surroundings) -> Result<Self, Error> {
        let Args {
            trace: args,
            max_size,
            until_eof,
        } = args;
        let filter = filter::compile(&Request {
            expr: args.expr.join(" "),
            src: args.shorthands.src,
            dst: args.shorthands.dst,
            sport: args.shorthands.sport,
            dport: args.shorthands.dport,
            proto: args.shorthands.proto,
            one_way: args.one_way,
        })?;
        let only_interfaces = args
            .interface
            .iter()
            .map(|text| Glob::new(text))
            .collect::<Result<_, _>>()?;
        let duration = args.duration.as_deref().map(duration::parse).transpose()?;
        let mut output = OutputConfig::new(&args.output, surroundings)?;
        if let Some(record) = args.record.as_deref() {
            output.leave_room_for(record, &args.output, surroundings)?;
        }
        if max_size.is_some() && args.record.as_deref().is_none_or(|to| to == Path::new("-")) {
            return Err(
                Error::usage("--max-size bounds a recording that goes to a file")
                    .hint("name one: --record trace.tracer --max-size 100M"),
            );
        }
        for name in &args.netns {
            check_netns(name)?;
        }
        Ok(Self {
            filter,
            only_netns: args.netns,
            only_interfaces,
            duration,
            packets: args.packets,
            until_verdict: args.until_verdict,
            until_eof,
            output,
            record: args.record.map(|path| RecordTo {
                path,
                most: max_size,
            }),
            budget: args.budget,
            // the stack behind the bytes must be aligned
            snaplen: args.snaplen.next_multiple_of(8).min(MAX_SNAPLEN),
            btf: args.btf,
            redact: Redaction::new(args.redact),
            verbosity: args.verbose,
        })
    }
}

impl ReplayConfig {
    /// Checks what the command line says.
    ///
    /// # Errors
    /// A value that cannot be, with what to write instead.
    pub fn new(args: ReplayArgs, surroundings: Surroundings) -> Result<Self, Error> {
        let mut output = OutputConfig::new(&args.output, surroundings)?;
        if let Some(record) = args.record.as_deref() {
            output.leave_room_for(record, &args.output, surroundings)?;
            if args.file == Path::new("-") {
                return Err(Error::usage(
                    "replay reads a recording twice to write another: it needs a file",
                )
                .hint("save the stream first: ssh node1 tracer --record - … > node1.tracer"));
            }
            if record == args.file {
                return Err(
                    Error::usage("a recording cannot be replayed into the same file")
                        .hint("name another file after --record"),
                );
            }
        }
        Ok(Self {
            record: args.record.map(|path| RecordTo { path, most: None }),
            file: args.file,
            speed: args.speed,
            output,
            redact: Redaction::new(args.redact),
            verbosity: args.verbose,
        })
    }
}

/// Names are those of files below /run/netns, pods, containers, `host` or `netns:INODE`: none is empty or has
/// white space.
fn check_netns(name: &str) -> Result<(), Error> {
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(Error::usage(format!("`{name}` is no name of a namespace"))
            .hint("give one name, and --netns again for each further one"));
    }
    if name.contains('/') {
        return Err(
            Error::usage(format!("`{name}` is a path, a name is expected"))
                .hint("give the file's name: --netns blue for /run/netns/blue"),
        );
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests;
