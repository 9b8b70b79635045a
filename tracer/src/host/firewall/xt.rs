//! Matches and targets of x_tables: in tables of iptables-legacy, and where iptables-nft keeps them as they are.
//! Their data are structs of linux/netfilter/xt_*.h and linux/netfilter_ipv4/ipt_*.h.

use super::rules::End;
use crate::host::facts::{Side, Stop, Test};
use crate::host::netlink::{text_of, u16_of, u32_of};

/// What a match contributes to its rule.
pub(super) enum Matched {
    /// Conditions.
    Tests(Vec<Test>),
    /// Only a comment.
    Comment(String),
}

/// Reads a match by its name and data.
pub(super) fn matched(name: &str, revision: u32, data: &[u8]) -> Matched {
    let known = match name {
        "comment" => return Matched::Comment(text_of(data).replace('"', "'")),
        "tcp" => ports(data, 11).map(|mut tests| {
            // flg_mask and flg_cmp of struct xt_tcp
            if data.get(9).is_some_and(|mask| *mask != 0) {
                tests.push(Test::Other("--tcp-flags …".to_owned()));
            }
            tests
        }),
        "udp" => ports(data, 8),
        "multiport" => multiport(data),
        "icmp" | "icmp6" => icmp(data),
        "conntrack" => conntrack(revision, data),
        "state" => u32_of(data).map(|mask| vec![Test::State { mask, not: false }]),
        "mark" if revision == 1 => mark(data),
        "rpfilter" => data.first().map(|flags| {
            // XT_RPFILTER_INVERT
            let invert = if flags & 8 != 0 { " --invert" } else { "" };
            vec![Test::Other(format!("-m rpfilter{invert}"))]
        }),
        _ => None,
    };
    Matched::Tests(known.unwrap_or_else(|| vec![Test::Other(format!("-m {name} …"))]))
}

/// Source and destination range, then further fields, then the flags of inversion (1 and 2).
fn ports(data: &[u8], inverted_at: usize) -> Option<Vec<Test>> {
    let inverted = *data.get(inverted_at)?;
    let port = |at: usize| data.get(at..).and_then(u16_of);
    let mut tests = Vec::new();
    for (side, at, bit) in [(Side::Source, 0, 1), (Side::Destination, 4, 2)] {
        let range = (port(at)?, port(at + 2)?);
        if range != (0, u16::MAX) {
            tests.push(Test::Port {
                side: Some(side),
                ranges: vec![range],
                not: inverted & bit != 0,
            });
        }
    }
    Some(tests)
}

/// struct xt_multiport_v1: flags, count, ports (15 × 2), range marks (15), invert.
fn multiport(data: &[u8]) -> Option<Vec<Test>> {
    let side = match data.first()? {
        0 => Some(Side::Source),
        1 => Some(Side::Destination),
        _ => None,
    };
    let count = usize::from(*data.get(1)?);
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < count {
        let port = u16_of(data.get(2 + 2 * at..)?)?;
        let is_range = *data.get(32 + at)? != 0;
        let last = if is_range {
            at += 1;
            u16_of(data.get(2 + 2 * at..)?)?
        } else {
            port
        };
        ranges.push((port, last));
        at += 1;
    }
    let not = *data.get(47)? != 0;
    Some(vec![Test::Port { side, ranges, not }])
}

/// struct ipt_icmp: type, codes (2), inversion. 255 is any type.
fn icmp(data: &[u8]) -> Option<Vec<Test>> {
    let (number, inverted) = (*data.first()?, *data.get(3)?);
    let test = Test::IcmpType {
        number,
        not: inverted != 0,
    };
    Some(if number == 255 { vec![] } else { vec![test] })
}

