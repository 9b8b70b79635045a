//! Segments of a connection that conntrack knows and that lie outside of the window which it expects: they are INVALID
//! (tcp_in_window, net/netfilter/nf_conntrack_proto_tcp.c), and what is INVALID is not translated.

use crate::model::{Journey, KtimeNs, NetNs, Proto, Sending, Transport};

use super::super::chain_commands;
use super::super::loss::Loss;
use super::super::nat_commands::translators;
use super::super::remedy::{Remedy, Shell, command};
use super::super::translation::{self, Change};

/// Further from what was acknowledged than any window without scaling reaches: a number within may be right.
const FAR: u32 = 1 << 20;

/// What is wrong with the numbers of a segment, in words; `None` where they may be right.
#[must_use]
pub fn outside(loss: &Loss<'_>) -> Option<String> {
    let packet = loss.event.packet.as_ref()?;
    let Transport::Tcp { seq, ack, .. } = packet.transport else {
        return None;
    };
    let own = loss.journey.direction;
    let back = own.opposite()?;
    let acked = |direction| {
        loss.flow
            .sending
            .get(&direction)
            .and_then(|s: &Sending| s.acked)
    };
    let apart = |number: u32, known: u32| {
        let ahead = number.wrapping_sub(known);
        ahead.min(known.wrapping_sub(number))
    };
    let far = |what: &str, number: u32, known: Option<u32>| {
        let apart = apart(number, known?);
        (apart > FAR).then(|| {
            format!("its {what} is {apart} bytes away from what the connection has come to")
        })
    };
    far("sequence number", seq, acked(own))
        .or_else(|| far("acknowledgement number", ack, acked(back)))
}

/// Whether packets of the connection that went the same way were translated in a namespace before a moment, and since: rules without
/// connections may translate one way alone.
fn translated(loss: &Loss<'_>, netns: NetNs, moment: KtimeNs) -> (bool, bool) {
    let at = |journey: &&Journey| journey.steps.first().map(|s| s.event.at);
    let list: Vec<KtimeNs> = loss
        .journeys(loss.journey.direction)
        .filter(|j| translation::changes(j).any(|c| c.netns == netns))
        .filter_map(|j| at(&j))
        .collect();
    (
        list.iter().any(|at| *at < moment),
        list.iter().any(|at| *at > moment),
    )
}

/// Why a translator passed a segment on as it was, although it still knows the connection: in words, with what to do.
/// `None` where its entry may be lost.
#[must_use]
pub fn untranslated(loss: &Loss<'_>, change: &Change) -> Option<(String, Vec<Remedy>)> {
    // Other protocols know no window.
    if loss.tuple()?.proto != Proto::Tcp {
        return None;
    }
    let begun = loss.journey.steps.first()?.event.at;
    let (before, since) = translated(loss, change.netns, begun);
    let numbers = outside(loss);
    if !before || !since && numbers.is_none() {
        return None;
    }
    let host = loss.host;
    let at = host.namespace(change.netns);
    let why = numbers.unwrap_or_else(|| {
        "others of the connection are translated before it and after it".to_owned()
    });
    let words = format!(
        ": it is INVALID for conntrack on {at}, which translates nothing that it finds outside of the window ({why}); who gets it knows no such connection and resets it, and that reset ends the right one"
    );
    let shell = Shell::of(host, Some(change.netns));
    let mut list = vec![shell.look(
        "look first: which counter rises (invalid)",
        command!["conntrack -S"],
    )];
    list.extend(advice(loss, change.netns));
    Some((words, list))
}

/// How segments outside of the window are kept from doing harm.
#[must_use]
pub fn advice(loss: &Loss<'_>, netns: NetNs) -> Vec<Remedy> {
    let shell = Shell::of(loss.host, Some(netns));
    let liberal = |to: &str| {
        command![
            "sysctl -w",
            format!("net.netfilter.nf_conntrack_tcp_be_liberal={to}")
        ]
    };
    let chains = translators(loss.host, netns, loss.v6());
    let program = chain_commands::program_of(&chains)
        .unwrap_or_else(|| chain_commands::default_program(loss.v6()).to_owned());
    let drop = |verb: &'static str| {
        command![
            &program,
            verb,
            "FORWARD -m conntrack --ctstate INVALID -j DROP"
        ]
    };
    vec![
        shell
            .change(
                "have conntrack take segments outside of the window for what they are: of the connection",
                liberal("1"),
            )
            .undone_by(liberal("0"))
            .scope("all TCP connections of this namespace: only resets are still compared with the window".to_owned()),
        shell
            .change(
                "or drop what is INVALID before it leaves (as kube-proxy does since 1.15): its sender sends again what was right",
                drop("-I"),
            )
            .undone_by(drop("-D"))
            .scope("answers that come back by another way than their requests are INVALID too".to_owned()),
    ]
}
