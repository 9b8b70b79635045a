//! Arguments of the report, checked against where tracer runs.

use std::path::Path;

use super::{ColorChoice, FormatChoice, OutputArgs};
use crate::config::{
    Depth, Drawable, OutputConfig, OutputFormat, ReportTo, ScreenConfig, Surroundings,
};
use crate::error::Error;

/// What is shown and written, by the arguments and by where tracer runs.
pub(super) fn config(args: &OutputArgs, surroundings: Surroundings) -> Result<OutputConfig, Error> {
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
            Drawable::No("the standard output is not a terminal")
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
    Ok(OutputConfig {
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
        hop_checks: false,
    })
}

/// A recording may go to the standard output, for a pipe; the report then needs a file, or goes nowhere.
pub(super) fn leave_room_for(
    output: &mut OutputConfig,
    record: &Path,
    args: &OutputArgs,
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
