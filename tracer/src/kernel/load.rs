//! Loads the programs: the embedded object with this kernel's layout in it, then each program that this kernel can
//! use, the BTF-typed variant of a tracepoint where it is accepted, else the plain raw one.
//!
//! Not here: where programs are attached (`attach`), reading what they send (`reader`).

use std::collections::HashMap;
use std::io::{self, Read};
use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::thread;

use aya::programs::{Program, ProgramError};
use aya::{Btf, Ebpf, EbpfError, EbpfLoader, VerifierLogLevel};
use lzma_rust2::LzmaReader;
use tracer_common::hook::{Attach, HOOKS, HookInfo};
use tracer_common::layout::Layout;
use tracer_common::names;
use zerocopy::IntoBytes;

use super::LoadOptions;
use super::layout::{Tracepoint, Types};

/// The programs, compiled and packed by build.rs.
static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tracer.lzma"));
/// More room than unpacking needs, in KiB.
const UNPACK_KIB: u32 = 32 << 10;

/// Rows of hop counters, of some 150 bytes each: one for each flow, direction, interface and side.
const HOPS_ENTRIES: u32 = 1 << 16;
/// Rows for the flows that have none there: one for each protocol, interface and side.
const HOPS_REST_ENTRIES: u32 = 1 << 12;
/// Ring buffer: for each CPU, and its bounds. Rounded up to a power of two by aya.
const EVENTS_BYTES: usize = 1 << 20;
const EVENTS_BOUNDS: (usize, usize) = (4 << 20, 16 << 20);

/// What became of a tracepoint's program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Variant {
    /// The typed program is loaded.
    Typed,
    /// The raw program is loaded.
    Raw,
    /// This kernel has no such tracepoint.
    Missing,
    /// The kernel refused both; why.
    Refused(String),
}

/// The object.
pub(super) fn unpack() -> io::Result<Vec<u8>> {
    let mut object = Vec::new();
    LzmaReader::new_mem_limit(PACKED, UNPACK_KIB, None)?.read_to_end(&mut object)?;
    Ok(object)
}

/// Puts layout and settings into the object and makes its maps.
pub(super) fn maps(
    object: &[u8],
    layout: &Layout,
    options: &LoadOptions,
) -> Result<Ebpf, EbpfError> {
    let cpus = thread::available_parallelism().map_or(1, NonZero::get);
    let snaplen = u32::from(options.snaplen).next_multiple_of(8);
    let events = (EVENTS_BYTES * cpus).clamp(EVENTS_BOUNDS.0, EVENTS_BOUNDS.1);
    // A refused program is loaded once more with a buffer for the log, which without any level is EINVAL and hides
    // what was wrong: so at least the statistics are asked for.
    let log = if options.verifier_log {
        VerifierLogLevel::default()
    } else {
        VerifierLogLevel::STATS
    };
    EbpfLoader::new()
        .override_global(names::LAYOUT, layout.as_bytes(), true)
        .override_global(names::SNAPLEN, &snaplen, true)
        .map_max_entries(names::HOPS, HOPS_ENTRIES)
        .map_max_entries(names::HOPS_REST, HOPS_REST_ENTRIES)
        .map_max_entries(names::EVENTS, events as u32)
        .verifier_log_level(log)
        .load(object)
}

/// How programs are loaded.
#[derive(Clone, Copy)]
pub(super) struct How<'a> {
    /// Numbers of the kernel's types; `None` where it shows no BTF: then nothing is typed.
    pub(super) btf: Option<&'a Btf>,
    /// Whether reasons carry the verifier's log.
    pub(super) verifier_log: bool,
}

/// One tracepoint's two programs.
struct Pair<'a> {
    hook: &'static HookInfo,
    typed: Option<&'a mut Program>,
    raw: Option<&'a mut Program>,
}

