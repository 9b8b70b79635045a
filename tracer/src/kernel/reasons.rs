//! Names of drop and reset reasons, by the running kernel's own enums.
//!
//! A drop reason is a number of `enum skb_drop_reason`, or has a subsystem in its upper 16 bits
//! (`enum skb_drop_reason_subsys`, since 6.4) and is then a value of that subsystem's own enum, which begins
//! at the shifted number (`enum mac80211_drop_reason`, `enum ovs_drop_reason`). So every enum that is named
//! `…drop_reason` is taken, and what is no subsystem of this kernel is left out.

use std::collections::BTreeMap;

use super::btf::{BtfError, Kind};
use super::layout::Types;

const CORE: &str = "skb_drop_reason";
const SUBSYSTEMS: &str = "skb_drop_reason_subsys";
const RESET: &str = "sk_rst_reason";
/// SKB_DROP_REASON_SUBSYS_SHIFT (include/net/dropreason.h).
const SUBSYSTEM_SHIFT: u32 = 16;

/// Modules that register reasons of their own; those of Open vSwitch are among the types already.
const MODULES: &[&str] = &["mac80211"];

/// Number and name, ordered by number.
pub type Names = Vec<(u32, String)>;

/// Takes in the modules whose reasons may occur.
pub(super) fn add_modules(types: &mut Types) -> Result<(), BtfError> {
    MODULES.iter().try_for_each(|name| types.add_module(name))
}

/// Names of all drop reasons. The core's lose their prefix `SKB_DROP_REASON_`; a subsystem's are its own.
pub(super) fn drop_reasons(types: &Types) -> Names {
    let subsystems: Vec<u32> = types
        .find(Kind::Enum, SUBSYSTEMS)
        .map(|ty| ty.values().map(|(_, number)| number).collect())
        .unwrap_or_default();
    let mut names = BTreeMap::new();
    for ty in types
        .enums()
        .filter(|ty| ty.name().ends_with("drop_reason"))
    {
        let core = ty.name() == CORE;
        for (name, code) in ty.values() {
            let subsystem = code >> SUBSYSTEM_SHIFT;
            let known = (subsystem == 0) == core && (core || subsystems.contains(&subsystem));
            if known && let Some(name) = shown(name, "SKB_DROP_REASON_") {
                names.entry(code).or_insert(name);
            }
        }
    }
    names.into_iter().collect()
}

/// Names of the reasons of `tcp_send_reset`.
pub(super) fn reset_reasons(types: &Types) -> Names {
    let Some(ty) = types.find(Kind::Enum, RESET) else {
        return Names::new();
    };
    ty.values()
        .filter_map(|(name, code)| Some((code, shown(name, "SK_RST_REASON_")?)))
        .collect()
}

/// The name without its prefix; marks that are no reasons (`…_MAX`, `…_SUBSYS_MASK`, `__…`) have none.
fn shown(name: &str, prefix: &str) -> Option<String> {
    let short = name.strip_prefix(prefix).unwrap_or(name);
    let mark = short.starts_with("__") || short == "MAX" || short == "SUBSYS_MASK";
    (!mark).then(|| short.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::btf::tests::Writer;
    use super::*;

    #[test]
    fn subsystems_have_names_of_their_own() {
        let mut writer = Writer::default();
        writer.choice(
            SUBSYSTEMS,
            &[
                ("SKB_DROP_REASON_SUBSYS_CORE", 0),
                ("SKB_DROP_REASON_SUBSYS_OPENVSWITCH", 3),
            ],
        );
        writer.choice(
            CORE,
            &[
                ("SKB_NOT_DROPPED_YET", 0),
                ("SKB_DROP_REASON_NETFILTER_DROP", 12),
                ("SKB_DROP_REASON_MAX", 13),
                ("SKB_DROP_REASON_SUBSYS_MASK", 0xffff_0000),
            ],
        );
        writer.choice(
            "ovs_drop_reason",
            &[
                ("__OVS_DROP_REASON", 0x3_0000),
                ("OVS_DROP_LAST_ACTION", 0x3_0001),
            ],
        );
        // Of another world, or of a subsystem that this kernel does not have.
        writer.choice(
            "disk_drop_reason",
            &[("DISK_FULL", 12), ("DISK_GONE", 0x9_0001)],
        );
        writer.choice(
            RESET,
            &[("SK_RST_REASON_NOT_SPECIFIED", 0), ("SK_RST_REASON_MAX", 9)],
        );
        let types = Types::of(writer.finish());
        let expected = [
            (0, "SKB_NOT_DROPPED_YET"),
            (12, "NETFILTER_DROP"),
            (0x3_0001, "OVS_DROP_LAST_ACTION"),
        ];
        assert_eq!(
            drop_reasons(&types),
            expected.map(|(code, name)| (code, name.to_owned()))
        );
        assert_eq!(reset_reasons(&types), [(0, "NOT_SPECIFIED".to_owned())]);
    }
}