/// struct xt_conntrack_mtinfo1 to 3: what is compared, what of it inverted, the states.
fn conntrack(revision: u32, data: &[u8]) -> Option<Vec<Test>> {
    /// XT_CONNTRACK_STATE.
    const STATE: u16 = 1;
    /// INVALID to NEW; what follows are SNAT, DNAT and UNTRACKED, by other numbers than those of nf_tables.
    const PLAIN: u32 = 0x0f;
    let compared = u16_of(data.get(146..)?)?;
    let inverted = u16_of(data.get(148..)?)?;
    let mask = match revision {
        1 => u32::from(*data.get(150)?),
        _ => u32::from(u16_of(data.get(150..)?)?),
    };
    if compared == STATE && mask & !PLAIN == 0 {
        let not = inverted & STATE != 0;
        return Some(vec![Test::State { mask, not }]);
    }
    None
}

/// struct xt_mark_mtinfo1.
fn mark(data: &[u8]) -> Option<Vec<Test>> {
    let (value, mask) = (u32_of(data)?, u32_of(data.get(4..)?)?);
    let not = *data.get(8)? != 0;
    Some(vec![Test::Mark { value, mask, not }])
}

/// Where a target leads. Those that only change the packet, or tell of it, lead to the next rule.
pub(super) fn target(name: &str, data: &[u8], v6: bool) -> End {
    /// IPT_TCP_RESET and IP6T_TCP_RESET.
    const RESET: [u32; 2] = [7, 6];
    let said = |more: &str| format!("-j {name}{more}");
    match name {
        "REJECT" => {
            let reset = u32_of(data) == RESET.get(usize::from(v6)).copied();
            End::Stop(
                Stop::Reject,
                said(if reset {
                    " --reject-with tcp-reset"
                } else {
                    ""
                }),
            )
        }
        "NFQUEUE" => {
            let number = u16_of(data).unwrap_or_default();
            End::Stop(Stop::Queue, said(&format!(" --queue-num {number}")))
        }
        "MASQUERADE" => End::Stop(Stop::Nat, said("")),
        "SNAT" | "DNAT" | "REDIRECT" | "NETMAP" => End::Stop(Stop::Nat, said(" …")),
        _ => End::Next,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tests(name: &str, revision: u32, data: &[u8]) -> Vec<Test> {
        match matched(name, revision, data) {
            Matched::Tests(tests) => tests,
            Matched::Comment(text) => vec![Test::Other(text)],
        }
    }

    fn dport(first: u16, last: u16, not: bool) -> Test {
        Test::Port {
            side: Some(Side::Destination),
            ranges: vec![(first, last)],
            not,
        }
    }

    #[test]
    fn ports_of_tcp_and_udp() {
        let mut tcp = [0, 0, 255, 255, 80, 0, 90, 0, 0, 0, 0, 2];
        assert_eq!(tests("tcp", 0, &tcp), [dport(80, 90, true)]);
        tcp[9] = 2;
        assert_eq!(tests("tcp", 0, &tcp).len(), 2, "flags are looked at too");
        let udp = [0, 0, 255, 255, 53, 0, 53, 0, 0, 0];
        assert_eq!(tests("udp", 0, &udp), [dport(53, 53, false)]);
        assert_eq!(
            tests("udp", 0, &[0, 0]),
            [Test::Other("-m udp …".to_owned())]
        );
    }

    #[test]
    fn states_of_conntrack() {
        let mut data = [0; 160];
        (data[146], data[150]) = (1, 1);
        let invalid = Test::State {
            mask: 1,
            not: false,
        };
        assert_eq!(tests("conntrack", 3, &data), [invalid]);
        data[146] = 3;
        assert!(matches!(
            tests("conntrack", 3, &data).as_slice(),
            [Test::Other(_)]
        ));
    }

    #[test]
    fn a_reset_is_told_from_other_rejects() {
        let said = |data: &[u8], v6| match target("REJECT", data, v6) {
            End::Stop(Stop::Reject, said) => said,
            other => format!("{other:?}"),
        };
        assert_eq!(
            said(&[7, 0, 0, 0], false),
            "-j REJECT --reject-with tcp-reset"
        );
        assert_eq!(
            said(&[6, 0, 0, 0], true),
            "-j REJECT --reject-with tcp-reset"
        );
        assert_eq!(said(&[3, 0, 0, 0], false), "-j REJECT");
        assert_eq!(target("LOG", &[], false), End::Next);
    }
}
