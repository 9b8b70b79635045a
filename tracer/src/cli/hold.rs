//! Arguments of a recorder, checked.

use clap::Parser;

use super::{Args, Cli, HoldArgs, TraceArgs, duration, trace, usage};
use crate::config::{HoldConfig, Surroundings};
use crate::error::Error;

/// Checks what the command line says.
///
/// # Errors
/// A value that cannot be, with what to write instead.
pub(super) fn config(args: HoldArgs, surroundings: Surroundings) -> Result<HoldConfig, Error> {
    let last = duration::parse_of("--last", &args.last)?;
    let after = duration::parse_of("--after", &args.after)?;
    if after > last {
        return Err(Error::usage("--after is longer than --last").hint(
            "what comes after has to fit into the time that is kept: --last 5m --after 10s",
        ));
    }
    let exec = args.exec.as_deref().map(|text| {
        let words = shlex::split(text).filter(|words| !words.is_empty());
        words.ok_or_else(|| {
            Error::usage(format!("--exec `{text}`: this is not a command"))
                .hint("write a program and its arguments: --exec '/usr/local/bin/notify --all'")
        })
    });
    // What else a trace is told is not asked of a recorder.
    let plain = Cli::try_parse_from(["tracer", "--output", "text"]);
    let plain = plain.map_err(|error| usage(&error))?.args;
    let traced = TraceArgs {
        expr: args.expr,
        scope: args.scope,
        limits: args.limits,
        redact: args.redact,
        rules: args.rules,
        verbose: args.verbose,
        ..plain.trace
    };
    let traced = Args {
        trace: traced,
        ..plain
    };
    let mut traced = trace::config(traced, surroundings)?;
    traced.follow_filters = true;
    Ok(HoldConfig {
        trace: traced,
        last,
        after,
        max_memory: usize::try_from(args.max_memory).unwrap_or(usize::MAX),
        save: args.save,
        at_most: args.at_most,
        keep: args.keep,
        exec: exec.transpose()?,
        metrics: args.metrics,
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use std::time::Duration;

    use crate::cli::{Invocation, parse_from};
    use crate::config::{HoldConfig, Surroundings};
    use crate::error::Error;

    fn parse(words: &[&str]) -> Result<HoldConfig, Error> {
        let words = ["tracer", "hold"].iter().chain(words).copied();
        match parse_from(words, Surroundings::default())? {
            Invocation::Hold(config) => Ok(*config),
            other => Err(Error::runtime(format!("{other:?}"))),
        }
    }

    #[test]
    fn defaults() {
        let config = parse(&["--save", "/var/lib/tracer", "icmp"]).unwrap();
        assert_eq!(config.last, Duration::from_secs(300));
        assert_eq!(config.after, Duration::from_secs(10));
        assert_eq!(config.max_memory, 64 << 20);
        assert_eq!((config.at_most, config.keep), (6, 100));
        assert!(config.exec.is_none() && config.metrics.is_none());
        assert!(config.trace.follow_filters && config.trace.output.screen.is_none());
        assert_eq!(config.trace.filter.expression, "icmp");
    }

    #[test]
    fn pseudonyms_and_told_rules_are_those_of_a_trace() {
        let words = [
            "--save",
            "d",
            "--redact",
            "--redact-key",
            "k",
            "--rules",
            "icmp",
        ];
        let trace = parse(&words).unwrap().trace;
        assert!(trace.rules);
        assert_eq!(trace.redact.unwrap().key_file, Some("k".into()));
        assert!(parse(&["--save", "d", "--redact-key", "k"]).is_err());
    }

    #[test]
    fn a_command_is_split_into_words() {
        let config = parse(&["--save", "d", "--exec", "notify 'a b' c"]).unwrap();
        assert_eq!(config.exec.unwrap(), ["notify", "a b", "c"]);
    }

    #[test]
    fn refused() {
        let cases: &[&[&str]] = &[
            &["icmp"],
            &["--save", "", "icmp"],
            &["--save", "d", "--last", "5s", "--after", "10s"],
            &["--save", "d", "--last", "5"],
            &["--save", "d", "--max-memory", "1k"],
            &["--save", "d", "--exec", "'"],
            &["--save", "d", "--keep", "0"],
        ];
        let told: Vec<String> = cases
            .iter()
            .map(|words| parse(words).unwrap_err().message().to_owned())
            .collect();
        insta::assert_snapshot!(told.join("\n"));
    }
}
