//! Reads a recording.

use std::io::Read;

use super::block::{BlockReader, Next};
use super::frame::{self, NoInput};
use super::{HEADER_SIZE, RecordingError, check_header};
use crate::model::KtimeNs;
use crate::source::Input;

/// How a recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With [`Input::End`], as its writer meant it.
    Whole,
    /// Without: the writer was killed, or the file was cut. What stands before `offset` was read.
    Cut {
        /// Where the last whole block ends.
        offset: u64,
    },
}

/// Reads inputs one by one. The last is always [`Input::End`], unless an error came first; where the file has
/// none, the reader adds one ([`crate::source::EndReason::EndOfFile`]) and [`Reader::ending`] says so.
pub struct Reader<R: Read> {
    from: R,
    blocks: BlockReader,
    block: Vec<u8>,
    used: usize,
    last: KtimeNs,
    ending: Option<Ending>,
    unknown: u64,
    done: bool,
}

impl<R: Read> Reader<R> {
    /// Begins to read; checks the header. A buffered reader is not needed.
    ///
    /// # Errors
    /// What is not a recording that this version can read.
    pub fn new(mut from: R) -> Result<Self, RecordingError> {
        let mut found = Vec::with_capacity(HEADER_SIZE);
        from.by_ref()
            .take(HEADER_SIZE as u64)
            .read_to_end(&mut found)?;
        check_header(&found)?;
        Ok(Self {
            from,
            blocks: BlockReader::new(HEADER_SIZE as u64),
            block: Vec::new(),
            used: 0,
            last: KtimeNs(0),
            ending: None,
            unknown: 0,
            done: false,
        })
    }

    /// How the recording ended, once all inputs were read.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// Inputs of a kind that this version does not know, left out.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    /// The next input or error; `Ok(None)` where the file ends.
    fn advance(&mut self) -> Result<Option<Input>, RecordingError> {
        loop {
            let mut rest = self.block.get(self.used..).unwrap_or_default();
            let decoded = frame::decode(&mut rest);
            self.used = self.block.len() - rest.len();
            match decoded {
                Some(Ok(input)) => return Ok(Some(input)),
                Some(Err(NoInput::Unknown)) => self.unknown += 1,
                Some(Err(NoInput::Bad(what))) => return Err(self.damaged(what)),
                None => match self.blocks.read(&mut self.from, &mut self.block)? {
                    Next::Block => self.used = 0,
                    Next::End | Next::Cut => return Ok(None),
                    Next::Damaged(what) => return Err(self.damaged(what)),
                },
            }
        }
    }

    fn damaged(&self, what: &'static str) -> RecordingError {
        RecordingError::Damaged {
            offset: self.blocks.offset(),
            what,
        }
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Input, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        match self.advance() {
            Ok(Some(input)) => {
                if let Some(at) = input.at() {
                    self.last = self.last.max(at);
                }
                if frame::is_end(&input) {
                    self.ending = Some(Ending::Whole);
                    self.done = true;
                }
                Some(Ok(input))
            }
            Ok(None) => {
                self.ending = Some(Ending::Cut {
                    offset: self.blocks.offset(),
                });
                self.done = true;
                Some(Ok(frame::end_of_file(self.last)))
            }
            Err(error) => {
                self.done = true;
                Some(Err(error))
            }
        }
    }
}
