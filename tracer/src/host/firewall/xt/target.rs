//! Targets of x_tables: what a rule does.

use std::net::IpAddr;

use crate::host::facts::{
    Field, NewTtl, NewValue, Part, RuleVerdict, Side, Statement, Test, Translation,
};
use crate::host::links::mac_of;
use crate::host::netlink::{address_of, text_of, u16_of, u32_of};

/// What a target does. Those that only change the packet where no test can see it, or tell of it, lead to the next rule.
pub(in super::super) fn target((name, revision): (&str, u32), data: &[u8], v6: bool) -> Vec<Part> {
    let known = match name {
        "REJECT" => Some(Statement::Reject(rejected(data, v6))),
        "NFQUEUE" => Some(Statement::Verdict(queue(revision, data))),
        "MASQUERADE" | "SNAT" | "DNAT" | "REDIRECT" => Some(Statement::Translate(translation(
            (name, revision),
            data,
            v6,
        ))),
        "MARK" if revision == 2 => marked(data).map(Statement::SetMark),
        "CONNMARK" if revision == 1 => connection_mark(data),
        "NOTRACK" => Some(Statement::NoTrack),
        // XT_CT_NOTRACK
        "CT" if data.first().is_some_and(|flags| flags & 1 != 0) => Some(Statement::NoTrack),
        "CT" => zone(data),
        "dnat" | "snat" if data.len() >= 12 => return mac_translation(name, data),
        "LOG" => Some(Statement::Note(log(data))),
        "TTL" | "HL" => ttl(data, name == "HL"),
        "NETMAP" => return network_translation(data, v6),
        _ => None,
    };
    match known {
        Some(statement) => vec![Part::Do(statement)],
        None if PASSES_ON.contains(&name) => {
            vec![Part::Do(Statement::Note(format!("-j {name} …")))]
        }
        // What it does is not known: it may be the end of the packet's way through the chain.
        None => {
            let unknown = Part::Test(Test::Other(format!("-j {name} …")));
            vec![unknown, Part::Do(Statement::Verdict(RuleVerdict::Accept))]
        }
    }
}

/// Targets behind which the next rule follows, whatever they do to the packet (iptables-extensions(8), and those of
/// ebtables and arptables that are given no verdict).
const PASSES_ON: &[&str] = &[
    "ACCOUNT",
    "AUDIT",
    "CHECKSUM",
    "CLASSIFY",
    "CONNMARK",
    "CONNSECMARK",
    "CT",
    "DSCP",
    "ECN",
    "HL",
    "HMARK",
    "IDLETIMER",
    "LED",
    "LOG",
    "MARK",
    "NFLOG",
    "RATEEST",
    "SECMARK",
    "SET",
    "TCPMSS",
    "TCPOPTSTRIP",
    "TEE",
    "TOS",
    "TRACE",
    "TTL",
    "ULOG",
];

/// NETMAP translates the destination where packets come in or are sent, and else the source (netmap_tg4,
/// net/netfilter/xt_NETMAP.c): both stand in the rule, and its hook tells which counts.
fn network_translation(data: &[u8], v6: bool) -> Vec<Part> {
    let made = translation(("NETMAP", 0), data, v6);
    let sides = [Side::Destination, Side::Source];
    let of_side = |side| {
        Part::Do(Statement::Translate(Translation {
            side,
            ..made.clone()
        }))
    };
    sides.map(of_side).to_vec()
}

/// struct ebt_nat_info: MAC (6), two bytes of nothing, and the verdict that follows (EBT_ACCEPT -1, EBT_DROP -2,
/// EBT_CONTINUE -3, EBT_RETURN -4); all but its lowest four bits are flags.
fn mac_translation(name: &str, data: &[u8]) -> Vec<Part> {
    let side = match name {
        "snat" => Side::Source,
        _ => Side::Destination,
    };
    let Some((mac, target)) = data
        .get(..6)
        .and_then(mac_of)
        .zip(data.get(8..).and_then(u32_of))
    else {
        return vec![Part::Do(Statement::Note(format!("-j {name} …")))];
    };
    let verdict = match target | !15 {
        0xffff_fffe => RuleVerdict::Drop,
        0xffff_fffd => RuleVerdict::Continue,
        0xffff_fffc => RuleVerdict::Return,
        _ => RuleVerdict::Accept,
    };
    let set = Part::Do(Statement::SetMac(side, mac));
    vec![set, Part::Do(Statement::Verdict(verdict))]
}

