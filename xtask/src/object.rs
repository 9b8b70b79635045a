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
    let tc = [
        names::TC_INGRESS_L2,
        names::TC_INGRESS_L3,
        names::TC_EGRESS_L2,
        names::TC_EGRESS_L3,
    ];
    let tracepoints = HOOKS
        .iter()
        .filter(|hook| hook.attach == Attach::Tracepoint);
    let tracepoints = tracepoints.flat_map(|hook| {
        [names::BTF_PREFIX, names::RAW_PREFIX].map(|prefix| format!("{prefix}{}", hook.name))
    });
    tc.iter()
        .map(ToString::to_string)
        .chain(tracepoints)
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
        names::BUDGET,
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
