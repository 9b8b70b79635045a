//! What the command line becomes, and what is refused.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::{Invocation, parse_from};
use crate::config::{Config, NodeFile, OutputFormat, RecordTo, ReportTo, Surroundings};
use crate::error::Error;

fn parse(words: &str, surroundings: Surroundings) -> Result<Config, Error> {
    let words = ["tracer"].into_iter().chain(words.split_whitespace());
    match parse_from(words, surroundings)? {
        Invocation::Trace(config) => Ok(*config),
        other => Err(Error::runtime(format!("{other:?}"))),
    }
}

fn config(words: &str) -> Config {
    parse(words, Surroundings::default()).unwrap()
}

#[test]
fn defaults() {
    let config = config("");
    assert_eq!(config.snaplen, 128);
    assert_eq!(config.budget, 20_000);
    assert_eq!(config.output.format, OutputFormat::Text);
    assert_eq!(config.output.report_to, ReportTo::Stdout);
    assert_eq!(config.filter.words, ["ip or ip6"]);
    assert!(config.only_netns.is_empty() && config.only_interfaces.is_empty());
    assert!(config.duration.is_none() && config.packets.is_none() && !config.until_verdict);
}

#[test]
fn a_namespace_may_be_a_pods() {
    let words = [
        "tracer",
        "--netns",
        "pod shop/cart",
        "--netns",
        "shop/db",
        "--host-root",
        "/host",
    ];
    let Ok(Invocation::Trace(config)) = parse_from(words, Surroundings::default()) else {
        unreachable!("these are names of namespaces")
    };
    assert_eq!(config.only_netns, ["pod shop/cart", "shop/db"]);
    assert_eq!(config.names.host_root.as_deref(), Some(Path::new("/host")));
}

#[test]
fn everything_given() {
    let config = config(
        "udp --src 10.0.0.1 --netns a --netns b -i veth* --duration 2m -c 5 --json -o r.json \
         --record t.rec --max-size 3G --budget 7 --snaplen 65 --btf k.btf --check -vv",
    );
    assert_eq!(config.filter.expression, "udp and src host 10.0.0.1");
    assert_eq!(config.only_netns, ["a", "b"]);
    assert!(
        config
            .only_interfaces
            .iter()
            .all(|glob| glob.matches("veth0"))
    );
    assert_eq!(config.duration, Some(Duration::from_secs(120)));
    assert_eq!(config.packets, Some(5));
    assert_eq!(config.output.format, OutputFormat::Json);
    assert_eq!(config.output.report_to, ReportTo::File("r.json".into()));
    let record = RecordTo {
        path: PathBuf::from("t.rec"),
        most: Some(3 << 30),
    };
    assert_eq!(config.record, Some(record));
    assert_eq!((config.budget, config.snaplen), (7, 72));
    assert_eq!(config.btf, Some(PathBuf::from("k.btf")));
    assert!(config.output.check);
    assert_eq!(config.verbosity, 2);
}

#[test]
fn colour_follows_the_terminal_unless_told() {
    let on = |words, terminal, plain| {
        parse(
            words,
            Surroundings {
                terminal,
                plain,
                ..Surroundings::default()
            },
        )
        .unwrap()
        .output
        .color
    };
    assert!(on("", true, false));
    assert!(!on("", true, true));
    assert!(!on("", false, false));
    assert!(!on("-o file", true, false));
    assert!(on("-o -", true, false));
    assert!(on("--color always", false, true));
    assert!(!on("--color never", true, false));
}

