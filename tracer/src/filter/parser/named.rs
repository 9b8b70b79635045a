//! Tests by name: `pod shop/cart-5f6d`, `service shop/db`, `process nginx`. They stand for the addresses and ports that these have now.

use std::net::IpAddr;
use std::ops::Range;

use tracer_common::tuple::{FAMILY_V4, FAMILY_V6};

use super::value::at_ends;
use super::{Parser, Qualifiers};
use crate::filter::FilterError;
use crate::filter::ast::{Expr, Network, Side, Test};
use crate::filter::directory::{End, Named, Unknown};
use crate::model::Proto;

impl Parser<'_> {
    pub(super) fn named(
        &mut self,
        (named, name): (Named, &str),
        span: Range<usize>,
        qualifiers: Qualifiers,
    ) -> Result<Expr, FilterError> {
        let refuse = |Unknown { message, hint }| self.refuse(span.clone(), message).hint(hint);
        let mut ends = self.directory.find(named, name).map_err(refuse)?;
        ends.retain(|end| fits(*end, qualifiers.protocol));
        if ends.is_empty() {
            let message = format!(
                "`{} {name}` has nothing of the protocol before it",
                named.word()
            );
            return Err(self.refuse(span, message).hint("leave the protocol out"));
        }
        for end in &ends {
            self.asks_for(end.address, qualifiers.direction);
        }
        Ok(at_ends(qualifiers, |side| {
            Expr::Or(ends.iter().map(|end| test(*end, side)).collect())
        }))
    }
}

/// Whether packets of this end can be of a protocol.
fn fits(end: End, protocol: Option<Test>) -> bool {
    let family = |wanted: u8| match end.address {
        Some(IpAddr::V4(_)) => wanted != FAMILY_V6,
        Some(IpAddr::V6(_)) => wanted != FAMILY_V4,
        None => true,
    };
    match protocol {
        Some(Test::Family(wanted)) => family(wanted),
        Some(Test::Proto {
            family: wanted,
            proto,
        }) => {
            let port = end.port.and_then(|(own, _)| number(own));
            family(wanted) && port.is_none_or(|own| own == proto)
        }
        _ => true,
    }
}

fn number(proto: Proto) -> Option<u8> {
    match proto {
        Proto::Tcp => Some(6),
        Proto::Udp => Some(17),
        _ => None,
    }
}

fn test(end: End, side: Side) -> Expr {
    let mut tests = Vec::new();
    let network = end.address.map(|address| Network::prefix(address, 128));
    tests.extend(network.map(|network| Expr::Test(Test::Address(side, network))));
    if let Some((proto, port)) = end.port {
        let proto = number(proto).map(|proto| Test::Proto { family: 0, proto });
        tests.extend(proto.map(Expr::Test));
        tests.push(Expr::Test(Test::Ports(side, port, port)));
    }
    Expr::And(tests)
}