/// struct ipt_TTL_info and ip6t_HL_info: mode (set, add, take away), how much.
fn ttl(data: &[u8], v6: bool) -> Option<Statement> {
    let [mode, n] = *data.first_chunk()?;
    let to = match mode {
        0 => NewTtl::Is(n),
        1 => NewTtl::More(n),
        2 => NewTtl::Less(n),
        _ => return None,
    };
    Some(Statement::SetTtl { v6, to })
}

/// struct xt_ct_target_info, a zone alone: flags, zone, events, helper. Zone 0 is that of everything else.
fn zone(data: &[u8]) -> Option<Statement> {
    /// XT_CT_ZONE_DIR_ORIG, XT_CT_ZONE_DIR_REPL, XT_CT_ZONE_MARK.
    const NOT_ALONE: u16 = 4 | 8 | 16;
    let (flags, zone) = (u16_of(data.get(..2)?)?, u16_of(data.get(2..4)?)?);
    Some(match (flags & NOT_ALONE, zone) {
        (0, 0) => Statement::Note("-j CT …".to_owned()),
        (0, zone) => Statement::SetZone(Some(zone)),
        (_, _) => Statement::SetZone(None),
    })
}

/// struct ipt_reject_info and ip6t_reject_info: with what, where that is not the default.
fn rejected(data: &[u8], v6: bool) -> String {
    const V4: [(u32, &str); 7] = [
        (0, "icmp-net-unreachable"),
        (1, "icmp-host-unreachable"),
        (2, "icmp-proto-unreachable"),
        (5, "icmp-net-prohibited"),
        (6, "icmp-host-prohibited"),
        (7, "tcp-reset"),
        (8, "icmp-admin-prohibited"),
    ];
    const V6: [(u32, &str); 5] = [
        (0, "icmp6-no-route"),
        (1, "icmp6-adm-prohibited"),
        (3, "icmp6-addr-unreachable"),
        (6, "tcp-reset"),
        (7, "icmp6-policy-fail"),
    ];
    let names: &[(u32, &str)] = if v6 { &V6 } else { &V4 };
    let with = u32_of(data);
    let name = names.iter().find(|(number, _)| Some(*number) == with);
    name.map_or_else(String::new, |(_, name)| (*name).to_owned())
}

/// struct xt_NFQ_info and its later ones: number, how many, bypass.
fn queue(revision: u32, data: &[u8]) -> RuleVerdict {
    let bypass = revision >= 2 && data.get(4..).and_then(u16_of).is_some_and(|b| b & 1 != 0);
    RuleVerdict::Queue {
        number: u16_of(data).unwrap_or_default(),
        bypass,
    }
}

/// struct xt_mark_tginfo2: `(mark & ~mask) ^ value`.
fn marked(data: &[u8]) -> Option<NewValue> {
    let (value, mask) = (u32_of(data)?, u32_of(data.get(4..)?)?);
    Some(NewValue {
        keep: !mask,
        from: None,
        xor: value,
    })
}

/// struct xt_connmark_tginfo1.
fn connection_mark(data: &[u8]) -> Option<Statement> {
    /// XT_CONNMARK_SET and so on.
    const SET: u8 = 0;
    const SAVE: u8 = 1;
    const RESTORE: u8 = 2;
    let part = |at: usize| data.get(at..).and_then(u32_of);
    let (value, mask, mark_mask) = (part(0)?, part(4)?, part(8)?);
    Some(match *data.get(12)? {
        SET => Statement::SetConnectionMark(NewValue {
            keep: !mask,
            from: None,
            xor: value,
        }),
        SAVE => Statement::SetConnectionMark(NewValue {
            keep: !mask,
            from: Some((Field::Mark, mark_mask)),
            xor: 0,
        }),
        RESTORE => Statement::SetMark(NewValue {
            keep: !mark_mask,
            from: Some((Field::ConnectionMark, mask)),
            xor: 0,
        }),
        _ => return None,
    })
}

/// struct xt_log_info: level, flags, prefix (30).
fn log(data: &[u8]) -> String {
    let plain = data.first() == Some(&4) && data.get(1) == Some(&0);
    let more = if plain { "" } else { " …" };
    match data.get(2..32).map(text_of).filter(|p| !p.is_empty()) {
        Some(prefix) => format!("-j LOG --log-prefix \"{}\"{more}", prefix.replace('"', "'")),
        None => format!("-j LOG{more}"),
    }
}

