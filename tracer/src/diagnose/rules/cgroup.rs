//! Programs of control groups, and socket filters. The kernel has a reason of its own only for what a group may not
//! send; what it may not receive looks like a socket filter, and is told from it by the programs that are attached.

use crate::host::Host;
use crate::host::facts::CgroupProgram;
use crate::model::NetNs;
use crate::sites;
use crate::verdict::Confidence;

use super::super::candidate::{Candidate, Specificity};
use super::super::causes::{CGROUP_DROP, SOCKET_FILTER};
use super::super::device_state;
use super::super::loss::{Loss, is_syn};
use super::super::remedy::{Remedy, Shell, command, text};
use super::socket;

/// Attach types as bpftool(8) names them.
const EGRESS: &str = "cgroup_inet_egress";
const INGRESS: &str = "cgroup_inet_ingress";
/// Those that can refuse before a packet exists.
const BEFORE_PACKETS: &[&str] = &[
    "cgroup_inet_sock_create",
    "cgroup_inet4_connect",
    "cgroup_inet6_connect",
    "cgroup_udp4_sendmsg",
    "cgroup_udp6_sendmsg",
];

/// Whether a program of `group` is asked about a member of `member`: groups inherit.
fn inherits(group: &str, member: &str) -> bool {
    let group = group.trim_end_matches('/');
    member
        .strip_prefix(group)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Programs of one kind that concern a member, or all of that kind where its group is not known.
fn concerned<'a>(
    host: &'a Host,
    netns: Option<NetNs>,
    hook: &str,
    member: Option<&str>,
) -> Vec<&'a CgroupProgram> {
    let home = netns.and_then(|ns| host.home(ns)).map(|node| node.id);
    host.cgroups
        .iter()
        .flat_map(|dated| &dated.fact.programs)
        .filter(|p| p.node == home || home.is_none())
        .filter(|p| p.hook == hook && member.is_none_or(|m| inherits(&p.cgroup, m)))
        .collect()
}

/// The group of the drop's socket.
fn group<'a>(loss: &Loss<'a>) -> Option<&'a str> {
    let id = loss.info.cgroup?;
    loss.host.cgroup_paths.get(&id).map(String::as_str)
}

fn words(program: &CgroupProgram) -> String {
    format!(
        "{} of cgroup {}",
        device_state::program(&program.program),
        program.cgroup
    )
}

/// `: guard (id 7) of cgroup /web.service`, `: one of …`.
fn named(list: &[&CgroupProgram]) -> String {
    let names: Vec<String> = list.iter().map(|p| words(p)).collect();
    match names.as_slice() {
        [] => String::new(),
        [one] => format!(": {one}"),
        several => format!(": one of {}", several.join("; ")),
    }
}

/// Where a group's directory is.
fn directory(host: &Host, program: &CgroupProgram) -> String {
    let mount = host.cgroups.as_ref().map(|c| c.fact.mount.as_str());
    let mount = mount.unwrap_or("/sys/fs/cgroup");
    format!("{mount}{}", program.cgroup.trim_end_matches('/'))
}

/// How to look at these programs and take them off. Groups and programs have no network namespace.
fn advice(host: &Host, list: &[&CgroupProgram]) -> Vec<Remedy> {
    let shell = Shell::of(host, None);
    if list.is_empty() {
        return vec![shell.look("programs of all cgroups", "bpftool cgroup tree")];
    }
    let mut advice = Vec::new();
    for program in list {
        let (directory, id) = (directory(host, program), program.program.id);
        advice.push(shell.look(
            "look first: programs of the group",
            command!["bpftool cgroup show", directory],
        ));
        advice.push(shell.look(
            "whose it is, and when it was loaded",
            command!["bpftool prog show id", id],
        ));
        // The names that systemd gives the programs of IPAddressDeny= (src/core/bpf-firewall.c).
        let unit = program.cgroup.rsplit('/').next().unwrap_or_default();
        if program.program.name.starts_with("sd_fw_") {
            advice.push(shell.look(
                "systemd made it, of the unit's own settings",
                command!["systemctl show", unit, "-p IPAddressAllow -p IPAddressDeny"],
            ));
        }
        let detach = command!["bpftool cgroup detach", directory, program.hook, "id", id];
        advice.push(
            shell
                .change("take it off if it is not wanted", detach)
                .scope(device_state::LOADED.to_owned()),
        );
    }
    advice
}

/// What a group may not send.
pub fn egress(loss: &Loss<'_>) -> Option<Candidate> {
    let process = loss.event.process.as_ref();
    let group = group(loss);
    let list = concerned(loss.host, loss.netns(), EGRESS, group);
    let who = process.map_or_else(String::new, |p| format!(" of {}", p));
    Some(
        Candidate::new(
            &CGROUP_DROP,
            loss.place(Some("cgroup")),
            format!(
                "a cgroup's egress program dropped a packet{who}{}{}",
                loss.at_words(),
                named(&list)
            ),
        )
        .explains(Specificity::Reason)
        .because(
            "process",
            group.map(|path| format!("the sending socket is of cgroup {path}")),
        )
        .advise(advice(loss.host, &list)),
    )
}

