//! Programs that write packet filters by themselves: recognised by the names of their tables and chains and by their
//! comments, each with its own way to make a change. What is changed past them is gone when they write again.

use crate::host::facts::{BaseChain, FilterRule, Rule, RuleVerdict, Ruleset, Statement};

/// A program that keeps chains of its own.
#[derive(Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its name.
    pub name: &'static str,
    /// Names of nftables tables that are its alone; an ending `*` stands for any rest.
    tables: &'static [&'static str],
    /// Names of chains that are its alone; an ending `*` stands for any rest.
    chains: &'static [&'static str],
    /// Words in comments of its rules.
    comments: &'static [&'static str],
    /// How a change is made that lasts.
    way: &'static str,
    /// The chain that it keeps for rules of others, where it has one.
    others: Option<&'static str>,
}

/// Whether kube-proxy says by a rule's comment that the service has no endpoint, or none that it may use here.
#[must_use]
pub fn has_no_endpoint(rule: &Rule) -> bool {
    ["has no endpoints", "has no local endpoints"]
        .iter()
        .any(|words| rule.text.contains(words))
}

/// The first that fits is taken: the more special name stands above the one that it begins with.
static OWNERS: &[Owner] = &[
    Owner {
        name: "kube-router",
        tables: &[],
        chains: &["KUBE-ROUTER-*", "KUBE-POD-FW-*", "KUBE-NWPLCY-*"],
        comments: &["kube-router"],
        way: "change the NetworkPolicy (kubectl edit networkpolicy)",
        others: None,
    },
    Owner {
        name: "NodeLocal DNSCache",
        tables: &[],
        chains: &[],
        comments: &["NodeLocal DNS Cache"],
        way: "start it with -setupiptables=false, or let the policy of the pods pass what comes from its address",
        others: None,
    },
    Owner {
        name: "kube-proxy",
        tables: &["kube-proxy"],
        chains: &["KUBE-*"],
        comments: &["kubernetes "],
        way: "change the Service, or what its selector finds (kubectl get service,endpointslices -A)",
        others: None,
    },
    Owner {
        name: "Docker",
        tables: &["docker-bridges", "docker-overlay*"],
        chains: &["DOCKER", "DOCKER-*"],
        comments: &[],
        way: "rules that last stand in its chain DOCKER-USER; published ports and networks are changed with docker itself",
        others: Some("DOCKER-USER"),
    },
    Owner {
        name: "Calico",
        tables: &["calico"],
        chains: &["cali-*", "califw-*"],
        comments: &["cali:"],
        way: "change the NetworkPolicy or GlobalNetworkPolicy (calicoctl get networkpolicy,globalnetworkpolicy -A)",
        others: None,
    },
    Owner {
        name: "Cilium",
        tables: &[],
        chains: &["CILIUM_*", "OLD_CILIUM_*"],
        comments: &["cilium: "],
        way: "change the CiliumNetworkPolicy (kubectl get ciliumnetworkpolicies -A)",
        others: None,
    },
    Owner {
        name: "Antrea",
        tables: &[],
        chains: &["ANTREA-*"],
        comments: &["Antrea: "],
        way: "change the NetworkPolicy (kubectl get networkpolicy -A)",
        others: None,
    },
    Owner {
        name: "flannel",
        tables: &["flannel-*"],
        chains: &["FLANNEL-*"],
        comments: &["flanneld "],
        way: "change its ConfigMap kube-flannel-cfg or net-conf.json, then restart flanneld",
        others: None,
    },
    Owner {
        name: "Weave Net",
        tables: &[],
        chains: &["WEAVE-*"],
        comments: &[],
        way: "change the NetworkPolicy (kubectl get networkpolicy -A)",
        others: None,
    },
    Owner {
        name: "Istio",
        tables: &[],
        chains: &["ISTIO_*"],
        comments: &[],
        way: "change the pod's traffic annotations (traffic.sidecar.istio.io/…) and start it anew",
        others: None,
    },
    Owner {
        name: "a CNI plugin",
        tables: &["cni_hostport", "cni_plugins_masquerade"],
        chains: &["CNI-*"],
        comments: &["dnat name: \"", "name: \""],
        way: "change the network's configuration in /etc/cni/net.d and start the pod anew",
        others: None,
    },
    Owner {
        name: "Podman",
        tables: &["netavark"],
        chains: &["NETAVARK*"],
        comments: &[],
        way: "change published ports and networks with podman (podman network reload --all writes the rules anew)",
        others: None,
    },
    Owner {
        name: "firewalld",
        tables: &["firewalld", "firewalld_*"],
        chains: &[
            "IN_*",
            "FWD_*",
            "FWDI_*",
            "FWDO_*",
            "PRE_*",
            "POST_*",
            "INPUT_ZONES*",
            "FORWARD_ZONES*",
            "FORWARD_IN_ZONES*",
            "FORWARD_OUT_ZONES*",
            "PREROUTING_ZONES*",
            "POSTROUTING_ZONES*",
        ],
        comments: &[],
        way: "firewall-cmd --permanent --zone=… --add-…, then firewall-cmd --reload",
        others: None,
    },
    Owner {
        name: "ufw",
        tables: &[],
        chains: &["ufw-*", "ufw6-*"],
        comments: &[],
        way: "ufw allow …, or for what is forwarded ufw route allow …",
        others: None,
    },
    Owner {
        name: "libvirt",
        tables: &["libvirt_network"],
        chains: &["LIBVIRT_*"],
        comments: &[],
        way: "change the network (virsh net-edit) and start it anew; rules of one's own: /etc/libvirt/hooks/network",
        others: None,
    },
    Owner {
        name: "NetworkManager",
        tables: &["nm-*"],
        chains: &["nm-*"],
        comments: &["nm-shared-"],
        way: "change the shared connection (nmcli connection modify … ipv4.method, ipv4.addresses) and bring it up anew",
        others: None,
    },
    Owner {
        name: "systemd-networkd",
        tables: &["io.systemd.nat"],
        chains: &[],
        comments: &[],
        way: "change IPMasquerade= in the .network file, then networkctl reload",
        others: None,
    },
    Owner {
        name: "fail2ban",
        tables: &["f2b-table"],
        chains: &["f2b-*"],
        comments: &[],
        way: "fail2ban-client unban ADDRESS",
        others: None,
    },
    Owner {
        name: "Tailscale",
        tables: &[],
        chains: &["ts-*"],
        comments: &[],
        way: "tailscale set --netfilter-mode=…, and the access rules of the tailnet",
        others: None,
    },
    Owner {
        name: "OpenWrt's fw4",
        tables: &["fw4"],
        chains: &[],
        comments: &["!fw4: "],
        way: "change /etc/config/firewall (uci), then fw4 reload",
        others: None,
    },
];

