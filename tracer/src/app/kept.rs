//! Where inputs are kept while the trace runs: the requested recording, and a copy in memory for outputs that need all
//! inputs a second time, so that a trace can be saved even when no recording was requested.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::files::Files;
use super::output::Inputs;
use super::recording_file::{PendingRecording, RecordingFile};
use super::redaction::RedactionStage;
use super::save::cannot_save;
use crate::error::Error;
use crate::source::Input;
use crate::source::recording::{Reader, RecordingError, Writer};

/// Most bytes of the copy in memory: some million events.
const KEPT: usize = 64 << 20;

/// The recording and the copy.
pub(super) struct KeptInputs {
    files: Files,
    file: Option<RecordingFile>,
    copy: Option<Writer<Vec<u8>>>,
    /// The recording that is replayed, which can be read again, and its redaction.
    replayed: Option<(PathBuf, RedactionStage)>,
    /// The copy was full: it holds the beginning.
    full: bool,
    /// The reader of the recording has closed the pipe.
    unread: bool,
}

/// A recording to read; `-` is the standard input.
///
/// # Errors
/// When it cannot be read.
pub(super) fn open(path: &Path) -> Result<File, Error> {
    let failed = |error| Error::io(format_args!("read {}", path.display()), error);
    if path == Path::new("-") {
        let own = io::stdin().as_fd().try_clone_to_owned();
        return own.map(File::from).map_err(failed);
    }
    File::open(path).map_err(failed)
}

impl KeptInputs {
    /// Begins the recording, and the copy where one is wanted.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn begin(
        files: &Files,
        pending: Option<PendingRecording>,
        copy: bool,
    ) -> io::Result<Self> {
        Ok(Self {
            files: files.clone(),
            file: pending.map(RecordingFile::begin).transpose()?,
            copy: copy.then(|| Writer::new(Vec::new())).transpose()?,
            replayed: None,
            full: false,
            unread: false,
        })
    }

    /// Who opens files for this run.
    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    /// For a replay: a file can be read again; what came through a pipe is kept in memory.
    ///
    /// # Errors
    /// None that memory could have.
    pub(super) fn of_replay(
        files: &Files,
        (path, file): (&Path, &File),
        redaction: RedactionStage,
    ) -> io::Result<Self> {
        let again = file.metadata()?.is_file() && path != Path::new("-");
        Ok(Self {
            replayed: again.then(|| (path.to_owned(), redaction)),
            ..Self::begin(files, None, !again)?
        })
    }

    /// All inputs so far, from the start.
    ///
    /// # Errors
    /// When they were not kept, or cannot be read.
    pub(super) fn inputs(&mut self) -> Result<Inputs<'_>, Error> {
        let unreadable =
            |error: RecordingError| Error::runtime("cannot read the trace again").caused_by(error);
        if let Some((path, redaction)) = &self.replayed {
            let file = self
                .files
                .read(path)
                .map_err(|error| Error::io(format_args!("read {}", path.display()), error))?;
            let mut redaction = redaction.afresh();
            let inputs = Reader::new(file).map_err(unreadable)?;
            let seen = inputs
                .filter_map(move |input| input.map(|input| redaction.input(input)).transpose());
            return Ok(Box::new(seen));
        }
        let Some(copy) = &mut self.copy else {
            return Err(Error::runtime("the trace was not kept"));
        };
        copy.flush()
            .map_err(|error| Error::io("keep the trace", error))?;
        Ok(Box::new(Reader::new(copy.written()).map_err(unreadable)?))
    }

    /// A note for outputs made from the copy when the copy is incomplete.
    pub(super) fn note(&self) -> &'static str {
        if self.full {
            " (only the beginning: the rest did not fit into memory)"
        } else {
            ""
        }
    }

    /// Keeps an input. A recording that can no longer be written (full disk) is reported once and does not end the
    /// trace.
    pub(super) fn write(&mut self, input: &Input) -> Result<(), String> {
        if let Some(copy) = self.copy.as_mut().filter(|_| !self.full) {
            // Memory does not fail; a frame that is too large is left out.
            let _ = copy.write(input);
            self.full = copy.written().len() > KEPT;
        }
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        file.write(input).map_err(|error| {
            self.unread = error.kind() == io::ErrorKind::BrokenPipe;
            self.file = None;
            format!("the recording ends here: {error}")
        })
    }

    /// Whether the reader of the recording has closed the pipe: the trace then ends.
    pub(super) fn is_unread(&self) -> bool {
        self.unread
    }

    /// Writes the copy to a file. Gives what to say.
    pub(super) fn save(&mut self, path: &Path) -> Result<String, Error> {
        let Some(copy) = &mut self.copy else {
            return Err(Error::usage("this is a recording already"));
        };
        let failed = |error| Error::io(format_args!("write {}", path.display()), error);
        copy.flush().map_err(failed)?;
        let file = self.files.record(path);
        let mut file = file.map_err(|error| cannot_save(path, error))?;
        file.set_len(0).map_err(failed)?;
        file.write_all(copy.written()).map_err(failed)?;
        Ok(format!(
            "recording saved: {}{}",
            path.display(),
            self.note()
        ))
    }

    /// Ends the recording. Gives what to say of it, when there is something.
    pub(super) fn finish(&mut self) -> Option<String> {
        match self.file.take()?.finish() {
            Ok(said) => said,
            Err(error) => Some(format!("the end of the recording is missing: {error}")),
        }
    }
}
