//! What can be asked for by name on this machine: pods, containers, services, namespaces, interfaces, processes. Read when a name
//! stands in an expression, and for `tracer list` ([`list`]).

pub mod list;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use crate::filter::{Directory, End, Named, NoDirectory, Unknown};
use crate::host::answers::answer;
use crate::host::facts::{AddressOwner, Fact, OwnerKind, Question};
use crate::host::watch::{HostChange, Watcher};
use crate::host::{Host, NamePlaces};
use crate::host::{processes, sockets};
use crate::model::{KtimeNs, NetNs};

/// Most addresses of a namespace by which its processes' sockets are told from those of other namespaces.
const FEW: usize = 3;

/// The machine as it is now.
#[derive(Debug)]
pub struct Inventory {
    host: Host,
}

impl Inventory {
    /// Reads namespaces, interfaces and names, and the services in the rules of the namespaces that `with_rules` chooses by name.
    ///
    /// # Errors
    /// When /proc cannot be read.
    fn read(places: NamePlaces, with_rules: impl Fn(&str) -> bool) -> io::Result<Self> {
        let (watcher, changes) = Watcher::new(places)?;
        let mut host = Host::default();
        let mut apply = |fact: Fact| host.apply(KtimeNs(0), fact);
        changes
            .iter()
            .filter_map(HostChange::fact)
            .for_each(&mut apply);
        drop(changes);
        let chosen: Vec<NetNs> = host
            .namespaces()
            .filter(|(_, name)| with_rules(name))
            .map(|(netns, _)| netns)
            .collect();
        for netns in chosen {
            let facts = answer(&Question::Chains { netns }, watcher.namespaces());
            facts
                .into_iter()
                .for_each(|fact| host.apply(KtimeNs(0), fact));
        }
        Ok(Self { host })
    }

    /// Addresses of what is called so: those of its interfaces, else those that files and rules tell.
    fn addresses(&self, kind: OwnerKind, name: &str) -> BTreeSet<IpAddr> {
        let words = format!("{}{name}", kind.words());
        let mut namespaces = self.host.namespaces();
        let inside = namespaces.find(|(_, name)| *name == words);
        let own: BTreeSet<IpAddr> = inside
            .map(|(netns, _)| self.usable(netns).collect())
            .unwrap_or_default();
        if !own.is_empty() {
            return own;
        }
        let told = self.host.owned_addresses();
        told.filter(|(_, owner)| owner.kind == kind && owner.name == name)
            .map(|(address, _)| address)
            .collect()
    }

    /// Addresses of a namespace that others can use.
    fn usable(&self, netns: NetNs) -> impl Iterator<Item = IpAddr> {
        let all = self.host.addresses_in(netns).map(|own| own.address);
        all.filter(|address| match address {
            IpAddr::V4(v4) => !v4.is_loopback(),
            IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
        })
    }

    /// All names of a kind.
    fn names(&self, kind: OwnerKind) -> BTreeSet<String> {
        let spaces = self.host.namespaces().map(|(_, name)| name);
        let inside = spaces.filter_map(|name| name.strip_prefix(kind.words()));
        let told = self.host.owned_addresses().map(|(_, owner)| owner);
        let told = told.filter(|owner| owner.kind == kind);
        inside
            .map(str::to_owned)
            .chain(told.map(|owner| owner.name.clone()))
            .collect()
    }

    /// What has this name, or this name in only one namespace of Kubernetes.
    fn ends(&self, (named, kind): (Named, OwnerKind), name: &str) -> Result<Vec<End>, Unknown> {
        let names = self.names(kind);
        let short = |known: &&String| known.rsplit('/').next() == Some(name);
        let meant: Vec<&String> = match names.get(name) {
            Some(exact) => vec![exact],
            None => names.iter().filter(short).collect(),
        };
        let word = named.word();
        let known = || {
            let listed: Vec<String> = names
                .iter()
                .take(FEW)
                .map(|n| format!("{word} {n}"))
                .collect();
            let more = if names.len() > FEW { ", …" } else { "" };
            match listed.as_slice() {
                [] => format!(
                    "none is known here: `tracer list {}` says what is",
                    list_word(kind)
                ),
                listed => format!(
                    "use one of {}{more}: `tracer list` shows all",
                    listed.join(", ")
                ),
            }
        };
        match meant.as_slice() {
            [] => Err(Unknown {
                message: format!("no {word} is called `{name}`"),
                hint: known(),
            }),
            [only] => {
                let addresses = self.addresses(kind, only);
                let ends: Vec<End> = addresses.into_iter().map(End::from).collect();
                if ends.is_empty() {
                    return Err(Unknown {
                        message: format!("no address of `{word} {only}` is known"),
                        hint: "where it shares the network of its node, give a port: `port 8080`"
                            .to_owned(),
                    });
                }
                Ok(ends)
            }
            several => Err(Unknown {
                message: format!("{} are called `{name}`", several.len()),
                hint: known(),
            }),
        }
    }

