//! What a comparison is to do, checked.

use std::path::{Path, PathBuf};

use super::{OutputConfig, Redaction, ReportTo, Surroundings};
use crate::cli::{DiffArgs, FormatChoice, OutputArgs};
use crate::error::Error;

/// A comparison.
#[derive(Clone, Debug)]
pub struct DiffConfig {
    /// Recording or report of the flow that works; `-` is the standard input.
    pub good: PathBuf,
    /// Of the one that does not.
    pub bad: PathBuf,
    /// Number of BAD's flow.
    pub flow: Option<u32>,
    /// Number of GOOD's.
    pub good_flow: Option<u32>,
    /// Pseudonyms instead of addresses and names.
    pub redact: Option<Redaction>,
    /// JSON or text; the exit status tells whether they part.
    pub output: OutputConfig,
}

impl DiffConfig {
    /// Checks what the command line says.
    ///
    /// # Errors
    /// A value that cannot be, with what to write instead.
    pub fn new(args: DiffArgs, surroundings: Surroundings) -> Result<Self, Error> {
        let output = OutputConfig::new(
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
                Error::usage("only one of both can come from the standard input")
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
        Ok(Self {
            good: args.good,
            bad: args.bad,
            flow: args.flow,
            good_flow: args.good_flow,
            redact: Redaction::new(args.redact),
            output,
        })
    }
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
