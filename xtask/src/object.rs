//! Checks what the built eBPF object contains, so that a program that the build lost, or a section that a loader
//! cannot take, is told here and not on a node.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionKind, SymbolKind};
use tracer_common::hook::{Attach, HOOKS};
use tracer_common::names;

use crate::command::cargo_messages;
use crate::workspace::root;

/// The licence that the kernel asks for before it allows GPL-only helpers to a program of two licences.
const LICENCE: &[u8] = b"Dual MIT/GPL\0";

/// Builds the object and checks it.
pub(crate) fn run() -> Result<()> {
    let path = build()?;
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let problems = problems(&bytes)?;
    if problems.is_empty() {
        println!(
            "{}: {} bytes, all {} programs",
            path.strip_prefix(root()).unwrap_or(&path).display(),
            bytes.len(),
            programs().len()
        );
        return Ok(());
    }
    bail!("{}:\n  {}", path.display(), problems.join("\n  "))
}

/// Where tracer's build script put the object.
fn build() -> Result<PathBuf> {
    cargo_messages(["build", "--package", "tracer", "--lib"])?
        .iter()
        .filter(|message| {
            message
                .get("reason")
                .is_some_and(|reason| reason == "build-script-executed")
        })
        .filter(|message| {
            let id = message
                .get("package_id")
                .and_then(serde_json::Value::as_str);
            id.is_some_and(|id| id.contains("/tracer#"))
        })
        .find_map(|message| Some(PathBuf::from(message.get("out_dir")?.as_str()?).join("tracer")))
        .context("cargo did not say where the build script of tracer puts its output")
}

/// Every program that user space looks for by name.
fn programs() -> BTreeSet<String> {
    let tracepoints = HOOKS
        .iter()
        .filter(|hook| hook.attach == Attach::Tracepoint);
    let tracepoints = tracepoints.flat_map(|hook| {
        [names::BTF_PREFIX, names::RAW_PREFIX].map(|prefix| format!("{prefix}{}", hook.name))
    });
    let of_modules = HOOKS
        .iter()
        .filter(|hook| hook.attach == Attach::ModuleTracepoint)
        .map(|hook| format!("{}{}", names::RAW_PREFIX, hook.name));
    names::CLASSIFIERS
        .iter()
        .map(ToString::to_string)
        .chain(tracepoints)
        .chain(of_modules)
        .collect()
}

fn problems(bytes: &[u8]) -> Result<Vec<String>> {
    let file = object::File::parse(bytes).context("the object is no ELF file")?;
    ensure!(
        file.architecture() == object::Architecture::Bpf,
        "the object is not for the BPF target"
    );
    let mut problems = Vec::new();

    let licence = file
        .section_by_name("license")
        .map(|section| section.data())
        .transpose()?;
    if licence != Some(LICENCE) {
        problems.push("its licence is not `Dual MIT/GPL`".to_owned());
    }
    for section in [".BTF", ".BTF.ext"] {
        if file.section_by_name(section).is_none() {
            problems.push(format!("it has no section {section}"));
        }
    }

    let defined = |kind: fn(SymbolKind) -> bool| -> BTreeSet<String> {
        file.symbols()
            .filter(|symbol| symbol.is_definition() && kind(symbol.kind()))
            .filter_map(|symbol| symbol.name().ok().map(str::to_owned))
            .collect()
    };
    let functions = defined(|kind| kind == SymbolKind::Text);
    let wanted = programs();
    problems.extend(
        wanted
            .difference(&functions)
            .map(|name| format!("program {name} is missing")),
    );
    let data = defined(|kind| kind == SymbolKind::Data);
    for name in [
        names::LAYOUT,
        names::SNAPLEN,
        names::EVENTS,
        names::HOPS,
        names::STATS,
    ] {
        if !data.contains(name) {
            problems.push(format!("global or map {name} is missing"));
        }
    }
    if file.section_by_name(names::FILTER_MAP).is_none() {
        problems.push(format!("section {} is missing", names::FILTER_MAP));
    }

    problems.extend(too_deep(&file)?);

    // A call of something that is nowhere: a function of the library that the linker did not inline, or a panic.
    for section in file
        .sections()
        .filter(|section| section.kind() == SectionKind::Text)
    {
        for (offset, relocation) in section.relocations() {
            let RelocationTarget::Symbol(index) = relocation.target() else {
                continue;
            };
            let symbol = file.symbol_by_index(index)?;
            if symbol.is_undefined() {
                problems.push(format!(
                    "{}+{offset:#x} uses `{}`, which is nowhere",
                    section.name()?,
                    symbol.name()?
                ));
            }
        }
    }
    Ok(problems)
}

