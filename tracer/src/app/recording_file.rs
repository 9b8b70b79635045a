//! The requested recording, as a file or through a pipe. Where its size is limited, it is two files: when the
//! newer one reaches half of the limit, it replaces the older one. Each can be
//! replayed by itself, because each begins with what was known of the host by then.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::files::Files;
use crate::config::RecordTo;
use crate::error::Error;
use crate::source::Input;
use crate::source::recording::{self, Writer};

/// A recording that has not been started: its file may still hold an older one, because the run may yet be refused.
pub(super) struct PendingRecording {
    file: File,
    to: RecordTo,
    files: Files,
}

/// A recording being written.
pub(super) struct RecordingFile {
    writer: Writer<File>,
    to: RecordTo,
    /// Who reads a pipe wants to see it soon.
    piped: bool,
    /// Facts of the host, for the next file; empty where there is no limit.
    facts: Vec<Input>,
    turned: u64,
    files: Files,
}

/// A file for packets' bytes: nobody else may read it. Not yet emptied. `-` is the standard output.
///
/// # Errors
/// When it cannot be made.
fn create(path: &Path) -> Result<File, Error> {
    if path == Path::new("-") {
        let own = io::stdout().as_fd().try_clone_to_owned();
        return own
            .map(File::from)
            .map_err(|error| Error::io("write to the standard output", error));
    }
    recording::create(path)
        .map_err(|error| Error::io(format_args!("write {}", path.display()), error))
}

impl RecordingFile {
    /// Makes sure that the recording can be written.
    ///
    /// # Errors
    /// When it cannot.
    pub(super) fn create(to: &RecordTo, files: &Files) -> Result<PendingRecording, Error> {
        Ok(PendingRecording {
            file: create(&to.path)?,
            to: to.clone(),
            files: files.clone(),
        })
    }

    /// Begins it; what the file held is gone.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn begin(
        PendingRecording { file, to, files }: PendingRecording,
    ) -> io::Result<Self> {
        let piped = !file.metadata()?.is_file();
        if !piped {
            file.set_len(0)?;
        }
        Ok(Self {
            writer: Writer::new(file)?,
            to,
            piped,
            facts: Vec::new(),
            turned: 0,
            files,
        })
    }

    /// Adds an input.
    ///
    /// # Errors
    /// Those of the file. Nothing can be added any more then.
    pub(super) fn write(&mut self, input: &Input) -> io::Result<()> {
        self.writer.write(input)?;
        match input {
            Input::Tick(_) if self.piped => self.writer.flush(),
            Input::Tick(_) if self.is_half_full() => self.turn(),
            Input::Host(..) if self.to.most.is_some() => {
                self.facts.push(input.clone());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn is_half_full(&self) -> bool {
        self.to
            .most
            .is_some_and(|most| self.writer.size() >= most / 2)
    }

    /// The file becomes the older one; a new one begins.
    fn turn(&mut self) -> io::Result<()> {
        self.writer.flush()?;
        self.files.rename(&self.to.path, &older(&self.to.path))?;
        self.writer = Writer::new(self.files.record(&self.to.path)?)?;
        self.turned += 1;
        for fact in &self.facts {
            self.writer.write(fact)?;
        }
        Ok(())
    }

    /// Ends it. Gives what to say of it, when there is something.
    ///
    /// # Errors
    /// When the end cannot be written.
    pub(super) fn finish(self) -> io::Result<Option<String>> {
        self.writer.finish()?;
        let path = &self.to.path;
        Ok(match self.turned {
            0 => None,
            1 => Some(format!(
                "the recording is two files: {}, then {}",
                older(path).display(),
                path.display()
            )),
            _ => Some(format!(
                "the recording is two files: {}, then {}; what came before did not fit into --max-size",
                older(path).display(),
                path.display()
            )),
        })
    }
}

/// `FILE.1`.
fn older(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".1");
    name.into()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use std::fs;

    use super::super::files::Wanted;
    use super::*;
    use crate::host::facts::{Fact, Namespace};
    use crate::model::{KtimeNs, NetNs};
    use crate::source::EndReason;
    use crate::source::recording::Reader;
    use crate::source::recording::samples::record;

    const MOST: u64 = 200_000;

    fn read(path: &Path) -> Vec<Input> {
        let reader = Reader::new(File::open(path).unwrap()).unwrap();
        reader.map(Result::unwrap).collect()
    }

    fn fact() -> Input {
        let namespace = Namespace {
            process: None,
            path: None,
            netns: NetNs(7),
            name: "blue".to_owned(),
            node: None,
        };
        Input::Host(KtimeNs(1), Fact::Namespace(namespace))
    }

    /// So many records, each with a tick; gives what was said in the end.
    fn recorded(path: &Path, records: u64) -> Option<String> {
        let to = RecordTo {
            path: path.to_owned(),
            most: Some(MOST),
        };
        let files = Files::start(Wanted::default().beside(Some(path))).unwrap();
        let mut file = RecordingFile::begin(RecordingFile::create(&to, &files).unwrap()).unwrap();
        file.write(&fact()).unwrap();
        for n in 0..records {
            file.write(&record(n)).unwrap();
            file.write(&Input::Tick(KtimeNs(n))).unwrap();
        }
        let end = Input::End(KtimeNs(records), EndReason::Asked);
        file.write(&end).unwrap();
        file.finish().unwrap()
    }

    fn records(inputs: &[Input]) -> Vec<u64> {
        let of = |input: &Input| match input {
            Input::Record(bytes) => bytes.first_chunk().map(|n| u64::from_ne_bytes(*n)),
            _ => None,
        };
        inputs.iter().filter_map(of).collect()
    }

    #[test]
    fn a_bounded_recording_keeps_its_end_and_each_file_stands_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.tracer");
        let said = recorded(&path, 3000).unwrap();
        assert!(
            said.contains("t.tracer.1, then") && said.contains("--max-size"),
            "{said}"
        );
        let (old, new) = (read(&older(&path)), read(&path));
        assert_eq!((old.first(), new.first()), (Some(&fact()), Some(&fact())));
        let kept = [records(&old), records(&new)].concat();
        assert!(kept.len() > 200, "{}", kept.len());
        let first = 3000 - kept.len() as u64;
        assert_eq!(kept, (first..3000).collect::<Vec<_>>());
        let size: u64 = [older(&path), path]
            .iter()
            .map(|p| fs::metadata(p).unwrap().len())
            .sum();
        // a block may be pending when half is reached
        assert!(size < MOST + (128 << 10), "{size}");
    }

    #[test]
    fn what_fits_is_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.tracer");
        assert_eq!(recorded(&path, 10), None);
        assert_eq!(records(&read(&path)).len(), 10);
        assert!(!older(&path).exists());
    }
}
