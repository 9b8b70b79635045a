//! Services of Kubernetes in the rules that kube-proxy makes of them: which address is which service's, and what it leads to.
//!
//! iptables mode tells names in comments (pkg/proxy/iptables/proxier.go), nftables mode in names of chains and comments of
//! elements (pkg/proxy/nftables/proxier.go). Rules of IPVS mode are not in the packet filter.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::discovery::clean;
use super::facts::{
    AddressOwner, Chain, Element, Owner, OwnerKind, Rule, RuleVerdict, Ruleset, Side, Statement,
    Test, Translation, Value,
};

/// kube-proxy's table in nftables mode.
const TABLE: &str = "kube-proxy";
/// What its chains' names begin with.
const OF_SERVICES: [&str; 3] = ["service-", "external-", "firewall-"];
const OF_ENDPOINTS: &str = "endpoint-";

/// Owners of addresses by the rules of a namespace.
pub(super) fn owners(ruleset: &Ruleset) -> Vec<AddressOwner> {
    let mut found = BTreeSet::new();
    for chain in &ruleset.chains {
        if chain.name.starts_with("KUBE-") {
            found.extend(chain.rules.iter().flat_map(of_rule));
        } else if chain.table == TABLE {
            found.extend(of_chain(chain));
        }
    }
    let sets = ruleset.sets.iter().filter(|set| set.table == TABLE);
    found.extend(sets.flat_map(|set| &set.elements).filter_map(of_element));
    found.into_iter().collect()
}

fn owned(address: IpAddr, kind: OwnerKind, name: &str) -> Option<AddressOwner> {
    Some(AddressOwner {
        address,
        owner: Owner {
            kind,
            name: clean(name)?,
            node: None,
        },
    })
}

/// Of iptables: the destination asked for is the service's, the one translated to an endpoint's.
fn of_rule(rule: &Rule) -> Vec<AddressOwner> {
    let Some(name) = rule
        .text
        .split_once("--comment \"")
        .and_then(|(_, rest)| service(rest))
    else {
        return Vec::new();
    };
    let asked = rule.tests().filter_map(|test| match test {
        Test::Address {
            side: Side::Destination,
            ranges,
            not: false,
        } => single(ranges),
        _ => None,
    });
    let services = asked.filter_map(|address| owned(address, OwnerKind::Service, name));
    let endpoints =
        destinations(rule).filter_map(|address| owned(address, OwnerKind::Endpoint, name));
    services.chain(endpoints).collect()
}

/// `shop/db` of `shop/db:sql cluster IP"`.
fn service(comment: &str) -> Option<&str> {
    let word = comment.split([' ', '"']).next()?;
    let name = word.split(':').next()?;
    let (namespace, own) = name.split_once('/')?;
    let label = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
    };
    (label(namespace) && label(own)).then_some(name)
}

fn single(ranges: &[(IpAddr, IpAddr)]) -> Option<IpAddr> {
    match ranges {
        [(first, last)] if first == last => Some(*first),
        _ => None,
    }
}

fn destinations(rule: &Rule) -> impl Iterator<Item = IpAddr> {
    rule.statements().filter_map(|statement| match statement {
        Statement::Translate(Translation {
            side: Side::Destination,
            addresses: Some((first, last)),
            ..
        }) if first == last => Some(*first),
        _ => None,
    })
}

/// Of nftables: endpoints, whose chains are named after their service.
fn of_chain(chain: &Chain) -> Vec<AddressOwner> {
    let Some(name) = chain.name.strip_prefix(OF_ENDPOINTS).and_then(named) else {
        return Vec::new();
    };
    let addresses = chain.rules.iter().flat_map(destinations);
    addresses
        .filter_map(|address| owned(address, OwnerKind::Endpoint, &name))
        .collect()
}

/// `shop/db` of `ULMVA6XW-shop/db/tcp/sql`.
fn named(chain: &str) -> Option<String> {
    let (_, rest) = chain.split_once('-')?;
    let mut parts = rest.split('/');
    Some(format!("{}/{}", parts.next()?, parts.next()?))
}

/// Of nftables: elements of the maps from addresses of services to their chains.
fn of_element(element: &Element) -> Option<AddressOwner> {
    let (Value::Address(first), Value::Address(last)) = element.key.first()? else {
        return None;
    };
    let chain = match element.verdict.as_ref()? {
        RuleVerdict::Goto(chain) | RuleVerdict::Jump(chain) => Some(chain),
        _ => None,
    };
    let of_chain = chain.and_then(|chain| {
        let mut beginnings = OF_SERVICES.iter();
        named(beginnings.find_map(|beginning| chain.strip_prefix(beginning))?)
    });
    // services without endpoints lead to one chain for all, and are named in the comment
    let of_comment = || {
        element
            .comment
            .as_deref()
            .and_then(service)
            .map(str::to_owned)
    };
    let name = of_chain.or_else(of_comment)?;
    (first == last)
        .then(|| owned(*first, OwnerKind::Service, &name))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_name_services() {
        for (comment, name) in [
            ("shop/db:sql cluster IP\" -j", Some("shop/db")),
            (
                "default/kubernetes:https\" -m tcp",
                Some("default/kubernetes"),
            ),
            ("shop/db has no endpoints\"", Some("shop/db")),
            ("kubernetes service portals\"", None),
            ("tracer/a/b\"", None),
            ("/\"", None),
        ] {
            assert_eq!(service(comment), name, "{comment}");
        }
    }

    #[test]
    fn chains_of_nftables_name_services() {
        assert_eq!(
            named("ULMVA6XW-shop/db/tcp/sql").as_deref(),
            Some("shop/db")
        );
        let endpoint = "5OJB2KTY-shop/db/tcp/sql__10.244.2.9/5432";
        assert_eq!(named(endpoint).as_deref(), Some("shop/db"));
        assert_eq!(named("chain"), None);
    }
}
