//! Arguments of a live trace and of a replay, checked: everything that can be refused without touching the kernel is
//! refused here.

use std::path::Path;

use tracer_common::event::MAX_SNAPLEN;

use super::{Args, RedactArgs, ReplayArgs, duration, output};
use crate::config::{Config, Glob, OutputFormat, RecordTo, Redaction, ReplayConfig, Surroundings};
use crate::error::Error;
use crate::filter::{self, Directory, Request};
use crate::inventory::Machine;

/// Of a live trace of this machine.
///
/// # Errors
/// A value that cannot be, with what to write instead.
pub(super) fn config(args: Args, surroundings: Surroundings) -> Result<Config, Error> {
    let names = super::names::places(args.trace.scope.names.clone())?;
    let machine = Machine { names };
    config_with(args, surroundings, &machine)
}

/// Of a live trace, with names that stand in this directory.
///
/// # Errors
/// A value that cannot be, with what to write instead.
pub(super) fn config_with(
    args: Args,
    surroundings: Surroundings,
    directory: &dyn Directory,
) -> Result<Config, Error> {
    let Args {
        trace: args,
        max_size,
        until_eof,
    } = args;
    let request = Request {
        expr: args.expr.join(" "),
        src: args.scope.shorthands.src,
        dst: args.scope.shorthands.dst,
        sport: args.scope.shorthands.sport,
        dport: args.scope.shorthands.dport,
        proto: args.scope.shorthands.proto,
        one_way: args.scope.one_way,
    };
    let filter = filter::compile_with(&request, directory)?;
    let only_interfaces = args
        .scope
        .interface
        .iter()
        .map(|text| Glob::new(text))
        .collect::<Result<_, _>>()?;
    let duration = args.duration.as_deref().map(duration::parse).transpose()?;
    let mut output = output::config(&args.output, surroundings)?;
    output.hop_checks = args.verbose > 0;
    if let Some(record) = args.record.as_deref() {
        output::leave_room_for(&mut output, record, &args.output, surroundings)?;
    }
    if max_size.is_some() && args.record.as_deref().is_none_or(|to| to == Path::new("-")) {
        return Err(
            Error::usage("--max-size bounds a recording that goes to a file")
                .hint("name one: --record trace.tracer --max-size 100M"),
        );
    }
    for name in &args.scope.netns {
        check_netns(name)?;
    }
    Ok(Config {
        filter,
        only_netns: args.scope.netns,
        // whoever has the directory has read the lists
        names: args.scope.names.into(),
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
        rules: args.rules,
        follow_filters: false,
        budget: args.limits.budget,
        max_cpu: args.limits.max_cpu,
        // the stack behind the bytes must be aligned
        snaplen: args.limits.snaplen.next_multiple_of(8).min(MAX_SNAPLEN),
        btf: args.limits.btf,
        redact: redaction(args.redact),
        verbosity: args.verbose,
    })
}

/// Of a replay.
///
/// # Errors
/// A value that cannot be, with what to write instead.
pub(super) fn replay(args: ReplayArgs, surroundings: Surroundings) -> Result<ReplayConfig, Error> {
    let mut output = output::config(&args.output, surroundings)?;
    output.hop_checks = args.verbose > 0;
    if let Some(record) = args.record.as_deref() {
        output::leave_room_for(&mut output, record, &args.output, surroundings)?;
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
    if args.explain {
        output.screen = None;
        if output.format != OutputFormat::Text {
            return Err(Error::usage("--explain is written behind text")
                .hint("leave --output, --json and the ending of -o out, or ask for text"));
        }
    }
    Ok(ReplayConfig {
        names: super::names::told(&args.names)?,
        explain: args.explain,
        record: args.record.map(|path| RecordTo { path, most: None }),
        file: args.file,
        speed: args.speed,
        output,
        redact: redaction(args.redact),
        verbosity: args.verbose,
    })
}

pub(super) fn redaction(args: RedactArgs) -> Option<Redaction> {
    args.redact.then_some(Redaction {
        key_file: args.redact_key,
    })
}

/// Names are those of files below /run/netns, `pod shop/cart` and its like (with or without the first word), `host` or
/// `netns:INODE`: none is empty, a path, or has white space elsewhere.
fn check_netns(name: &str) -> Result<(), Error> {
    let rest = name.split_once(' ').map_or(name, |(_, rest)| rest);
    if rest.is_empty() || rest.contains(char::is_whitespace) {
        return Err(Error::usage(format!("`{name}` is not a namespace name"))
            .hint("give one name, and --netns again for each further one"));
    }
    if rest.starts_with(['/', '.']) {
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
