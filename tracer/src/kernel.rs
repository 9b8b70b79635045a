//! The running kernel: loads the programs, attaches them, reads what they send and count. The only modules that name
//! aya.
//!
//! ```text
//! preflight ─▶ btf, layout, reasons ─▶ load ─▶ attach ─▶ reader, counters
//! ```
//! [`Kernel`] is the way in; everything it attached goes when it is dropped.

mod accounts;
mod attach;
pub mod btf;
mod clsact;
mod counters;
mod expedite;
pub mod layout;
mod load;
pub mod nftrace;
pub mod preflight;
mod reader;
pub mod reasons;
pub mod symbols;

use std::path::PathBuf;
use std::thread;

use aya::maps::{Array, Map, MapData, MapError, PerCpuArray, RingBuf};
use aya::programs::{Program, ProgramError};
use aya::{Btf, Ebpf, EbpfError};
use nix::errno::Errno;
use tracer_common::filter::RawFilter;
use tracer_common::hook::{Attach, HOOKS, HookInfo};
use tracer_common::names;

pub use accounts::{Measured, Measurement, Runs};
pub use attach::{AttachError, Method, Outcome, Target};
pub use reader::{Reader, Running};

use crate::error::{Error, Kind};
use crate::host::facts::{Probe, ProbeState};
use crate::host::namespaces::NetnsFd;
use crate::model::Device;
use crate::model::{Counters, KtimeNs};
use accounts::Accounts;
use attach::Interfaces;
use counters::{CounterMaps, FilterWriter};
use expedite::Expedited;
use layout::{LayoutError, Types};
use load::{How, Variant};
use preflight::{Conditions, Problem};
use reasons::Names;

/// How many interfaces are attached or detached without shortening grace periods for the whole machine.
const FEW: usize = 2;

/// Why the kernel side could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Rights or kernel support are missing; never empty.
    #[error("{}", first(.0))]
    Unsupported(Vec<Problem>),
    /// The kernel's types cannot be used.
    #[error("the kernel's types cannot be used: {0}")]
    Types(#[from] LayoutError),
    /// The object or its maps were refused.
    #[error("the kernel refused tracer's maps: {0}")]
    Object(#[from] EbpfError),
    /// The object cannot be unpacked, for which it needs a thread and some memory.
    #[error("tracer's programs cannot be unpacked: {0}")]
    Unpack(#[from] std::io::Error),
    /// A classifier was refused: without it there is no path.
    #[error("the kernel refused tracer's program: {0}")]
    Program(String),
    /// A map cannot be read or written.
    #[error("a map cannot be used: {0}")]
    Map(#[from] MapError),
    /// The object lacks what this crate expects: both come from one build.
    #[error("the kernel programs lack the map {0}")]
    NoMap(&'static str),
}

fn first(problems: &[Problem]) -> String {
    problems
        .first()
        .map(ToString::to_string)
        .unwrap_or_default()
}

impl KernelError {
    /// What to do about it, for the problems that have a way out.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Unsupported(problems) => problems.iter().flat_map(Problem::hints).collect(),
            Self::Types(_) => {
                vec!["the types must be those of the running kernel: check --btf".to_owned()]
            }
            Self::Program(_) => vec!["-vv shows what the verifier says".to_owned()],
            Self::Unpack(_) => vec![
                "it takes a thread and some megabytes of memory: look at the limits of this shell"
                    .to_owned(),
            ],
            Self::Object(_) | Self::Map(_) | Self::NoMap(_) => Vec::new(),
        }
    }

    /// All problems found, where several stand in the way.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Unsupported(problems) => problems,
            _ => &[],
        }
    }
}

impl From<KernelError> for Error {
    fn from(error: KernelError) -> Self {
        let kind = match &error {
            KernelError::Unpack(_) | KernelError::Map(_) | KernelError::NoMap(_) => Kind::Runtime,
            _ => Kind::Unsupported,
        };
        let others = error.problems().iter().skip(1);
        let hints = others
            .map(|problem| format!("also: {problem}"))
            .chain(error.hints());
        let told = hints.fold(Self::new(kind, error.to_string()), Self::hint);
        told.caused_by(error)
    }
}

