//! Places in words: the one way in which outputs that have no columns for them write namespace and interface.

use crate::report::{HopReport, Place};

/// An interface: `router/r-client`.
#[must_use]
pub fn interface(namespace: &str, interface: &str) -> String {
    format!("{namespace}/{interface}")
}

/// The interface of a hop.
#[must_use]
pub fn hop(hop: &HopReport) -> String {
    interface(&hop.namespace, &hop.interface)
}

/// As much as is known of where something happened: `router/r-client`, `router`; empty for nowhere.
#[must_use]
pub fn place(place: &Place) -> String {
    match (&place.namespace, &place.interface) {
        (Some(namespace), Some(name)) => interface(namespace, name),
        (Some(one), None) | (None, Some(one)) => one.clone(),
        (None, None) => String::new(),
    }
}

/// The namespace of a hop, as the heading of what happens there.
#[must_use]
pub fn hop_space(hop: &HopReport) -> String {
    hop.namespace.clone()
}

/// The namespace of a place, likewise, where it is known.
#[must_use]
pub fn space(place: &Place) -> Option<String> {
    place.namespace.clone()
}
