//! Built-in chains of iptables-legacy and ip6tables-legacy, by the socket options that these programs themselves use
//! (linux/netfilter_ipv4/ip_tables.h, linux/netfilter_ipv6/ip6_tables.h).

use std::fs;
use std::io;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::IP_HOOKS;
use crate::host::facts::{BaseChain, Chain, FilterEngine, Missing, Rule, Ruleset};
use crate::host::netlink::u32_of;
use crate::sys;

mod table;

/// How a family's tables are asked for and laid out.
pub(super) struct Layout {
    family: &'static str,
    /// Tables that exist in this namespace. Others are not asked for: that would make them.
    names: &'static str,
    domain: AddressFamily,
    level: libc::c_int,
    v6: bool,
}

/// Tables of IPv4.
pub(super) const V4: Layout = Layout {
    family: "ip",
    names: "/proc/thread-self/net/ip_tables_names",
    domain: AddressFamily::Inet,
    level: libc::IPPROTO_IP,
    v6: false,
};

/// Tables of IPv6.
pub(super) const V6: Layout = Layout {
    family: "ip6",
    names: "/proc/thread-self/net/ip6_tables_names",
    domain: AddressFamily::Inet6,
    level: libc::IPPROTO_IPV6,
    v6: true,
};

/// IPT_SO_GET_INFO and IP6T_SO_GET_INFO.
const SO_GET_INFO: libc::c_int = 64;
/// IPT_SO_GET_ENTRIES and IP6T_SO_GET_ENTRIES.
const SO_GET_ENTRIES: libc::c_int = 65;
const NAME_BYTES: usize = 32;
/// struct ipt_getinfo: name (32), valid hooks, 5 entries, 5 underflows, number of entries, size (4 each).
const INFO_BYTES: usize = NAME_BYTES + 13 * 4;
/// struct ipt_get_entries: name (32), size (4), then the entries, which are aligned to 8 bytes.
const ENTRIES_AT: usize = 40;
/// A table is never this large; a size beyond it is a misreading.
const MAX_TABLE: usize = 256 * 1024 * 1024;

/// Priorities by table (linux/netfilter_ipv4.h): at the hooks in order; nat's differ.
const PRIORITIES: [(&str, [i32; 5]); 5] = [
    ("raw", [-300; 5]),
    ("mangle", [-150; 5]),
    ("nat", [-100, 100, 0, -100, 100]),
    ("filter", [0; 5]),
    ("security", [50; 5]),
];

/// All chains of a family in the calling thread's namespace.
pub(super) fn read(layout: &Layout) -> io::Result<Ruleset> {
    let names = match fs::read_to_string(layout.names) {
        Ok(names) => names,
        // The file is there as long as the module is.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ruleset::default()),
        Err(error) => return Err(error),
    };
    let mut all = Ruleset::default();
    for name in names.lines() {
        let (base, chains) = table_chains(layout, name)?;
        all.base.extend(base);
        all.chains.extend(chains);
    }
    Ok(all)
}

fn table_chains(layout: &Layout, table: &str) -> io::Result<(Vec<BaseChain>, Vec<Chain>)> {
    let socket = socket(
        layout.domain,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let mut info = request(table, INFO_BYTES);
    sys::socket_option(&socket, layout.level, SO_GET_INFO, &mut info)?;
    let info = Info::read(&info).ok_or_else(malformed)?;
    if info.size > MAX_TABLE {
        return Err(malformed());
    }
    let mut entries = request(table, ENTRIES_AT + info.size);
    let size = u32::try_from(info.size).map_err(io::Error::other)?;
    if let Some(field) = entries.get_mut(NAME_BYTES..NAME_BYTES + 4) {
        field.copy_from_slice(&size.to_ne_bytes());
    }
    // The table may change between the two calls: then the size is wrong and the kernel says EAGAIN.
    sys::socket_option(&socket, layout.level, SO_GET_ENTRIES, &mut entries)?;
    let entries = entries.get(ENTRIES_AT..).unwrap_or_default();
    info.chains(layout, table, entries).ok_or_else(malformed)
}

fn malformed() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "a table laid out in an unknown way",
    )
}

/// Zeroed bytes that begin with the table's name.
fn request(table: &str, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    for (to, from) in bytes.iter_mut().zip(table.bytes().take(NAME_BYTES - 1)) {
        *to = from;
    }
    bytes
}