#[test]
fn refused() {
    let lines: Vec<String> = [
        "--duration 10",
        "--packets 0",
        "--packets many",
        "--snaplen 2000",
        "--snaplen 0",
        "--budget 0",
        "--output xml",
        "--colour never",
        "--json --output text",
        "--record - --json",
        "--record - -o -",
        "--max-size 5G",
        "--record - --max-size 5G",
        "--record x --max-size 9",
        "--record x --max-size big",
        "--record x -o x",
        "--netns /run/netns/blue",
        "-i eth[0",
        "-x",
        "--duration",
        "host nowhere.example",
        "--src 10.0.0.300",
        "--dport 80,443",
        "replay",
        "replay a b",
        "completions tcsh",
        "merge",
        "merge a.tracer",
        "merge a.tracer =b.tracer",
        "merge a.tracer n2=-",
        "merge a.tracer b.tracer --record b.tracer",
    ]
    .iter()
    .map(|words| {
        let error = parse(words, Surroundings::default()).unwrap_err();
        assert_eq!(error.exit_status().code(), 2, "{words}");
        format!("$ tracer {words}\n{error}\n")
    })
    .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_recording_through_a_pipe_leaves_the_report_to_a_file() {
    assert_eq!(config("--record -").output.report_to, ReportTo::Nowhere);
    let both = config("--record - --json -o r.json");
    assert_eq!(both.output.report_to, ReportTo::File("r.json".into()));
    let terminal = Surroundings {
        terminal: true,
        ..Surroundings::default()
    };
    let refused = parse("--record -", terminal).unwrap_err();
    assert!(refused.to_string().contains("does not go to a terminal"));
}

#[test]
fn nodes_have_names_where_they_are_given() {
    let words = "tracer merge n1=/tmp/a=b.tracer /tmp/c=d.tracer e.tracer".split(' ');
    let parsed = parse_from(words, Surroundings::default()).unwrap();
    let Invocation::Merge(config) = parsed else {
        unreachable!("{parsed:?}")
    };
    let node = |name: Option<&str>, file: &str| NodeFile {
        name: name.map(str::to_owned),
        file: file.into(),
    };
    let nodes = [
        node(Some("n1"), "/tmp/a=b.tracer"),
        node(None, "/tmp/c=d.tracer"),
        node(None, "e.tracer"),
    ];
    assert_eq!(config.nodes, nodes);
}

#[test]
fn packets_do_not_go_to_a_terminal() {
    let on = |words, terminal| {
        parse(
            words,
            Surroundings {
                terminal,
                ..Surroundings::default()
            },
        )
    };
    let refused = on("--output pcapng", true).unwrap_err();
    assert_eq!(refused.exit_status().code(), 2);
    insta::assert_snapshot!(refused, @r"
    error: packets do not go to a terminal
    hint: name a file: --output pcapng -o trace.pcapng, or pipe them: | wireshark -k -i -
    ");
    for (words, terminal) in [
        ("--output pcapng", false),
        ("--output pcapng -o packets", true),
        ("--output ndjson", true),
    ] {
        on(words, terminal).unwrap();
    }
}

#[test]
fn the_full_screen_is_for_terminals_that_can_be_drawn_on() {
    let on = |words, terminal, screen| {
        let surroundings = Surroundings {
            terminal,
            screen,
            ..Surroundings::default()
        };
        parse(words, surroundings)
            .map(|config| (config.output.screen.is_some(), config.output.text_because))
    };
    let term = |term| crate::config::Drawable::of(true, term, false, "");
    assert_eq!(on("", true, term("xterm")).unwrap(), (true, None));
    assert_eq!(
        on("", true, term("dumb")).unwrap(),
        (false, Some("TERM is dumb"))
    );
    assert_eq!(
        on("", true, term("")).unwrap(),
        (false, Some("TERM is not set"))
    );
    assert_eq!(on("", false, term("xterm")).unwrap(), (false, None));
    assert_eq!(on("--json", true, term("xterm")).unwrap(), (false, None));
    assert_eq!(on("-o file", true, term("xterm")).unwrap(), (false, None));
    let forced = on("--output tui", true, term("dumb")).unwrap_err();
    assert!(forced.to_string().contains("TERM is dumb"), "{forced}");
}

#[test]
fn pseudonyms_are_asked_for_and_a_key_needs_them() {
    assert_eq!(config("").redact, None);
    let with = |words| config(words).redact.map(|redaction| redaction.key_file);
    assert_eq!(with("--redact"), Some(None));
    let key = Some(Some(PathBuf::from("k")));
    assert_eq!(with("--redact --redact-key k"), key);
    assert!(parse("--redact-key k", Surroundings::default()).is_err());
}
