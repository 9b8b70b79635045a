//! Names in an expression that is typed while the trace runs. They are looked up on a thread of its own, which may look into
//! the machine: the one that draws may not.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::config::Config;
use crate::error::Error;
use crate::filter::{Directory, End, Named, Unknown};
use crate::inventory::Machine;
use crate::restrict::{Role, restrict};

/// A name, and who waits for its ends.
type Question = (Named, String, SyncSender<Result<Vec<End>, Unknown>>);

/// Asks the thread.
#[derive(Debug)]
pub(super) struct Names(SyncSender<Question>);

impl Names {
    /// Starts the thread. It ends with the last of those who can ask it.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub(super) fn start(config: &Config) -> Result<Self, Error> {
        let (to, questions) = sync_channel(0);
        let machine = Machine {
            names: config.names.clone(),
        };
        thread::Builder::new()
            .name("tracer-names".to_owned())
            .spawn(move || answer(&machine, &questions))
            .map_err(Error::no_thread)?;
        Ok(Self(to))
    }
}

fn answer(machine: &Machine, questions: &Receiver<Question>) {
    // What cannot be had is said of the thread that draws.
    restrict(Role::Machine);
    while let Ok((named, name, to)) = questions.recv() {
        // Who asked may be gone.
        let _ = to.send(machine.find(named, &name));
    }
}

impl Directory for Names {
    fn find(&self, named: Named, name: &str) -> Result<Vec<End>, Unknown> {
        let (to, answer) = sync_channel(1);
        let asked = self.0.send((named, name.to_owned(), to));
        let answered = asked.ok().and_then(|()| answer.recv().ok());
        answered.unwrap_or_else(|| {
            Err(Unknown {
                message: format!("`{} {name}` cannot be looked up any more", named.word()),
                hint: "give the address: `host ADDRESS`".to_owned(),
            })
        })
    }
}
