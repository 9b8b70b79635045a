//! The `tracer` binary: reads the command line, hands over to [`tracer::app`], and says what went wrong.

use std::io::{self, Write};
use std::process::ExitCode;

use tracer::app;
use tracer::app::hold::{helper, save};
use tracer::cli::{self, Document, Invocation};
use tracer::diagnose::causes;
use tracer::doctor::{self, sample};
use tracer::error::{Error, ExitStatus};
use tracer::render;

#[global_allocator]
static MEMORY: tracer::EndsWithoutMemory = tracer::EndsWithoutMemory;

fn main() -> ExitCode {
    match cli::parse().and_then(run) {
        Ok(status) => status.into(),
        Err(error) => {
            if !error.is_broken_pipe() {
                // Without a reader on stderr the exit status still tells.
                let _ = writeln!(io::stderr(), "{error}");
            }
            error.exit_status().into()
        }
    }
}

fn run(invocation: Invocation) -> Result<ExitStatus, Error> {
    match invocation {
        Invocation::Trace(config) => app::trace(&config),
        Invocation::Replay(config) => app::replay(&config),
        Invocation::Merge(config) => app::merge(&config),
        Invocation::Cluster(config) => app::cluster(&config),
        Invocation::Hold(config) => app::hold(&config),
        Invocation::HoldHelper => app::print(|_| helper::serve()),
        Invocation::HoldSave(request) => app::print(|_| save::save(&request)),
        Invocation::Diff(config) => app::diff(&config),
        Invocation::List(what, places) => app::list(what, places),
        Invocation::Doctor(config, json) => app::doctor(&config, json),
        Invocation::DoctorSender => app::print(|_| sample::serve()),
        Invocation::Schema(document) => {
            let schema = match document {
                Document::Report => render::json::schema(),
                Document::Ndjson => render::json::line_schema(),
                Document::Diff => render::json::comparison_schema(),
                Document::Doctor => doctor::schema(),
            };
            app::print(|out| out.write_all(schema.as_bytes()))
        }
        Invocation::Causes => app::print(|out| out.write_all(causes::manual().as_bytes())),
        Invocation::Completions(shell) => app::print(|out| cli::completions(shell, out)),
        Invocation::Keys => app::keys(),
        Invocation::Wait => app::wait(),
        Invocation::Man(command) => app::print(|out| cli::man(command.as_deref(), out)),
    }
}
