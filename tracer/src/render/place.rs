//! Places in words: the one way in which outputs that have no columns for them write node, namespace and interface.

use crate::report::HopReport;
use crate::verdict::Place;

/// An interface: `router/r-client`; of several nodes `node1:router/r-client`.
#[must_use]
pub fn interface(spot: &str, interface: &str) -> String {
    format!("{spot}/{interface}")
}

/// The interface of a hop.
#[must_use]
pub fn hop(hop: &HopReport) -> String {
    interface(&hop.spot(), &hop.interface)
}

/// As much as is known of where something happened: `router/r-client`, `router`; empty for nowhere.
#[must_use]
pub fn place(place: &Place) -> String {
    match (place.spot(), &place.interface) {
        (Some(spot), Some(name)) => interface(&spot, name),
        (Some(spot), None) => spot.into_owned(),
        (None, Some(name)) => name.clone(),
        (None, None) => String::new(),
    }
}
