//! A recording that comes while it is read: a thread of its own waits for it.

use std::io::{self, Read};
use std::sync::{Arc, OnceLock};
use std::thread;

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{self, Receiver};

use super::{Ending, Reader, RecordingError};
use crate::source::Input;

/// Inputs that wait to be taken; the rest waits in the pipe.
const CHANNEL: usize = 4096;

/// What comes, as it comes.
#[derive(Debug)]
pub struct Feed {
    inputs: Receiver<Result<Input, RecordingError>>,
    ending: Arc<OnceLock<Ending>>,
}

impl Feed {
    /// Begins to wait.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub fn new(mut reader: Reader<impl Read + Send + 'static>) -> io::Result<Self> {
        let (send, inputs) = mpsc::channel(CHANNEL);
        let ending: Arc<OnceLock<Ending>> = Arc::default();
        let known = Arc::clone(&ending);
        let read = move || {
            while let Some(input) = reader.next() {
                if let Some(how) = reader.ending() {
                    // the end comes once
                    let _ = known.set(how);
                }
                if send.blocking_send(input).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("feed".into()).spawn(read)?;
        Ok(Self { inputs, ending })
    }

    /// The next input, if it is there.
    ///
    /// # Errors
    /// That there is nothing yet, or that nothing comes any more.
    pub fn try_next(&mut self) -> Result<Result<Input, RecordingError>, TryRecvError> {
        self.inputs.try_recv()
    }

    /// The next input; `None` when it is over.
    pub async fn next(&mut self) -> Option<Result<Input, RecordingError>> {
        self.inputs.recv().await
    }

    /// How the recording ended, once its end was read.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        self.ending.get().copied()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::model::KtimeNs;
    use crate::source::EndReason;
    use crate::source::recording::Writer;

    #[test]
    fn what_has_come_is_there_and_what_has_not_is_waited_for() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let (to, from) = UnixStream::pair().unwrap();
        let mut writer = Writer::new(to).unwrap();
        writer.write(&Input::Tick(KtimeNs(1))).unwrap();
        writer.flush().unwrap();
        let mut feed = Feed::new(Reader::new(from).unwrap()).unwrap();
        let first = runtime.block_on(feed.next()).unwrap().unwrap();
        assert_eq!(first, Input::Tick(KtimeNs(1)));
        assert!(matches!(feed.try_next(), Err(TryRecvError::Empty)));
        // its writer is killed
        drop(writer);
        let last = runtime.block_on(feed.next()).unwrap().unwrap();
        assert_eq!(last, Input::End(KtimeNs(1), EndReason::EndOfFile));
        assert!(matches!(feed.ending(), Some(Ending::Cut { .. })));
        assert!(runtime.block_on(feed.next()).is_none());
    }
}
