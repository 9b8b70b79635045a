//! Rules that stop a packet for the one of its sender's addresses that it has: with another one they would let it pass.

use crate::host::facts::Question;
use crate::model::Direction;
use crate::network::tunnel;

use super::super::super::candidate::Candidate;
use super::super::super::hooks::Hook;
use super::super::super::loss::Loss;
use super::super::super::other_source::{self, Better};
use super::super::super::stray_source::Stray;
use super::super::super::translation::{self, Departure};
use super::super::super::unruled::Unruled;
use super::source_before::passes;

/// How the sender itself, another namespace, sent the packet; of what was lost in a tunnel, the outer packet.
fn departure(loss: &Loss<'_>) -> Option<Departure> {
    if loss.tunnel().is_some() {
        return tunnelled(loss);
    }
    let left = translation::departure(loss.journey, loss.host)?;
    let elsewhere = loss.netns() != Some(left.device.netns);
    let same = loss.outermost()?.src == left.tuple.src;
    (loss.journey.direction == Direction::Forward && elsewhere && same).then_some(left)
}

/// How the outer packet left the one that has its source, where no device of that one is set to this source.
fn tunnelled(loss: &Loss<'_>) -> Option<Departure> {
    let (host, outer) = (loss.host, loss.outermost()?);
    let mut owners = host.owners(outer.src);
    let device = owners.find(|owner| Some(owner.netns) != loss.netns())?;
    let mut links = host.links();
    let set = links.any(|link| {
        let source = tunnel::local(link);
        tunnel::underlay_netns(link) == device.netns && source == Some(outer.src)
    });
    (!set).then_some(Departure {
        device,
        tuple: outer,
        before: None,
    })
}

/// What to read of a sender that has other addresses.
pub fn questions(loss: &Loss<'_>) -> Vec<Question> {
    let several = |left: &Departure| other_source::others(loss.host, left).next().is_some();
    let left = departure(loss).filter(several);
    let of_others = left.iter().flat_map(other_source::questions);
    let stray = Stray::of_packet(loss).zip(loss.netns());
    let of_stray = stray.map(|(stray, netns)| stray.questions(netns));
    of_stray.into_iter().flatten().chain(of_others).collect()
}

/// Adds that the packet may have been meant for another uplink, by a table to which no policy rule leads, or one that is not
/// asked for it.
fn by_other_table(mut candidate: Candidate, loss: &Loss<'_>) -> Candidate {
    let Some(unruled) = Unruled::of(&loss.view(), loss.journey.direction) else {
        return candidate;
    };
    candidate.summary += &format!("; {}", unruled.words());
    if unruled.is_late() {
        candidate.remedies.splice(0..0, unruled.change());
        return candidate;
    }
    candidate.advise(unruled.change())
}

/// Adds that the packet would pass with another address of its sender, and how the sender is made to use it.
pub(super) fn explain(candidate: Candidate, (loss, hook): (&Loss<'_>, Hook)) -> Candidate {
    let Some(left) = departure(loss) else {
        return by_other_table(candidate, loss);
    };
    // An interface without an address gives none to whoever sends through it.
    let bare = other_source::is_bare(loss.host, &left);
    if let Some(stray) = Stray::of_packet(loss).filter(|_| !bare) {
        let mended = stray.mended(left.tuple);
        let fits =
            mended.is_some_and(|tuple| passes(loss, hook, (tuple.src, tuple.sport)).is_some());
        return match fits {
            true => stray.told(candidate).advise(stray.remedies(true)),
            false => candidate,
        };
    }
    let found = other_source::others(loss.host, &left).find_map(|other| {
        let better = Better::new(loss.host, left, other);
        let by = passes(loss, hook, (other.address, left.tuple.sport))?;
        (!better.leaves_network()).then_some((better, by))
    });
    // A rule against this very address says nothing for another one.
    let found = found.map(|(better, by)| (better, by, better.why()));
    let found = found.filter(|(_, by, why)| !by.is_empty() || why.is_some());
    let Some((better, by, why)) = found else {
        return by_other_table(candidate, loss);
    };
    let sender = loss.host.namespace(left.device.netns);
    let (source, other) = (left.tuple.src, better.address());
    let why = why.map_or_else(String::new, |why| format!("; {why}"));
    let mut candidate = candidate.because(
        "address",
        format!(
            "{sender} sent it from {source}, and has {other} on {} too: with {other} it would pass{by}{why}",
            loss.host.interface(left.device)
        ),
    );
    candidate.summary += &format!("; from {other}, which {sender} has too, it would pass{why}");
    let alone = other_source::is_only_destination(loss.trace, (source, left.tuple.dst));
    let for_one = if alone { better.for_one() } else { None };
    candidate.advise(for_one).advise(better.remedies())
}
