//! What becomes of a packet that came in, as routing decides it: ip_route_input_slow (net/ipv4/route.c) with the check
//! of its source (fib_validate_source, net/ipv4/fib_frontend.c).

use std::net::{IpAddr, Ipv4Addr};

use crate::host::facts::TableRoute;
use crate::model::IfIndex;

use super::{Answer, Decision, LOOPBACK, Occasion, Query, Tables, Unknown, lookup};

/// Why a source is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forged {
    /// The way back does not lead through the interface, or there is none (rp_filter).
    ReversePath,
    /// It is an address of this namespace itself.
    Local,
    /// It is no address of a host.
    Invalid,
}

/// What the check of a source says.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckResult {
    /// It passes.
    Passes,
    /// It does not.
    Refused(Forged),
    /// It cannot be told.
    Undecided(Unknown),
}

/// The check of a source: the route back to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Check<'a> {
    /// What counts of rp_filter: the larger of `all` and the interface's own (IN_DEV_RPFILTER).
    pub mode: Result<u32, Unknown>,
    /// The reverse lookup.
    pub back: Answer<'a>,
    /// What follows.
    pub result: CheckResult,
}

/// How a packet that came in ends.
#[derive(Clone, Debug, PartialEq)]
pub enum InputEnd {
    /// For this host.
    Local,
    /// To be passed on.
    Forward,
    /// Its source or its destination is one that no packet may have here.
    Martian(&'static str),
    /// Its source is refused.
    Source(Forged),
    /// It is for somebody else, and the interface does not forward.
    NotForwarding,
    /// No route, or one that refuses: errno.
    NoRoute(u32),
    /// It cannot be told.
    Undecided(Unknown),
}

/// What routing makes of a packet that came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Input<'a> {
    /// The route; `None` where the packet is refused before.
    pub route: Option<Answer<'a>>,
    /// The check of its source, where it came to that.
    pub source: Option<Check<'a>>,
    /// How it ends.
    pub end: InputEnd,
}

/// Routes a packet that came in.
#[must_use]
pub fn receive<'a>(tables: &Tables<'a>, query: &Query) -> Input<'a> {
    let refused = match (query.tuple.src, query.tuple.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => martian(tables, query, src, dst),
        _ => Ok(None),
    };
    let ended = match refused {
        Ok(None) => None,
        Ok(Some(why)) => Some(InputEnd::Martian(why)),
        Err(why) => Some(InputEnd::Undecided(why)),
    };
    if let Some(end) = ended {
        return Input {
            route: None,
            source: None,
            end,
        };
    }
    let route = lookup(tables, query);
    let (source, end) = if query.v6() {
        (None, end6(&route.decision))
    } else {
        end4(tables, query, &route.decision)
    };
    Input {
        route: Some(route),
        source,
        end,
    }
}

/// Addresses that no packet from outside may have.
fn martian(
    tables: &Tables<'_>,
    query: &Query,
    src: Ipv4Addr,
    dst: Ipv4Addr,
) -> Result<Option<&'static str>, Unknown> {
    let zeronet = |address: Ipv4Addr| address.octets()[0] == 0;
    if src.is_multicast() || src.is_broadcast() {
        return Ok(Some("source"));
    }
    if dst.is_broadcast() || src.is_unspecified() && dst.is_unspecified() {
        return Err(Unknown::because("broadcasts are not looked up"));
    }
    if zeronet(src) {
        return Ok(Some("source"));
    }
    if zeronet(dst) {
        return Ok(Some("destination"));
    }
    let which = match (dst.is_loopback(), src.is_loopback()) {
        (true, _) => "destination",
        (false, true) => "source",
        (false, false) => return Ok(None),
    };
    let routed = either(tables, query, "route_localnet")?;
    Ok((!routed).then_some(which))
}

fn end6(decision: &Decision<'_>) -> InputEnd {
    match decision {
        Decision::Route { route, .. } if is_here(&route.kind) => InputEnd::Local,
        Decision::Route { .. } | Decision::OnLink(_) => InputEnd::Forward,
        Decision::Undecided(why) => InputEnd::Undecided(why.clone()),
        other => InputEnd::NoRoute(other.errno().unwrap_or_default()),
    }
}

fn is_here(kind: &str) -> bool {
    matches!(kind, "local" | "broadcast" | "anycast" | "multicast")
}

