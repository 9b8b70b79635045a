//! Shapes of the command line: subcommands beside expressions, help, completions, man page.

use clap::CommandFactory;

use super::{Cli, Document, Invocation, Shell, completions, parse_from};
use crate::config::Surroundings;
use crate::inventory::list::Listed;

fn invocation(words: &str) -> Invocation {
    let words = ["tracer"].into_iter().chain(words.split_whitespace());
    parse_from(words, Surroundings::default()).unwrap()
}

fn expression(words: &str) -> String {
    match invocation(words) {
        Invocation::Trace(config) => config.filter.expression,
        other => panic!("{words}: {other:?}"),
    }
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn expressions_and_subcommands_stand_side_by_side() {
    assert_eq!(
        expression("host 10.0.0.1 and icmp"),
        "host 10.0.0.1 and icmp"
    );
    assert_eq!(
        expression("--json host 10.0.0.1 --duration 1s and icmp --check"),
        "host 10.0.0.1 and icmp"
    );
    assert_eq!(expression("-- host 10.0.0.1"), "host 10.0.0.1");
    assert!(matches!(
        invocation("schema"),
        Invocation::Schema(Document::Report)
    ));
    assert!(matches!(
        invocation("schema ndjson"),
        Invocation::Schema(Document::Ndjson)
    ));
    assert!(matches!(
        invocation("list services"),
        Invocation::List(Some(Listed::Services), _)
    ));
    assert!(matches!(invocation("list"), Invocation::List(None, _)));
    let unread = ["tracer", "list", "--names", "/nowhere/names.json"];
    let unread = parse_from(unread, Surroundings::default()).unwrap_err();
    let unread = format!("{unread:?}");
    assert!(unread.contains("kubectl get pods"), "{unread}");
    assert!(matches!(invocation("causes"), Invocation::Causes));
    assert!(matches!(invocation("wait"), Invocation::Wait));
    assert!(matches!(invocation("man"), Invocation::Man(None)));
    assert!(matches!(invocation("man replay"), Invocation::Man(Some(_))));
    assert!(matches!(
        invocation("completions bash"),
        Invocation::Completions(Shell::Bash)
    ));
    match invocation("replay a.rec --json -o out.json --check") {
        Invocation::Replay(config) => {
            assert_eq!(config.file.as_os_str(), "a.rec");
            assert!(config.output.check);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn help() {
    let mut command = Cli::command().term_width(100);
    insta::assert_snapshot!(command.render_help());
}

#[test]
fn completions_know_the_options() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut text = Vec::new();
        completions(shell, &mut text).unwrap();
        assert!(
            String::from_utf8(text).unwrap().contains("until-verdict"),
            "{shell}"
        );
    }
}
