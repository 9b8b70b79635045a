//! Outer packets that no device takes because none has their ends and key: GRE, IP in IP, Geneve.

use crate::host::facts::{Link, TunnelLink};
use crate::model::Tuple;
use crate::network::tunnel::{Arrived, of_kind, taker, words};
use crate::sites::BY_ENDS;

use super::super::super::candidate::{Candidate, Specificity};
use super::super::super::causes::TUNNEL_UNKNOWN;
use super::super::super::checks::arrived;
use super::super::super::loss::Loss;
use super::super::super::remedy::{Command, Remedy, Shell, command, text};
use super::HOOK;

/// Decapsulation looked for a device with these ends and this key, and facts have none that is up.
pub(super) fn unknown(loss: &Loss<'_>) -> Option<Candidate> {
    if !BY_ENDS.contains(&loss.function()) {
        return None;
    }
    let seen = || loss.steps().iter().rev().find_map(|s| arrived(&s.event));
    let outer = arrived(loss.event).or_else(seen)?;
    let (host, netns) = (loss.host, loss.netns()?);
    let found = taker(host, netns, &outer);
    // What it takes is freed for another reason.
    if found.is_some_and(|link| link.up) {
        return None;
    }
    let others: Vec<&Link> = of_kind(host, netns, &outer).collect();
    let near = others.iter().copied().max_by_key(|l| likeness(l, &outer));
    let summary = format!("no tunnel takes {}{}", outer.tunnel, loss.at_words());
    let (why, fix) = match (found, near) {
        (Some(link), _) => (format!(": {} is down", link.name), raise(loss, link)),
        (None, Some(link)) => (
            format!(": {} has {}", link.name, words(link)),
            set(loss, link, &outer),
        ),
        (None, None) => (": there is none of its kind".to_owned(), None),
    };
    let otherwise = fix.is_none().then(|| {
        text("give both ends of the tunnel the same key or VNI, and each the other's address")
    });
    let look = Shell::of(host, Some(netns)).look(
        "tunnels here: key, ends, state",
        command!["ip -d link show"],
    );
    Some(
        Candidate::new(&TUNNEL_UNKNOWN, loss.place_at_device(HOOK), summary + &why)
            .explains(Specificity::Fact)
            .because(
                "icmp",
                loss.told().map(|t| format!("the other end was told: {t}")),
            )
            .advise([look])
            .advise(fix)
            .advise(otherwise),
    )
}

/// How many of a device's settings fit an outer packet.
fn likeness(link: &Link, outer: &Arrived) -> usize {
    let Some(set) = link.tunnel.as_deref() else {
        return 0;
    };
    let Tuple { src, dst, .. } = outer.tunnel.outer;
    let fits = [
        set.remote.is_none_or(|remote| remote == src),
        set.local.is_none_or(|local| local == dst),
        set.input_key == outer.tunnel.id,
    ];
    fits.into_iter().filter(|fits| *fits).count()
}

fn raise(loss: &Loss<'_>, link: &Link) -> Option<Remedy> {
    let state = |to: &'static str| command!["ip link set dev", link.name, to];
    let shell = Shell::of(loss.host, Some(link.device.netns));
    Some(
        shell
            .change("raise it", state("up"))
            .undone_by(state("down")),
    )
}

/// Sets what does not fit, where a device takes other settings (`ipgre_changelink`, `ipip_changelink`): Geneve keeps its
/// VNI and port, and without an end or a key a device cannot be told to have none.
fn set(loss: &Loss<'_>, link: &Link, outer: &Arrived) -> Option<Remedy> {
    let own = link.tunnel.as_deref().copied()?;
    let Tuple { src, dst, .. } = outer.tunnel.outer;
    let fitting = TunnelLink {
        remote: own.remote.map(|_| src),
        local: own.local.map(|_| dst),
        input_key: outer.tunnel.id,
        output_key: outer.tunnel.id,
        ..own
    };
    let keyed = matches!(
        link.kind.as_str(),
        "gre" | "gretap" | "ip6gre" | "ip6gretap"
    );
    let key_fits = own.input_key == outer.tunnel.id;
    if own.external || link.kind == "geneve" && !key_fits {
        return None;
    }
    let with = |set: &TunnelLink| -> Command {
        let mut words = Vec::new();
        words.extend(set.local.map(|end| format!("local {end}")));
        words.extend(set.remote.map(|end| format!("remote {end}")));
        let key = match set.input_key {
            Some(key) => format!("key {key}"),
            None => "nokey".to_owned(),
        };
        words.extend((keyed && !key_fits).then_some(key));
        let words: Vec<&str> = words.iter().flat_map(|word| word.split(' ')).collect();
        command!["ip link set dev", link.name, "type", link.kind, ..words]
    };
    let shell = Shell::of(loss.host, Some(link.device.netns));
    Some(
        shell
            .change("give it the ends and the key of what comes", with(&fitting))
            .undone_by(with(&own)),
    )
}