/// Settings of the kernel programs.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// `--btf`: raw BTF or an ELF image of this very kernel, where it does not show its own.
    pub btf: Option<PathBuf>,
    /// `--snaplen`: bytes kept of each packet, up to [`tracer_common::event::MAX_SNAPLEN`].
    pub snaplen: u16,
    /// `--budget`: events a second.
    pub budget: u32,
    /// `-vv`: keep what the verifier says about a refused program.
    pub verifier_log: bool,
}

/// The kernel side of a run. Dropping it detaches everything.
pub struct Kernel {
    ebpf: Ebpf,
    interfaces: Interfaces,
    hooks: Vec<(&'static HookInfo, Variant)>,
    counters: CounterMaps,
    accounts: Accounts,
    filter: FilterWriter,
    reader: Option<Reader>,
    drop_reasons: Names,
    reset_reasons: Names,
}

impl Kernel {
    /// Checks rights and support, reads the kernel's types, and loads what this kernel accepts. Nothing is attached
    /// yet.
    ///
    /// # Errors
    /// [`KernelError::Unsupported`] for what the user can change; else what the kernel refused.
    pub fn load(options: &LoadOptions) -> Result<Self, KernelError> {
        let problems = Conditions::read(options.btf.is_some()).problems();
        if !problems.is_empty() {
            return Err(KernelError::Unsupported(problems));
        }
        // Without higher limits a small machine may still have room: what does not fit says so itself.
        let _ = preflight::lift_limits();
        // aya reads BTF once more for the numbers of the tracepoints' types: meanwhile ours is read.
        let typed = thread::Builder::new().spawn(Btf::from_sys_fs);
        let unpacking = thread::Builder::new().spawn(load::unpack);
        let mut types = Types::read(options.btf.as_deref()).map_err(LayoutError::from)?;
        let layout = types.layout()?;
        let object = unpacking?.join();
        let object = object.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let mut ebpf = load::maps(&object, &layout, options)?;
        drop(object);
        let typed = typed.ok().and_then(|typed| typed.join().ok()?.ok());
        let how = How {
            btf: typed.as_ref(),
            verifier_log: options.verifier_log,
        };
        let hooks = load::programs(&mut ebpf, &types, how).map_err(|error| {
            KernelError::Program(load::full_reason(&error, options.verifier_log))
        })?;
        drop(typed);
        reasons::add_modules(&mut types).map_err(LayoutError::from)?;
        let counters = CounterMaps {
            hops: [
                hash_map(&mut ebpf, names::HOPS)?,
                hash_map(&mut ebpf, names::HOPS_REST)?,
            ],
            stats: PerCpuArray::try_from(take(&mut ebpf, names::STATS)?)?,
        };
        let filter = FilterWriter::new(
            Array::try_from(take(&mut ebpf, names::FILTER_MAP)?)?,
            options.budget,
        );
        let reader = Reader::new(RingBuf::try_from(take(&mut ebpf, names::EVENTS)?)?);
        Ok(Self {
            ebpf,
            interfaces: Interfaces::default(),
            hooks,
            counters,
            accounts: Accounts::default(),
            filter,
            reader: Some(reader),
            drop_reasons: reasons::drop_reasons(&types),
            reset_reasons: reasons::reset_reasons(&types),
        })
    }

    /// Attaches the tracepoint programs; one probe for each tracepoint tells what became of it.
    pub fn attach_tracepoints(&mut self) -> Vec<Probe> {
        let _fast = Expedited::begin();
        let Self {
            ebpf,
            hooks,
            accounts,
            ..
        } = self;
        hooks
            .iter()
            .map(|(hook, variant)| attach_tracepoint(ebpf, accounts, hook, variant))
            .collect()
    }

