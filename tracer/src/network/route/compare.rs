//! What RTM_GETROUTE said, held against what the facts say: a difference means that something changed between both, or
//! that the kernel knows something that was not read.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::RouteAnswer;
use crate::model::{Device, IfIndex, Tuple};

use super::{
    Decision, EHOSTUNREACH, EINVAL, ENETUNREACH, Found, InputEnd, LOOPBACK, Query, RT_TABLE_LOCAL,
    RT_TABLE_MAIN, Tables, Unknown, errno_words, fib4, lookup, receive, table_words,
};

/// Two answers to one question.
#[derive(Clone, Debug, PartialEq)]
pub enum Comparison {
    /// They agree.
    Agrees,
    /// They do not: what the kernel said and what the facts say, in words.
    Differs {
        /// The kernel.
        kernel: String,
        /// The facts.
        facts: String,
    },
    /// The facts do not decide.
    Undecided(Unknown),
}

/// What is said of a route.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    Error(u32),
    /// A source that is not the host's own: ENETUNREACH, in older kernels EINVAL.
    Source,
    /// Kind, table, and the possible ways out.
    Route(String, u32, Vec<(Option<u32>, Option<IpAddr>)>),
}

/// Holds an answer of the kernel against the facts.
#[must_use]
pub fn compare(host: &Host, answer: &RouteAnswer) -> Comparison {
    let tables = Tables::of(host, answer.netns);
    let facts = match expected(&tables, answer) {
        Ok(said) => said,
        Err(why) => return Comparison::Undecided(why),
    };
    let kernel = match &answer.result {
        Err(errno) => Said::Error(*errno),
        Ok(route) => Said::Route(
            route.kind.clone(),
            route.table,
            vec![(route.oif, route.gateway)],
        ),
    };
    let merged = answer.tuple.dst.is_ipv4()
        && tables
            .rules(false)
            .is_ok_and(|rules| tables.may_be_merged(&rules));
    if agrees(&kernel, &facts, merged) {
        return Comparison::Agrees;
    }
    if answer.result.as_ref().is_ok_and(|route| route.learned) {
        return Comparison::Undecided(Unknown::because(
            "its next hop was learned from an ICMP redirect, which no table tells",
        ));
    }
    Comparison::Differs {
        kernel: words(host, answer, &kernel),
        facts: words(host, answer, &facts),
    }
}

fn query_of(answer: &RouteAnswer) -> Query {
    let with = answer.with;
    let tuple = routed(answer.tuple);
    let query = match answer.iif {
        0 => Query {
            oif: Some(IfIndex(with.oif)).filter(|oif| oif.0 != 0),
            uid: with.uid.or(Some(0)),
            ..Query::output(tuple, with.mark)
        },
        iif => Query {
            uid: with.uid.or(Some(0)),
            ..Query::input(tuple, IfIndex(iif), with.mark)
        },
    };
    query.with_tos(with.tos)
}

/// What of a packet goes into the request: no ports where there are none, no protocol that the kernel does not take
/// there (rtm_getroute_parse_ip_proto).
fn routed(tuple: Tuple) -> Tuple {
    use crate::model::Proto;
    let proto = match tuple.proto {
        Proto::Tcp | Proto::Udp => return tuple,
        Proto::Icmp | Proto::Icmp6 => tuple.proto,
        Proto::Sctp | Proto::Arp | Proto::Other(_) => Proto::Other(0),
    };
    Tuple {
        proto,
        sport: 0,
        dport: 0,
        ..tuple
    }
}

fn expected(tables: &Tables<'_>, answer: &RouteAnswer) -> Result<Said, Unknown> {
    let query = query_of(answer);
    let decision = match answer.iif {
        0 => {
            if let Some(refused) = refused_source(tables, &query)? {
                return Ok(refused);
            }
            let decision = lookup(tables, &query).decision;
            let leaves = decision.route().is_none_or(|route| route.kind != "local");
            if leaves && query.tuple.src.is_ipv4() && query.tuple.src.is_loopback() {
                let why = "a loopback address leaves only where route_localnet says so";
                return Err(Unknown::because(why));
            }
            decision
        }
        _ => {
            let input = receive(tables, &query);
            match input.end {
                InputEnd::Undecided(why) => return Err(why),
                InputEnd::Martian(_) | InputEnd::Source(_) => return Ok(Said::Error(EINVAL)),
                InputEnd::NotForwarding => return Ok(Said::Error(EHOSTUNREACH)),
                InputEnd::NoRoute(errno) => return Ok(Said::Error(errno)),
                InputEnd::Local | InputEnd::Forward => {}
            }
            match input.route {
                Some(route) => route.decision,
                None => return Err(Unknown::because("no route was looked up")),
            }
        }
    };
    said(decision)
}

