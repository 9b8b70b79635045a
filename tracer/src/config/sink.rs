//! Where the report goes.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Destination of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportTo {
    /// The standard output.
    Stdout,
    /// A file, which is made or emptied.
    File(PathBuf),
    /// Nowhere: the standard output has the recording.
    Nowhere,
}

/// An open destination. Buffered: call `flush` in the end.
#[derive(Debug)]
pub struct Sink(Inner);

#[derive(Debug)]
enum Inner {
    Stdout(BufWriter<io::Stdout>),
    Nowhere(io::Sink),
    File { out: BufWriter<File>, emptied: bool },
}

impl Sink {
    /// Opens it.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn open(to: &ReportTo) -> Result<Self, Error> {
        Ok(Self(match to {
            ReportTo::Stdout => Inner::Stdout(BufWriter::new(io::stdout())),
            ReportTo::Nowhere => Inner::Nowhere(io::sink()),
            ReportTo::File(path) => {
                let file = Self::create(path);
                return file
                    .map(Self::of_file)
                    .map_err(|error| Error::io(format_args!("write {}", path.display()), error));
            }
        }))
    }

    /// Opens or makes a file for a report. Emptied by the first write: until then the run may still be refused, and the old
    /// report stays.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn create(path: &Path) -> io::Result<File> {
        let mut options = File::options();
        options.write(true).create(true).truncate(false).open(path)
    }

    /// A file that is open.
    #[must_use]
    pub fn of_file(file: File) -> Self {
        Self(Inner::File {
            out: BufWriter::new(file),
            emptied: false,
        })
    }

    /// Columns of the terminal; `None` when the report does not go to one.
    #[must_use]
    pub fn width(&self) -> Option<u16> {
        match &self.0 {
            Inner::Stdout(_) if io::stdout().is_terminal() => {
                terminal_size::terminal_size().map(|(width, _)| width.0)
            }
            _ => None,
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Stdout(out) => out.write(bytes),
            Inner::Nowhere(out) => out.write(bytes),
            Inner::File { out, emptied } => {
                if !*emptied {
                    // A device or a pipe has no length to cut.
                    if out.get_ref().metadata()?.is_file() {
                        out.get_ref().set_len(0)?;
                    }
                    *emptied = true;
                }
                out.write(bytes)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Inner::Stdout(out) => out.flush(),
            Inner::Nowhere(out) => out.flush(),
            Inner::File { out, .. } => out.flush(),
        }
    }
}
