//! `--until-eof`: a trace that another program started ends when that one closes its standard input, or is gone.

use std::future::pending;
use std::io::{self, Read, Write};
use std::thread;

use tokio::sync::oneshot;

use super::say;
use crate::error::Error;

/// The end of the standard input.
pub(super) struct Eof(Option<oneshot::Receiver<()>>);

impl Eof {
    /// Waits for it in a thread of its own.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub(super) fn watch(wanted: bool) -> Result<Self, Error> {
        if !wanted {
            return Ok(Self(None));
        }
        let (send, receive) = oneshot::channel();
        let wait = move || {
            if is_read_to_its_end(io::stdin()) {
                // The trace may be over.
                let _ = send.send(());
            } else {
                say!(
                    "tracer: the standard input is not connected: the trace will not end with it (kubectl exec and docker exec need -i)"
                );
            }
        };
        thread::Builder::new()
            .name("stdin".into())
            .spawn(wait)
            .map_err(|error| Error::io("start a thread", error))?;
        Ok(Self(Some(receive)))
    }

    /// Comes with it; never where it says nothing.
    pub(super) async fn comes(&mut self) {
        if let Some(receiver) = &mut self.0 {
            let came = receiver.await;
            self.0 = None;
            if came.is_ok() {
                return;
            }
        }
        pending().await
    }
}

/// Whether there was something before the end: an input that is empty is nobody's.
fn is_read_to_its_end(mut input: impl Read) -> bool {
    let mut bytes = [0; 64];
    let mut connected = false;
    while input.read(&mut bytes).is_ok_and(|got| got > 0) {
        connected = true;
    }
    connected
}

#[cfg(test)]
mod tests {
    use super::is_read_to_its_end;

    #[test]
    fn an_input_without_anything_is_not_connected() {
        assert!(!is_read_to_its_end(&b""[..]));
        assert!(is_read_to_its_end(&b"\n"[..]));
    }
}