/// struct nf_nat_ipv4_multi_range_compat (IPv4, revision 0, and always MASQUERADE and REDIRECT) or nf_nat_range2.
fn translation((name, revision): (&str, u32), data: &[u8], v6: bool) -> Translation {
    /// NF_NAT_RANGE_MAP_IPS and NF_NAT_RANGE_PROTO_SPECIFIED.
    const ADDRESSES: u32 = 1;
    const PORTS: u32 = 2;
    let own = matches!(name, "MASQUERADE" | "REDIRECT");
    let compat = !v6 && (revision == 0 || own);
    // (flags, first, last, ports, width of an address)
    let (flags, first, last, ports, width) = if compat {
        (4, 8, 12, 16, 4)
    } else {
        (0, 4, 20, 36, if v6 { 16 } else { 4 })
    };
    let flags = data.get(flags..).and_then(u32_of).unwrap_or_default();
    let address = |at: usize| -> Option<IpAddr> { address_of(data.get(at..at + width)?) };
    let port = |at: usize| -> Option<u16> {
        data.get(at..)?
            .first_chunk()
            .map(|b| u16::from_be_bytes(*b))
    };
    let addresses = (flags & ADDRESSES != 0 && !own)
        .then(|| Some((address(first)?, address(last)?)))
        .flatten();
    let ports = (flags & PORTS != 0)
        .then(|| Some((port(ports)?, port(ports + 2)?)))
        .flatten();
    Translation {
        side: match name {
            "SNAT" | "MASQUERADE" => Side::Source,
            _ => Side::Destination,
        },
        text: words(name, addresses, ports),
        addresses,
        ports,
    }
}

/// The network that its first and last address make.
fn network((first, last): (IpAddr, IpAddr)) -> String {
    let prefix = match (first, last) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => 0,
    };
    format!("{first}/{prefix}")
}

