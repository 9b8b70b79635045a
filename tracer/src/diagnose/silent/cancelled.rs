//! A handshake that the one who asked for it does not complete: a reset answers the SYN-ACK.

use crate::model::{Direction, Transport};
use crate::uapi::tcp::{ACK, RST, SYN};
use crate::verdict::{Confidence, Outcome};

use super::super::candidate::Candidate;
use super::super::causes::SOCKET_NONE;
use super::super::recovered::first_packet;
use super::super::remedy::text;
use super::super::view::View;
use super::super::words;
use super::{Counts, Silence, place_of};

/// Seen from where the asker is not: why its machine refused the answer is told there.
pub(super) fn cancelled(view: &View<'_>, counts: &Counts) -> Option<Silence> {
    let tuple = view.tuple()?;
    if counts.reply.left == 0 || view.lost_observations() > 0 {
        return None;
    }
    let flags = |direction| {
        let packets = view.journeys(direction).filter_map(first_packet);
        packets.filter_map(|packet| match packet.transport {
            Transport::Tcp { flags, .. } => Some(flags & (SYN | ACK | RST)),
            _ => None,
        })
    };
    let accepted = flags(Direction::Reply).any(|flags| flags == SYN | ACK);
    let resets = flags(Direction::Forward)
        .filter(|flags| flags & RST != 0)
        .count();
    let asked = flags(Direction::Forward).any(|flags| flags == SYN);
    let completed = flags(Direction::Forward).any(|flags| flags == ACK);
    if !accepted || resets == 0 || !asked || completed {
        return None;
    }
    let last = view.journeys(Direction::Reply).next_back()?.steps.last();
    let place = place_of(view.host, last.map(|step| &step.event), "device");
    let summary = format!(
        "{} accepted the connection, and {} reset it in answer, before it was established",
        words::destination(&tuple),
        tuple.src
    );
    let candidate = Candidate::new(&SOCKET_NONE, place, summary)
        .leads_to(Outcome::Rejected)
        .sure(Confidence::Likely)
        .because(
            "tcp",
            "no segment completed the handshake: at the asker nothing waits for this answer, as where it comes from another address or port than was asked, or a firewall there refuses it; a scan or a check of the port alone does the same on purpose".to_owned(),
        )
        .advise([text(format!(
            "trace on the machine that has {}: what does it do with the SYN-ACK?",
            tuple.src
        ))]);
    Some(Silence {
        candidate,
        direction: Direction::Reply,
        affected: resets as u64,
        cause_known: true,
    })
}