/// What a group may not receive, or a socket does not want: one reason for both (sk_filter_trim_cap, net/core/filter.c).
pub fn ingress(loss: &Loss<'_>) -> Option<Candidate> {
    let member = group(loss);
    let list = concerned(loss.host, loss.netns(), INGRESS, member);
    let unread = loss.host.cgroups.is_none();
    let filters = socket_filters(loss);
    // Without a name for the reason, a program of the receiver's own groups must be there.
    if loss.unnamed() && (list.is_empty() || member.is_none()) {
        return untold(loss);
    }
    if list.is_empty() {
        let what = if unread {
            "a socket filter, or the cgroup's ingress program,"
        } else {
            "a filter of the receiving socket"
        };
        let looked = (!unread).then(|| {
            "no ingress program is attached to the receiver's cgroup or above it".to_owned()
        });
        return Some(
            Candidate::new(
                &SOCKET_FILTER,
                loss.place(Some("socket")),
                format!("{what} dropped it{}", loss.at_words()),
            )
            .explains(Specificity::Reason)
            .because("cgroup", looked)
            .advise([
                Shell::of(loss.host, None).look("programs of all cgroups", "bpftool cgroup tree"),
                socket_owner(loss),
                filters,
            ]),
        );
    }
    Some(
        Candidate::new(
            &CGROUP_DROP,
            loss.place(Some("cgroup")),
            format!(
                "the receiver's cgroup ingress program dropped it{}{}",
                loss.at_words(),
                named(&list)
            ),
        )
        .explains(Specificity::Reason)
        // The kernel does not say which of the two it was.
        .sure(if member.is_some() {
            Confidence::Likely
        } else {
            Confidence::Possible
        })
        .because(
            "cgroup",
            member.map(|path| format!("the receiving socket is of cgroup {path}")),
        )
        .because(
            "cgroup",
            member
                .is_none()
                .then(|| "could also be socket.filter: a filter of the socket itself".to_owned()),
        )
        .advise(advice(loss.host, &list))
        .advise([socket_owner(loss), filters]),
    )
}

/// A SYN that nobody answered, or a datagram that its socket had room for, on a kernel that tells neither the reason nor the
/// socket (before 5.17): what a program of a group or a filter keeps from a socket looks like this, and little else does.
fn untold(loss: &Loss<'_>) -> Option<Candidate> {
    let packet = loss.event.packet.as_ref()?;
    let syn = is_syn(packet) && !loss.reset_sent();
    // freed before it was queued
    let datagram = sites::UDP_INPUT.is(loss.info) && !socket::refused_for_room(loss);
    if loss.info.reason.is_some() || !(syn || datagram) {
        return None;
    }
    let mut list = concerned(loss.host, loss.netns(), INGRESS, None);
    list.retain(|program| program.cgroup != "/");
    if list.is_empty() {
        return datagram.then(|| filtered_datagram(loss));
    }
    let words = format!(
        "a cgroup's ingress program may have dropped it{}{}",
        loss.at_words(),
        named(&list)
    );
    let doubt = "this kernel tells neither the reason nor the receiving socket: a wrong checksum and a filter of the socket itself look the same";
    Some(
        Candidate::new(&CGROUP_DROP, loss.place(Some("cgroup")), words)
            .explains(Specificity::Location)
            .sure(Confidence::Possible)
            .because("cgroup", Some(doubt.to_owned()))
            .advise([socket_owner(loss)])
            .advise(advice(loss.host, &list)),
    )
}

/// Without a program of a group: UDP frees there only what the socket's own filter refuses, and what has a wrong checksum,
/// which it looks at before the filter where there is one (udp_queue_rcv_one_skb, net/ipv4/udp.c, 5.10).
fn filtered_datagram(loss: &Loss<'_>) -> Candidate {
    let read = loss.host.cgroups.is_some();
    let none =
        read.then(|| "no ingress program is attached to any cgroup below the root".to_owned());
    let words = format!(
        "a filter of the receiving socket dropped it{}",
        loss.at_words()
    );
    Candidate::new(&SOCKET_FILTER, loss.place(Some("socket")), words)
        .explains(Specificity::Location)
        .sure(match read {
            true => Confidence::Likely,
            false => Confidence::Possible,
        })
        .because("cgroup", none)
        .because(
            "socket",
            Some("this kernel tells no reason: the socket had room, and a wrong checksum would show as UdpInCsumErrors (nstat)".to_owned()),
        )
        .advise([socket_owner(loss), socket_filters(loss)])
}

fn socket_filters(loss: &Loss<'_>) -> Remedy {
    Shell::of(loss.host, loss.netns()).look("else a filter of the socket itself: the process that set it (SO_ATTACH_FILTER, SO_ATTACH_BPF)", "ss -0pb")
}

fn socket_owner(loss: &Loss<'_>) -> Remedy {
    let shell = Shell::of(loss.host, loss.netns());
    loss.tuple().map_or_else(
        || text("which process has the socket: ss -anp"),
        |t| {
            shell.look(
                "which process has the socket, in which cgroup",
                command!["ss -anp --cgroup sport =", format!(":{}", t.dport)],
            )
        },
    )
}

/// No packet at all: a program of a group may have refused the connection or the datagram before there was one. Such
/// programs of the whole machine (the root group's) stand on many nodes and mostly translate: they are no suspicion.
#[must_use]
pub fn refused_before_packets(host: &Host) -> Option<(String, String, Vec<Remedy>)> {
    let list: Vec<&CgroupProgram> = host
        .cgroups
        .iter()
        .flat_map(|dated| &dated.fact.programs)
        .filter(|p| BEFORE_PACKETS.contains(&p.hook.as_str()) && p.cgroup != "/")
        .collect();
    let first = list.first()?;
    Some((
        named(&list),
        format!("{} is attached at {}", words(first), first.hook),
        advice(host, &list),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_inherit_programs_of_those_above() {
        assert!(inherits("/", "/a/b"));
        assert!(inherits("/a", "/a/b"));
        assert!(inherits("/a", "/a"));
        assert!(!inherits("/a", "/ab"));
        assert!(!inherits("/a/b", "/a"));
    }
}
