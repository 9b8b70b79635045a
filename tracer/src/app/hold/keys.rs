//! Keys of a terminal, one at a time: `s` saves. Ctrl-C stays what it is.

use std::io::{self, IsTerminal, Read};
use std::thread;

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};
use tokio::sync::mpsc;

use crate::error::Error;
use crate::restrict::{Role, restrict};

/// A terminal that gives keys as they are typed. It is as before when this is dropped.
pub(super) struct Keys {
    before: Option<Termios>,
    typed: mpsc::Receiver<u8>,
}

impl Keys {
    /// Listens, where the standard input is a terminal and this process is in its foreground: one in the background would be
    /// stopped by reading.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub(super) fn listen() -> Result<Self, Error> {
        let (send, typed) = mpsc::channel(8);
        let input = io::stdin();
        let foreground = input.is_terminal() && tcgetpgrp(&input).is_ok_and(|it| it == getpgrp());
        let before = foreground.then(|| tcgetattr(&input).ok()).flatten();
        let Some(before) = before else {
            return Ok(Self {
                before: None,
                typed,
            });
        };
        let mut keys = before.clone();
        keys.local_flags
            .remove(LocalFlags::ICANON | LocalFlags::ECHO);
        // Else a key counts when a line is ended.
        let _ = tcsetattr(&input, SetArg::TCSANOW, &keys);
        let listen = move || {
            restrict(Role::Work);
            let (mut input, mut key) = (io::stdin(), [0]);
            while let Ok(1..) = input.read(&mut key) {
                let [key] = key;
                if send.blocking_send(key).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new()
            .name("keys".to_owned())
            .spawn(listen)
            .map_err(Error::no_thread)?;
        Ok(Self {
            before: Some(before),
            typed,
        })
    }

    /// Whether there are any.
    pub(super) fn are_there(&self) -> bool {
        self.before.is_some()
    }

    /// Waits until a save is asked for.
    pub(super) async fn save(&mut self) {
        loop {
            match self.typed.recv().await {
                Some(b's' | b'S') => return,
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // A terminal that is gone needs nothing.
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, before);
        }
    }
}
