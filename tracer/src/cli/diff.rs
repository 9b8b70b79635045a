//! Arguments of a comparison, checked.

use std::path::Path;

use super::trace::redaction;
use super::{DiffArgs, FormatChoice, OutputArgs, output};
use crate::config::{DiffConfig, ReportTo, Surroundings};
use crate::error::Error;

/// Checks what the command line says.
///
/// # Errors
/// A value that cannot be, with what to write instead.
pub(super) fn config(args: DiffArgs, surroundings: Surroundings) -> Result<DiffConfig, Error> {
    let output = output::config(
        &OutputArgs {
            format: (!args.json).then_some(FormatChoice::Text),
            json: args.json,
            report_to: args.report_to,
            color: args.color,
            check: args.check,
        },
        surroundings,
    )?;
    let stdin = Path::new("-");
    if args.good == stdin && args.bad == stdin {
        return Err(
            Error::usage("only one of the two can come from the standard input")
                .hint("write the other one to a file: tracer diff good.rec -"),
        );
    }
    for file in [&args.good, &args.bad] {
        if output.report_to == ReportTo::File(file.clone()) {
            return Err(
                Error::usage("the comparison cannot go to a file that is compared")
                    .hint("name another file after -o"),
            );
        }
    }
    Ok(DiffConfig {
        good: args.good,
        bad: args.bad,
        flow: args.flow,
        good_flow: args.good_flow,
        redact: redaction(args.redact),
        output,
    })
}

#[cfg(test)]
mod tests {
    use crate::cli::parse_from;
    use crate::config::Surroundings;

    fn refused(words: &str) -> bool {
        let words = ["tracer", "diff"]
            .into_iter()
            .chain(words.split_whitespace());
        parse_from(words, Surroundings::default())
            .is_err_and(|error| error.exit_status().code() == 2)
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        for words in [
            "a",
            "- -",
            "a b c",
            "a b -o a",
            "a b --flow x",
            "a b --output svg",
        ] {
            assert!(refused(words), "{words}");
        }
        for words in [
            "a b",
            "a -",
            "- b --json",
            "a b --redact --redact-key k",
            "a b --flow 1 --good-flow 2 -o c --check",
        ] {
            assert!(!refused(words), "{words}");
        }
    }
}
