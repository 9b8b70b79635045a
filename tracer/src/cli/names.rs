//! Where names are found, checked.

use std::collections::BTreeSet;
use std::path::Path;

use super::{ListedNames, NameArgs};
use crate::error::Error;
use crate::host::NamePlaces;
use crate::host::facts::AddressOwner;
use crate::host::kubectl;

/// Places that are looked at again and again.
///
/// # Errors
/// A list that cannot be read.
pub(super) fn places(args: NameArgs) -> Result<NamePlaces, Error> {
    for file in &args.lists.names {
        owners(file)?;
    }
    Ok(args.into())
}

impl From<NameArgs> for NamePlaces {
    fn from(args: NameArgs) -> Self {
        Self {
            host_root: args.host_root,
            lists: args.lists.names,
        }
    }
}

/// What lists say now.
///
/// # Errors
/// A list that cannot be read.
pub(super) fn told(lists: &ListedNames) -> Result<Vec<AddressOwner>, Error> {
    let mut told = Vec::new();
    for file in &lists.names {
        told.extend(owners(file)?);
    }
    Ok(told)
}

fn owners(file: &Path) -> Result<BTreeSet<AddressOwner>, Error> {
    kubectl::read(file).map_err(|error| {
        Error::usage(format!("--names {}: no names can be read", file.display()))
            .caused_by(error)
            .hint(kubectl::HOW)
    })
}