fn end4<'a>(
    tables: &Tables<'a>,
    query: &Query,
    decision: &Decision<'a>,
) -> (Option<Check<'a>>, InputEnd) {
    let kind = match decision {
        Decision::Undecided(why) => return (None, InputEnd::Undecided(why.clone())),
        Decision::Route { route, .. } => route.kind.as_str(),
        _ => "",
    };
    let local = matches!(kind, "local" | "broadcast");
    if !local {
        match setting(tables, query, "forwarding") {
            Err(why) => return (None, InputEnd::Undecided(why)),
            Ok(0) => return (None, InputEnd::NotForwarding),
            Ok(_) => {}
        }
        if let Some(errno) = decision.errno() {
            return (None, InputEnd::NoRoute(errno));
        }
        if kind != "unicast" {
            return (None, InputEnd::Martian("destination"));
        }
    }
    let check = check_source(tables, query, decision);
    let end = match &check.result {
        CheckResult::Refused(why) => InputEnd::Source(*why),
        CheckResult::Undecided(why) => InputEnd::Undecided(why.clone()),
        CheckResult::Passes if local => InputEnd::Local,
        CheckResult::Passes => InputEnd::Forward,
    };
    (Some(check), end)
}

/// The check of an IPv4 packet's source (__fib_validate_source). `forward`: its own route.
#[must_use]
pub fn check_source<'a>(tables: &Tables<'a>, query: &Query, forward: &Decision<'_>) -> Check<'a> {
    let mode = larger(tables, query, "rp_filter");
    let back = lookup(tables, &reverse(tables, query, forward));
    let result = match &mode {
        Ok(0) => unfiltered(tables, query, forward, &back),
        Ok(mode) => full(tables, query, &back, Some(*mode)),
        Err(why) => {
            let [none, loose, strict] = [
                unfiltered(tables, query, forward, &back),
                full(tables, query, &back, Some(2)),
                full(tables, query, &back, Some(1)),
            ];
            if none == loose && loose == strict {
                none
            } else {
                CheckResult::Undecided(why.clone())
            }
        }
    };
    Check { mode, back, result }
}

/// The question that the kernel asks for the way back: as if the answer came in where the packet would go out, with
/// the mark only where the interface says so (src_valid_mark).
fn reverse(tables: &Tables<'_>, query: &Query, forward: &Decision<'_>) -> Query {
    let iif = match forward {
        Decision::Route { route, hops, .. } if route.kind == "unicast" => {
            let mut out = hops.iter().map(|hop| hop.oif);
            let first = out.next().flatten();
            first.filter(|_| out.all(|oif| oif == first)).map(IfIndex)
        }
        _ => Some(LOOPBACK),
    };
    let mark = match either(tables, query, "src_valid_mark") {
        Ok(true) => query.mark,
        Ok(false) => Some(0),
        Err(_) => query.mark.filter(|mark| *mark == 0),
    };
    Query {
        tuple: query.tuple.reversed(),
        occasion: Occasion::Reverse,
        iif,
        oif: None,
        mark,
        uid: Some(0),
        tos: query.tos,
    }
}

/// The check without rp_filter (fib_validate_source): the source is looked up only where something says that the
/// namespace's addresses alone do not tell.
fn unfiltered(
    tables: &Tables<'_>,
    query: &Query,
    forward: &Decision<'_>,
    back: &Answer<'_>,
) -> CheckResult {
    let looked_up = full(tables, query, back, None);
    let own = tables.host().is_local(tables.netns(), query.tuple.src);
    let short = match either(tables, query, "accept_local") {
        Ok(true) => CheckResult::Passes,
        _ if is_custom(tables, query) => looked_up.clone(),
        Ok(false) if own => CheckResult::Refused(Forged::Local),
        Err(why) if own => CheckResult::Undecided(why),
        // A rule or a local route that was added once, and is not seen here, makes the kernel look up all the same.
        _ if looked_up == CheckResult::Passes => CheckResult::Passes,
        _ => CheckResult::Undecided(Unknown::because(
            "whether the kernel looks at the route of such a source without rp_filter depends on rules and local routes that it had",
        )),
    };
    // Where a redirect may have to be sent, the source is looked up too.
    let returns = matches!(forward, Decision::Route { route, hops, .. }
        if route.kind == "unicast" && hops.iter().any(|hop| hop.oif.map(IfIndex) == query.iif));
    match either(tables, query, "send_redirects") {
        _ if !returns || short == looked_up => short,
        Ok(true) => looked_up,
        Ok(false) => short,
        Err(why) => CheckResult::Undecided(why),
    }
}

