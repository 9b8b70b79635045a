//! What no other rule explains: the kernel's own words.

use super::super::candidate::{Candidate, Specificity};
use super::super::causes::KERNEL_OTHER;
use super::super::loss::Loss;
use super::super::remedy::{Shell, text};

/// Always proposes, least specific of all.
pub fn kernel(loss: &Loss<'_>) -> Option<Candidate> {
    let function = match loss.function() {
        "" => "an unknown function".to_owned(),
        name => name.to_owned(),
    };
    let reason = match &loss.info.reason {
        Some(name) => name.clone(),
        None => "no reason given".to_owned(),
    };
    let constant = match &loss.info.reason {
        Some(name) => format!(" and SKB_DROP_REASON_{name}"),
        None => String::new(),
    };
    let shell = Shell::of(loss.host, loss.netns());
    Some(
        Candidate::new(
            &KERNEL_OTHER,
            loss.place(None),
            format!(
                "dropped by the kernel in {function} ({reason}){}",
                loss.at_words()
            ),
        )
        .explains(Specificity::Kernel)
        .advise([
            shell.look(
                "counters of the network stack: which rises with each packet?",
                "nstat -az",
            ),
            text(format!(
                "look for {function}{constant} in the kernel's source"
            )),
        ]),
    )
}
