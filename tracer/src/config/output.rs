//! What is shown and written.

use std::path::PathBuf;

use super::ReportTo;

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

/// How many colours the terminal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// None (`NO_COLOR`, or a terminal without).
    Mono,
    /// The sixteen that the user chose.
    Ansi,
    /// 256.
    Indexed,
    /// 24 bits.
    True,
}

impl Depth {
    /// As the surroundings tell (`no_color`: NO_COLOR is set; then COLORTERM and TERM).
    #[must_use]
    pub fn of(no_color: bool, colorterm: &str, term: &str) -> Self {
        if no_color {
            Self::Mono
        } else if matches!(colorterm, "truecolor" | "24bit") {
            Self::True
        } else if term.contains("256color") {
            Self::Indexed
        } else {
            Self::Ansi
        }
    }
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
    /// Text shows what packets were checked by between the hops.
    pub hop_checks: bool,
}