    /// Local ends of the sockets of processes.
    fn of_processes(&self, pids: &[u32], words: &str) -> Result<Vec<End>, Unknown> {
        let mut ends = BTreeSet::new();
        let mut failed = None;
        for pid in pids {
            match sockets::of_process(*pid) {
                Ok((netns, found)) => {
                    for (proto, address, port) in found {
                        ends.extend(self.where_it_listens(netns, address).into_iter().map(
                            |address| End {
                                address,
                                port: Some((proto, port)),
                            },
                        ));
                    }
                }
                Err(error) => failed = Some(error),
            }
        }
        // a port at any address holds it at each
        let any: BTreeSet<_> = ends
            .iter()
            .filter(|end| end.address.is_none())
            .map(|end| end.port)
            .collect();
        ends.retain(|end| end.address.is_none() || !any.contains(&end.port));
        if ends.is_empty() {
            return Err(Unknown {
                message: match failed {
                    Some(error) => format!("the sockets of `{words}` cannot be read: {error}"),
                    None => format!("`{words}` has no TCP or UDP socket now"),
                },
                hint: "trace by address and port, or start the trace when it has: `ss -tunap` shows sockets".to_owned(),
            });
        }
        Ok(ends.into_iter().collect())
    }

    /// A socket without an address has all of its namespace. Where these are few they are named, so that the same port of other
    /// namespaces is not followed.
    fn where_it_listens(&self, netns: NetNs, address: IpAddr) -> Vec<Option<IpAddr>> {
        if !address.is_unspecified() {
            return vec![Some(address)];
        }
        let own: BTreeSet<IpAddr> = self.usable(netns).collect();
        if own.is_empty() || own.len() > FEW {
            return vec![None];
        }
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        own.into_iter().chain([loopback]).map(Some).collect()
    }
}

fn list_word(kind: OwnerKind) -> &'static str {
    match kind {
        OwnerKind::Service => "services",
        _ => "pods",
    }
}

/// This machine's names, read when the first one is asked for.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Where its names are found.
    pub names: NamePlaces,
}

impl Directory for Machine {
    fn find(&self, named: Named, name: &str) -> Result<Vec<End>, Unknown> {
        let services = named == Named::Service;
        let places = self.names.clone();
        let inventory = Inventory::read(places, |place| services && may_have_services(place));
        let inventory = inventory.map_err(|error| Unknown {
            message: format!("names cannot be looked up: {error}"),
            hint: "give addresses, or run as root".to_owned(),
        })?;
        match named {
            Named::Pod => inventory.ends((named, OwnerKind::Pod), name),
            Named::Container => inventory.ends((named, OwnerKind::Container), name),
            Named::Service => inventory.ends((named, OwnerKind::Service), name),
            Named::Process => {
                let pids = processes::named(name);
                if pids.is_empty() {
                    return Err(Unknown {
                        message: format!("no process is called `{name}`"),
                        hint: "give the name that `ps -e` shows, or `pid NUMBER`".to_owned(),
                    });
                }
                inventory.of_processes(&pids, &format!("process {name}"))
            }
            Named::Pid => match name.parse() {
                Ok(pid) => inventory.of_processes(&[pid], &format!("pid {name}")),
                Err(_) => Err(Unknown {
                    message: format!("`{name}` is not a process id"),
                    hint: "give its number: `pid 4711`; by name: `process nginx`".to_owned(),
                }),
            },
        }
    }
}

/// The names of lists, where other machines are traced.
#[derive(Debug)]
pub struct Told(Inventory);

impl Told {
    /// Of these owners of addresses.
    #[must_use]
    pub fn new(names: Vec<AddressOwner>) -> Self {
        let mut host = Host::default();
        host.apply(KtimeNs(0), Fact::Owners(names));
        Self(Inventory { host })
    }
}

impl Directory for Told {
    fn find(&self, named: Named, name: &str) -> Result<Vec<End>, Unknown> {
        let kind = match named {
            Named::Pod => OwnerKind::Pod,
            Named::Service => OwnerKind::Service,
            Named::Container | Named::Process | Named::Pid => {
                return NoDirectory.find(named, name);
            }
        };
        if self.0.names(kind).is_empty() {
            return NoDirectory.find(named, name);
        }
        self.0.ends((named, kind), name)
    }
}

/// Rules of kube-proxy stand in the namespaces of nodes, never in those of pods and containers.
fn may_have_services(place: &str) -> bool {
    !place.starts_with(OwnerKind::Pod.words()) && !place.starts_with(OwnerKind::Container.words())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests;
