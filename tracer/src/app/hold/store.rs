//! The directory of saves: names that sort by time, and what is removed. Only files are touched whose names are of this form:
//!
//! ```text
//! hold-20261130T084526Z-route.none.tracer    the recording
//! hold-20261130T084526Z-route.none.json      the report
//! hold-20261130T084526Z-route.none.md        the ticket
//! ….part                                     one that is being written
//! ```

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use time::format_description::StaticFormatDescription;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use crate::error::Error;

/// The endings of one save's files.
pub(super) const RECORDING: &str = "tracer";
pub(super) const REPORT: &str = "json";
pub(super) const TICKET: &str = "md";
const ENDINGS: [&str; 3] = [RECORDING, REPORT, TICKET];
/// Behind the name of a file that is not complete.
const PART: &str = ".part";
const PREFIX: &str = "hold-";
/// UTC.
const STAMP: StaticFormatDescription =
    format_description!("[year][month][day]T[hour][minute][second]Z");

/// A directory in which this process alone saves.
#[derive(Debug)]
pub(super) struct Store {
    /// Its absolute path.
    pub(super) directory: PathBuf,
    /// When each save was made.
    pub(super) saves: Vec<SystemTime>,
    /// The lock goes with it.
    _lock: Flock<File>,
}

impl Store {
    /// Takes the directory, which is made where it is missing, and removes what an earlier run did not complete.
    ///
    /// # Errors
    /// When it cannot be used, or another process saves there.
    pub(super) fn open(directory: &Path) -> Result<Self, Error> {
        let shown = directory.display();
        let failed = |error| Error::io(format_args!("save to {shown}"), error);
        fs::create_dir_all(directory).map_err(failed)?;
        let directory = fs::canonicalize(directory).map_err(failed)?;
        let handle = File::open(&directory).map_err(failed)?;
        let lock = Flock::lock(handle, FlockArg::LockExclusiveNonblock);
        let lock = lock.map_err(|(_, errno)| match errno {
            Errno::EWOULDBLOCK => Error::runtime(format!("another tracer hold saves to {shown}"))
                .hint("name another directory: --save DIR"),
            errno => failed(errno.into()),
        })?;
        let names = names(&directory).map_err(failed)?;
        for name in names.iter().filter(|name| name.ends_with(PART)) {
            fs::remove_file(directory.join(name)).map_err(failed)?;
        }
        let recordings = names.iter().filter_map(|name| save_of(name, RECORDING));
        Ok(Self {
            saves: recordings.filter_map(made_at).collect(),
            directory,
            _lock: lock,
        })
    }
}

/// Names of saves' files in a directory, complete or not.
pub(super) fn names(directory: &Path) -> io::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory)? {
        let Ok(name) = entry?.file_name().into_string() else {
            continue;
        };
        let whole = name.strip_suffix(PART).unwrap_or(&name);
        let ours = ENDINGS
            .iter()
            .any(|ending| save_of(whole, ending).is_some());
        if ours {
            found.insert(name);
        }
    }
    Ok(found)
}

/// The save that a complete file of that ending belongs to.
fn save_of<'a>(name: &'a str, ending: &str) -> Option<&'a str> {
    let save = name.strip_suffix(ending)?.strip_suffix('.')?;
    made_at(save).map(|_| save)
}

/// When a save was made, by its name.
fn made_at(save: &str) -> Option<SystemTime> {
    let (stamp, cause) = save.strip_prefix(PREFIX)?.split_once('-')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let at = PrimitiveDateTime::parse(stamp, STAMP).ok()?.assume_utc();
    (!cause.is_empty() && cause.chars().all(plain)).then(|| at.into())
}

/// A name for a save that no other has.
pub(super) fn name(at: SystemTime, cause: &str, taken: &BTreeSet<String>) -> String {
    let stamp = OffsetDateTime::from(at).format(STAMP);
    // No moment of a clock is outside of what the format can say.
    let stamp = stamp.unwrap_or_default();
    let plain = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' => c,
        _ => '_',
    };
    let cause: String = cause.chars().take(64).map(plain).collect();
    let first = format!("{PREFIX}{stamp}-{cause}");
    let is_free = |name: &String| {
        let files = ENDINGS.iter().map(|ending| format!("{name}.{ending}"));
        files.into_iter().all(|file| !taken.contains(&file))
    };
    if is_free(&first) {
        return first;
    }
    let others = (2u32..).map(|n| format!("{first}-{n}"));
    others.into_iter().find(is_free).unwrap_or(first)
}

