//! Names of what runs on this machine: where the language looks them up.

use std::net::IpAddr;

pub use super::names::Named;
use crate::model::Proto;

/// An end of packets that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    /// Its address; `None`: any.
    pub address: Option<IpAddr>,
    /// Protocol and port; `None`: any.
    pub port: Option<(Proto, u16)>,
}

impl From<IpAddr> for End {
    fn from(address: IpAddr) -> Self {
        Self {
            address: Some(address),
            port: None,
        }
    }
}

/// Why a name is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// One line.
    pub message: String,
    /// What to do instead.
    pub hint: String,
}

/// Where names are looked up.
pub trait Directory {
    /// The ends that have this name; at least one.
    ///
    /// # Errors
    /// When there is no such thing, or it has no address.
    fn find(&self, named: Named, name: &str) -> Result<Vec<End>, Unknown>;
}

/// Nothing is known by name: the machine that is traced is not this one.
#[derive(Clone, Copy, Debug)]
pub struct NoDirectory;

impl Directory for NoDirectory {
    fn find(&self, named: Named, name: &str) -> Result<Vec<End>, Unknown> {
        Err(Unknown {
            message: format!(
                "`{} {name}` is looked up only on the machine that is traced",
                named.word()
            ),
            hint:
                "give the address: `host ADDRESS` (`tracer list` shows it there), or --names FILE"
                    .to_owned(),
        })
    }
}
