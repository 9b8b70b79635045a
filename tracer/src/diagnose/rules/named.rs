//! Reasons that say it all: one row each.

use super::super::candidate::{Candidate, Specificity};
use super::super::causes::{
    ADDRESS_NOT_READY, CHECKSUM, Cause, FRAGMENT, HEADER, MULTICAST, SOCKET_AUTHENTICATION,
    SOCKET_REFUSED,
};
use super::super::loss::Loss;
use super::super::remedy::{Command, Remedy, Shell, command};
use super::ready::{self, Lost};
use crate::network::links::peer_of;
use crate::sites;

/// What to look at: the words for it, the command, and a pattern by which its lines are chosen.
type Look = (&'static str, &'static str, Option<&'static str>);

struct Row {
    /// Drop reason, without its prefix.
    reason: &'static str,
    /// Functions that it must be freed in; empty: any.
    functions: &'static [&'static str],
    /// How it shows on kernels that do not know the reason.
    unnamed: fn(&Loss<'_>) -> bool,
    /// Why.
    cause: &'static Cause,
    /// `where.hook`, where it has one.
    hook: Option<&'static str>,
    /// One line.
    words: &'static str,
    /// What to look at.
    look: Look,
    /// What to change, where the reason alone tells it.
    changes: fn(&Loss<'_>) -> Vec<Remedy>,
}

/// The stage of a checksum or a header is told by the function.
const STAGE: Option<&str> = None;
const CSUM: Look = (
    "offloads that a virtual device or a middlebox gets wrong: ethtool -K DEV tx off on the sender shows it",
    "nstat -az",
    Some("-e csum -e inerr"),
);
const TCP: Look = (
    "counters of TCP: which rises?",
    "nstat -az",
    Some("-e paws -e challenge -e tcp"),
);
const HDR: Look = (
    "counters of malformed packets",
    "nstat -az",
    Some("-e hdr -e trunc"),
);

const fn row(
    reason: &'static str,
    cause: &'static Cause,
    hook: Option<&'static str>,
    words: &'static str,
    look: Look,
) -> Row {
    Row {
        reason,
        functions: &[],
        unnamed: |_| false,
        cause,
        hook,
        words,
        look,
        changes: |_| Vec::new(),
    }
}

const fn or_where(unnamed: fn(&Loss<'_>) -> bool, row: Row) -> Row {
    Row { unnamed, ..row }
}

const fn with(row: Row, changes: fn(&Loss<'_>) -> Vec<Remedy>) -> Row {
    Row { changes, ..row }
}

/// IPv6 on again where the packet was refused, with the address that was asked for.
fn turn_on(loss: &Loss<'_>) -> Vec<Remedy> {
    let (Some(device), Some(dst)) = (loss.device(), loss.dst()) else {
        return Vec::new();
    };
    let asking = peer_of(loss.host, device).map(|link| link.device);
    let lost = asking.and_then(|asking| Lost::told_by(loss.trace, loss.host, asking, dst));
    ready::turn_on(loss.host, device, false, lost.as_ref())
}

/// The sender was told so: "protocol unreachable", or "unrecognized next header" of a parameter problem.
fn told_of_protocol(loss: &Loss<'_>) -> bool {
    let told = if loss.v6() { (4, 1) } else { (3, 2) };
    sites::NO_PROTOCOL.is(loss.info) && loss.icmp_sent() == Some(told)
}

/// Without timestamps there is no such check (tcp_paws_check, include/net/tcp.h); both ends have to agree on them, so one
/// can do without for all its new connections.
fn without_timestamps(loss: &Loss<'_>) -> Vec<Remedy> {
    let setting = |value| command!["sysctl -w", format!("net.ipv4.tcp_timestamps={value}")];
    let change = Shell::of(loss.host, loss.netns()).change(
        "until the machine on the way that rewrites or mixes timestamps (NAT, a load balancer) is found: do without them",
        setting(0),
    );
    let scope = "new connections of this host have no protection against wrapped sequence numbers"
        .to_owned();
    vec![change.undone_by(setting(1)).scope(Some(scope))]
}

static ROWS: &[Row] = &[
    row("IP_CSUM", &CHECKSUM, STAGE, "bad IP header checksum", CSUM),
    row("TCP_CSUM", &CHECKSUM, STAGE, "bad TCP checksum", CSUM),
    row("UDP_CSUM", &CHECKSUM, STAGE, "bad UDP checksum", CSUM),
    row("ICMP_CSUM", &CHECKSUM, STAGE, "bad ICMP checksum", CSUM),
    row("SKB_CSUM", &CHECKSUM, STAGE, "bad checksum", CSUM),
    Row {
        reason: "IP_INHDR",
        functions: &[
            "ip_rcv_core",
            "ip6_rcv_core",
            "ip_rcv",
            "ipv6_rcv",
            "ip_rcv_finish_core",
            "ip_forward_options",
        ],
        unnamed: |_| false,
        cause: &HEADER,
        hook: STAGE,
        words: "malformed IP header",
        look: HDR,
        changes: |_| Vec::new(),
    },
    row(
        "PKT_TOO_SMALL",
        &HEADER,
        STAGE,
        "packet shorter than its header says",
        HDR,
    ),
    row("HDR_TRUNC", &HEADER, STAGE, "truncated header", HDR),
    row(
        "UNHANDLED_PROTO",
        &HEADER,
        STAGE,
        "no protocol takes this kind of frame",
        HDR,
    ),
    or_where(
        told_of_protocol,
        row(
            "IP_NOPROTO",
            &HEADER,
            STAGE,
            "no protocol takes this IP protocol number",
            HDR,
        ),
    ),
    row("ICMP_NOTYPE", &HEADER, STAGE, "unknown ICMP type", HDR),
    row(
        "VXLAN_INVALID_HDR",
        &HEADER,
        STAGE,
        "malformed VXLAN header",
        HDR,
    ),
    row(
        "IPV6_BAD_EXTHDR",
        &HEADER,
        STAGE,
        "bad IPv6 extension header",
        HDR,
    ),
    with(
        row(
            "IPV6DISABLED",
            &ADDRESS_NOT_READY,
            Some("device"),
            "IPv6 is disabled on the interface",
            (
                "look first",
                "sysctl -ar net.ipv6.conf.*.disable_ipv6",
                None,
            ),
        ),
        turn_on,
    ),
    or_where(
        |loss| sites::FRAGMENTS_EXPIRED.is(loss.info),
        row(
            "FRAG_REASM_TIMEOUT",
            &FRAGMENT,
            Some("route"),
            "fragments were missing until the time was up",
            ("counters of reassembly", "nstat -az", Some("-e reasm")),
        ),
    ),
    row(
        "FRAG_TOO_FAR",
        &FRAGMENT,
        Some("route"),
        "fragments came too far apart",
        ("counters of reassembly", "nstat -az", Some("-e reasm")),
    ),
    row(
        "TCP_MD5NOTFOUND",
        &SOCKET_AUTHENTICATION,
        Some("socket"),
        "TCP MD5 signature missing",
        TCP,
    ),
    row(
        "TCP_MD5UNEXPECTED",
        &SOCKET_AUTHENTICATION,
        Some("socket"),
        "TCP MD5 signature not expected",
        TCP,
    ),
    row(
        "TCP_MD5FAILURE",
        &SOCKET_AUTHENTICATION,
        Some("socket"),
        "TCP MD5 signature wrong",
        TCP,
    ),
    row(
        "TCP_AONOTFOUND",
        &SOCKET_AUTHENTICATION,
        Some("socket"),
        "TCP AO signature missing",
        TCP,
    ),
    row(
        "TCP_AOUNEXPECTED",
        &SOCKET_AUTHENTICATION,
        Some("socket"),
        "TCP AO signature not expected",
        TCP,
    ),
    row(
        "TCP_AOFAILURE",
        &SOCKET_AUTHENTICATION,
        Some("socket"),
        "TCP AO signature wrong",
        TCP,
    ),
    row(
        "TCP_AOKEYNOTFOUND",
        &SOCKET_AUTHENTICATION,
        Some("socket"),
        "no key for its TCP AO signature",
        TCP,
    ),
    row(
        "TCP_AUTH_HDR",
        &SOCKET_AUTHENTICATION,
        Some("socket"),
        "TCP signature option malformed",
        TCP,
    ),
    with(
        row(
            "TCP_RFC7323_PAWS",
            &SOCKET_REFUSED,
            Some("socket"),
            "TCP timestamp older than the last one (PAWS)",
            TCP,
        ),
        without_timestamps,
    ),
    with(
        row(
            "TCP_RFC7323_PAWS_ACK",
            &SOCKET_REFUSED,
            Some("socket"),
            "TCP timestamp older than the last one (PAWS)",
            TCP,
        ),
        without_timestamps,
    ),
    with(
        row(
            "TCP_RFC7323_TW_PAWS",
            &SOCKET_REFUSED,
            Some("socket"),
            "TCP timestamp too old for TIME_WAIT (PAWS)",
            TCP,
        ),
        without_timestamps,
    ),
    row(
        "TCP_INVALID_SEQUENCE",
        &SOCKET_REFUSED,
        Some("socket"),
        "TCP sequence number outside the window",
        TCP,
    ),
    row(
        "TCP_INVALID_END_SEQUENCE",
        &SOCKET_REFUSED,
        Some("socket"),
        "TCP sequence number outside the window",
        TCP,
    ),
    row(
        "TCP_INVALID_ACK_SEQUENCE",
        &SOCKET_REFUSED,
        Some("socket"),
        "TCP acknowledgement outside the window",
        TCP,
    ),
    row(
        "TCP_ACK_UNSENT_DATA",
        &SOCKET_REFUSED,
        Some("socket"),
        "TCP acknowledges data never sent",
        TCP,
    ),
    row(
        "TCP_TOO_OLD_ACK",
        &SOCKET_REFUSED,
        Some("socket"),
        "TCP acknowledgement too old",
        TCP,
    ),
    row(
        "TCP_INVALID_SYN",
        &SOCKET_REFUSED,
        Some("socket"),
        "TCP SYN within a connection",
        TCP,
    ),
    row(
        "TCP_RESET",
        &SOCKET_REFUSED,
        Some("socket"),
        "TCP reset refused",
        TCP,
    ),
    row(
        "TCP_FLAGS",
        &SOCKET_REFUSED,
        Some("socket"),
        "TCP flags do not fit the connection's state",
        TCP,
    ),
    row(
        "TCP_CLOSE",
        &SOCKET_REFUSED,
        Some("socket"),
        "the connection was closing",
        TCP,
    ),
    row(
        "TCP_MINTTL",
        &SOCKET_REFUSED,
        Some("socket"),
        "its TTL is below the socket's minimum",
        TCP,
    ),
    row(
        "TCP_ZEROWINDOW",
        &SOCKET_REFUSED,
        Some("socket"),
        "the receiver's window is closed: its process does not read",
        TCP,
    ),
    row(
        "TCP_OVERWINDOW",
        &SOCKET_REFUSED,
        Some("socket"),
        "beyond the receiver's window",
        TCP,
    ),
    row(
        "IP_INVALID_MULTICAST",
        &MULTICAST,
        Some("route"),
        "multicast that cannot be routed",
        ("groups joined here", "ip maddr", None),
    ),
];

/// A row of the table.
pub fn by_reason(loss: &Loss<'_>) -> Option<Candidate> {
    let row = ROWS.iter().find(|row| {
        let named = row.reason == loss.reason()
            && (row.functions.is_empty() || row.functions.contains(&loss.function()));
        named || (row.unnamed)(loss)
    })?;
    let shell = Shell::of(loss.host, loss.netns());
    let (why, look, pattern) = row.look;
    let look = Command::from(look);
    let look = match pattern {
        Some(pattern) => look.piped_to(command!["grep -i", ..pattern.split(' ')]),
        None => look,
    };
    Some(
        Candidate::new(
            row.cause,
            match row.hook {
                Some(hook) => loss.place_at_device(hook),
                None => loss.place(None),
            },
            format!("{}{}", row.words, loss.at_words()),
        )
        .explains(Specificity::Reason)
        .advise([shell.look(why, look)])
        .advise((row.changes)(loss)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_stand_once_and_name_a_hook_of_their_cause() {
        for (i, row) in ROWS.iter().enumerate() {
            assert!(
                !ROWS.iter().skip(i + 1).any(|r| r.reason == row.reason),
                "{}",
                row.reason
            );
            if let Some(hook) = row.hook {
                assert!(row.cause.hooks.contains(&hook), "{} at {hook}", row.reason);
            }
        }
    }
}