    /// Attaches the programs of modules' tracepoints: to be called once, when what the modules are for is there. Programs that
    /// follow the module's types are not to be had (`unknown BTF type name 'btf_trace_ovs_do_execute_action'`, aya 0.16).
    pub fn attach_module_tracepoints(&mut self) -> Vec<Probe> {
        let _fast = Expedited::begin();
        let Self { ebpf, accounts, .. } = self;
        HOOKS
            .iter()
            .filter(|hook| hook.attach == Attach::ModuleTracepoint)
            .map(|hook| attach_module_tracepoint(ebpf, accounts, hook))
            .collect()
    }

    /// Attaches the classifiers to interfaces, those already watched left aside.
    pub fn attach_interfaces(&mut self, targets: &[Target<'_>]) -> Vec<Outcome> {
        let _fast = (targets.len() > FEW).then(Expedited::begin).flatten();
        let outcomes = self.interfaces.attach(&mut self.ebpf, targets);
        for name in names::CLASSIFIERS {
            if let Some(Program::SchedClassifier(program)) = self.ebpf.program(name)
                && let Ok(program) = program.fd()
            {
                self.accounts.watch(name, program);
            }
        }
        outcomes
    }

    /// Gives up an interface: it is gone, or no longer wanted. `namespace` is its namespace's handle if that still
    /// exists.
    pub fn detach(&mut self, device: Device, namespace: Option<&NetnsFd>) {
        self.interfaces.detach(device, namespace);
    }

    /// How many interfaces are watched.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.interfaces.len()
    }

    /// All programs see nothing more, from the same moment on: they are detached one after the other, which takes long where
    /// there are many interfaces, and what some of them still saw, others would miss.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn disarm(&mut self) -> Result<(), KernelError> {
        Ok(self.filter.disarm()?)
    }

    /// Detaches everything; what the programs sent before can still be read. Dropping does the same.
    pub fn detach_all(&mut self) {
        let _fast = Expedited::begin();
        self.interfaces.detach_all();
        for (_, program) in self.ebpf.programs_mut() {
            unload(program);
        }
    }

    /// Puts a filter in force, while tracing too. Before the first one the programs do nothing.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_filter(&mut self, filter: &RawFilter) -> Result<(), KernelError> {
        Ok(self.filter.write(filter)?)
    }

    /// What was counted so far; of the rows, those that changed at `since` (nanoseconds since boot) or later.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn counters(&self, since: KtimeNs) -> Result<Counters, KernelError> {
        let mut counters = self.counters.read(since.0)?;
        counters.loss.missed = self.accounts.misses();
        Ok(counters)
    }

    /// Takes out rows of counters that have not changed since then.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn forget_counters(&self, idle_since: KtimeNs) -> Result<(), KernelError> {
        Ok(self.counters.forget(idle_since.0)?)
    }

    /// Has the kernel count how long programs run, for as long as the measurement is kept; `None` where it does not.
    #[must_use]
    pub fn measure(&self) -> Option<Measurement> {
        self.accounts.measure()
    }

    /// What the programs did since.
    #[must_use]
    pub fn measured(&self, measurement: &Measurement) -> Measured {
        self.accounts.measured(measurement)
    }

    /// Events that may be sent in a second.
    #[must_use]
    pub fn budget(&self) -> u32 {
        self.filter.budget()
    }

    /// Changes how many events may be sent in a second, from now on.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_budget(&mut self, budget: u32) -> Result<(), KernelError> {
        Ok(self.filter.set_budget(budget)?)
    }

    /// Takes the program off a tracepoint.
    pub fn detach_tracepoint(&mut self, hook: &str) {
        for prefix in [names::BTF_PREFIX, names::RAW_PREFIX] {
            if let Some(program) = self.ebpf.program_mut(&format!("{prefix}{hook}")) {
                unload(program);
            }
        }
    }

    /// The reading end of the ring buffer; `None` the second time.
    pub fn reader(&mut self) -> Option<Reader> {
        self.reader.take()
    }

    /// Names of this kernel's drop reasons.
    #[must_use]
    pub fn drop_reasons(&self) -> &Names {
        &self.drop_reasons
    }

    /// Names of this kernel's reset reasons.
    #[must_use]
    pub fn reset_reasons(&self) -> &Names {
        &self.reset_reasons
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.detach_all();
    }
}

