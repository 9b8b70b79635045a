//! Running `tracer doctor`: a short trace of packets of our own.

use std::io::{self, Write as _};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{print, runtime};
use crate::config::Config;
use crate::doctor::sample::{DATAGRAMS, Sample};
use crate::doctor::{Examination, Hindrance, SampleState};
use crate::error::{Error, ExitStatus};
use crate::host::name_sources;
use crate::kernel::preflight::Conditions;
use crate::model::Fate;
use crate::session::Session;
use crate::source::live::{Live, Message};
use crate::source::{EndReason, Input};

/// From the last datagram until the trace ends.
const SETTLE: Duration = Duration::from_millis(700);

/// Finds out whether a trace works here, and prints that. `config` follows the packets of the sample.
///
/// # Errors
/// When the standard output cannot be written.
pub fn doctor(config: &Config, json: bool) -> Result<ExitStatus, Error> {
    let conditions = Conditions::read(config.btf.is_some());
    let problems = conditions.problems();
    let names = name_sources(config.names.clone());
    let mut found = Examination::before(&conditions, &problems, &names, config.budget);
    if problems.is_empty() {
        let traced = runtime()?.block_on(trace(config, &mut found));
        if let Err(error) = traced {
            found.problems.push(Hindrance {
                what: error.message().to_owned(),
                hints: error.hints().to_vec(),
            });
        }
        found.works = found.problems.is_empty() && found.scope.is_some();
    }
    print(|out| {
        if json {
            serde_json::to_writer_pretty(&mut *out, &found).map_err(io::Error::from)?;
            out.write_all(b"\n")
        } else {
            out.write_all(found.text().as_bytes())
        }
    })?;
    Ok(match found.works {
        true => ExitStatus::Done,
        false => ExitStatus::Unsupported,
    })
}

async fn trace(config: &Config, found: &mut Examination) -> Result<(), Error> {
    let mut sample = Sample::begin();
    let mut live = Live::start(config).await?;
    let ready = live.ready();
    let sent = match &mut sample {
        Ok(sample) => sample.send().map_err(|error| error.to_string()),
        Err(error) => Err(format!("no network namespace of its own: {error}")),
    };
    let mut session = Session::default();
    let end = Instant::now() + SETTLE;
    let mut stopped = false;
    loop {
        let message = tokio::select! {
            () = sleep_until(end), if !stopped => {
                live.stop();
                stopped = true;
                continue;
            }
            message = live.recv() => message?,
        };
        match message {
            Message::Input(input) => {
                session.input(&input);
            }
            Message::Drained => break,
            Message::Answered | Message::Failed(_) => {}
        }
    }
    session.input(&Input::End(session.trace().now, EndReason::Asked));
    let took = u64::try_from(ready.took.as_millis()).unwrap_or(u64::MAX);
    let namespaces = u32::try_from(ready.namespaces).unwrap_or(u32::MAX);
    found.traced(session.host(), (namespaces, took));
    found.sample = judged(&session, sent);
    Ok(())
}

fn judged(session: &Session, sent: Result<usize, String>) -> SampleState {
    let journeys = session.trace().journeys.values();
    let arrived = journeys.filter(|j| j.fate == Fate::Delivered).count();
    let (state, detail) = match sent {
        Err(why) => ("not sent", why),
        Ok(came) if arrived >= came && came == DATAGRAMS => (
            "followed",
            format!(
                "{came} datagrams sent in a network namespace of its own, and followed to their socket"
            ),
        ),
        Ok(came) => (
            "not followed",
            format!(
                "{DATAGRAMS} datagrams sent in a network namespace of its own, {came} came to their socket, {arrived} were seen there"
            ),
        ),
    };
    SampleState {
        state: state.to_owned(),
        detail,
    }
}