/// What a program and the functions that it calls may have on the stack together (`MAX_BPF_STACK`).
const STACK: u64 = 512;
/// The size of one instruction.
const INSTRUCTION: usize = 8;

/// Programs whose stack some kernel refuses: up to 6.5 each function's share is rounded up to 32 bytes, and a function
/// that needs none takes as much (`check_max_stack_depth`, kernel/bpf/verifier.c).
fn too_deep(file: &object::File<'_>) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let wanted = programs();
    for symbol in file.symbols() {
        let (Ok(name), Some(index)) = (symbol.name(), symbol.section_index()) else {
            continue;
        };
        if !wanted.contains(name) {
            continue;
        }
        let section = file.section_by_index(index)?;
        let code = section.data_range(symbol.address(), symbol.size())?;
        let frame = Frame::of(code.context("a program without code")?);
        let rounded = |bytes: u64| bytes.max(1).next_multiple_of(32);
        let all = rounded(frame.stack) + if frame.calls { rounded(0) } else { 0 };
        if all > STACK {
            problems.push(format!(
                "{name} needs {all} bytes of stack of {STACK}: {} of its own{}",
                frame.stack,
                if frame.calls {
                    ", and it calls a function such as memset"
                } else {
                    ""
                }
            ));
        }
    }
    Ok(problems)
}

/// What a function does with its stack.
struct Frame {
    /// Bytes that it addresses below the frame pointer.
    stack: u64,
    /// It calls another function of the object.
    calls: bool,
}

impl Frame {
    fn of(code: &[u8]) -> Self {
        let mut lowest = 0i64;
        let mut calls = false;
        let mut copy = None;
        for [op, registers, o0, o1, i0, i1, i2, i3] in code.as_chunks::<INSTRUCTION>().0 {
            let (to, from) = (registers & 0xf, registers >> 4);
            let offset = i64::from(i16::from_le_bytes([*o0, *o1]));
            let number = i64::from(i32::from_le_bytes([*i0, *i1, *i2, *i3]));
            let below = match op & 7 {
                // loads, stores
                1 if from == 10 => offset,
                2 | 3 if to == 10 => offset,
                // `rX = r10; rX += number`
                7 if *op == 0x07 && copy == Some(to) => number,
                _ => 0,
            };
            lowest = lowest.min(below);
            copy = (*op == 0xbf && from == 10).then_some(to);
            calls |= *op == 0x85 && from == 1;
        }
        Self {
            stack: lowest.unsigned_abs(),
            calls,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stack_of_a_function_is_how_far_below_the_frame_pointer_it_goes() {
        let code = [
            // *(u64 *)(r10 - 24) = r1
            [0x7b, 0x1a, 0xe8, 0xff, 0, 0, 0, 0],
            // r2 = r10; r2 += -496
            [0xbf, 0xa2, 0, 0, 0, 0, 0, 0],
            [0x07, 0x02, 0, 0, 0x10, 0xfe, 0xff, 0xff],
            // r3 += -600, of what is not the stack
            [0x07, 0x03, 0, 0, 0xa8, 0xfd, 0xff, 0xff],
            // a helper
            [0x85, 0, 0, 0, 1, 0, 0, 0],
        ];
        let frame = Frame::of(code.as_flattened());
        assert_eq!((frame.stack, frame.calls), (496, false));
        // a function of the object
        let frame = Frame::of(&[0x85, 0x10, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!((frame.stack, frame.calls), (0, true));
    }
}
