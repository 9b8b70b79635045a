//! What a run is to do, checked: everything that can be refused without touching the kernel is refused here.
//!
//! [`crate::cli`] reads the words, this module gives them meaning; nothing behind it sees an unchecked value.

mod diff;
mod duration;
mod glob;
mod sink;
mod speed;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tracer_common::event::MAX_SNAPLEN;

use crate::cli::{Args, ColorChoice, FormatChoice, MergeArgs, OutputArgs, RedactArgs, ReplayArgs};
use crate::error::Error;
use crate::filter::{self, Compiled, Request};
use crate::tui::theme::Depth;
pub use diff::DiffConfig;
pub use glob::Glob;
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

/// Formats of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// For people.
    Text,
    /// `tracer.report/1`, see `tracer schema`.
    Json,
    /// Each event as it happens, then the report: lines of JSON, see `tracer schema ndjson`.
    Ndjson,
    /// A ticket.
    Markdown,
    /// A diagram of the path.
    Svg,
    /// Packets at each hop, for Wireshark.
    Pcapng,
}

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

/// The full screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScreenConfig {
    /// Colours of the terminal.
    pub depth: Depth,
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
    /// The full screen while the trace runs.
    pub screen: Option<ScreenConfig>,
    /// Why there is text where a person would expect the full screen.
    pub text_because: Option<&'static str>,
    /// Format of the report.
    pub output: OutputFormat,
    /// Where it goes.
    pub report_to: ReportTo,
    /// With colours.
    pub color: bool,
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
    /// The exit status tells the outcome.
    pub check: bool,
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
    /// The full screen.
    pub screen: Option<ScreenConfig>,
    /// Why there is text where a person would expect the full screen.
    pub text_because: Option<&'static str>,
    /// Format of the report.
    pub output: OutputFormat,
    /// Where it goes.
    pub report_to: ReportTo,
    /// With colours.
    pub color: bool,
    /// Pseudonyms instead of addresses and names.
    pub redact: Option<Redaction>,
    /// The exit status tells the outcome.
    pub check: bool,
    /// How often `-v` was given.
    pub verbosity: u8,
}

/// A merge.
#[derive(Clone, Debug)]
pub struct MergeConfig {
    /// The recordings, two or more.
    pub nodes: Vec<NodeFile>,
    /// Where the merged recording goes.
    pub record: Option<RecordTo>,
    /// The full screen.
    pub screen: Option<ScreenConfig>,
    /// Why there is text where a person would expect the full screen.
    pub text_because: Option<&'static str>,
    /// Format of the report.
    pub output: OutputFormat,
    /// Where it goes.
    pub report_to: ReportTo,
    /// With colours.
    pub color: bool,
    /// Pseudonyms instead of addresses and names.
    pub redact: Option<Redaction>,
    /// The exit status tells the outcome.
    pub check: bool,
    /// How often `-v` was given.
    pub verbosity: u8,
}

/// Where a recording goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordTo {
    /// The file; `-` is the standard output.
    pub path: PathBuf,
    /// Most bytes of it.
    pub most: Option<u64>,
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
        let word = |name: &str| !name.is_empty() && !name.contains(char::is_whitespace);
        if name.is_some_and(|name| !word(name)) || file.is_empty() {
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
        let mut output = Output::new(&args.output, surroundings)?;
        let nodes = args.files.iter().map(|text| NodeFile::new(text));
        let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
        if nodes.len() < 2 {
            return Err(
                Error::usage("merge needs the recordings of two nodes or more")
                    .hint("tracer replay FILE shows a single one"),
            );
        }
        if let Some(record) = args.record.as_deref() {
            check_record(record, &args.output, &mut output, surroundings)?;
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
            screen: output.screen,
            text_because: output.text_because,
            output: output.format,
            report_to: output.report_to,
            color: output.color,
            redact: Redaction::new(args.redact),
            check: args.output.check,
            verbosity: args.verbose,
        })
    }
}

/// What of the surroundings decides about colour.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings {
    /// The standard output is a terminal.
    pub terminal: bool,
    /// `NO_COLOR` is set and not empty (no-color.org), or `TERM` is `dumb`.
    pub plain: bool,
    /// Whether the full screen can be drawn here.
    pub screen: Drawable,
}

/// Whether the full screen can be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drawable {
    /// With so many colours.
    Yes(Depth),
    /// Not, for this reason.
    No(&'static str),
}

impl Default for Drawable {
    fn default() -> Self {
        Self::No("there is no terminal")
    }
}

impl Drawable {
    /// As standard input and `TERM` tell; `no_color` and `colorterm` as in [`Depth::of`].
    #[must_use]
    pub fn of(input: bool, term: &str, no_color: bool, colorterm: &str) -> Self {
        match term {
            _ if !input => Self::No("the standard input is no terminal"),
            "" => Self::No("TERM is not set"),
            "dumb" => Self::No("TERM is dumb"),
            term => Self::Yes(Depth::of(no_color, colorterm, term)),
        }
    }
}