/// Whether a name is one of a list whose entries may end in `*`.
fn is_among(name: &str, list: &[&str]) -> bool {
    list.iter().any(|entry| match entry.strip_suffix('*') {
        Some(head) => name.starts_with(head),
        None => name == *entry,
    })
}

/// Who keeps a rule: by the table and the chain in which it stands, and by its own text.
#[must_use]
pub fn of(table: &str, chain: &str, text: &str) -> Option<&'static Owner> {
    let known = |owner: &&Owner| {
        is_among(table, owner.tables)
            || is_among(chain, owner.chains)
            || owner.comments.iter().any(|words| text.contains(words))
    };
    OWNERS.iter().find(known)
}

/// What [`super::remedy::Remedy::owner`] wants to know of a change to a chain, or to a rule reached from it.
#[must_use]
pub fn words(base: &BaseChain, rule: Option<&FilterRule>) -> Option<String> {
    let (chain, text) = rule.map_or((base.chain.as_str(), ""), |r| (&r.chain, &r.text));
    of(&base.table, chain, text).map(Owner::words)
}

/// Programs that set the policies of base chains.
const OF_POLICIES: &[&str] = &["Docker", "firewalld", "ufw"];

/// Who keeps the policy of a base chain: by its own name, or by the chains to which it leads.
#[must_use]
pub fn of_policy(read: &Ruleset, base: &BaseChain) -> Option<&'static Owner> {
    let own = read.chains.iter().find(|chain| chain.is(base));
    let below = own.into_iter().flat_map(|chain| &chain.rules);
    let led = below
        .flat_map(Rule::statements)
        .filter_map(|statement| match statement {
            Statement::Verdict(RuleVerdict::Jump(to) | RuleVerdict::Goto(to)) => Some(to.as_str()),
            _ => None,
        });
    let keeps = |owner: &&'static Owner| OF_POLICIES.contains(&owner.name);
    of(&base.table, &base.chain, "")
        .or_else(|| led.filter_map(|to| of(&base.table, to, "")).find(keeps))
}

