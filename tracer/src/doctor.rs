//! `tracer doctor`: whether a trace works on this machine, what it would miss, and what to do about it.

pub mod sample;

use std::fmt::Write as _;

use schemars::{JsonSchema, schema_for};
use serde::Serialize;
use tracer_common::hook::{Attach, HOOKS};

use crate::host::facts::{Probe, ProbeState};
use crate::host::{Host, NameSource};
use crate::kernel::preflight::{Conditions, Problem};
use crate::model::clean::clean;

/// Name and version of the document.
pub const SCHEMA: &str = "tracer.doctor/1";

/// What was found. As JSON `tracer.doctor/1`.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Examination {
    /// `tracer.doctor/1`.
    pub schema: String,
    /// Version of tracer.
    pub tool_version: String,
    /// Whether a trace can be made here.
    pub works: bool,
    /// The kernel.
    pub kernel: KernelState,
    /// What keeps tracer from working, each with what to do.
    pub problems: Vec<Hindrance>,
    /// Its hooks; empty where nothing could be loaded.
    pub hooks: Vec<Hook>,
    /// What it looks at; null where nothing could be loaded.
    pub scope: Option<Scope>,
    /// Where names of pods and containers come from.
    pub names: Vec<Names>,
    /// Packets of tracer's own that were traced.
    pub sample: SampleState,
    /// Records a second that are sent at most (`--budget`); packets are counted beyond it.
    pub budget: u32,
}

/// The running kernel.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct KernelState {
    /// Its release.
    pub release: String,
    /// Architecture of the machine.
    pub arch: String,
    /// Whether it shows its types (BTF), or a file of them was given.
    pub types: bool,
    /// `none`, `integrity`, `confidentiality`; empty where the kernel does not tell.
    pub lockdown: String,
}

/// Something that keeps tracer from working.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Hindrance {
    /// What.
    pub what: String,
    /// What to do.
    pub hints: Vec<String>,
}

/// A hook in the kernel.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Hook {
    /// Its name.
    pub name: String,
    /// `attached`, `missing` (this kernel has none), `failed`.
    pub state: String,
    /// How it is attached, or why it is not.
    pub detail: String,
    /// What a trace lacks without it; null where it is attached.
    pub lost: Option<String>,
}

/// What is looked at.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Scope {
    /// Network namespaces found.
    pub namespaces: u32,
    /// Interfaces that are watched.
    pub interfaces: u32,
    /// Interfaces that there are.
    pub interfaces_total: u32,
    /// Interfaces that could not be watched, and why.
    pub unwatched: Vec<String>,
    /// Milliseconds from the start until everything was in place.
    pub ready_ms: u64,
}

/// A source of names.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Names {
    /// Whose.
    pub of: String,
    /// File or directory.
    pub path: String,
    /// `read`, `unreadable`, `absent`.
    pub state: String,
}

/// What became of the packets of tracer's own.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SampleState {
    /// `followed`, `not followed`, `not sent`.
    pub state: String,
    /// What was sent and seen, or why not.
    pub detail: String,
}

/// The JSON Schema of what `tracer doctor --json` writes, indented, with a line end: docs/doctor.schema.json.
#[must_use]
pub fn schema() -> String {
    format!("{:#}\n", schema_for!(Examination).to_value())
}