fn words(name: &str, addresses: Option<(IpAddr, IpAddr)>, ports: Option<(u16, u16)>) -> String {
    let range = |first: String, last: String| {
        if first == last {
            first
        } else {
            format!("{first}-{last}")
        }
    };
    let port = ports.map(|(a, b)| range(a.to_string(), b.to_string()));
    let option = match name {
        "SNAT" => "--to-source",
        "DNAT" => "--to-destination",
        "NETMAP" => "--to",
        _ => "--to-ports",
    };
    let target = match (addresses, port) {
        (None, None) => return format!("-j {name}"),
        (None, Some(port)) if name == "MASQUERADE" || name == "REDIRECT" => port,
        (None, Some(port)) => format!(":{port}"),
        (Some(range), _) if name == "NETMAP" => network(range),
        (Some((first, last)), port) => {
            let v6 = first.is_ipv6() && port.is_some();
            let addresses = range(first.to_string(), last.to_string());
            let addresses = if v6 {
                format!("[{addresses}]")
            } else {
                addresses
            };
            port.map_or(addresses.clone(), |port| format!("{addresses}:{port}"))
        }
    };
    format!("-j {name} {option} {target}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Mac;

    fn only(name: &str, revision: u32, data: &[u8], v6: bool) -> Statement {
        match target((name, revision), data, v6).pop() {
            Some(Part::Do(statement)) => statement,
            _ => Statement::Note(String::new()),
        }
    }

    #[test]
    fn a_reset_is_told_from_other_rejects() {
        let said = |data: &[u8], v6| only("REJECT", 0, data, v6);
        let with = |text: &str| Statement::Reject(text.to_owned());
        assert_eq!(said(&[7, 0, 0, 0], false), with("tcp-reset"));
        assert_eq!(said(&[6, 0, 0, 0], true), with("tcp-reset"));
        assert_eq!(said(&[3, 0, 0, 0], false), with(""));
        assert!(matches!(only("TRACE", 0, &[], false), Statement::Note(_)));
    }

    #[test]
    fn a_bridge_translates_macs_and_says_what_follows() {
        let mac = Mac([2, 0, 0, 0, 0, 7]);
        let info = |verdict: i32| {
            let mut data = vec![2, 0, 0, 0, 0, 7, 0, 0];
            data.extend(verdict.to_ne_bytes());
            data
        };
        let follows = |name: &str, verdict: i32| target((name, 0), &info(verdict), false);
        let set = |side| Part::Do(Statement::SetMac(side, mac));
        let then = |verdict| Part::Do(Statement::Verdict(verdict));
        assert_eq!(
            follows("dnat", -1),
            [set(Side::Destination), then(RuleVerdict::Accept)]
        );
        // with a flag: NAT_ARP_BIT is turned off
        assert_eq!(
            follows("snat", -3 & !16),
            [set(Side::Source), then(RuleVerdict::Continue)]
        );
        assert!(
            target(("dnat", 0), &[2, 0], false).contains(&unknown("dnat")),
            "what cannot be read may do anything"
        );
    }

    fn unknown(name: &str) -> Part {
        Part::Test(Test::Other(format!("-j {name} …")))
    }

    #[test]
    fn a_ttl_is_set_or_changed() {
        let made = |name: &str, data: &[u8]| only(name, 0, data, name == "HL");
        let set = |v6, to| Statement::SetTtl { v6, to };
        assert_eq!(made("TTL", &[0, 1, 0, 0]), set(false, NewTtl::Is(1)));
        assert_eq!(made("TTL", &[2, 5, 0, 0]), set(false, NewTtl::Less(5)));
        assert_eq!(made("HL", &[1, 2, 0, 0]), set(true, NewTtl::More(2)));
        assert!(matches!(made("HL", &[7, 2]), Statement::Note(_)));
    }

    #[test]
    fn what_a_target_of_others_does_is_not_known() {
        let parts = target(("FULLCONENAT", 0), &[], false);
        let then = Part::Do(Statement::Verdict(RuleVerdict::Accept));
        assert_eq!(parts, [unknown("FULLCONENAT"), then]);
        assert!(matches!(only("NFLOG", 0, &[], false), Statement::Note(_)));
    }

    #[test]
    fn a_network_is_translated_at_either_end() {
        let compat = [
            1, 0, 0, 0, 1, 0, 0, 0, 10, 8, 0, 0, 10, 8, 0, 255, 0, 0, 0, 0,
        ];
        let made: Vec<_> = target(("NETMAP", 0), &compat, false)
            .into_iter()
            .filter_map(|part| match part {
                Part::Do(Statement::Translate(made)) => Some((made.side, made.text)),
                _ => None,
            })
            .collect();
        let text = "-j NETMAP --to 10.8.0.0/24".to_owned();
        let sides = [Side::Destination, Side::Source];
        assert_eq!(made, sides.map(|side| (side, text.clone())));
    }

    #[test]
    fn a_zone_is_set_alone_or_is_not_known() {
        let ct = |flags, zone| only("CT", 2, &[flags, 0, zone, 0], false);
        assert_eq!(ct(1, 0), Statement::NoTrack);
        assert_eq!(ct(0, 7), Statement::SetZone(Some(7)));
        assert_eq!(ct(4, 7), Statement::SetZone(None));
        assert!(matches!(ct(0, 0), Statement::Note(_)));
    }

    #[test]
    fn marks_are_changed_under_a_mask() {
        let xor = [0, 0x40, 0, 0, 0, 0, 0, 0];
        assert_eq!(
            only("MARK", 2, &xor, false),
            Statement::SetMark(NewValue {
                keep: u32::MAX,
                from: None,
                xor: 0x4000
            })
        );
        let mut restore = [255; 16];
        restore[12] = 2;
        assert_eq!(
            only("CONNMARK", 1, &restore, false),
            Statement::SetMark(NewValue {
                keep: 0,
                from: Some((Field::ConnectionMark, u32::MAX)),
                xor: 0
            })
        );
    }

    #[test]
    fn translations_of_both_layouts() {
        let mut range2 = vec![3, 0, 0, 0, 10, 0, 0, 9];
        range2.resize(20, 0);
        range2.extend([10, 0, 0, 9]);
        range2.resize(36, 0);
        range2.extend([0, 80, 0, 80]);
        let Statement::Translate(made) = only("DNAT", 2, &range2, false) else {
            unreachable!("a DNAT translates")
        };
        assert_eq!(made.text, "-j DNAT --to-destination 10.0.0.9:80");
        assert_eq!(made.ports, Some((80, 80)));
        let compat = [1, 0, 0, 0, 1, 0, 0, 0, 10, 0, 0, 1, 10, 0, 0, 5, 0, 0, 0, 0];
        let Statement::Translate(made) = only("SNAT", 0, &compat, false) else {
            unreachable!("an SNAT translates")
        };
        assert_eq!(made.text, "-j SNAT --to-source 10.0.0.1-10.0.0.5");
        assert_eq!(made.side, Side::Source);
    }
}
