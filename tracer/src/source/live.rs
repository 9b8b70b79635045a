//! The running machine as a source of inputs: kernel probes, host facts, and answers to questions.
//!
//! Three threads serve one bounded channel. The *reader* passes records on from the ring buffer; the *watcher* waits for
//! netlink; the *control* thread owns the probes and handles: it attaches to what appears, answers questions, reads
//! counters, and tells the time. When the loop behind the channel is late, the ring buffer fills up and loses, where it is
//! counted.

mod control;
mod cost;
mod filters;
mod forward;
mod scope;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracer_common::filter::MAX_CLAUSES;

use crate::config::Config;
use crate::error::Error;
use crate::filter::Compiled;
use crate::host::facts::Question;
use crate::model::{KtimeNs, Tuple};
use crate::source::Input;
use control::{Command, Control};

/// Inputs that wait for the loop. At a budget of 20 000 events a second this is a fifth of a second; what is beyond
/// waits in the ring buffer.
const CHANNEL: usize = 4096;

/// What the threads send.
#[derive(Debug)]
pub enum Message {
    /// An input of the trace.
    Input(Input),
    /// All questions of one [`Live::ask`] are answered; the answers came before.
    Answered,
    /// After [`Live::stop`]: no more records or counters will come.
    Drained,
    /// A thread cannot go on.
    Failed(Error),
}

/// What is in place when a trace begins.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// Programs attached to tracepoints.
    pub tracepoints: usize,
    /// Interfaces watched.
    pub interfaces: usize,
    /// Network namespaces found.
    pub namespaces: usize,
    /// From the start of the process's work to the last attachment.
    pub took: Duration,
}

/// Whether counters are on their way, until they have been taken in. Meanwhile no others are sent: those of a thousand flows
/// take megabytes, and the next ones say what these say.
#[derive(Clone, Debug, Default)]
struct Waiting(Arc<AtomicBool>);