impl Examination {
    /// What can be told before anything is loaded.
    #[must_use]
    pub fn before(
        conditions: &Conditions,
        problems: &[Problem],
        names: &[NameSource],
        budget: u32,
    ) -> Self {
        let hindrance = |problem: &Problem| Hindrance {
            what: problem.to_string(),
            hints: problem.hints(),
        };
        Self {
            schema: SCHEMA.to_owned(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            works: false,
            kernel: KernelState {
                release: conditions.release.clone(),
                arch: std::env::consts::ARCH.to_owned(),
                types: conditions.btf,
                lockdown: chosen(&conditions.lockdown).to_owned(),
            },
            problems: problems.iter().map(hindrance).collect(),
            hooks: Vec::new(),
            scope: None,
            names: names.iter().map(source).collect(),
            sample: SampleState {
                state: "not sent".to_owned(),
                detail: "nothing was loaded".to_owned(),
            },
            budget,
        }
    }

    /// Takes in what a trace found.
    pub fn traced(&mut self, host: &Host, (namespaces, ready_ms): (u32, u64)) {
        self.hooks = HOOKS
            .iter()
            .filter(|hook| {
                // Of a module only where it is at work.
                hook.attach == Attach::Tracepoint || host.probes.contains_key(hook.name)
            })
            .map(|hook| state_of(hook.name, hook.gives, host.probes.get(hook.name)))
            .collect();
        let (covered, total) = host.coverage;
        let failed = host.probes.values().filter(|probe| {
            probe.name.contains(' ') && probe.state == ProbeState::Failed && !host.went_away(probe)
        });
        self.scope = Some(Scope {
            namespaces,
            interfaces: covered,
            interfaces_total: total,
            unwatched: failed
                .map(|probe| format!("{}: {}", probe.name, probe.detail))
                .collect(),
            ready_ms,
        });
    }

    /// As text for a person.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        let mut line = |mark: char, head: &str, text: &str| {
            let _ = writeln!(out, "{mark} {head:<11} {}", clean(text));
        };
        let mark = |good: bool| if good { '✓' } else { '✗' };
        let Self { kernel, .. } = self;
        let lockdown = match kernel.lockdown.as_str() {
            "" => String::new(),
            mode => format!(", lockdown {mode}"),
        };
        let types = if kernel.types {
            "with its types (BTF)"
        } else {
            "without its types (BTF)"
        };
        line(
            mark(kernel.types),
            "kernel",
            &format!(
                "Linux {} {}, {types}{lockdown}",
                kernel.release, kernel.arch
            ),
        );
        for Hindrance { what, hints } in &self.problems {
            line('✗', "problem", what);
            for hint in hints {
                line(' ', "", hint);
            }
        }
        self.hook_lines(&mut line);
        if let Some(scope) = &self.scope {
            line(
                mark(scope.interfaces == scope.interfaces_total),
                "looks at",
                &format!(
                    "{} of {} interfaces in {} network namespaces, ready in {} ms",
                    scope.interfaces, scope.interfaces_total, scope.namespaces, scope.ready_ms
                ),
            );
            for text in &scope.unwatched {
                line('✗', "", text);
            }
        }
        line(
            mark(self.sample.state == "followed"),
            "own packets",
            &self.sample.detail,
        );
        for Names { of, path, state } in &self.names {
            let (mark, text) = match state.as_str() {
                "read" => ('✓', format!("{of}: {path}")),
                "unreadable" => ('✗', format!("{of}: {path} cannot be read")),
                _ => ('·', format!("{of}: nothing at {path}")),
            };
            line(mark, "names", &text);
        }
        line(
            '·',
            "budget",
            &format!(
                "{} records a second at most (--budget); all packets are counted beyond it",
                self.budget
            ),
        );
        out.push_str(&self.conclusion());
        out
    }

    fn hook_lines(&self, line: &mut impl FnMut(char, &str, &str)) {
        if self.hooks.is_empty() {
            return;
        }
        let of = |state: &str| self.hooks.iter().filter(|hook| hook.state == state).count();
        line(
            if of("failed") == 0 { '✓' } else { '✗' },
            "hooks",
            &format!(
                "{} attached, {} not in this kernel, {} refused",
                of("attached"),
                of("missing"),
                of("failed")
            ),
        );
        for hook in &self.hooks {
            let Some(lost) = &hook.lost else { continue };
            let why = match hook.state.as_str() {
                "missing" => "not in this kernel".to_owned(),
                _ => hook.detail.clone(),
            };
            let mark = if hook.state == "missing" { '·' } else { '✗' };
            line(
                mark,
                "",
                &format!("{}: {why}; a trace lacks: {lost}", hook.name),
            );
        }
    }

    /// What to do now.
    fn conclusion(&self) -> String {
        let absent = self.names.iter().all(|names| names.state == "absent");
        let unseen = self.sample.state == "not followed";
        let mut text = if self.works && unseen {
            "\ntracer loads here, but did not see its own packets through: what it says of others may be incomplete\n".to_owned()
        } else if self.works {
            "\ntracer works here: tracer EXPRESSION, or tracer list for what can be asked for by name\n".to_owned()
        } else {
            "\ntracer does not work here: see ✗ above\n".to_owned()
        };
        if self.works && absent {
            text += "In a container, mount the machine's files and name the place with --host-root DIR, so that pods and containers have names.\n";
        }
        text
    }
}

/// The mode in brackets: `[none] integrity confidentiality`.
fn chosen(modes: &str) -> &str {
    let inside = modes
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'));
    inside.map_or("", |(mode, _)| mode)
}

fn source(source: &NameSource) -> Names {
    let state = match source.readable {
        Some(true) => "read",
        Some(false) => "unreadable",
        None => "absent",
    };
    Names {
        of: source.of.to_owned(),
        path: source.path.display().to_string(),
        state: state.to_owned(),
    }
}

fn state_of(name: &str, gives: &str, probe: Option<&Probe>) -> Hook {
    let (state, detail) = match probe {
        Some(probe) => (probe.state, probe.detail.clone()),
        None => (ProbeState::Missing, String::new()),
    };
    let state_word = match state {
        ProbeState::Attached => "attached",
        ProbeState::Missing => "missing",
        ProbeState::Failed => "failed",
    };
    Hook {
        name: name.to_owned(),
        state: state_word.to_owned(),
        detail,
        lost: (state != ProbeState::Attached).then(|| gives.to_owned()),
    }
}

#[cfg(test)]
mod tests;
