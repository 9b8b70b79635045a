//! What fuzzing found worth keeping, through the functions that are fuzzed: each must end, whatever it is given.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tracer::foreign::TARGETS;

/// Bytes of all files together: they are part of every clone.
const MOST: u64 = 1_000_000;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    all.sort();
    all
}

#[test]
fn what_was_found_is_read_to_its_end() {
    let mut bytes = 0;
    for (name, read) in TARGETS {
        let files = entries(&corpus().join(name));
        assert!(!files.is_empty(), "{name} has no file to begin with");
        for file in files {
            let content = fs::read(&file).unwrap();
            bytes += content.len() as u64;
            // its name is the last that is said where a reader panics
            println!("{}", file.display());
            read(&content);
        }
    }
    assert!(bytes < MOST, "the corpus has {bytes} bytes");
}

#[test]
fn every_target_is_a_binary_and_has_a_folder() {
    let manifest = corpus().join("../Cargo.toml");
    let manifest: toml::Table = fs::read_to_string(manifest).unwrap().parse().unwrap();
    let bins = manifest.get("bin").and_then(toml::Value::as_array).unwrap();
    let name = |bin: &toml::Value| {
        bin.get("name")
            .and_then(toml::Value::as_str)
            .map(str::to_owned)
    };
    let bins: BTreeSet<String> = bins.iter().filter_map(name).collect();
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let folders = entries(&corpus());
    let folders: BTreeSet<String> = folders
        .iter()
        .map(|folder| folder.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(bins, targets);
    assert_eq!(folders, targets);
}

/// What a file of a few bytes can hold: a long recording that says nothing, names without end, brackets in brackets.
#[test]
fn what_is_much_larger_than_its_file_is_read_to_its_end() {
    let mut ticks = Vec::new();
    for at in 0..500_000_u64 {
        ticks.extend([4, 8, 0, 0, 0]);
        ticks.extend(at.to_le_bytes());
    }
    let deep = "[".repeat(200_000).into_bytes();
    let not = "not ".repeat(50_000).into_bytes();
    for (name, read) in TARGETS {
        println!("{name}");
        match *name {
            "inputs" => read(&ticks),
            "report" | "files" => read(&deep),
            "expression" => [deep.as_slice(), &not].into_iter().for_each(read),
            _ => read(&vec![0xff; 1 << 20]),
        }
    }
}
