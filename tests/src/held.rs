//! What a process holds of BPF, by the kernel's numbers, and what of it is there when the process is not: programs, maps and
//! links of others stay out of it.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use aya::maps::loaded_maps;
use aya::programs::{loaded_links, loaded_programs};

/// Objects, by the word that /proc/PID/fdinfo has for their number.
const KINDS: [&str; 3] = ["prog_id", "map_id", "link_id"];

/// Kind and number.
pub type Object = (&'static str, u32);

/// What a process has descriptors of.
///
/// # Errors
/// It is gone, or may not be looked at.
pub fn held(pid: u32) -> Result<BTreeSet<Object>> {
    let folder = format!("/proc/{pid}/fdinfo");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))?;
    let mut found = BTreeSet::new();
    for entry in entries.filter_map(Result::ok) {
        // A descriptor may be closed meanwhile.
        let info = fs::read_to_string(entry.path()).unwrap_or_default();
        // That of a link names its program too.
        let line = |kind: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(kind))?;
            line.strip_prefix(':')?.trim().parse::<u32>().ok()
        };
        for kind in KINDS {
            found.extend(line(kind).map(|number| (kind, number)));
        }
    }
    Ok(found)
}

/// What of these there still is. The kernel frees some time after the last descriptor is closed: it is waited for that, for
/// so long at most.
///
/// # Errors
/// The kernel does not list its objects.
pub fn left(of: &BTreeSet<Object>, patience: Duration) -> Result<BTreeSet<Object>> {
    let end = Instant::now() + patience;
    loop {
        let all = existing()?;
        let left: BTreeSet<Object> = of.intersection(&all).copied().collect();
        if left.is_empty() || Instant::now() >= end {
            return Ok(left);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// All that there are. One that goes while it is looked at is none.
fn existing() -> Result<BTreeSet<Object>> {
    let mut all = BTreeSet::new();
    for program in loaded_programs().filter_map(Result::ok) {
        all.insert(("prog_id", program.id()));
    }
    for map in loaded_maps().filter_map(Result::ok) {
        all.insert(("map_id", map.id()));
    }
    for link in loaded_links().filter_map(Result::ok) {
        all.insert(("link_id", link.id()));
    }
    Ok(all)
}
