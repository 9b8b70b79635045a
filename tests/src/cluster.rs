//! A real Kubernetes of two nodes in namespaces of this machine, and incidents on it: brought up ([`stage`]), entered from
//! outside and taken down ([`live`]), broken and asked about ([`incident`]), told in a table ([`table`]).
//!
//! The programs of the cluster are built by xtask. An incident is a lab file with `[[ask]]`: what it expects of a report, and
//! how its advice is proven, is what a lab has. It differs in what it runs on: the one cluster that all share, so it takes
//! back what it did.

pub mod incident;
pub mod live;
pub mod stage;
pub mod table;
