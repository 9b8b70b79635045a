//! Arguments of a trace of several nodes, checked, and the command line that each node's tracer gets.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::{Args, ClusterArgs, LimitArgs, ScopeArgs, TraceArgs, names, trace};
use crate::config::{ClusterConfig, Config, NodeCommand, ReportTo, Surroundings};
use crate::error::Error;
use crate::filter::{Directory, End, Named, Unknown};
use crate::host::facts::AddressOwner;
use crate::inventory::Told;

/// Most nodes: their numbers must fit beside kernel addresses.
const MOST_NODES: usize = 255;
/// A node that has lost its way back ends by itself, so long after the trace should have.
const OVERTIME: Duration = Duration::from_secs(60);

/// Checks what the command line says.
///
/// # Errors
/// A value that cannot be, with what to write instead.
pub(super) fn config(
    args: ClusterArgs,
    surroundings: Surroundings,
) -> Result<ClusterConfig, Error> {
    let told = args.trace.clone();
    let names = names::told(&told.scope.names.lists)?;
    let listed = Listed::new(names.clone());
    let trace = trace::config_with(
        Args {
            trace: args.trace,
            max_size: None,
            until_eof: false,
        },
        surroundings,
        &listed,
    )?;
    // A node may know nothing of what runs on others: it is told addresses.
    let expression = if listed.asked.get() {
        let terms = trace.filter.words.iter().map(|term| format!("({term})"));
        terms.collect::<Vec<_>>().join(" or ")
    } else {
        trace.filter.expression.clone()
    };
    let called = shlex::split(&args.tracer)
        .filter(|words| !words.is_empty())
        .ok_or_else(|| {
            Error::usage(format!("--tracer `{}`: this is not a command", args.tracer))
                .hint("write how tracer is called there: --tracer /opt/tracer")
        })?;
    let tracer = [called, words(told, &trace, &expression)].concat();
    let nodes = args.node.iter().map(|text| node(text, &tracer));
    let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
    let mut called = BTreeSet::new();
    if let Some(twice) = nodes.iter().find(|node| !called.insert(&node.name)) {
        return Err(Error::usage(format!("two nodes are named {}", twice.name))
            .hint("give each --node a name of its own"));
    }
    if nodes.len() > MOST_NODES {
        return Err(
            Error::usage(format!("{} nodes are too many", nodes.len())).hint(format!(
                "trace at most {MOST_NODES} at once: those on the flow's path"
            )),
        );
    }
    if args
        .keep
        .as_deref()
        .is_some_and(|path| path == Path::new(""))
    {
        return Err(
            Error::usage("--keep needs the name of a directory").hint("name one: --keep incident")
        );
    }
    if let Some(keep) = &args.keep {
        let kept = |path: &Path| nodes.iter().any(|node| node.recording(keep) == path);
        let record = trace.record.as_ref().is_some_and(|to| kept(&to.path));
        if record || matches!(&trace.output.report_to, ReportTo::File(path) if kept(path)) {
            return Err(Error::usage(
                "--keep keeps a node's recording in the file that something else is to go to",
            )
            .hint("name another file after --record or -o"));
        }
    }
    Ok(ClusterConfig {
        nodes,
        names,
        keep: args.keep,
        trace,
    })
}

/// `NAME=COMMAND`; `tracer` are the words that trace.
fn node(text: &str, tracer: &[String]) -> Result<NodeCommand, Error> {
    let refused = |why: &str| {
        Error::usage(format!("--node `{text}`: {why}"))
            .hint("write a name and what runs a command there: --node node1='ssh root@node1'")
    };
    let (name, command) = text
        .split_once('=')
        .ok_or_else(|| refused("this is not NAME=COMMAND"))?;
    if !is_name(name) {
        return Err(refused("this is not a node name"));
    }
    let mut words = shlex::split(command).ok_or_else(|| refused("a quote is not closed"))?;
    if words.is_empty() {
        return Err(refused("the command is missing"));
    }
    // ssh gives what follows to a shell there, which takes quotes off; one within another twice
    let shells = words.iter().filter(|word| is_ssh(word)).count();
    for word in tracer {
        let mut word = word.clone();
        for _ in 0..shells {
            let quoted = shlex::try_quote(&word).map_err(|_| refused("a zero byte in it"))?;
            word = quoted.into_owned();
        }
        words.push(word);
    }
    Ok(NodeCommand {
        name: name.to_owned(),
        words,
    })
}

/// Whether a word can name a node: in a report, and as a file.
pub(super) fn is_name(word: &str) -> bool {
    !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/')
}

fn is_ssh(word: &str) -> bool {
    Path::new(word)
        .file_name()
        .is_some_and(|name| name == "ssh")
}

/// What a node's tracer is told: to trace the same, and to send it.
fn words(args: TraceArgs, config: &Config, expression: &str) -> Vec<String> {
    let TraceArgs {
        // joined in the filter's expression
        expr: _,
        scope:
            ScopeArgs {
                shorthands: _,
                one_way,
                netns,
                names,
                interface,
            },
        // counted here, over all nodes
        duration: _,
        packets: _,
        until_verdict: _,
        // made here
        output: _,
        redact: _,
        record: _,
        rules,
        limits:
            LimitArgs {
                budget,
                max_cpu,
                snaplen,
                btf,
            },
        verbose: _,
    } = args;
    let flag = |name: &str| format!("--{name}");
    let mut words = vec![flag("record"), "-".to_owned(), flag("until-eof")];
    words.extend(one_way.then(|| flag("one-way")));
    words.extend(rules.then(|| flag("rules")));
    let duration = config
        .duration
        .map(|duration| format!("{}ms", (duration + OVERTIME).as_millis()));
    let given = [
        ("budget", budget.to_string()),
        ("snaplen", snaplen.to_string()),
    ]
    .into_iter()
    .chain(duration.map(|duration| ("duration", duration)))
    .chain(max_cpu.map(|share| ("max-cpu", share.to_string())))
    .chain(netns.into_iter().map(|name| ("netns", name)))
    .chain(interface.into_iter().map(|glob| ("interface", glob)))
    .chain(
        names
            .host_root
            .map(|path| ("host-root", path.display().to_string())),
    )
    .chain(btf.map(|path| ("btf", path.display().to_string())));
    words.extend(given.flat_map(|(name, value)| [flag(name), value]));
    words.extend(expression.split_whitespace().map(str::to_owned));
    words
}

