//! Files that are opened while a trace is read: another file of a recording, what the screen saves, a recording once more. A
//! thread of its own opens them, which may do nothing else ([`Role::Files`]); the others have no right to open any.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::config::Sink;
use crate::error::Error;
use crate::restrict::{Role, restrict};
use crate::source::recording;

/// Which files may be opened.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
}

impl Wanted {
    /// A file to be read.
    pub(super) fn read(mut self, file: &Path) -> Self {
        self.read.push(file.to_owned());
        self
    }

    /// Files beside this one.
    pub(super) fn beside(mut self, file: Option<&Path>) -> Self {
        let directory = file.map(|file| match file.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        });
        self.write.extend(directory);
        self
    }

    /// What a person may save: here, and where temporary files are.
    pub(super) fn saved(mut self, by_a_person: bool) -> Self {
        if by_a_person {
            self.write
                .extend([PathBuf::from("."), std::env::temp_dir()]);
        }
        self
    }
}

/// Opens files. A clone asks the same thread.
#[derive(Clone, Debug)]
pub(super) struct Files {
    to: SyncSender<Request>,
}

/// What the thread is asked for. Who asked may be gone by the time of the answer.
enum Request {
    Read(PathBuf, SyncSender<io::Result<File>>),
    Create(PathBuf, SyncSender<io::Result<File>>),
    /// A recording.
    Record(PathBuf, SyncSender<io::Result<File>>),
    Rename([PathBuf; 2], SyncSender<io::Result<()>>),
}

impl Files {
    /// Starts the thread, which ends with the last of those who can ask it.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub(super) fn start(wanted: Wanted) -> Result<Self, Error> {
        let (to, requests) = sync_channel(0);
        thread::Builder::new()
            .name("tracer-files".to_owned())
            .spawn(move || serve(&wanted, &requests))
            .map_err(Error::no_thread)?;
        Ok(Self { to })
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn read(&self, path: &Path) -> io::Result<File> {
        self.ask(|answer| Request::Read(path.to_owned(), answer))
    }

    /// Opens a file for a report; not yet emptied.
    ///
    /// # Errors
    /// What the kernel says; `PermissionDenied` also outside of the directories where this run may write.
    pub(super) fn create(&self, path: &Path) -> io::Result<File> {
        self.ask(|answer| Request::Create(path.to_owned(), answer))
    }

    /// The same for packets' bytes, which nobody else may read.
    ///
    /// # Errors
    /// Those of [`Files::create`].
    pub(super) fn record(&self, path: &Path) -> io::Result<File> {
        self.ask(|answer| Request::Record(path.to_owned(), answer))
    }

    /// Renames a file within the directories where this run may write.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.ask(|answer| Request::Rename([from.to_owned(), to.to_owned()], answer))
    }

    fn ask<T>(&self, request: impl FnOnce(SyncSender<io::Result<T>>) -> Request) -> io::Result<T> {
        let (answer, answered) = sync_channel(1);
        let gone = || io::Error::other("the thread that opens files is gone");
        self.to.send(request(answer)).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }
}

fn serve(wanted: &Wanted, requests: &Receiver<Request>) {
    // What cannot be had is said of the thread that reads.
    restrict(Role::Files {
        read: &wanted.read,
        write: &wanted.write,
    });
    while let Ok(request) = requests.recv() {
        let _ = match request {
            Request::Read(path, answer) => answer.send(File::open(path)).is_ok(),
            Request::Create(path, answer) => answer.send(Sink::create(&path)).is_ok(),
            Request::Record(path, answer) => answer.send(recording::create(&path)).is_ok(),
            Request::Rename([from, to], answer) => answer.send(fs::rename(from, to)).is_ok(),
        };
    }
}