/// Loads the tracepoint programs and the classifiers for Ethernet, several at once: the verifier takes a program on
/// each CPU, and it is most of the time to ready.
pub(super) fn programs(
    ebpf: &mut Ebpf,
    types: &Types,
    kernel: How<'_>,
) -> Result<Vec<(&'static HookInfo, Variant)>, ProgramError> {
    let mut by_name: HashMap<String, &mut Program> = ebpf
        .programs_mut()
        .map(|(name, program)| (name.to_owned(), program))
        .collect();
    let mut jobs = Vec::new();
    let mut done = Vec::new();
    for hook in HOOKS
        .iter()
        .filter(|hook| hook.attach == Attach::Tracepoint)
    {
        let mut take = |prefix: &str| by_name.remove(&format!("{prefix}{}", hook.name));
        let mut pair = Pair {
            hook,
            typed: take(names::BTF_PREFIX),
            raw: take(names::RAW_PREFIX),
        };
        match types.tracepoint(hook.name) {
            Tracepoint::Missing => {
                done.push((hook, Variant::Missing));
                continue;
            }
            Tracepoint::InModule => pair.typed = None,
            Tracepoint::BuiltIn => {}
        }
        jobs.push(Job::Tracepoint(pair));
    }
    // Taken from the end: the largest first, so that no CPU waits for the other.
    for name in [names::TC_INGRESS_L2, names::TC_EGRESS_L2] {
        jobs.extend(by_name.remove(name).map(Job::Classifier));
    }
    let workers = thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(jobs.len());
    let jobs = Mutex::new(jobs);
    let results = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers)
            .map(|_| scope.spawn(|| work(&jobs, kernel)))
            .collect();
        let mut results = Vec::new();
        for worker in workers {
            match worker.join() {
                Ok(part) => results.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    });
    for result in results {
        done.extend(result?);
    }
    done.sort_by_key(|(hook, _)| hook.id);
    Ok(done)
}

enum Job<'a> {
    Classifier(&'a mut Program),
    Tracepoint(Pair<'a>),
}

type Done = Result<Option<(&'static HookInfo, Variant)>, ProgramError>;

fn work(jobs: &Mutex<Vec<Job<'_>>>, kernel: How<'_>) -> Vec<Done> {
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).pop();
    std::iter::from_fn(next)
        .map(|job| match job {
            Job::Classifier(program) => load_classifier(program).map(|()| None),
            Job::Tracepoint(pair) => Ok(Some((pair.hook, load_tracepoint(pair, kernel)))),
        })
        .collect()
}

/// Loads a classifier if that has not been done.
pub(super) fn load_classifier(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::SchedClassifier(classifier) if classifier.fd().is_err() => classifier.load(),
        Program::SchedClassifier(_) => Ok(()),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

fn load_tracepoint(pair: Pair<'_>, kernel: How<'_>) -> Variant {
    let mut refused = "the object has no program for it".to_owned();
    if let (Some(Program::BtfTracePoint(program)), Some(btf)) = (pair.typed, kernel.btf) {
        match program.load(pair.hook.name, btf) {
            Ok(()) => return Variant::Typed,
            Err(error) => refused = full_reason(&error, kernel.verifier_log),
        }
    }
    if let Some(program) = pair.raw {
        match load_raw(program) {
            Ok(()) => return Variant::Raw,
            Err(error) => refused = full_reason(&error, kernel.verifier_log),
        }
    }
    Variant::Refused(refused)
}

/// Loads a raw tracepoint program if that has not been done.
pub(super) fn load_raw(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::RawTracePoint(raw) if raw.fd().is_err() => raw.load(),
        Program::RawTracePoint(_) => Ok(()),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// An error of aya in one line, with its innermost cause.
pub(super) fn reason(error: &ProgramError) -> String {
    // Its text would have the verifier's log.
    if let ProgramError::LoadError { io_error, .. } = error {
        return io_error.to_string();
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = inner.source();
    }
    text
}

/// The same; where it was asked for, the verifier's log follows in further lines.
pub(super) fn full_reason(error: &ProgramError, verifier_log: bool) -> String {
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log: log,
        } if verifier_log => format!("{io_error}\n{log}").trim_end().to_owned(),
        _ => reason(error),
    }
}