impl Config {
    /// Checks what the command line says.
    ///
    /// # Errors
    /// A value that cannot be, with what to write instead.
    pub fn new(args: Args, surroundings: Surroundings) -> Result<Self, Error> {
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
        let mut output = Output::new(&args.output, surroundings)?;
        if let Some(record) = args.record.as_deref() {
            check_record(record, &args.output, &mut output, surroundings)?;
        }
        if args.max_size.is_some() && args.record.as_deref().is_none_or(|to| to == Path::new("-")) {
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
            screen: output.screen,
            text_because: output.text_because,
            output: output.format,
            report_to: output.report_to,
            color: output.color,
            record: args.record.map(|path| RecordTo {
                path,
                most: args.max_size,
            }),
            budget: args.budget,
            // the stack behind the bytes must be aligned
            snaplen: args.snaplen.next_multiple_of(8).min(MAX_SNAPLEN),
            btf: args.btf,
            redact: Redaction::new(args.redact),
            check: args.output.check,
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
        let mut output = Output::new(&args.output, surroundings)?;
        if let Some(record) = args.record.as_deref() {
            check_record(record, &args.output, &mut output, surroundings)?;
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
            screen: output.screen,
            text_because: output.text_because,
            output: output.format,
            report_to: output.report_to,
            color: output.color,
            redact: Redaction::new(args.redact),
            check: args.output.check,
            verbosity: args.verbose,
        })
    }
}

struct Output {
    screen: Option<ScreenConfig>,
    text_because: Option<&'static str>,
    format: OutputFormat,
    report_to: ReportTo,
    color: bool,
}

impl Output {
    fn new(args: &OutputArgs, surroundings: Surroundings) -> Result<Self, Error> {
        let report_to = match args.report_to.as_deref() {
            None => ReportTo::Stdout,
            Some(path) if path == Path::new("-") => ReportTo::Stdout,
            Some(path) if path.as_os_str().is_empty() => {
                return Err(Error::usage("-o needs the name of a file")
                    .hint("leave -o out to write to the standard output"));
            }
            Some(path) => ReportTo::File(path.to_owned()),
        };
        let to_terminal = report_to == ReportTo::Stdout && surroundings.terminal;
        let format = match args.format {
            _ if args.json => OutputFormat::Json,
            None | Some(FormatChoice::Tui | FormatChoice::Text) => OutputFormat::Text,
            Some(FormatChoice::Json) => OutputFormat::Json,
            Some(FormatChoice::Ndjson) => OutputFormat::Ndjson,
            Some(FormatChoice::Markdown) => OutputFormat::Markdown,
            Some(FormatChoice::Svg) => OutputFormat::Svg,
            Some(FormatChoice::Pcapng) => OutputFormat::Pcapng,
        };
        if format == OutputFormat::Pcapng && to_terminal {
            return Err(Error::usage("packets do not go to a terminal").hint(
                "name a file: --output pcapng -o trace.pcapng, or pipe them: | wireshark -k -i -",
            ));
        }
        let drawable = match surroundings.screen {
            Drawable::Yes(_) if !surroundings.terminal => {
                Drawable::No("the standard output is no terminal")
            }
            drawable => drawable,
        };
        let (screen, text_because) = match (args.format, drawable) {
            (Some(FormatChoice::Tui), Drawable::No(reason)) => {
                return Err(
                    Error::usage(format!("the full screen cannot be drawn: {reason}"))
                        .hint("run it in a terminal with TERM set, or take --output text"),
                );
            }
            (Some(FormatChoice::Tui), Drawable::Yes(depth)) => (Some(depth), None),
            (None, Drawable::Yes(depth)) if !args.json && to_terminal => (Some(depth), None),
            (None, Drawable::No(reason)) if !args.json && to_terminal => (None, Some(reason)),
            _ => (None, None),
        };
        let depth = |depth| match args.color {
            ColorChoice::Never => Depth::Mono,
            ColorChoice::Always if depth == Depth::Mono => Depth::Ansi,
            _ => depth,
        };
        Ok(Self {
            screen: screen.map(|screen| ScreenConfig {
                depth: depth(screen),
            }),
            text_because,
            format,
            color: match args.color {
                ColorChoice::Always => true,
                ColorChoice::Never => false,
                ColorChoice::Auto => to_terminal && !surroundings.plain,
            },
            report_to,
        })
    }
}

/// A recording may go to the standard output, for a pipe; the report then needs a file, or goes nowhere.
fn check_record(
    record: &Path,
    args: &OutputArgs,
    output: &mut Output,
    surroundings: Surroundings,
) -> Result<(), Error> {
    if record.as_os_str().is_empty() {
        return Err(Error::usage("--record needs the name of a file")
            .hint("name one: --record trace.rec; `tracer replay trace.rec` shows it again"));
    }
    if output.report_to == ReportTo::File(record.to_owned()) {
        return Err(
            Error::usage("recording and report cannot go to the same file")
                .hint("name two files: --record trace.rec -o report.json"),
        );
    }
    if record != Path::new("-") {
        return Ok(());
    }
    if surroundings.terminal {
        return Err(Error::usage("a recording does not go to a terminal")
            .hint("name a file, or pipe it: tracer --record - … | tracer replay -"));
    }
    let shown = args.json || args.format.is_some() || args.report_to.is_some();
    match output.report_to {
        ReportTo::Stdout if shown => Err(Error::usage(
            "recording and report cannot both go to the standard output",
        )
        .hint("name a file for the report: --record - -o report.json")),
        ReportTo::Stdout => {
            output.report_to = ReportTo::Nowhere;
            Ok(())
        }
        _ => Ok(()),
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
