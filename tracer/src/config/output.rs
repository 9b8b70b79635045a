//! What is shown and written, checked against where tracer runs.

use std::path::{Path, PathBuf};

use super::ReportTo;
use crate::cli::{ColorChoice, FormatChoice, OutputArgs};
use crate::error::Error;
use crate::tui::theme::Depth;

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

/// The full screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScreenConfig {
    /// Colours of the terminal.
    pub depth: Depth,
}

/// Where a recording goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordTo {
    /// The file; `-` is the standard output.
    pub path: PathBuf,
    /// Most bytes of it.
    pub most: Option<u64>,
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
    /// As the terminal that keys come from and `TERM` tell; `no_color` and `colorterm` as in [`Depth::of`].
    #[must_use]
    pub fn of(keys: bool, term: &str, no_color: bool, colorterm: &str) -> Self {
        match term {
            _ if !keys => Self::No("there is no terminal to read keys from"),
            "" => Self::No("TERM is not set"),
            "dumb" => Self::No("TERM is dumb"),
            term => Self::Yes(Depth::of(no_color, colorterm, term)),
        }
    }
}

/// What is shown and written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputConfig {
    /// The full screen while the trace runs.
    pub screen: Option<ScreenConfig>,
    /// Why there is text where a person would expect the full screen.
    pub text_because: Option<&'static str>,
    /// Format of the report.
    pub format: OutputFormat,
    /// Where it goes.
    pub report_to: ReportTo,
    /// With colours.
    pub color: bool,
    /// The exit status tells the outcome.
    pub check: bool,
}

impl OutputConfig {
    /// Writes to a file, and nothing else.
    #[must_use]
    pub fn to_file(path: &Path, format: OutputFormat) -> Self {
        Self {
            screen: None,
            text_because: None,
            format,
            report_to: ReportTo::File(path.to_owned()),
            color: false,
            check: false,
        }
    }

    pub(super) fn new(args: &OutputArgs, surroundings: Surroundings) -> Result<Self, Error> {
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
            check: args.check,
        })
    }

    /// A recording may go to the standard output, for a pipe; the report then needs a file, or goes nowhere.
    pub(super) fn leave_room_for(
        &mut self,
        record: &Path,
        args: &OutputArgs,
        surroundings: Surroundings,
    ) -> Result<(), Error> {
        if record.as_os_str().is_empty() {
            return Err(Error::usage("--record needs the name of a file")
                .hint("name one: --record trace.rec; `tracer replay trace.rec` shows it again"));
        }
        if self.report_to == ReportTo::File(record.to_owned()) {
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
        match self.report_to {
            ReportTo::Stdout if shown => Err(Error::usage(
                "recording and report cannot both go to the standard output",
            )
            .hint("name a file for the report: --record - -o report.json")),
            ReportTo::Stdout => {
                self.report_to = ReportTo::Nowhere;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