/// Whether the namespace has policy rules of its own, or local routes that somebody added (fib4_has_custom_rules,
/// fib_has_custom_local_routes), as far as is seen.
fn is_custom(tables: &Tables<'_>, query: &Query) -> bool {
    /// RTPROT_KERNEL.
    const KERNEL: u8 = 2;
    let rules = tables.rules(false);
    let rules = rules.is_ok_and(|rules| !tables.may_be_merged(&rules));
    let mut ends = [query.tuple.src, query.tuple.dst].into_iter();
    let added =
        |route: &&TableRoute| route.kind == "local" && !matches!(route.protocol, 0 | KERNEL);
    rules
        || ends.any(|end| {
            tables
                .routes(end)
                .is_ok_and(|routes| routes.iter().any(added))
        })
}

/// `mode`: rp_filter, `None` where it is off.
fn full(tables: &Tables<'_>, query: &Query, back: &Answer<'_>, mode: Option<u32>) -> CheckResult {
    let missing = match mode {
        Some(_) => CheckResult::Refused(Forged::ReversePath),
        None => CheckResult::Passes,
    };
    let route = match &back.decision {
        Decision::Undecided(why) => return CheckResult::Undecided(why.clone()),
        Decision::Route { route, .. } => route,
        _ => return missing,
    };
    match route.kind.as_str() {
        "unicast" => {}
        "local" => match either(tables, query, "accept_local") {
            Ok(true) => {}
            Ok(false) => return CheckResult::Refused(Forged::Local),
            Err(why) => return CheckResult::Undecided(why),
        },
        _ => return CheckResult::Refused(Forged::Invalid),
    }
    // Any path will do (fib_info_nh_uses_dev).
    let through = route
        .hops()
        .iter()
        .any(|hop| hop.oif.map(IfIndex) == query.iif);
    if through {
        return CheckResult::Passes;
    }
    if query.iif.is_none() {
        return CheckResult::Undecided(Unknown::because("the interface is not known"));
    }
    if mode == Some(1) || mode.is_some() && has_no_address(tables, query) {
        return missing;
    }
    CheckResult::Passes
}

/// Whether the packet's interface has no IPv4 address.
fn has_no_address(tables: &Tables<'_>, query: &Query) -> bool {
    let netns = tables.netns();
    let device = query
        .iif
        .map(|ifindex| crate::model::Device { netns, ifindex });
    device.is_some_and(|device| {
        let mut own = tables.host().addresses(device).iter();
        !own.any(|own| own.address.is_ipv4())
    })
}

/// `net/ipv4/conf/INTERFACE/NAME` of the packet's interface.
fn own_setting(tables: &Tables<'_>, query: &Query, name: &str) -> Result<String, Unknown> {
    let link = match query.iif {
        Some(LOOPBACK) => Some("lo"),
        Some(iif) => tables.link(iif).map(|link| link.name.as_str()),
        None => None,
    };
    let link = link.ok_or_else(|| Unknown::because("the interface is not known"))?;
    Ok(format!("net/ipv4/conf/{link}/{name}"))
}

fn setting(tables: &Tables<'_>, query: &Query, name: &str) -> Result<u32, Unknown> {
    tables.number(&own_setting(tables, query, name)?)
}

/// IN_DEV_ORCONF: on where `all` or the interface has it on.
fn either(tables: &Tables<'_>, query: &Query, name: &str) -> Result<bool, Unknown> {
    let all = tables.number(&format!("net/ipv4/conf/all/{name}"));
    match (all, setting(tables, query, name)) {
        (Ok(1..), _) | (_, Ok(1..)) => Ok(true),
        (Err(why), _) | (_, Err(why)) => Err(why),
        (Ok(0), Ok(0)) => Ok(false),
    }
}

/// IN_DEV_MAXCONF.
fn larger(tables: &Tables<'_>, query: &Query, name: &str) -> Result<u32, Unknown> {
    let all = tables.number(&format!("net/ipv4/conf/all/{name}"))?;
    Ok(all.max(setting(tables, query, name)?))
}