impl Waiting {
    fn set(&self, waiting: bool) {
        self.0.store(waiting, Ordering::Release);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A running trace's source.
#[derive(Debug)]
pub struct Live {
    /// What was known when the probes were in place; comes before everything else.
    opening: VecDeque<Input>,
    messages: mpsc::Receiver<Message>,
    commands: std_mpsc::Sender<Command>,
    control: Option<thread::JoinHandle<()>>,
    ready: Ready,
    /// Questions that were asked together and not answered yet.
    pending: usize,
    /// Clauses of the expression, and of what is followed beside it.
    clauses: (usize, usize),
    counters: Waiting,
    /// The last message was counters.
    took_counters: bool,
}

impl Live {
    /// Loads and attaches everything; ready when every probe is in place. Who no longer waits for that may end the process:
    /// what is in place by then goes with it.
    ///
    /// # Errors
    /// When rights or kernel support are missing, or a namespace or interface that was named does not exist.
    pub async fn start(config: &Config) -> Result<Self, Error> {
        let began = Instant::now();
        let (send, messages) = mpsc::channel(CHANNEL);
        let (commands, receive) = std_mpsc::channel();
        let (started, outcome) = oneshot::channel();
        let clauses = (config.filter.clauses.len(), 0);
        let (config, to_self) = (config.clone(), commands.clone());
        let counters = Waiting::default();
        let waiting = counters.clone();
        // Namespaces are entered by this thread alone: the process's other threads stay where they are.
        let control = thread::Builder::new()
            .name(control::THREAD.into())
            .spawn(
                move || match Control::start(&config, send, to_self, waiting) {
                    Ok((control, ready, opening)) => {
                        // The receiver waits below.
                        let _ = started.send(Ok((ready, opening)));
                        control.run(&receive);
                    }
                    Err(error) => {
                        let _ = started.send(Err(error));
                    }
                },
            )
            .map_err(Error::no_thread)?;
        let (mut ready, opening) = outcome
            .await
            .map_err(|_| Error::runtime("the control thread ended before it was ready"))??;
        ready.took = began.elapsed();
        Ok(Self {
            opening: opening.into(),
            messages,
            commands,
            control: Some(control),
            ready,
            pending: 0,
            clauses,
            counters,
            took_counters: false,
        })
    }

    /// What is in place.
    #[must_use]
    pub fn ready(&self) -> Ready {
        self.ready
    }

    /// The next message.
    ///
    /// # Errors
    /// When a thread cannot go on.
    pub async fn recv(&mut self) -> Result<Message, Error> {
        if std::mem::take(&mut self.took_counters) {
            self.counters.set(false);
        }
        if let Some(input) = self.opening.pop_front() {
            return Ok(Message::Input(input));
        }
        match self.messages.recv().await {
            Some(Message::Failed(error)) => Err(error),
            Some(message) => {
                self.settle(&message);
                Ok(message)
            }
            None => Err(Error::runtime("the source ended by itself")),
        }
    }

    /// Asks for host state; the answers come as inputs.
    pub fn ask(&mut self, questions: Vec<Question>) {
        if !questions.is_empty() {
            self.pending += 1;
            // Without a control thread `recv` fails, which says it better.
            let _ = self.commands.send(Command::Ask(questions));
        }
    }

    /// Follows another expression from now on; the run's fact comes again, with it.
    pub fn refilter(&mut self, filter: Compiled) {
        self.clauses = (filter.clauses.len(), 0);
        // Without a control thread `recv` fails, which says it better.
        let _ = self.commands.send(Command::Refilter(Box::new(filter)));
    }

    /// Follows the same expression from now on, of which names have come to stand for more; the run's fact comes again.
    pub fn grow(&mut self, filter: Compiled) {
        self.clauses.0 = filter.clauses.len();
        // Without a control thread `recv` fails, which says it better.
        let _ = self.commands.send(Command::Grow(Box::new(filter)));
    }

    /// Tells that packets of the flows have these tuples too, for what cannot follow them by itself (`--rules`).
    pub fn learned(&self, tuples: Vec<Tuple>) {
        if !tuples.is_empty() {
            // Without a control thread `recv` fails, which says it better.
            let _ = self.commands.send(Command::Learned(tuples));
        }
    }

    /// Follows this too, from now on, as what belongs to packets that are asked for; the run's fact comes again, with it.
    ///
    /// # Errors
    /// When the kernel's filter has no room for it.
    pub fn also(&mut self, filter: Compiled) -> Result<(), Error> {
        let (asked, beside) = self.clauses;
        if asked + beside + filter.clauses.len() > MAX_CLAUSES {
            return Err(Error::runtime(format!(
                "`{}` is not followed: the filter in the kernel holds {MAX_CLAUSES} clauses",
                filter.expression
            )));
        }
        self.clauses.1 += filter.clauses.len();
        // Without a control thread `recv` fails, which says it better.
        let _ = self.commands.send(Command::Also(Box::new(filter)));
        Ok(())
    }

    /// Gives up counters of what has been idle since then, so that there is room for others.
    pub fn forget_counters(&self, idle_since: KtimeNs) {
        // Without a control thread `recv` fails, which says it better.
        let _ = self.commands.send(Command::Forget(idle_since));
    }

    /// Whether answers are still to come.
    #[must_use]
    pub fn owes_answers(&self) -> bool {
        self.pending > 0
    }

    fn settle(&mut self, message: &Message) {
        match message {
            Message::Answered => self.pending = self.pending.saturating_sub(1),
            Message::Input(Input::Counters(..)) => self.took_counters = true,
            _ => {}
        }
    }

    /// Stops matching and drains what was matched; ends with [`Message::Drained`].
    pub fn stop(&self) {
        let _ = self.commands.send(Command::Stop);
    }

    /// After `Drained`: asks, and waits for these answers and all that are still to come, at most `limit`.
    pub async fn ask_and_wait(&mut self, questions: Vec<Question>, limit: Duration) -> Vec<Input> {
        self.ask(questions);
        let mut inputs = Vec::new();
        let _ = timeout(limit, async {
            while self.owes_answers()
                && let Some(message) = self.messages.recv().await
            {
                self.settle(&message);
                if let Message::Input(input) = message {
                    inputs.push(input);
                }
            }
        })
        .await;
        inputs
    }
}

impl Drop for Live {
    /// Takes the probes out, and waits until they are.
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Quit);
        // A control thread that waits for room in the channel must not wait for ever.
        self.messages.close();
        if let Some(control) = self.control.take() {
            let _ = control.join();
        }
    }
}
