//! Matches that count, draw or search: what they decide cannot be told from a packet alone. They are read in full, so that
//! a rule is said, and put back, as iptables-save(8) writes it. Structures: include/uapi/linux/netfilter/xt_*.h.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::host::netlink::{text_of, u16_of, u32_of};

/// The words of a match; `None`: another one, or of a form that is not known.
pub(super) fn words((name, revision): (&str, u32), data: &[u8], v6: bool) -> Option<String> {
    let options = match (name, revision) {
        ("limit", 0) => limit(data),
        ("connlimit", 1) => connlimit(data, v6),
        ("recent", 0 | 1) => recent(data, (revision, v6)),
        ("statistic", 0) => statistic(data),
        ("string", 1) => string(data),
        ("tcpmss", 0) => tcpmss(data),
        ("helper", 0) => helper(data),
        ("connbytes", 0) => connbytes(data),
        _ => None,
    }?;
    Some(format!("-m {name} {options}"))
}

fn unless(not: bool) -> &'static str {
    if not { "! " } else { "" }
}

fn u64_of(data: &[u8]) -> Option<u64> {
    Some(u64::from_ne_bytes(data.get(..8)?.try_into().ok()?))
}

/// A name or pattern as iptables-save(8) quotes it; `None` where that takes more than quotes.
fn quoted(bytes: &[u8]) -> Option<String> {
    let plain = |byte: &u8| (b' '..=b'~').contains(byte) && !b"\"\\'".contains(byte);
    bytes
        .iter()
        .all(plain)
        .then(|| format!("\"{}\"", String::from_utf8_lossy(bytes)))
}

/// struct xt_rateinfo: the time for one packet in tenths of milliseconds, and the burst.
fn limit(data: &[u8]) -> Option<String> {
    const DAY: u32 = 10_000 * 24 * 60 * 60;
    const UNITS: [(u32, &str); 4] = [
        (DAY, "day"),
        (DAY / 24, "hour"),
        (DAY / 24 / 60, "min"),
        (10_000, "sec"),
    ];
    let period = u32_of(data)?;
    let burst = u32_of(data.get(4..)?)?;
    // The smallest unit in which the rate is a whole number (print_rate, extensions/libxt_limit.c).
    let fits =
        |(unit, _): &&(u32, &str)| period != 0 && period <= *unit && unit / period >= unit % period;
    let first = UNITS.first()?;
    let (unit, name) = UNITS
        .iter()
        .skip(1)
        .take_while(fits)
        .last()
        .unwrap_or(first);
    let rate = unit.checked_div(period)?;
    Some(match burst {
        // What is taken where none is given.
        5 => format!("--limit {rate}/{name}"),
        _ => format!("--limit {rate}/{name} --limit-burst {burst}"),
    })
}

/// struct `xt_connlimit_info`: a mask of 16 bytes, the limit, flags.
fn connlimit(data: &[u8], v6: bool) -> Option<String> {
    /// XT_CONNLIMIT_INVERT and _DADDR.
    const UP_TO: u32 = 1;
    const DESTINATION: u32 = 2;
    let words = data.get(..if v6 { 16 } else { 4 })?;
    let prefix: u32 = words.iter().map(|byte| byte.count_ones()).sum();
    let (most, flags) = (u32_of(data.get(16..)?)?, u32_of(data.get(20..)?)?);
    let which = match flags & UP_TO {
        0 => "above",
        _ => "upto",
    };
    let side = match flags & DESTINATION {
        0 => "saddr",
        _ => "daddr",
    };
    Some(format!(
        "--connlimit-{which} {most} --connlimit-mask {prefix} --connlimit-{side}"
    ))
}

/// struct `xt_recent_mtinfo` and, with a mask at its end, `xt_recent_mtinfo_v1`.
fn recent(data: &[u8], (revision, v6): (u32, bool)) -> Option<String> {
    /// XT_RECENT_*.
    const ACTS: [(u8, &str); 4] = [(1, "rcheck"), (2, "set"), (4, "update"), (8, "remove")];
    const TTL: u8 = 16;
    const REAP: u8 = 32;
    /// XT_RECENT_NAME_LEN.
    const NAME: usize = 200;
    let (seconds, hits) = (u32_of(data)?, u32_of(data.get(4..)?)?);
    let (asked, inverted) = (*data.get(8)?, *data.get(9)? != 0);
    let name = data.get(10..10 + NAME)?;
    let side = match data.get(10 + NAME)? {
        0 => "rsource",
        _ => "rdest",
    };
    let (_, act) = ACTS.iter().find(|(bit, _)| asked & bit != 0)?;
    let mut text = format!("{}--{act}", unless(inverted));
    if seconds != 0 {
        write!(text, " --seconds {seconds}").ok()?;
    }
    if asked & REAP != 0 {
        text += " --reap";
    }
    if hits != 0 {
        write!(text, " --hitcount {hits}").ok()?;
    }
    if asked & TTL != 0 {
        text += " --rttl";
    }
    write!(text, " --name {}", name_of(name)?).ok()?;
    if revision == 1 {
        // Aligned as a union of words after the side.
        let mask = data.get(212..228)?;
        write!(text, " --mask {}", address(mask, v6)?).ok()?;
    }
    write!(text, " --{side}").ok()?;
    Some(text)
}

/// A name that needs no quotes.
fn name_of(bytes: &[u8]) -> Option<String> {
    let name = text_of(bytes);
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
    (!name.is_empty() && name.chars().all(plain)).then_some(name)
}

