//! Matches of ipset: a rule holds a set's number, and the kernel says its name.

use std::io;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::host::facts::{Field, Test};
use crate::host::netlink::{text_of, u16_of};
use crate::sys;

// linux/netfilter/ipset/ip_set.h: SO_IP_SET, IP_SET_OP_GET_BYINDEX, and a version that every kernel since 2.6.39 takes.
const SO_IP_SET: i32 = 83;
const GET_BYINDEX: u32 = 7;
const VERSION: u32 = 6;
/// IPSET_MAXNAMELEN.
const NAME_BYTES: usize = 32;
/// Fields of a key (IPSET_DIM_MAX).
const MOST_FIELDS: u8 = 6;

/// struct xt_set_info, with which xt_set_info_match_v1, _v3 and _v4 begin: number, fields, flags. `name` gives a set's name.
pub(super) fn matched(data: &[u8], name: impl Fn(u16) -> Option<String>) -> Option<Vec<Test>> {
    /// IPSET_INV_MATCH; the bits above it say which fields are of the source.
    const INVERTED: u8 = 1;
    let (number, fields, flags) = (u16_of(data.get(..2)?)?, *data.get(2)?, *data.get(3)?);
    let side = |field: u8| match flags & (1 << field) {
        0 => "dst",
        _ => "src",
    };
    let fields = (1..=fields.min(MOST_FIELDS)).map(|field| Field::Other(side(field).to_owned()));
    Some(vec![Test::InSet {
        fields: fields.collect(),
        set: name(number)?,
        not: flags & INVERTED != 0,
    }])
}

/// The name of a set of the calling thread's namespace.
pub(super) fn name_of(number: u16) -> Option<String> {
    asked(number).ok().filter(|name| !name.is_empty())
}

/// struct ip_set_req_get_set: operation, version, and the number, over which the kernel writes the name.
fn asked(number: u16) -> io::Result<String> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let mut request = [GET_BYINDEX.to_ne_bytes(), VERSION.to_ne_bytes()].concat();
    request.extend(number.to_ne_bytes());
    request.resize(8 + NAME_BYTES, 0);
    sys::socket_option(&socket, libc::SOL_IP, SO_IP_SET, &mut request)?;
    Ok(request.get(8..).map(text_of).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_named_with_the_sides_that_are_looked_up() {
        let name = |number| (number == 3).then(|| "blocked".to_owned());
        let number = 3_u16.to_ne_bytes();
        let data = |fields, flags| [number[0], number[1], fields, flags];
        let test = |fields: &[&str], not| {
            let fields = fields.iter().map(|f| Field::Other((*f).to_owned()));
            Some(vec![Test::InSet {
                fields: fields.collect(),
                set: "blocked".to_owned(),
                not,
            }])
        };
        assert_eq!(matched(&data(1, 2), name), test(&["src"], false));
        assert_eq!(matched(&data(2, 3), name), test(&["src", "dst"], true));
        assert_eq!(matched(&[0, 0, 1, 0], name), None);
    }
}