/// What ip_route_output_key_hash_rcu refuses of an IPv4 packet of this host before it looks.
fn refused_source(tables: &Tables<'_>, query: &Query) -> Result<Option<Said>, Unknown> {
    let (IpAddr::V4(src), IpAddr::V4(dst)) = (query.tuple.src, query.tuple.dst) else {
        return Ok(None);
    };
    if dst.is_unspecified() || dst.is_multicast() || dst.is_broadcast() {
        return Err(Unknown::because("such a destination is not looked up"));
    }
    let bound = query.oif.and_then(|oif| tables.link(oif));
    if bound.is_some_and(|link| !link.up) {
        return Ok(Some(Said::Error(ENETUNREACH)));
    }
    if src.is_unspecified() {
        return Ok(None);
    }
    if src.is_multicast() || src.is_broadcast() || src.octets()[0] == 0 {
        return Ok(Some(Said::Error(EINVAL)));
    }
    Ok((!is_own(tables, query)?).then_some(Said::Source))
}

/// Whether an address is the host's own: of an interface, or by a local route (__ip_dev_find, net/ipv4/devinet.c).
fn is_own(tables: &Tables<'_>, query: &Query) -> Result<bool, Unknown> {
    let address = query.tuple.src;
    if tables.host().is_local(tables.netns(), address) || address.is_loopback() {
        return Ok(true);
    }
    let (rules, routes) = (tables.rules(false)?, tables.routes(address)?);
    let asked = Query {
        oif: None,
        ..*query
    }
    .with_tos(0);
    let first = |of: &[u32]| {
        let mut routes = routes.clone();
        routes.retain(|route| of.contains(&route.table));
        let found = fib4::search(&routes, &asked);
        matches!(found, Found::Route(route, _) if route.kind == "local")
    };
    let own = first(&[RT_TABLE_LOCAL]);
    if tables.may_be_merged(&rules) && first(&[RT_TABLE_LOCAL, RT_TABLE_MAIN]) != own {
        let why = "whether a local route of the table main makes an address the host's own";
        return Err(Unknown::because(why));
    }
    Ok(own)
}

fn said(decision: Decision<'_>) -> Result<Said, Unknown> {
    Ok(match decision {
        Decision::Undecided(why) => return Err(why),
        Decision::OnLink(oif) => Said::Route("unicast".to_owned(), 0, vec![(Some(oif.0), None)]),
        Decision::Route { route, hops, .. } => {
            let ways = hops.iter().map(|hop| (hop.oif, hop.gateway)).collect();
            Said::Route(route.kind.clone(), route.table, ways)
        }
        other => Said::Error(other.errno().unwrap_or_default()),
    })
}

/// `merged`: routes of the table local are told as of main while both are one.
fn agrees(kernel: &Said, facts: &Said, merged: bool) -> bool {
    let (k, f) = match (kernel, facts) {
        (Said::Error(k), Said::Error(f)) => return k == f,
        (Said::Error(k), Said::Source) => return matches!(*k, EINVAL | ENETUNREACH),
        (Said::Route(kind, k, _), Said::Route(same, f, _)) if kind == same => (*k, *f),
        _ => return false,
    };
    let same_table = k == f || f == 0 || merged && (k, f) == (RT_TABLE_MAIN, RT_TABLE_LOCAL);
    let (Said::Route(kind, _, ways), Said::Route(_, _, may)) = (kernel, facts) else {
        return false;
    };
    // What is for this host is delivered by `lo`.
    let delivered = |way: &(Option<u32>, Option<IpAddr>)| {
        let own = matches!(kind.as_str(), "local" | "anycast" | "broadcast");
        own && way.0 == Some(LOOPBACK.0)
    };
    same_table && ways.iter().all(|way| delivered(way) || may.contains(way))
}

fn words(host: &Host, answer: &RouteAnswer, said: &Said) -> String {
    let (kind, table, ways) = match said {
        Said::Error(errno) => return errno_words(*errno),
        Said::Source => return "the source is not an address of this host".to_owned(),
        Said::Route(kind, table, ways) => (kind, *table, ways),
    };
    let way = |(oif, gateway): &(Option<u32>, Option<IpAddr>)| {
        let via = gateway.map_or_else(String::new, |g| format!(" via {g}"));
        let netns = answer.netns;
        let name = |oif| {
            let ifindex = IfIndex(oif);
            host.interface(Device { netns, ifindex })
        };
        let dev = oif.map_or_else(String::new, |oif| format!(" dev {}", name(oif)));
        format!("{via}{dev}")
    };
    let ways: Vec<String> = ways.iter().map(way).collect();
    format!("{kind}{} table {}", ways.join(" or"), table_words(table))
}
