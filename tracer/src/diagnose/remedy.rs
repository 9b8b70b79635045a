//! Remedies: what to look at and what to change, as commands that run where they are typed, each change with what takes
//! it back.
//!
//! A [`Command`] is a list of words. Names of interfaces, chains and namespaces come from strangers: they are quoted for a
//! POSIX shell when the command is written down, so that no name can become a second command. Where a name cannot be typed,
//! the remedy says so, and has no command.

mod line;

use crate::host::Host;
use crate::model::NetNs;
use crate::model::clean::is_unsayable;
use crate::verdict::{Advice, AdviceKind};

pub(crate) use line::command;
pub use line::{Command, quoted};

/// Said of a remedy whose commands cannot be typed.
const UNTYPABLE: &str = ": there is no command to copy, because a name in it has characters that cannot be typed, or that the program would take for something else";

/// Where commands have to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shell {
    prefix: Vec<String>,
    suffix: String,
}

impl Shell {
    /// Commands for a namespace: by its name where `ip netns` knows it under that, else by a process that is in it, else by a file
    /// that leads there. Recordings made before files were told have no file where the name is one.
    /// The text says which namespace it is where the command does not, and of several nodes on which one it is typed.
    #[must_use]
    pub fn of(host: &Host, netns: Option<NetNs>) -> Self {
        let name = netns.map(|ns| host.namespace(ns)).unwrap_or_default();
        let process = netns.and_then(|ns| host.process_in(ns));
        let path = netns.and_then(|ns| host.path_to(ns));
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let (prefix, inside): (Vec<String>, _) = match (name.as_str(), process, path) {
            (named, _, Some(path)) if is_file_of(named, path) && !is_unsayable(named) => {
                (owned(&["ip", "netns", "exec", named]), None)
            }
            // that of the machine itself, which is called by number where another one is called `host`
            ("" | "host", ..) | (_, Some(1), _) => (Vec::new(), None),
            (other, Some(pid), _) => (
                owned(&["nsenter", "-t", &pid.to_string(), "-n"]),
                Some(format!("in {other}")),
            ),
            (other, None, Some(path)) => (
                owned(&["nsenter", &format!("--net={path}")]),
                Some(format!("in {other}")),
            ),
            (other, None, None) if is_no_file(other) => {
                (Vec::new(), Some(format!("inside the namespace {other}")))
            }
            (named, None, None) => (owned(&["ip", "netns", "exec", named]), None),
        };
        let node = netns.and_then(|ns| host.node(ns));
        let place: Vec<String> = inside
            .into_iter()
            .chain(node.map(|node| format!("on {node}")))
            .collect();
        let suffix = match place.as_slice() {
            [] => String::new(),
            place => format!(" ({})", place.join(" ")),
        };
        Self { prefix, suffix }
    }

    /// Something to look at; it changes nothing.
    #[must_use]
    pub fn look(&self, text: impl Into<String>, command: impl Into<Command>) -> Remedy {
        self.remedy(AdviceKind::Look, text.into(), command.into())
    }

    /// A change.
    #[must_use]
    pub fn change(&self, text: impl Into<String>, command: impl Into<Command>) -> Remedy {
        self.remedy(AdviceKind::Change, text.into(), command.into())
    }

    /// A command that is run here once for each line that it is fed with, which becomes its last argument: for the end of
    /// a pipeline.
    #[must_use]
    pub fn fed_with(&self, command: Command) -> Command {
        let by = ["xargs", "-r", "-n", "1"].map(str::to_owned);
        self.here(command).started_by(&by)
    }

    fn remedy(&self, kind: AdviceKind, text: String, command: Command) -> Remedy {
        Remedy {
            kind,
            text: text + &self.suffix,
            commands: vec![self.here(command)],
            undo: Vec::new(),
            scope: None,
            owner: None,
            then: None,
            shell: Some(self.clone()),
        }
    }

    /// A command that runs here, as one line for a POSIX shell. `None` where it cannot be typed.
    #[must_use]
    pub fn line(&self, command: impl Into<Command>) -> Option<String> {
        self.here(command.into()).line()
    }

    fn here(&self, command: Command) -> Command {
        command.started_by(&self.prefix)
    }
}

/// Whether `ip netns` finds the file under this name.
fn is_file_of(name: &str, path: &str) -> bool {
    let directories = ["/run/netns/", "/var/run/netns/"];
    let mut found = directories.iter().filter_map(|it| path.strip_prefix(it));
    found.any(|file| file == name && !name.contains('/'))
}

/// A pod's, or one without a name: no file can be called so.
fn is_no_file(name: &str) -> bool {
    name.contains(['/', ':', ' '])
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    kind: AdviceKind,
    text: String,
    /// In the order in which they are typed.
    commands: Vec<Command>,
    /// What takes the change back.
    undo: Vec<Command>,
    scope: Option<String>,
    owner: Option<String>,
    then: Option<String>,
    shell: Option<Shell>,
}

