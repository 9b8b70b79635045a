//! Which namespaces and interfaces are looked at, and the kernel filter that follows from it and from the links.

use std::collections::BTreeMap;

use tracer_common::filter::{
    CLAUSE_LEARNED, LOOK_RECEIVED, LOOK_SENT, MAX_CLAUSES, MAX_NEIGHBORS, MAX_NETNS, RawClause,
    RawFilter,
};
use zerocopy::FromZeros;

use crate::config::{Config, Glob};
use crate::error::Error;
use crate::filter::Compiled;
use crate::host::facts::Link;
use crate::host::is_named;
use crate::host::watch::HostChange;
use crate::model::{NetNs, address_words};

/// IANA's VXLAN port, and the one that Linux and flannel take when none is given (drivers/net/vxlan).
const VXLAN_PORTS: [u16; 2] = [4789, 8472];
/// IANA's Geneve port.
const GENEVE_PORTS: [u16; 1] = [6081];
/// flannel's UDP backend.
const RAW_IP_PORTS: [u16; 1] = [8285];

/// What the user narrowed the trace to.
pub(super) struct Scope {
    names: BTreeMap<NetNs, String>,
    netns: Vec<NetNs>,
    /// What those are called, however they were typed.
    only: Vec<String>,
    interfaces: Vec<Glob>,
    filter: RawFilter,
    /// What is followed beside the expression.
    beside: Vec<Compiled>,
}

impl Scope {
    /// # Errors
    /// When a namespace or interface that was named does not exist.
    pub(super) fn new(config: &Config, changes: &[HostChange]) -> Result<Self, Error> {
        let names: BTreeMap<NetNs, String> = changes
            .iter()
            .filter_map(|change| match change {
                HostChange::NamespaceAdded(handle, identity) => {
                    Some((handle.netns(), identity.name.clone()))
                }
                _ => None,
            })
            .collect();
        let files: BTreeMap<NetNs, &str> = changes
            .iter()
            .filter_map(|change| match change {
                HostChange::NamespaceAdded(handle, identity) => {
                    Some((handle.netns(), identity.netns_name()?))
                }
                _ => None,
            })
            .collect();
        let netns = chosen(&config.only_netns, &names, &files)?;
        let only = netns.iter().filter_map(|ns| names.get(ns).cloned());
        let mut scope = Self {
            only: only.collect(),
            names,
            netns,
            interfaces: config.only_interfaces.clone(),
            filter: base(config),
            beside: Vec::new(),
        };
        let count = scope
            .filter
            .netns
            .iter_mut()
            .zip(&scope.netns)
            .map(|(slot, ns)| *slot = ns.0)
            .count();
        scope.filter.netns_len = u32::try_from(count).unwrap_or(u32::MAX);
        scope.check_interfaces(changes)?;
        Ok(scope)
    }

    /// The filter in force.
    pub(super) fn filter(&self) -> &RawFilter {
        &self.filter
    }

    /// Takes another expression; what links and namespaces added stays.
    pub(super) fn follow(&mut self, compiled: &Compiled) {
        self.filter.generation = self.filter.generation.wrapping_add(1);
        self.beside.clear();
        ask(&mut self.filter, compiled);
    }

    /// Takes the same expression, of which names have come to stand for more. What was learned, and what is followed beside it, stays.
    pub(super) fn grow(&mut self, compiled: &Compiled) {
        ask(&mut self.filter, compiled);
        for beside in &self.beside {
            put_beside(&mut self.filter, beside);
        }
    }

    /// Follows this beside the expression, as far as there is room. What was learned under it still counts.
    pub(super) fn add(&mut self, compiled: Compiled) {
        put_beside(&mut self.filter, &compiled);
        self.beside.push(compiled);
    }

    /// Whether the interface is to be watched.
    pub(super) fn wants(&self, link: &Link) -> bool {
        self.looks_into(link.device.netns)
            && (self.interfaces.is_empty()
                || self.interfaces.iter().any(|glob| glob.matches(&link.name)))
    }

    /// Whether the namespace is looked at.
    pub(super) fn looks_into(&self, netns: NetNs) -> bool {
        self.netns.is_empty() || self.netns.contains(&netns)
    }

    /// The names of the namespaces that the trace is narrowed to.
    pub(super) fn only(&self) -> &[String] {
        &self.only
    }

    /// Takes in what a namespace is called now.
    pub(super) fn called(&mut self, netns: NetNs, name: &str) {
        self.names.insert(netns, name.to_owned());
    }

    /// The name of a namespace.
    pub(super) fn namespace(&self, netns: NetNs) -> String {
        self.names
            .get(&netns)
            .cloned()
            .unwrap_or_else(|| format!("netns:{}", netns.0))
    }