/// Any bytes as a table and its description.
pub(super) fn foreign(bytes: &[u8]) {
    let info = Info::read(bytes);
    for v6 in [false, true] {
        let Some(table) = table::read(bytes, v6) else {
            continue;
        };
        let ends = info
            .iter()
            .flat_map(|info| info.first.iter().zip(&info.policy));
        for (first, policy) in ends.chain([(&0, &0)]) {
            table.built_in(*first, *policy);
        }
    }
}

/// struct ipt_getinfo.
#[derive(Debug, PartialEq, Eq)]
struct Info {
    valid_hooks: u32,
    /// Offset of each built-in chain's first entry.
    first: [u32; 5],
    /// Offset of its last, which is the policy.
    policy: [u32; 5],
    size: usize,
}

impl Info {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut words = bytes.get(NAME_BYTES..)?.chunks(4).map_while(u32_of);
        let valid_hooks = words.next()?;
        let mut five = || -> Option<[u32; 5]> {
            let mut out = [0; 5];
            for slot in &mut out {
                *slot = words.next()?;
            }
            Some(out)
        };
        let (first, policy) = (five()?, five()?);
        let size = words.nth(1)?;
        Some(Self {
            valid_hooks,
            first,
            policy,
            size: usize::try_from(size).ok()?,
        })
    }

    fn chains(
        &self,
        layout: &Layout,
        table: &str,
        entries: &[u8],
    ) -> Option<(Vec<BaseChain>, Vec<Chain>)> {
        let priorities = PRIORITIES.iter().find(|(name, _)| *name == table);
        let read = table::read(entries, layout.v6)?;
        let chain = |name: &str, rules: Vec<Rule>| Chain {
            engine: FilterEngine::Legacy,
            family: layout.family.into(),
            table: table.into(),
            name: name.into(),
            rules,
            missing: Missing::Nothing,
        };
        let (mut base, mut chains) = (Vec::new(), Vec::new());
        for (number, (first, policy)) in self.first.iter().zip(self.policy).enumerate() {
            if self.valid_hooks & 1 << number == 0 {
                continue;
            }
            let hook = *IP_HOOKS.get(number)?;
            let (rules, policy) = read.built_in(*first, policy)?;
            base.push(BaseChain {
                engine: FilterEngine::Legacy,
                family: layout.family.into(),
                table: table.into(),
                chain: hook.into(),
                hook: hook.into(),
                priority: priorities
                    .and_then(|(_, p)| p.get(number))
                    .copied()
                    .unwrap_or(0),
                policy_drop: policy.drops,
                rules: u32::try_from(rules.len()).ok(),
                policy_packets: Some(policy.packets),
                kind: Some(if table == "nat" { "nat" } else { "filter" }.into()),
                devices: Vec::new(),
                stops: Vec::new(),
                more_stops: false,
            });
            chains.push(chain(hook, rules));
        }
        let below = read.user_chains().into_iter();
        chains.extend(below.map(|(name, rules)| chain(&name, rules)));
        Some((base, chains))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_the_entry_after_the_rules() {
        let entry = |verdict| table::fixture::entry(&[], "", &i32::to_ne_bytes(verdict));
        let table: Vec<u8> = [entry(-2), entry(-1), entry(-2), entry(-2)].concat();
        let size = u32::try_from(entry(-1).len()).unwrap();
        let info = Info {
            valid_hooks: 0b110,
            first: [0, 0, 2 * size, 0, 0],
            policy: [0, size, 3 * size, 0, 0],
            size: table.len(),
        };
        let (base, _) = info.chains(&V4, "filter", &table).unwrap();
        let told: Vec<_> = base
            .iter()
            .map(|c| (c.hook.as_str(), c.rules, c.policy_drop))
            .collect();
        assert_eq!(
            told,
            [("INPUT", Some(1), true), ("FORWARD", Some(1), false)]
        );
    }

    #[test]
    fn the_head_of_a_table_is_read() {
        let mut bytes = request("filter", NAME_BYTES);
        for word in [14u32, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 77, 616] {
            bytes.extend(word.to_ne_bytes());
        }
        let info = Info::read(&bytes).unwrap();
        assert_eq!((info.valid_hooks, info.size), (14, 616));
        assert_eq!(
            (info.first, info.policy),
            ([1, 2, 3, 4, 5], [6, 7, 8, 9, 10])
        );
        assert_eq!(Info::read(bytes.get(..80).unwrap()), None);
    }
}