/// Advice that no command can carry out.
#[must_use]
pub fn text(text: impl Into<String>) -> Remedy {
    Remedy {
        kind: AdviceKind::Look,
        text: text.into(),
        commands: Vec::new(),
        undo: Vec::new(),
        scope: None,
        owner: None,
        then: None,
        shell: None,
    }
}

impl Remedy {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_look(&self) -> bool {
        self.kind == AdviceKind::Look
    }

    /// With one more command, typed after the others in the same namespace.
    #[must_use]
    pub fn and(mut self, command: impl Into<Command>) -> Self {
        let command = self.here(command.into());
        self.commands.push(command);
        self
    }

    /// With one more command, typed after the others in another namespace.
    #[must_use]
    pub fn and_in(mut self, shell: &Shell, command: impl Into<Command>) -> Self {
        self.commands.push(shell.here(command.into()));
        self
    }

    /// Taken back by this command, typed after the other ones that take it back, in the same namespace.
    #[must_use]
    pub fn undone_by(mut self, command: impl Into<Command>) -> Self {
        let command = self.here(command.into());
        self.undo.push(command);
        self
    }

    /// Taken back by this command in another namespace.
    #[must_use]
    pub fn undone_in(mut self, shell: &Shell, command: impl Into<Command>) -> Self {
        self.undo.push(shell.here(command.into()));
        self
    }

    /// What else the change opens or breaks.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<Option<String>>) -> Self {
        self.scope = scope.into();
        self
    }

    /// Who will write over the change, and that one's own way to make it.
    #[must_use]
    pub fn owner(mut self, owner: impl Into<Option<String>>) -> Self {
        self.owner = owner.into();
        self
    }

    /// What is found behind it once the change is made.
    #[must_use]
    pub fn then(mut self, then: impl Into<Option<String>>) -> Self {
        self.then = then.into();
        self
    }

    fn here(&self, command: Command) -> Command {
        match &self.shell {
            Some(shell) => shell.here(command),
            None => command,
        }
    }
}

/// Remedies as a report has them: in order, each change followed by what takes it back. One of which a command cannot be
/// typed is told without any: half of a change must not be made, nor one that cannot be taken back.
#[must_use]
pub fn advice(remedies: &[Remedy]) -> Vec<Advice> {
    let mut list: Vec<Advice> = Vec::new();
    for remedy in remedies {
        let typed = lines(&remedy.commands).zip(lines(&remedy.undo));
        let told = match typed {
            Some(_) => remedy.text.clone(),
            None => format!("{}{UNTYPABLE}", remedy.text),
        };
        let (command, undo) = typed.unwrap_or_default();
        // Two rules may come to one command.
        let is_told = |known: &Advice| known.command.as_deref() == Some(command.as_str());
        if !command.is_empty() && list.iter().any(is_told) {
            continue;
        }
        list.push(Advice {
            scope: remedy.scope.clone(),
            owner: remedy.owner.clone(),
            then: remedy.then.clone(),
            ..Advice::new(remedy.kind, &told, some(command))
        });
        if let Some(command) = some(undo) {
            let undoes = u32::try_from(list.len()).ok();
            list.push(Advice {
                undoes,
                ..Advice::new(AdviceKind::Undo, "to undo", Some(command))
            });
        }
    }
    list
}

/// One line for each command. `None` where one of them cannot be typed.
fn lines(commands: &[Command]) -> Option<String> {
    let lines: Option<Vec<String>> = commands.iter().map(Command::line).collect();
    Some(lines?.join("\n"))
}

fn some(lines: String) -> Option<String> {
    (!lines.is_empty()).then_some(lines)
}

/// `ip` or `ip -6`, for [`command!`].
#[must_use]
pub fn ip(v6: bool) -> &'static [&'static str] {
    if v6 { &["ip", "-6"] } else { &["ip"] }
}

