//! `tracer list`: what there is, each with what to type for it.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use unicode_width::UnicodeWidthStr;

use super::{Inventory, may_have_services};
use crate::diagnose::remedy::{Shell, quoted};
use crate::filter::Named;
use crate::host::NamePlaces;
use crate::host::facts::{Link, OwnerKind};
use crate::model::NetNs;
use crate::model::clean::clean;

/// What is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// Pods and containers.
    Pods,
    /// Network namespaces.
    Namespaces,
    /// Services of Kubernetes.
    Services,
    /// Interfaces.
    Interfaces,
}

impl Listed {
    pub(super) const ALL: [Self; 4] = [
        Self::Pods,
        Self::Services,
        Self::Namespaces,
        Self::Interfaces,
    ];

    fn heads(self) -> [&'static str; 3] {
        match self {
            Self::Pods => ["POD OR CONTAINER", "ADDRESSES", "EXPRESSION"],
            Self::Services => ["SERVICE", "ADDRESSES → ENDPOINTS", "EXPRESSION"],
            Self::Namespaces => ["NAMESPACE", "A COMMAND THERE", "OPTION"],
            Self::Interfaces => ["INTERFACE", "KIND, ADDRESSES", "OPTIONS"],
        }
    }

    fn none(self) -> &'static str {
        match self {
            Self::Pods => {
                "no pods or containers: no runtime's files are here (--host-root DIR where the machine's are mounted)"
            }
            Self::Services => {
                "no services: no rules of kube-proxy are here (those of IPVS mode are not read)"
            }
            Self::Namespaces => "no namespaces: /proc shows none",
            Self::Interfaces => "no interfaces",
        }
    }
}

/// Lists one thing, or all, as text.
///
/// # Errors
/// When /proc cannot be read.
pub fn list(what: Option<Listed>, places: NamePlaces) -> io::Result<String> {
    let wanted: Vec<Listed> = what.map_or_else(|| Listed::ALL.to_vec(), |one| vec![one]);
    let services = wanted.contains(&Listed::Services);
    let inventory = Inventory::read(places, |place| services && may_have_services(place))?;
    let tables: Vec<String> = wanted.into_iter().map(|one| inventory.table(one)).collect();
    Ok(tables.join("\n"))
}

impl Inventory {
    pub(super) fn table(&self, listed: Listed) -> String {
        let rows = match listed {
            Listed::Pods => self.pods(),
            Listed::Services => self.services(),
            Listed::Namespaces => self.spaces(),
            Listed::Interfaces => self.interfaces(),
        };
        if rows.is_empty() {
            return format!("{}\n", listed.none());
        }
        let heads = listed.heads().map(str::to_owned);
        columns(&[&[heads][..], &rows].concat())
    }

    fn pods(&self) -> Vec<[String; 3]> {
        let kinds = [
            (OwnerKind::Pod, Named::Pod),
            (OwnerKind::Container, Named::Container),
        ];
        let mut rows = Vec::new();
        for (kind, named) in kinds {
            for name in self.names(kind) {
                let words = format!("{}{name}", kind.words());
                let addresses = joined(self.addresses(kind, &name));
                let expression = match addresses.as_str() {
                    "" => String::new(),
                    _ => format!("{} {name}", named.word()),
                };
                rows.push([words, addresses, expression]);
            }
        }
        rows
    }

    fn services(&self) -> Vec<[String; 3]> {
        let of = |kind: OwnerKind, name: &str| {
            let all = self.host.owned_addresses();
            let own = all.filter(|(_, owner)| owner.kind == kind && owner.name == name);
            own.map(|(address, _)| address).collect::<BTreeSet<_>>()
        };
        let row = |name: String| {
            let endpoints = of(OwnerKind::Endpoint, &name);
            let endpoints = if endpoints.is_empty() {
                "no endpoint".to_owned()
            } else {
                joined(endpoints)
            };
            let addresses = joined(of(OwnerKind::Service, &name));
            let expression = format!("service {name}");
            [name, format!("{addresses} → {endpoints}"), expression]
        };
        self.names(OwnerKind::Service)
            .into_iter()
            .map(row)
            .collect()
    }

    fn spaces(&self) -> Vec<[String; 3]> {
        let row = |(netns, name): (NetNs, &str)| {
            let way = Shell::of(&self.host, Some(netns)).line("ip -br addr");
            let option = quoted(name).map(|name| format!("--netns {name}"));
            [name.to_owned(), typed(way), typed(option)]
        };
        sorted(self.host.namespaces().map(row))
    }

    fn interfaces(&self) -> Vec<[String; 3]> {
        let row = |link: &Link| {
            let place = self.host.namespace(link.device.netns);
            let addresses = self.host.addresses(link.device).iter();
            let addresses: BTreeSet<_> = addresses.map(|own| own.address).collect();
            let kind = if link.kind.is_empty() {
                "-"
            } else {
                &link.kind
            };
            [
                format!("{place}/{}", link.name),
                format!("{kind} {}", joined(addresses))
                    .trim_end()
                    .to_owned(),
                typed(
                    quoted(&place)
                        .zip(quoted(&link.name))
                        .map(|(place, name)| format!("--netns {place} -i {name}")),
                ),
            ]
        };
        sorted(self.host.links().map(row))
    }
}

/// What is typed, where it can be.
fn typed(words: Option<String>) -> String {
    words.unwrap_or_else(|| "(a name that cannot be typed)".to_owned())
}

fn sorted(rows: impl Iterator<Item = [String; 3]>) -> Vec<[String; 3]> {
    rows.collect::<BTreeSet<_>>().into_iter().collect()
}

fn joined(addresses: BTreeSet<IpAddr>) -> String {
    let words: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    words.join(" ")
}

/// Aligned columns. What others chose must not disturb a terminal.
fn columns(rows: &[[String; 3]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| clean(cell).width()).max().unwrap_or(0)
    };
    let widths = [width(0), width(1)];
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let cell = clean(cell);
            line.push_str(&cell);
            line.push_str(&" ".repeat(width.saturating_sub(cell.width()) + 2));
        }
        line.push_str(&clean(row.last().map_or("", String::as_str)));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
