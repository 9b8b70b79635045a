//! A question for a neighbour, or its answer, that a VXLAN device does not take as it is set: the far one wants checksums that
//! this one does not send, or the forwarding database has the MAC of who answers as a static entry at another end.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{Link, Question};
use crate::model::{Device, Mac};
use crate::network::segment::{Crossed, Segment};
use crate::uapi::neighbour::{NUD_NOARP, NUD_PERMANENT};
use crate::verdict::Confidence;

use super::super::super::candidate::{Candidate, Specificity, place_at};
use super::super::super::causes::NEIGHBOR_UNRESOLVED;
use super::super::super::layer2_commands::fdb_of_tunnel;
use super::super::super::overlay;
use super::super::super::remedy::Shell;
use super::super::super::words;
use super::super::checksum;
use super::{Unresolved, question_words, summary};

/// The owner of the address, with the last tunnel on the way there.
fn behind(host: &Host, who: Unresolved) -> Option<(&Link, Crossed<'_>)> {
    let segment = Segment::of_broadcast(host, host.link(who.device)?);
    let owns = |link: &Link| host.is_local(link.device.netns, who.address);
    let mut ends = segment.ends.into_iter().filter(|end| end.stop.is_none());
    ends.find_map(|end| {
        let crossed = end.tunnel.filter(|_| owns(end.link))?;
        crossed.from.vxlan.as_ref()?;
        Some((end.link, crossed))
    })
}

/// What to read of the device that should take the answer.
pub(super) fn questions(host: &Host, who: Unresolved) -> Option<Question> {
    let (owner, crossed) = behind(host, who)?;
    let (device, mac) = (crossed.from.device, owner.mac?);
    Some(Question::Forwarding { device, mac })
}

/// The end at which a static entry has a MAC, where its frames come from another one: they are freed and the entry stays
/// (`vxlan_snoop`, drivers/net/vxlan/vxlan_core.c; it is asked where the device learns).
fn held(host: &Host, device: Device, mac: Mac, from: IpAddr) -> Option<IpAddr> {
    let learns = host.link(device)?.vxlan.as_ref()?.learning;
    let answer = host.forwarding(device, mac).filter(|_| learns)?;
    let mut entries = answer.entries.iter().filter(|entry| !entry.default);
    let entry = entries.find(|entry| entry.state & (NUD_PERMANENT | NUD_NOARP) != 0)?;
    entry.remote.filter(|remote| *remote != from)
}

/// What the story is.
pub(super) fn refused(host: &Host, who: Unresolved) -> Option<Candidate> {
    let (owner, Crossed { from, to, remote }) = behind(host, who)?;
    let question = question_words(who.address);
    for (sends, takes, what) in [(from, to, "the"), (to, from, "the answer to the")] {
        if let Some(candidate) = checksum::unfit(host, (sends, takes), remote.address) {
            let mut candidate = candidate.sure(Confidence::Likely);
            let about = format!("{}; {what} {question} for it: ", summary(host, who));
            candidate.summary.insert_str(0, &about);
            return Some(candidate);
        }
    }
    let mac = owner.mac?;
    let end = overlay::end_of(host, to, from.device.netns).unwrap_or(remote.address);
    let wrong = held(host, from.device, mac, end)?;
    let [tunnel, has] = [from.device, owner.device].map(|device| words::interface(host, device));
    let shell = Shell::of(host, Some(from.device.netns));
    Some(
        Candidate::new(
            &NEIGHBOR_UNRESOLVED,
            place_at(host, who.device, super::HOOK),
            format!(
                "{}: {tunnel} has a static entry of {mac} ({has}) at {wrong}, and takes nothing of that MAC from {end}, where it is",
                summary(host, who)
            ),
        )
        .explains(Specificity::Linked)
        .sure(Confidence::Likely)
        .because("link", format!("{} belongs to {has}, behind {tunnel}", who.address))
        .because("fdb", format!("{tunnel} sends frames for {mac} to {wrong}"))
        .advise([shell.look(
            "look first: to which end the tunnel sends that MAC",
            fdb_of_tunnel(&from.name, mac),
        )])
        .advise([overlay::corrected(host, from.device, mac, (wrong, end))]),
    )
}
