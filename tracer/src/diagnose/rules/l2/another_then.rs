//! An interface that had another MAC when it discarded the frame, and now has the one that the frame is for.

use crate::host::Host;
use crate::host::changes::{Changed, LinkState};
use crate::model::{Device, KtimeNs, Mac};

use super::super::super::candidate::{Candidate, Specificity, place_at};
use super::super::super::causes::L2_WRONG_MAC;
use super::super::super::loss::Loss;
use super::super::super::remedy::{Shell, command, text};
use super::super::super::words;
use super::frame;
use crate::verdict::Place;

/// The story, where the MAC of the interface was changed back since.
pub(super) fn than_now(loss: &Loss<'_>) -> Option<Candidate> {
    let host = loss.host;
    let here = loss.device()?;
    let carries = frame(loss)?.dst;
    let had = mac_at(host, here, loss.event.at).filter(|had| *had != carries)?;
    host.link(here).filter(|link| link.mac == Some(carries))?;
    let place = Place {
        function: loss.info.function.clone(),
        ..place_at(host, here, "device")
    };
    let (there, name) = (words::interface(host, here), host.interface(here));
    let summary = format!(
        "wrong destination MAC (OTHERHOST) on {} at {name}: the frame is for {carries}, the interface had {had} then",
        host.namespace(here.netns)
    );
    let look = Shell::of(host, Some(here.netns)).look(
        "whether it changes again",
        command!["ip monitor link dev", name],
    );
    Some(
        Candidate::new(&L2_WRONG_MAC, place, summary)
            .explains(Specificity::Linked)
            .because(
                "link",
                format!("{there} has {carries} now: its MAC was changed from {had} since"),
            )
            .advise([look])
            .advise([text(format!(
                "find out which program or person changes the MAC of {there}"
            ))]),
    )
}

/// The MAC of an interface at a time: what the first change after it says that it was before.
fn mac_at(host: &Host, device: Device, at: KtimeNs) -> Option<Mac> {
    let mut changes = host.changes.iter().filter(|change| change.at >= at);
    changes.find_map(|change| match &change.what {
        Changed::LinkState(of, LinkState::Mac(before, _)) if *of == device => *before,
        _ => None,
    })
}
