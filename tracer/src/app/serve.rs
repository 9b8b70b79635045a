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

/// Does what a key asked for, and says what came of it.
pub(super) fn serve(
    effect: Effect,
    front: &mut Front<'_>,
    tape: &mut Tape,
    running: Option<(&Live, &Config, &mut Veil)>,
    session: &mut Session,
) {
    let done = match (effect, running) {
        (Effect::Save(path), _) => save(&path, front, tape),
        (Effect::Filter(text), Some((live, config, veil))) => refilter(&text, live, config, veil),
        (Effect::Reset, Some(_)) => {
            session.reset();
            front.look(session);
            Ok("counting from zero".to_owned())
        }
        (Effect::Filter(_) | Effect::Reset, None) => Err(Error::usage(
            "the trace is over: its packets stay as they were",
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