    /// Takes the port of a tunnel device into the filter; true when the filter changed.
    pub(super) fn learn(&mut self, link: &Link) -> bool {
        let Some(vxlan) = &link.vxlan else {
            return false;
        };
        if vxlan.port == 0 || self.filter.vxlan_ports.contains(&vxlan.port) {
            return false;
        }
        match self.filter.vxlan_ports.iter_mut().find(|port| **port == 0) {
            Some(free) => {
                *free = vxlan.port;
                true
            }
            None => false,
        }
    }

    /// Has tracepoints look at packets that no classifier has tagged, where that is needed: interfaces are `unwatched`,
    /// or generic XDP stands before the classifiers. True when the filter changed.
    pub(super) fn look_at_untagged(&mut self, unwatched: bool, generic_xdp: bool) -> bool {
        let before = self.filter.look_at;
        self.filter.look_at = match (unwatched || !self.interfaces.is_empty(), generic_xdp) {
            (true, _) => LOOK_RECEIVED | LOOK_SENT,
            (false, true) => LOOK_RECEIVED,
            (false, false) => 0,
        };
        self.filter.look_at != before
    }

    fn check_interfaces(&self, changes: &[HostChange]) -> Result<(), Error> {
        let links: Vec<&Link> = changes
            .iter()
            .filter_map(|change| match change {
                HostChange::LinkAdded(link) => Some(link),
                _ => None,
            })
            .collect();
        let known: Vec<String> = links.iter().map(|link| link.name.clone()).collect();
        match self
            .interfaces
            .iter()
            .find(|glob| !links.iter().any(|link| glob.matches(&link.name)))
        {
            Some(glob) => Err(Error::no_such_interface(&glob.to_string(), &known)),
            None => Ok(()),
        }
    }
}

/// A name that `ip netns list` shows leads to its namespace even where that is called after the pod in it.
fn chosen(
    wanted: &[String],
    names: &BTreeMap<NetNs, String>,
    files: &BTreeMap<NetNs, &str>,
) -> Result<Vec<NetNs>, Error> {
    let mut netns = Vec::new();
    for name in wanted {
        let found = names
            .iter()
            .find(|(netns, known)| is_named(name, **netns, known))
            .map(|(ns, _)| *ns)
            .or_else(|| {
                files
                    .iter()
                    .find(|(_, file)| *file == name)
                    .map(|(ns, _)| *ns)
            });
        netns.push(found.ok_or_else(|| {
            Error::no_such_namespace(name, &names.values().cloned().collect::<Vec<_>>())
        })?);
    }
    if netns.len() > MAX_NETNS {
        return Err(Error::usage(format!(
            "--netns names {} namespaces, at most {MAX_NETNS} can be looked at",
            netns.len()
        ))
        .hint("leave --netns away to look at all of them"));
    }
    Ok(netns)
}

/// The filter without what links and namespaces add.
fn base(config: &Config) -> RawFilter {
    let mut filter = RawFilter::new_zeroed();
    filter.generation = 1;
    ask(&mut filter, &config.filter);
    put(&mut filter.vxlan_ports, VXLAN_PORTS.into_iter());
    put(&mut filter.geneve_ports, GENEVE_PORTS.into_iter());
    put(&mut filter.raw_ip_ports, RAW_IP_PORTS.into_iter());
    filter
}

/// Enters an expression.
fn ask(filter: &mut RawFilter, compiled: &Compiled) {
    filter.clauses = [RawClause::ANY; MAX_CLAUSES];
    filter.clauses_len = put(&mut filter.clauses, compiled.clauses.iter().copied());
    filter.neighbors = FromZeros::new_zeroed();
    let addresses = compiled.addresses.iter();
    let addresses = addresses.map(|address| address_words(*address));
    filter.neighbors_len = put(&mut filter.neighbors, addresses.take(MAX_NEIGHBORS));
}

/// Enters what is followed beside an expression, behind it, as far as there is room.
fn put_beside(filter: &mut RawFilter, compiled: &Compiled) {
    let used = usize::try_from(filter.clauses_len).unwrap_or(MAX_CLAUSES);
    let free = filter.clauses.iter_mut().skip(used);
    let clauses = compiled.clauses.iter().map(|clause| RawClause {
        flags: clause.flags | CLAUSE_LEARNED,
        ..*clause
    });
    filter.clauses_len += put(free, clauses);
    let used = usize::try_from(filter.neighbors_len).unwrap_or(MAX_NEIGHBORS);
    let free = filter.neighbors.iter_mut().skip(used);
    let addresses = compiled.addresses.iter().copied().map(address_words);
    filter.neighbors_len += put(free, addresses);
}

/// Writes values to the front of a table and says how many.
fn put<'t, T: 't>(
    table: impl IntoIterator<Item = &'t mut T>,
    values: impl Iterator<Item = T>,
) -> u32 {
    let count = table
        .into_iter()
        .zip(values)
        .map(|(slot, value)| *slot = value)
        .count();
    u32::try_from(count).unwrap_or(u32::MAX)
}
