//! What a file says of the trace, of its interfaces, and of the names of addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use pcap_file::Endianness;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::name_resolution::{
    Ipv4Record, Ipv6Record, NameResolutionBlock, Record,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};

use super::Place;
use crate::host::Host;
use crate::model::NetNs;
use crate::model::clean::clean;
use crate::render::place;
use crate::render::text::verdict::sentence;
use crate::render::text::{completeness, node};
use crate::report::Report;
use crate::verdict;

/// `if_tsresol`: the tenth power of which a second has so many.
const NANOSECONDS: u8 = 9;
/// `if_filter`: what follows is an expression of libpcap.
const EXPRESSION: u8 = 0;

/// What was traced, where and by what; the verdict as its comment.
pub(super) fn section(report: &Report) -> SectionHeaderBlock<'static> {
    let (host, tool, verdict) = (&report.host, &report.tool, &report.verdict);
    let mut lines = vec![clean(&sentence(verdict)).into_owned()];
    lines.extend(
        verdict
            .cause
            .as_ref()
            .map(|cause| format!("cause: {cause}")),
    );
    let expression = &report.trace.expression;
    if !expression.is_empty() {
        lines.push(format!("followed: {}", clean(expression)));
    }
    if report.nodes.is_empty() {
        lines.push(format!("host: {}", clean(&host.hostname)));
    }
    let nodes = report.nodes.iter();
    lines.extend(nodes.map(|one| format!("node: {}", clean(&node(one)))));
    let gaps = completeness::gaps(report);
    lines.extend(gaps.iter().map(|gap| format!("incomplete: {}", clean(gap))));
    SectionHeaderBlock {
        endianness: Endianness::native(),
        options: vec![
            SectionHeaderOption::Hardware(option(clean(&host.arch).into_owned()).into()),
            SectionHeaderOption::OS(option(format!("Linux {}", clean(&host.kernel))).into()),
            SectionHeaderOption::UserApplication(
                option(format!("{} {}", clean(&tool.name), clean(&tool.version))).into(),
            ),
            SectionHeaderOption::Comment(option(lines.join("\n")).into()),
        ],
        ..SectionHeaderBlock::default()
    }
}

/// Text that fits into an option or a record, whose lengths have 16 bits.
pub(super) fn option(mut text: String) -> String {
    const MOST: usize = 16 << 10;
    if text.len() > MOST {
        text.truncate(text.floor_char_boundary(MOST));
        text.push('…');
    }
    text
}

/// A namespace in words, as in the report.
pub(super) fn spot(host: &Host, netns: NetNs) -> String {
    verdict::spot(host.node(netns), &host.namespace(netns)).into_owned()
}

/// An interface of the file.
pub(super) fn interface(
    host: &Host,
    (netns, device, link): Place,
) -> InterfaceDescriptionBlock<'static> {
    let name = match (netns, device) {
        (_, Some(device)) => place::interface(&spot(host, device.netns), &host.interface(device)),
        (Some(netns), None) => place::interface(&spot(host, netns), NOWHERE),
        (None, None) => NOWHERE.to_owned(),
    };
    let mut options = vec![
        InterfaceDescriptionOption::IfName(option(clean(&name).into_owned()).into()),
        InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
    ];
    let mac = device.and_then(|device| host.link(device)?.mac);
    options.extend(mac.map(|mac| InterfaceDescriptionOption::IfMacAddr(mac.0.to_vec().into())));
    let expression = host.run.as_ref().map(|run| run.expression.as_str());
    if let Some(expression) = expression.filter(|text| !text.is_empty()) {
        let filter = option(expression.to_owned());
        let filter = [&[EXPRESSION], filter.as_bytes()].concat();
        options.push(InterfaceDescriptionOption::IfFilter(filter.into()));
    }
    InterfaceDescriptionBlock {
        linktype: link.into(),
        // Not limited, as far as the file goes.
        snaplen: 0,
        options,
    }
}

/// Instead of a name, where a packet was on no interface.
const NOWHERE: &str = "(no interface)";

/// Names of addresses: the namespace that has the address, where only one has it. `None` when there are none.
pub(super) fn resolution(host: &Host) -> Option<NameResolutionBlock<'static>> {
    let mut owners: BTreeMap<IpAddr, BTreeSet<String>> = BTreeMap::new();
    for link in host.links() {
        let name = spot(host, link.device.netns);
        for own in host.last_addresses(link.device) {
            let owners = owners.entry(own.address).or_default();
            owners.insert(option(clean(&name).into_owned()));
        }
    }
    let records: Vec<Record<'_>> = owners
        .into_iter()
        .filter(|(address, owners)| owners.len() == 1 && !address.is_loopback())
        .map(|(address, owners)| {
            let names = owners.into_iter().map(Into::into).collect();
            match address {
                IpAddr::V4(v4) => Record::Ipv4(Ipv4Record {
                    ip_addr: v4.octets().to_vec().into(),
                    names,
                }),
                IpAddr::V6(v6) => Record::Ipv6(Ipv6Record {
                    ip_addr: v6.octets().to_vec().into(),
                    names,
                }),
            }
        })
        .collect();
    (!records.is_empty()).then(|| NameResolutionBlock {
        records,
        options: Vec::new(),
    })
}
