//! What a node sends, kept byte by byte as it came, so that it can be read again while more is coming.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::error::Error;
use crate::source::recording;

/// One node's.
#[derive(Clone, Debug)]
pub(super) struct Spool {
    file: Arc<File>,
    /// Why the rest is missing.
    failure: Arc<OnceLock<String>>,
}

impl Spool {
    /// The file of that name, else one without a name, which is gone with this process.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn create(keep: Option<&Path>) -> Result<Self, Error> {
        let file = match keep {
            Some(path) => {
                let file = recording::create(path);
                file.and_then(|file| file.set_len(0).map(|()| file))
                    .map_err(|error| Error::io(format_args!("write {}", path.display()), error))?
            }
            None => tempfile::tempfile().map_err(|error| {
                Error::io(
                    "keep what nodes send in the directory for temporary files",
                    error,
                )
                .hint("name another one: --keep DIR, or TMPDIR=DIR")
            })?,
        };
        Ok(Self {
            file: Arc::new(file),
            failure: Arc::default(),
        })
    }

    /// Reads on, and keeps what is read.
    pub(super) fn tee<R: Read>(&self, from: R) -> Tee<R> {
        Tee {
            from,
            spool: self.clone(),
        }
    }

    /// All that was kept so far, from the start.
    pub(super) fn again(&self) -> Again {
        Again {
            file: Arc::clone(&self.file),
            at: 0,
        }
    }

    /// Nothing more is read: what stands behind is no part of the recording.
    pub(super) fn cut(&self, length: u64) {
        // what stays is told when it is read again
        let _ = self.file.set_len(length);
    }

    /// Why not all was kept.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.get().cloned()
    }
}

/// Keeps what is read through it.
pub(super) struct Tee<R> {
    from: R,
    spool: Spool,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let got = self.from.read(bytes)?;
        if self.spool.failure.get().is_none()
            && let Err(error) = (&*self.spool.file).write_all(bytes.get(..got).unwrap_or_default())
        {
            // The trace goes on all the same; this is set once only.
            let _ = self.spool.failure.set(error.to_string());
        }
        Ok(got)
    }
}

/// What was kept, read beside its writer.
#[derive(Debug)]
pub struct Again {
    file: Arc<File>,
    at: u64,
}

impl Read for Again {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let got = self.file.read_at(bytes, self.at)?;
        self.at += got as u64;
        Ok(got)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_there_again_while_more_comes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n1.tracer");
        for keep in [None, Some(path.as_path())] {
            let spool = Spool::create(keep).unwrap();
            let mut tee = spool.tee(&b"abcdef"[..]);
            let mut first = [0; 3];
            tee.read_exact(&mut first).unwrap();
            let mut again = spool.again();
            let mut seen = String::new();
            again.read_to_string(&mut seen).unwrap();
            assert_eq!(seen, "abc");
            io::copy(&mut tee, &mut io::sink()).unwrap();
            again.read_to_string(&mut seen).unwrap();
            assert_eq!((seen.as_str(), spool.failure()), ("abcdef", None));
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"abcdef");
        Spool::create(Some(&path)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn a_full_disk_is_told_and_ends_nothing() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let spool = Spool {
            file: Arc::new(full),
            failure: Arc::default(),
        };
        let mut all = Vec::new();
        spool.tee(&b"abc"[..]).read_to_end(&mut all).unwrap();
        assert_eq!(all, b"abc");
        assert!(spool.failure().unwrap().contains("space"));
    }
}