/// Takes a program off its tracepoint.
fn unload(program: &mut Program) {
    // An unloaded program has no attachment; this one gives them up by closing their descriptors.
    let _ = match program {
        Program::BtfTracePoint(program) => program.unload(),
        Program::RawTracePoint(program) => program.unload(),
        _ => Ok(()),
    };
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, KernelError> {
    ebpf.take_map(name).ok_or(KernelError::NoMap(name))
}

fn hash_map(ebpf: &mut Ebpf, name: &'static str) -> Result<MapData, KernelError> {
    match take(ebpf, name)? {
        Map::HashMap(map) => Ok(map),
        _ => Err(KernelError::NoMap(name)),
    }
}

fn attach_tracepoint(
    ebpf: &mut Ebpf,
    accounts: &mut Accounts,
    hook: &'static HookInfo,
    variant: &Variant,
) -> Probe {
    let (state, detail) = match variant {
        Variant::Missing => (ProbeState::Missing, hook.gives.to_owned()),
        Variant::Refused(why) => (ProbeState::Failed, why.clone()),
        Variant::Typed => attach_typed(ebpf, accounts, hook.name)
            .map(|()| TYPED)
            // A program that reads what its tracepoint lacks is refused only now (EINVAL on 5.10).
            .or_else(|_| attach_raw(ebpf, accounts, hook.name).map(|()| RAW))
            .map_or_else(failed, attached),
        Variant::Raw => attach_raw(ebpf, accounts, hook.name)
            .map(|()| RAW)
            .map_or_else(failed, attached),
    };
    Probe {
        name: hook.name.to_owned(),
        state,
        detail,
    }
}

fn attach_module_tracepoint(
    ebpf: &mut Ebpf,
    accounts: &mut Accounts,
    hook: &'static HookInfo,
) -> Probe {
    let (state, detail) = match attach_raw(ebpf, accounts, hook.name) {
        Ok(()) => attached(RAW),
        Err(error) if attach::errno(&error) == Some(Errno::ENOENT) => {
            (ProbeState::Missing, hook.gives.to_owned())
        }
        Err(error) => failed(error),
    };
    Probe {
        name: hook.name.to_owned(),
        state,
        detail,
    }
}

const TYPED: &str = "tp_btf";
const RAW: &str = "raw_tracepoint";

fn attached(how: &str) -> (ProbeState, String) {
    (ProbeState::Attached, how.to_owned())
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the error arm of map_or_else"
)]
fn failed(error: ProgramError) -> (ProbeState, String) {
    (ProbeState::Failed, load::reason(&error))
}

fn attach_typed(
    ebpf: &mut Ebpf,
    accounts: &mut Accounts,
    hook: &'static str,
) -> Result<(), ProgramError> {
    match ebpf.program_mut(&format!("{}{hook}", names::BTF_PREFIX)) {
        Some(Program::BtfTracePoint(program)) => {
            program.attach()?;
            accounts.watch(hook, program.fd()?);
            Ok(())
        }
        _ => Err(ProgramError::NotLoaded),
    }
}

fn attach_raw(
    ebpf: &mut Ebpf,
    accounts: &mut Accounts,
    hook: &'static str,
) -> Result<(), ProgramError> {
    let name = format!("{}{hook}", names::RAW_PREFIX);
    let program = ebpf.program_mut(&name).ok_or(ProgramError::NotLoaded)?;
    load::load_raw(program)?;
    match program {
        Program::RawTracePoint(program) => {
            program.attach(hook)?;
            accounts.watch(hook, program.fd()?);
            Ok(())
        }
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}
