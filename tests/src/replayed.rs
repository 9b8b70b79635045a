//! Recordings of labs, replayed and held against what the lab expects: every cause twice, each with its healthy run, and
//! all of the healthy family. No root is needed, and no network.
//!
//! `cargo xtask choose-recordings DIR` puts them there, of what a run of all labs kept.

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it must be"
)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs::{self, File};
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;
    use std::thread;

    use serde_json::Value;
    use tracer::diagnose::causes;
    use tracer::render::json;
    use tracer::session::Session;
    use tracer::source::recording::Reader;

    use crate::compare::{differences, healthy_differences};
    use crate::kernel::Version;
    use crate::lab::{Lab, name_of};

    fn folder(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
    }

    fn labs() -> BTreeMap<String, Lab> {
        let files = crate::suite::find(&folder("labs")).unwrap();
        let loaded = files
            .iter()
            .map(|file| (name_of(file), Lab::load(file).unwrap()));
        loaded.collect()
    }

    /// Recordings with the names of their labs, and whether the fault was there. Those made on another kernel than the
    /// one that labs usually run on stand in a folder with its version.
    fn recordings() -> Vec<(PathBuf, String, bool)> {
        let files = |folder: &Path| -> Vec<PathBuf> {
            let entries = fs::read_dir(folder).unwrap();
            entries.map(|entry| entry.unwrap().path()).collect()
        };
        let mut list = Vec::new();
        let (kernels, mut paths): (Vec<_>, Vec<_>) = files(&folder("recordings"))
            .into_iter()
            .partition(|path| path.is_dir());
        paths.extend(kernels.iter().flat_map(|kernel| files(kernel)));
        for path in paths {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let Some(run) = name.strip_suffix(".tracer") else {
                continue;
            };
            let (lab, variant) = run.rsplit_once('.').unwrap();
            list.push((path, lab.to_owned(), variant == "faulty"));
        }
        list.sort();
        list
    }

    /// The kernel of whose folder a recording is.
    fn kernel(file: &Path) -> Option<Version> {
        file.parent()?.file_name()?.to_str()?.parse().ok()
    }

    fn replay(file: &Path) -> Value {
        let mut session = Session::default();
        for input in Reader::new(File::open(file).unwrap()).unwrap() {
            session.input(&input.unwrap());
        }
        let mut document = Vec::new();
        json::write(&mut document, &session.report()).unwrap();
        serde_json::from_slice(&document).unwrap()
    }

    #[test]
    fn every_recording_says_what_its_lab_expects() {
        let labs = labs();
        let all = recordings();
        assert!(!all.is_empty(), "no recordings");
        let left = Mutex::new(all.iter());
        let wrong = Mutex::new(Vec::new());
        let cores = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            for _ in 0..cores {
                scope.spawn(|| {
                    while let Some((file, name, faulty)) = { left.lock().unwrap().next() } {
                        let mut lab = labs.get(name).unwrap().clone();
                        if let Some(kernel) = kernel(file) {
                            lab = lab.on(kernel).unwrap();
                        }
                        let report = replay(file);
                        let found = match faulty {
                            true => differences(&lab.expect, &report),
                            false => healthy_differences(&lab.healthy, &report),
                        };
                        let lines = found.iter().map(|one| format!("{}: {one}", file.display()));
                        wrong.lock().unwrap().extend(lines);
                    }
                });
            }
        });
        let wrong = wrong.into_inner().unwrap();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn every_cause_that_a_lab_expects_is_recorded() {
        let labs = labs();
        let expected = |names: &BTreeSet<String>| -> BTreeSet<String> {
            let labs = names.iter().filter_map(|name| labs.get(name));
            labs.flat_map(|lab| lab.expect.cause.0.clone()).collect()
        };
        let faulty = recordings().into_iter().filter(|(.., faulty)| *faulty);
        let recorded = expected(&faulty.map(|(_, name, _)| name).collect());
        let all = expected(&labs.keys().cloned().collect());
        let codes = causes::all().map(|cause| cause.code);
        let missing: Vec<&str> = codes
            .filter(|code| all.contains(*code) && !recorded.contains(*code))
            .collect();
        assert_eq!(missing, Vec::<&str>::new());
    }
}
