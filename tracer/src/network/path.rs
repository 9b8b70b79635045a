//! Where routing alone takes a packet: from table to table, through all namespaces that are known.

use std::net::IpAddr;

use super::neighbour;
use super::route::{Decision, Query, Tables, Unknown, lookup};
use super::segment::Segment;
use crate::host::facts::{NextHop, Question};
use crate::model::{Device, IfIndex};

/// Routers that a packet passes at most; more is a loop.
const MOST: usize = 16;

/// Where it comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The interface that has its destination.
    Owner(Device),
    /// A namespace without a route for it, with one that refuses it, or one that gives it to a neighbour who is not there.
    Lost,
    /// What was read does not tell; this may.
    Unknown(Option<Question>),
}

/// Follows a packet from the namespace of these tables on. Only the first router is asked with the tables as they are given.
#[must_use]
pub fn follow(tables: &Tables<'_>, query: &Query) -> End {
    let (mut tables, mut query) = (tables.clone(), *query);
    for _ in 0..MOST {
        let (netns, dst) = (tables.netns(), query.tuple.dst);
        if let Some(owner) = tables.host().owners(dst).find(|d| d.netns == netns) {
            return End::Owner(owner);
        }
        let hops = match lookup(&tables, &query).decision {
            Decision::Route { hops, .. } => hops,
            Decision::Undecided(Unknown::Unread(question)) => {
                return End::Unknown(Some(question));
            }
            Decision::Undecided(_) => return End::Unknown(None),
            _ => return End::Lost,
        };
        let [hop] = hops.as_slice() else {
            return End::Unknown(None);
        };
        match next(&tables, hop, dst) {
            Next::Device(near) => {
                query = Query::input(query.tuple, near.ifindex, 0);
                tables = Tables::of(tables.host(), near.netns);
            }
            Next::Nobody => return End::Lost,
            Next::Outside => return End::Unknown(None),
        }
    }
    End::Lost
}

/// To whom a next hop leads.
enum Next {
    /// The interface of the router, or the destination's own.
    Device(Device),
    /// Its link is known, and nobody there has the address.
    Nobody,
    /// The link goes on where nothing is known.
    Outside,
}

fn next(tables: &Tables<'_>, hop: &NextHop, dst: IpAddr) -> Next {
    let host = tables.host();
    let out = hop.oif.map(|oif| Device {
        netns: tables.netns(),
        ifindex: IfIndex(oif),
    });
    let Some(link) = out.and_then(|out| host.link(out)) else {
        return Next::Outside;
    };
    let owners = neighbour::owners(host, link.device, hop.gateway.unwrap_or(dst));
    match owners.first() {
        Some(owner) => Next::Device(owner.device),
        None if Segment::of_broadcast(host, link).open.is_empty() => Next::Nobody,
        None => Next::Outside,
    }
}