/// A sysctl as its program wants it: dots, or slashes where a part of the name has a dot itself.
#[must_use]
pub fn sysctl(name: &str) -> String {
    if name.contains('.') {
        name.to_owned()
    } else {
        name.replace('/', ".")
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use super::*;
    use crate::host::facts::{Fact, Namespace, NodeClock, NodeId, Run, TracedNode};
    use crate::model::KtimeNs;

    fn host() -> Host {
        let mut host = Host::default();
        for (number, name, process, path) in [
            (1, "host", Some(1), None),
            (2, "node2", None, Some("/run/netns/node2")),
            (3, "pod shop/web-0", Some(4711), Some("/run/netns/cni-1")),
            (4, "pod shop/web-1", None, None),
            (5, "a;reboot", None, None),
            (6, "web-7", Some(4712), None),
            (7, "pod shop/web-2", None, Some("/run/netns/cni 2")),
            (8, "blue", None, Some("/proc/1/root/run/netns/blue")),
            (11, "netns:11", Some(1), None),
            (12, "host", None, Some("/run/netns/host")),
            // as recordings have it that were made before files were told
            (10, "old", None, None),
        ] {
            let namespace = Namespace {
                node: None,
                netns: NetNs(number),
                name: name.to_owned(),
                process,
                path: path.map(str::to_owned),
            };
            host.apply(KtimeNs(0), Fact::Namespace(namespace));
        }
        host
    }

    fn only(remedy: Remedy) -> Advice {
        advice(&[remedy]).into_iter().next().unwrap()
    }

    #[test]
    fn commands_run_where_they_are_typed() {
        let host = host();
        let look = |number| {
            let shell = Shell::of(&host, Some(NetNs(number)));
            only(shell.look("check", "ip route"))
        };
        let command = |number| look(number).command.unwrap();
        assert_eq!(command(1), "ip route");
        assert_eq!(command(2), "ip netns exec node2 ip route");
        assert_eq!(command(3), "nsenter -t 4711 -n ip route");
        assert!(look(3).text.ends_with(" (in pod shop/web-0)"));
        assert_eq!(command(11), "ip route");
        assert_eq!(command(12), "ip netns exec host ip route");
        assert_eq!(command(4), "ip route");
        assert!(look(4).text.contains("shop/web-1"));
        assert_eq!(command(7), "nsenter '--net=/run/netns/cni 2' ip route");
        assert_eq!(
            command(8),
            "nsenter --net=/proc/1/root/run/netns/blue ip route"
        );
        assert_eq!(command(10), "ip netns exec old ip route");
        assert_eq!(command(9), "ip route");
        // a container's name may look like that of a file, and is none
        assert_eq!(command(6), "nsenter -t 4712 -n ip route");
        assert!(look(6).text.ends_with(" (in web-7)"));
    }

    #[test]
    fn of_several_nodes_the_text_names_the_one_where_it_is_typed() {
        let mut host = Host::default();
        for (number, name, process) in [(1, "host", None), (2, "web-7", Some(9))] {
            let namespace = Namespace {
                node: Some(NodeId(0)),
                netns: NetNs(number),
                name: name.to_owned(),
                process,
                path: None,
            };
            host.apply(KtimeNs(0), Fact::Namespace(namespace));
        }
        host.apply(
            KtimeNs(0),
            Fact::Node(Box::new(TracedNode {
                id: NodeId(0),
                name: "rack1".to_owned(),
                run: Run::default(),
                clock: NodeClock::REFERENCE,
                from: KtimeNs(0),
                until: None,
            })),
        );
        let text = |number| {
            let shell = Shell::of(&host, Some(NetNs(number)));
            only(shell.look("check", "ip route")).text
        };
        assert_eq!(text(1), "check (on rack1)");
        assert_eq!(text(2), "check (in web-7 on rack1)");
    }

    #[test]
    fn no_name_becomes_a_second_command() {
        let shell = Shell::of(&host(), Some(NetNs(5)));
        let name = "`>X`'$(id)";
        let change = only(shell.change("raise", command!["ip link set dev", name, "up"]));
        let typed = change.command.unwrap();
        let words = shlex::split(&typed).unwrap();
        assert_eq!(
            words,
            [
                "ip", "netns", "exec", "a;reboot", "ip", "link", "set", "dev", name, "up"
            ]
        );
    }

    #[test]
    fn only_what_a_list_holds_is_split() {
        let words = ["-p", "tcp"];
        let command = command!["iptables -I", "a b".to_owned(), ..words];
        assert_eq!(command.line().unwrap(), "iptables -I 'a b' -p tcp");
        let piped = command!["nstat -az"].piped_to(command!["grep -e", "a b".to_owned()]);
        assert_eq!(piped.line().unwrap(), "nstat -az | grep -e 'a b'");
    }

    #[test]
    fn an_undo_names_its_change() {
        let host = host();
        let (here, there) = (
            Shell::of(&host, Some(NetNs(2))),
            Shell::of(&host, Some(NetNs(1))),
        );
        let list = advice(&[
            here.look("check", "sysctl a"),
            here.change("set", "sysctl -w a=1")
                .and_in(&there, "sysctl -w b=1")
                .undone_by("sysctl -w a=0")
                .undone_in(&there, "sysctl -w b=0"),
            text("or wait"),
        ]);
        let told: Vec<_> = list
            .iter()
            .map(|a| (a.kind, a.undoes, a.command.as_deref()))
            .collect();
        assert_eq!(
            told,
            [
                (AdviceKind::Look, None, Some("ip netns exec node2 sysctl a")),
                (
                    AdviceKind::Change,
                    None,
                    Some("ip netns exec node2 sysctl -w a=1\nsysctl -w b=1")
                ),
                (
                    AdviceKind::Undo,
                    Some(2),
                    Some("ip netns exec node2 sysctl -w a=0\nsysctl -w b=0")
                ),
                (AdviceKind::Look, None, None),
            ]
        );
    }

    #[test]
    fn a_sysctl_with_a_dotted_interface_keeps_its_slashes() {
        assert_eq!(sysctl("net/ipv4/ip_forward"), "net.ipv4.ip_forward");
        assert_eq!(
            sysctl("net/ipv4/conf/eth0.5/forwarding"),
            "net/ipv4/conf/eth0.5/forwarding"
        );
    }
}