impl Owner {
    /// Whether it translates services: what its rules refuse at a machine's own address is then for a service that has no
    /// endpoint which it may use there.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.name == "kube-proxy"
    }

    /// The chain that it keeps for rules of others, and reads before its own.
    #[must_use]
    pub fn chain_for_others(&self) -> Option<&'static str> {
        self.others
    }

    /// How a change is made that lasts.
    #[must_use]
    pub fn way(&self) -> &'static str {
        self.way
    }

    /// `kube-proxy writes these rules: …`
    #[must_use]
    pub fn words(&self) -> String {
        format!("{} writes these rules: {}", self.name, self.way)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(table: &str, chain: &str, text: &str) -> Option<&'static str> {
        of(table, chain, text).map(|owner| owner.name)
    }

    #[test]
    fn owners_are_known_by_table_chain_or_comment() {
        for (table, chain, text, owner) in [
            ("nat", "KUBE-SVC-ABC", "", "kube-proxy"),
            ("kube-proxy", "filter-forward", "", "kube-proxy"),
            ("filter", "KUBE-ROUTER-FORWARD", "", "kube-router"),
            ("filter", "DOCKER-USER", "", "Docker"),
            ("docker-bridges", "filter-FORWARD", "", "Docker"),
            ("filter", "cali-FORWARD", "", "Calico"),
            ("nat", "CILIUM_POST_nat", "", "Cilium"),
            ("firewalld", "filter_FORWARD", "", "firewalld"),
            ("filter", "IN_public", "", "firewalld"),
            ("filter", "ufw-user-input", "", "ufw"),
            ("filter", "LIBVIRT_FWI", "", "libvirt"),
            ("nm-shared-wlan0", "filter_forward", "", "NetworkManager"),
            ("io.systemd.nat", "postrouting", "", "systemd-networkd"),
            (
                "filter",
                "FORWARD",
                "-m comment --comment \"flanneld forward\" -j ACCEPT",
                "flannel",
            ),
            (
                "nat",
                "PREROUTING",
                "-m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES",
                "kube-proxy",
            ),
            ("fw4", "forward_lan", "", "OpenWrt's fw4"),
        ] {
            assert_eq!(
                name(table, chain, text),
                Some(owner),
                "{table}/{chain} {text}"
            );
        }
    }

    #[test]
    fn chains_of_nobody_have_no_owner() {
        for (table, chain, text) in [
            ("filter", "FORWARD", "-j DROP"),
            ("nat", "POSTROUTING", "-o eth0 -j MASQUERADE"),
            ("fw", "INPUT", "tcp dport 22 accept"),
            ("filter", "DOCKERISH", ""),
        ] {
            assert_eq!(name(table, chain, text), None, "{table}/{chain}");
        }
    }

    #[test]
    fn a_more_special_name_stands_above_the_one_it_begins_with() {
        for (n, owner) in OWNERS.iter().enumerate() {
            for pattern in owner.chains {
                let example = pattern.trim_end_matches('*');
                let found = OWNERS.iter().position(|o| is_among(example, o.chains));
                assert_eq!(found, Some(n), "{pattern} of {}", owner.name);
            }
        }
    }
}