/// The names of lists, and whether one was asked for.
struct Listed {
    told: Told,
    asked: Cell<bool>,
}

impl Listed {
    fn new(names: Vec<AddressOwner>) -> Self {
        Self {
            told: Told::new(names),
            asked: Cell::new(false),
        }
    }
}

impl Directory for Listed {
    fn find(&self, named: Named, name: &str) -> Result<Vec<End>, Unknown> {
        self.asked.set(true);
        self.told.find(named, name)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use crate::cli::{Invocation, parse_from};
    use crate::config::Surroundings;
    use crate::error::Error;

    fn parse(words: &[&str]) -> Result<Vec<(String, Vec<String>)>, Error> {
        let words = ["tracer", "cluster"].iter().chain(words).copied();
        match parse_from(words, Surroundings::default())? {
            Invocation::Cluster(config) => {
                let nodes = config.nodes.into_iter();
                Ok(nodes.map(|node| (node.name, node.words)).collect())
            }
            other => Err(Error::runtime(format!("{other:?}"))),
        }
    }

    fn words(words: &[&str]) -> String {
        parse(words).unwrap().remove(0).1.join("\u{b7}")
    }

    #[test]
    fn a_node_is_told_what_to_trace() {
        let told = words(&[
            "-n",
            "n1=kubectl exec -i 'my pod' --",
            "--tracer",
            "sudo /opt/tracer",
            "--src",
            "10.0.0.1",
            "--one-way",
            "--netns",
            "blue",
            "-i",
            "eth*",
            "--duration",
            "2s",
            "--budget",
            "7",
            "--json",
            "-c",
            "5",
            "udp",
            "or",
            "tcp[tcpflags] & tcp-syn != 0",
        ]);
        insta::assert_snapshot!(told, @"kubectl·exec·-i·my pod·--·sudo·/opt/tracer·--record·-·--until-eof·--one-way·--budget·7·--snaplen·128·--duration·62000ms·--netns·blue·--interface·eth*·(udp·or·tcp[tcpflags]·&·tcp-syn·!=·0)·and·src·host·10.0.0.1");
    }

    #[test]
    fn a_node_is_told_addresses_of_what_a_list_names() {
        let list = tempfile::NamedTempFile::new().unwrap();
        let pod = r#"{"kind": "Pod", "metadata": {"namespace": "shop", "name": "cart"}, "status": {"podIP": "10.244.1.7"}}"#;
        std::fs::write(
            list.path(),
            format!(r#"{{"kind": "List", "items": [{pod}]}}"#),
        )
        .unwrap();
        let list = list.path().display().to_string();
        let told = words(&[
            "-n",
            "n1=on n1",
            "--names",
            &list,
            "pod",
            "shop/cart",
            "and",
            "tcp",
            "port",
            "80",
        ]);
        let (_, told) = told.split_once("128\u{b7}").unwrap();
        assert_eq!(
            told.replace('\u{b7}', " "),
            "(tcp and src host 10.244.1.7 and dst port 80) or (tcp and dst host 10.244.1.7 and dst port 80)"
        );
    }

    #[test]
    fn a_shell_behind_ssh_gets_quotes_and_nothing_else_does() {
        let told = |command: &str| words(&["-n", &format!("n={command}"), "(udp)"]);
        assert!(
            told("ssh root@n").ends_with("'(udp)'"),
            "{}",
            told("ssh root@n")
        );
        assert!(told("sudo /usr/bin/ssh n").ends_with("'(udp)'"));
        assert!(
            told("ssh a ssh b").ends_with("\"'(udp)'\""),
            "{}",
            told("ssh a ssh b")
        );
        assert!(told("ip netns exec ssh-gate").ends_with("\u{b7}(udp)"));
    }

    #[test]
    fn refused() {
        let lines: Vec<String> = [
            &[][..],
            &["-n", "n1"],
            &["-n", "n1="],
            &["-n", "=ssh n1"],
            &["-n", "a/b=ssh n1"],
            &["-n", "n1=ssh 'n1"],
            &["-n", "n1=ssh a", "-n", "n1=ssh b"],
            &["-n", "n1=ssh a", "--tracer", ""],
            &["-n", "n1=ssh a", "--keep", ""],
            &["-n", "n1=ssh a", "--until-eof"],
            &["-n", "n1=ssh a", "--keep", "k", "--record", "k/n1.tracer"],
            &["-n", "n1=ssh a", "--keep", "k/", "-o", "k/n1.tracer"],
            &["-n", "n1=ssh a", "port"],
        ]
        .iter()
        .map(|words| {
            let error = parse(words).unwrap_err();
            assert_eq!(error.exit_status().code(), 2, "{words:?}");
            format!("$ tracer cluster {}\n{error}\n", words.join(" "))
        })
        .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
