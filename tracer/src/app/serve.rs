//! What keys request from the rest of the program: saving files, another expression, counting from zero.

use super::display::Display;
use super::kept::KeptInputs;
use super::names::Names;
use super::redaction::RedactionStage;
use super::save::save;
use crate::config::Config;
use crate::error::Error;
use crate::session::Session;
use crate::source::live::Live;
use crate::tui::Effect;

/// What the screen shows.
pub(super) enum Shown<'a> {
    /// A trace of this machine.
    Live {
        live: &'a mut Live,
        config: &'a Config,
        names: Option<&'a Names>,
        redaction: &'a mut RedactionStage,
        session: &'a mut Session,
    },
    /// A trace of several nodes.
    Cluster,
    /// A trace that is over, or a recording.
    Finished,
}

/// Handles the request of a key, and shows the result.
pub(super) fn serve(
    effect: Effect,
    display: &mut Display<'_>,
    kept: &mut KeptInputs,
    shown: Shown<'_>,
) {
    let done = match (effect, shown) {
        (Effect::Save(path), _) => save(&path, display, kept),
        (
            Effect::Filter(text),
            Shown::Live {
                live,
                config,
                names: Some(names),
                redaction,
                ..
            },
        ) => refilter(&text, (live, names), config, redaction),
        (Effect::Reset, Shown::Live { session, .. }) => {
            session.reset();
            display.look(session);
            Ok("counting from zero".to_owned())
        }
        (Effect::Filter(_), Shown::Cluster) => Err(Error::usage(
            "the nodes are tracing already: end this trace and start another",
        )),
        (Effect::Reset, Shown::Cluster) => Err(Error::usage(
            "a trace of several nodes is counted from its start: end this trace and start another",
        )),
        // without a screen nobody types
        (Effect::Filter(_) | Effect::Reset, Shown::Finished)
        | (Effect::Filter(_), Shown::Live { names: None, .. }) => Err(Error::usage(
            "only a running trace on this machine can be filtered or reset",
        )),
        (Effect::Step(_) | Effect::Restart | Effect::Run, _) => Err(Error::usage(
            "only a recording has steps and a start to go back to: save one with a name in .tracer",
        )),
        (Effect::Copy(_) | Effect::Quit, _) => return,
    };
    match done {
        Ok(text) => display.say(&text),
        Err(error) => display.say(&error.one_line()),
    }
}

/// Follows another expression from now on.
fn refilter(
    text: &str,
    (live, names): (&mut Live, &Names),
    config: &Config,
    redaction: &mut RedactionStage,
) -> Result<String, Error> {
    let (compiled, shown) = redaction.compile(text, config.filter.one_way, names)?;
    live.refilter(compiled);
    Ok(format!("following {shown}"))
}
