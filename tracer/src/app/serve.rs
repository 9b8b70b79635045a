//! What keys ask of the program beside the screen: files to save, another expression, counting from zero.

use super::front::Front;
use super::save::save;
use super::tape::Tape;
use super::veil::Veil;
use crate::config::Config;
use crate::error::Error;
use crate::session::Session;
use crate::source::live::Live;
use crate::tui::Effect;

/// What is behind the screen.
pub(super) enum Behind<'a> {
    /// A trace of this machine.
    Live {
        live: &'a Live,
        config: &'a Config,
        veil: &'a mut Veil,
        session: &'a mut Session,
    },
    /// A trace of several nodes.
    Cluster,
    /// A trace that is over, or a recording.
    Past,
}

/// Does what a key asked for, and says what came of it.
pub(super) fn serve(effect: Effect, front: &mut Front<'_>, tape: &mut Tape, behind: Behind<'_>) {
    let done = match (effect, behind) {
        (Effect::Save(path), _) => save(&path, front, tape),
        (
            Effect::Filter(text),
            Behind::Live {
                live, config, veil, ..
            },
        ) => refilter(&text, live, config, veil),
        (Effect::Reset, Behind::Live { session, .. }) => {
            session.reset();
            front.look(session);
            Ok("counting from zero".to_owned())
        }
        (Effect::Filter(_), Behind::Cluster) => Err(Error::usage(
            "the nodes have been told what to trace: end this and begin again",
        )),
        (Effect::Reset, Behind::Cluster) => Err(Error::usage(
            "a trace of several nodes is counted from its start: end this and begin again",
        )),
        (Effect::Filter(_) | Effect::Reset, Behind::Past) => Err(Error::usage(
            "only a trace that runs here is filtered or counted anew: these packets stay as they were",
        )),
        (Effect::Step(_) | Effect::Restart | Effect::Run, _) => Err(Error::usage(
            "only a recording has steps and a start to go back to: save one with a name in .tracer",
        )),
        (Effect::Copy(_) | Effect::Quit, _) => return,
    };
    match done {
        Ok(text) => front.say(&text),
        Err(error) => front.say(&error.one_line()),
    }
}

/// Follows another expression from now on.
fn refilter(text: &str, live: &Live, config: &Config, veil: &mut Veil) -> Result<String, Error> {
    let (compiled, shown) = veil.compile(text, config.filter.one_way)?;
    live.refilter(compiled);
    Ok(format!("following {shown}"))
}