/// The file of a save, and how it is called until it is complete.
pub(super) fn file(directory: &Path, save: &str, ending: &str) -> (PathBuf, PathBuf) {
    let path = directory.join(format!("{save}.{ending}"));
    let part = directory.join(format!("{save}.{ending}{PART}"));
    (path, part)
}

/// The files of all saves but the newest `keep`, the oldest first.
pub(super) fn surplus(names: &BTreeSet<String>, keep: usize) -> Vec<String> {
    let of = |name: &str| {
        let mut endings = ENDINGS.iter();
        endings.find_map(|ending| save_of(name, ending).map(str::to_owned))
    };
    // Names sort by time.
    let saves: BTreeSet<String> = names.iter().filter_map(|name| of(name)).collect();
    let most = saves.len().saturating_sub(keep);
    let old: BTreeSet<&String> = saves.iter().take(most).collect();
    let goes = |name: &&String| of(name).is_some_and(|save| old.contains(&save));
    names.iter().filter(goes).cloned().collect()
}

/// How long ago each was, for those that are not in the future.
pub(super) fn ages(saves: &[SystemTime], now: SystemTime) -> impl Iterator<Item = Duration> + '_ {
    let age = move |at: &SystemTime| now.duration_since(*at).ok();
    saves.iter().filter_map(age)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use super::*;

    const AT: Duration = Duration::from_secs(1_790_000_000);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + AT + Duration::from_secs(seconds)
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn names_sort_by_time_say_the_cause_and_are_read_back() {
        let first = name(at(0), "route.none", &set(&[]));
        assert_eq!(first, "hold-20260921T141320Z-route.none");
        assert!(first < name(at(1), "a", &set(&[])));
        assert_eq!(made_at(&first), Some(at(0)));
        let taken = set(&[&format!("{first}.json")]);
        let second = name(at(0), "route.none", &taken);
        assert_eq!(second, format!("{first}-2"));
        assert_eq!(made_at(&second), Some(at(0)));
        let strange = name(at(0), "../../x y", &set(&[]));
        assert_eq!(strange, "hold-20260921T141320Z-.._.._x_y");
    }

    #[test]
    fn the_oldest_go_with_all_their_files_and_nothing_else_does() {
        let save = |second| name(at(second), "asked", &set(&[]));
        let mut names = BTreeSet::new();
        for second in [3, 1, 2] {
            let files = ENDINGS.map(|ending| format!("{}.{ending}", save(second)));
            names.extend(files);
        }
        // the recording of the oldest is gone already
        names.remove(&format!("{}.tracer", save(1)));
        let gone = surplus(&names, 2);
        assert_eq!(gone, ["json", "md"].map(|e| format!("{}.{e}", save(1))));
        assert_eq!(surplus(&names, 3), Vec::<String>::new());
    }

    #[test]
    fn a_start_removes_what_is_not_complete_and_counts_what_is() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("saves");
        fs::create_dir(&directory).unwrap();
        let save = name(at(0), "route.none", &set(&[]));
        let kept = [
            format!("{save}.tracer"),
            format!("{save}.md"),
            "other.part".to_owned(),
            "hold-notes.tracer.part".to_owned(),
        ];
        let part = format!("{save}-2.tracer.part");
        for file in kept.iter().chain([&part]) {
            fs::write(directory.join(file), b"").unwrap();
        }
        let store = Store::open(&directory).unwrap();
        assert_eq!(store.saves, [at(0)]);
        assert!(!directory.join(part).exists());
        for file in kept {
            assert!(directory.join(file).exists());
        }
        let refused = Store::open(&directory).unwrap_err().to_string();
        assert!(refused.contains("another tracer hold"), "{refused}");
        drop(store);
        Store::open(&directory).unwrap();
    }

    #[test]
    fn ages_are_of_the_past() {
        let found: Vec<Duration> = ages(&[at(0), at(20)], at(10)).collect();
        assert_eq!(found, [Duration::from_secs(10)]);
    }
}
