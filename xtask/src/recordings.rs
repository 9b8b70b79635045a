//! Chooses, of what a run of all labs kept, the recordings that are committed: every cause twice, each with its healthy
//! run, and the whole healthy family.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::workspace::root;

/// Where they are.
const CHOSEN: &str = "tests/recordings";
const LABS: &str = "tests/labs";
/// The family whose labs have no fault.
const HEALTHY: &str = "healthy";
/// Recordings of each cause.
const EACH: usize = 2;
/// Most bytes of all of them: the repository carries each version.
const MOST: u64 = 8 << 20;

/// A lab of which both runs were kept.
struct Kept {
    name: String,
    family: String,
    cause: Option<String>,
    bytes: u64,
}

/// Most bytes of those of one other kernel.
const MOST_OF_KERNEL: u64 = 4 << 20;

/// Puts both recordings of labs that ran on another kernel into the folder of that kernel.
pub(crate) fn keep(kernel: &str, kept: &Path, labs: &[String]) -> Result<()> {
    let folder = root().join(CHOSEN).join(kernel);
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    for name in labs {
        for variant in ["healthy", "faulty"] {
            let file = format!("{name}.{variant}.tracer");
            fs::copy(kept.join(&file), folder.join(&file)).with_context(|| file.clone())?;
        }
    }
    let mut sum = 0;
    for entry in fs::read_dir(&folder)? {
        sum += entry?.metadata()?.len();
    }
    ensure!(
        sum <= MOST_OF_KERNEL,
        "{} has {sum} bytes, more than {MOST_OF_KERNEL}",
        folder.display()
    );
    println!(
        "{CHOSEN}/{kernel}: {} labs of this run, {} KiB",
        labs.len(),
        sum >> 10
    );
    Ok(())
}

/// Replaces the committed recordings by a choice from a directory of `lab run --keep-report DIR --keep-recording DIR`.
pub(crate) fn choose(kept: &Path) -> Result<()> {
    let all = read(kept)?;
    ensure!(
        !all.is_empty(),
        "{}: no lab has both reports and recordings",
        kept.display()
    );
    let mut chosen: BTreeSet<&str> = BTreeSet::new();
    chosen.extend(
        all.iter()
            .filter(|lab| lab.family == HEALTHY)
            .map(|lab| lab.name.as_str()),
    );
    let mut by_cause: BTreeMap<&str, Vec<&Kept>> = BTreeMap::new();
    for lab in &all {
        if let Some(cause) = &lab.cause {
            by_cause.entry(cause).or_default().push(lab);
        }
    }
    for labs in by_cause.values_mut() {
        labs.sort_by_key(|lab| lab.bytes);
        // Of another family first: it is more likely to be another network.
        let Some(first) = labs.first() else { continue };
        let family = first.family.clone();
        let (same, others): (Vec<&Kept>, Vec<&Kept>) = labs
            .iter()
            .skip(1)
            .copied()
            .partition(|lab| lab.family == family);
        let rest = others.into_iter().chain(same);
        chosen.extend(
            [*first]
                .into_iter()
                .chain(rest)
                .take(EACH)
                .map(|lab| lab.name.as_str()),
        );
    }
    let folder = root().join(CHOSEN);
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    // those of other kernels, in folders of their own, stay
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_file() {
            fs::remove_file(&path).with_context(|| path.display().to_string())?;
        }
    }
    let mut sum = 0;
    for name in &chosen {
        for variant in ["healthy", "faulty"] {
            let file = format!("{name}.{variant}.tracer");
            sum += fs::copy(kept.join(&file), folder.join(&file)).with_context(|| file.clone())?;
        }
    }
    ensure!(sum <= MOST, "the choice has {sum} bytes, more than {MOST}");
    println!(
        "{CHOSEN}: {} labs of {} causes, healthy and faulty, {} KiB",
        chosen.len(),
        by_cause.len(),
        sum >> 10
    );
    Ok(())
}

fn read(kept: &Path) -> Result<Vec<Kept>> {
    let mut list = Vec::new();
    for (name, family) in labs(&root().join(LABS))? {
        let report = kept.join(format!("{name}.faulty.json"));
        let size = |variant: &str| {
            fs::metadata(kept.join(format!("{name}.{variant}.tracer"))).map(|data| data.len())
        };
        let (Ok(text), Ok(healthy), Ok(faulty)) =
            (fs::read_to_string(&report), size("healthy"), size("faulty"))
        else {
            continue;
        };
        let report: serde_json::Value =
            serde_json::from_str(&text).with_context(|| report.display().to_string())?;
        let cause = report
            .pointer("/verdict/cause")
            .and_then(serde_json::Value::as_str);
        list.push(Kept {
            name,
            family,
            cause: cause.map(str::to_owned),
            bytes: healthy + faulty,
        });
    }
    Ok(list)
}

/// Names of labs with their families.
fn labs(folder: &Path) -> Result<Vec<(String, String)>> {
    let entries = |folder: &Path| -> Result<Vec<PathBuf>> {
        let list = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
        let mut paths: Vec<PathBuf> = list.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        Ok(paths)
    };
    let word =
        |path: Option<&std::ffi::OsStr>| path.unwrap_or_default().to_string_lossy().into_owned();
    let mut found = Vec::new();
    for family in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
        for file in entries(&family)? {
            if file.extension().is_some_and(|kind| kind == "toml") {
                found.push((word(file.file_stem()), word(family.file_name())));
            }
        }
    }
    Ok(found)
}
