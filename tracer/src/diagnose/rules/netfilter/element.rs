//! Verdicts that stand in an element of a map: the change is about that element, and not about the rule that looks all
//! packets up in the map.

use crate::host::element_words;
use crate::host::facts::{BaseChain, Element, FilterRule};

use super::super::super::hooks::Hook;
use super::super::super::loss::Loss;
use super::super::super::owners;
use super::super::super::remedy::{Remedy, Shell, command};
use super::super::super::translator;

/// What is to be said of an element.
pub(super) struct Change {
    /// For the summary.
    pub summary: String,
    pub remedies: Vec<Remedy>,
}

/// The change to an element of a map that gave the verdict. `None` where the map belongs to its rule alone: its elements
/// cannot be changed.
pub(super) fn change(
    loss: &Loss<'_>,
    (hook, chain, rule): (Hook, &BaseChain, &FilterRule),
    (map, element): &(String, Element),
    shell: &Shell,
) -> Option<Change> {
    if map.starts_with("__") {
        return None;
    }
    let (key, leads) = element_words(element);
    let comment = element.comment.as_ref();
    let told = comment.map_or_else(String::new, |c| format!(" (comment \"{c}\")"));
    let leads = leads.unwrap_or_default();
    let place = [&chain.family, &chain.table, map];
    let look = shell.look(
        format!("the element of map {map} that says so"),
        command!["nft get element", ..place, format!("{{ {key} }}")],
    );
    let summary = format!("; its element in map {map} says {leads}: {key}{told}");
    let mut remedies = vec![look];
    let owner = owners::words(chain, Some(rule));
    // What is for a service without an endpoint is not helped by letting it pass.
    let useless = owner.is_some() && hook.chain_hook != "INPUT" && goes_nowhere(loss);
    if !useless {
        let whole = match comment {
            Some(comment) => format!("{{ {key} comment \"{comment}\" : {leads} }}"),
            None => format!("{{ {key} : {leads} }}"),
        };
        remedies.push(
            shell
                .change(
                    "take the element out of the map",
                    command!["nft delete element", ..place, format!("{{ {key} }}")],
                )
                .undone_by(command!["nft add element", ..place, whole])
                .scope("this opens the firewall for all that the element stands for".to_owned())
                .owner(owner),
        );
    }
    Some(Change { summary, remedies })
}

/// Nobody has the destination, and no rule translates it.
fn goes_nowhere(loss: &Loss<'_>) -> bool {
    let (Some(netns), Some(dst)) = (loss.netns(), loss.dst()) else {
        return false;
    };
    let nobody = loss.host.owners(dst).next().is_none();
    nobody && translator::no_rule(loss.host, loss.journey, netns) == Some(true)
}