fn address(bytes: &[u8], v6: bool) -> Option<IpAddr> {
    if v6 {
        let octets: [u8; 16] = bytes.get(..16)?.try_into().ok()?;
        return Some(Ipv6Addr::from(octets).into());
    }
    let octets: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
    Some(Ipv4Addr::from(octets).into())
}

/// struct `xt_statistic_info`: mode, flags, then a probability in 2^-31, or every how many and which of them.
fn statistic(data: &[u8]) -> Option<String> {
    const RANDOM: u16 = 0;
    const NTH: u16 = 1;
    let unless = unless(u16_of(data.get(2..)?)? & 1 != 0);
    let value = u32_of(data.get(4..)?)?;
    Some(match u16_of(data)? {
        RANDOM => {
            let share = f64::from(value) / f64::from(0x8000_0000_u32);
            format!("--mode random {unless}--probability {share:.11}")
        }
        NTH => {
            let first = u32_of(data.get(8..)?)?;
            let every = value.checked_add(1)?;
            format!("--mode nth {unless}--every {every} --packet {first}")
        }
        _ => return None,
    })
}

/// struct `xt_string_info`: where to search, how, and for what.
fn string(data: &[u8]) -> Option<String> {
    /// XT_STRING_FLAG_*.
    const INVERT: u8 = 1;
    const IGNORE_CASE: u8 = 2;
    let (from, to) = (u16_of(data)?, u16_of(data.get(2..)?)?);
    let algorithm = name_of(data.get(4..20)?)?;
    let length = usize::from(*data.get(148)?);
    let pattern = quoted(data.get(20..148)?.get(..length)?)?;
    let flags = *data.get(149)?;
    let mut text = format!(
        "{}--string {pattern} --algo {algorithm}",
        unless(flags & INVERT != 0)
    );
    if from != 0 {
        write!(text, " --from {from}").ok()?;
    }
    if to != u16::MAX {
        write!(text, " --to {to}").ok()?;
    }
    if flags & IGNORE_CASE != 0 {
        text += " --icase";
    }
    Some(text)
}

/// struct `xt_tcpmss_match_info`.
fn tcpmss(data: &[u8]) -> Option<String> {
    let (least, most) = (u16_of(data)?, u16_of(data.get(2..)?)?);
    let unless = unless(*data.get(4)? != 0);
    Some(match least == most {
        true => format!("{unless}--mss {least}"),
        false => format!("{unless}--mss {least}:{most}"),
    })
}

/// struct `xt_helper_info`.
fn helper(data: &[u8]) -> Option<String> {
    let unless = unless(u32_of(data)? != 0);
    Some(format!("{unless}--helper {}", name_of(data.get(4..34)?)?))
}

/// struct `xt_connbytes_info`: an inverted range has its ends swapped.
fn connbytes(data: &[u8]) -> Option<String> {
    let (from, to) = (u64_of(data)?, u64_of(data.get(8..)?)?);
    let what = ["packets", "bytes", "avgpkt"].get(usize::from(*data.get(16)?))?;
    let side = ["original", "reply", "both"].get(usize::from(*data.get(17)?))?;
    let range = match from > to {
        true => format!("! --connbytes {to}:{from}"),
        false => format!("--connbytes {from}:{to}"),
    };
    Some(format!(
        "{range} --connbytes-mode {what} --connbytes-dir {side}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_said_in_the_unit_that_was_typed() {
        let rate = |period: u32, burst: u32| {
            let data = [period.to_ne_bytes(), burst.to_ne_bytes()].concat();
            words(("limit", 0), &data, false)
        };
        let said = |text: &str| Some(format!("-m limit --limit {text}"));
        assert_eq!(rate(2_000, 5), said("5/sec"));
        assert_eq!(rate(120_000, 3), said("5/min --limit-burst 3"));
        assert_eq!(rate(864_000_000, 1), said("1/day --limit-burst 1"));
        assert_eq!(rate(0, 1), None);
    }

    #[test]
    fn connections_of_one_network() {
        let mut data = [0; 32];
        data[..3].copy_from_slice(&[255; 3]);
        (data[16], data[20]) = (4, 1);
        let text = "-m connlimit --connlimit-upto 4 --connlimit-mask 24 --connlimit-saddr";
        assert_eq!(words(("connlimit", 1), &data, false).as_deref(), Some(text));
    }

    #[test]
    fn recent_senders() {
        let mut data = [0; 228];
        (data[0], data[4], data[8]) = (60, 4, 4);
        data[10..13].copy_from_slice(b"SSH");
        data[212..216].copy_from_slice(&[255; 4]);
        let text = "-m recent --update --seconds 60 --hitcount 4 --name SSH --mask 255.255.255.255 --rsource";
        assert_eq!(words(("recent", 1), &data, false).as_deref(), Some(text));
        // a name that a shell would read
        data[10..13].copy_from_slice(b"$(x");
        assert_eq!(words(("recent", 1), &data, false), None);
    }

    #[test]
    fn chance_and_text() {
        let mut half = [0; 24];
        half[7] = 0x40;
        let text = "-m statistic --mode random --probability 0.50000000000";
        assert_eq!(words(("statistic", 0), &half, false).as_deref(), Some(text));
        let mut data = [0; 160];
        (data[2], data[3]) = (255, 255);
        data[4..6].copy_from_slice(b"bm");
        data[20..24].copy_from_slice(b"evil");
        data[148] = 4;
        let text = "-m string --string \"evil\" --algo bm";
        assert_eq!(words(("string", 1), &data, false).as_deref(), Some(text));
        data[20] = b'"';
        assert_eq!(words(("string", 1), &data, false), None);
    }
}
