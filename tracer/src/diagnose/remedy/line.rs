//! A command as one line for a POSIX shell.
//!
//! The shell is one of the programs that read what is typed. Others have a language of their own: nft(8) takes a `;` in a
//! name for the end of its command, iptables(8) runs the program that follows `--modprobe`, sysctl(8) follows `..` to
//! other settings. What those would take for something else than the one word that is meant is not written down.

use crate::host::is_nft_name;
use crate::model::clean::is_unsayable;

/// Makes a [`Command`]: string literals are split into words, other expressions are one word each, and `..list` stands
/// for each word of a list.
///
/// `command!["ip link set dev", name, "up"]`
macro_rules! command {
    (@words $words:ident) => {};
    (@words $words:ident ..$list:expr $(, $($rest:tt)*)?) => {
        $words.extend($list.into_iter().map(|word| word.to_string()));
        $(command!(@words $words $($rest)*);)?
    };
    (@words $words:ident $text:literal $(, $($rest:tt)*)?) => {
        $words.extend($text.split_whitespace().map(str::to_owned));
        $(command!(@words $words $($rest)*);)?
    };
    (@words $words:ident $word:expr $(, $($rest:tt)*)?) => {
        $words.push($word.to_string());
        $(command!(@words $words $($rest)*);)?
    };
    ($($all:tt)*) => {{
        let mut words: Vec<String> = Vec::new();
        command!(@words words $($all)*);
        $crate::diagnose::remedy::Command::new(words)
    }};
}
pub(crate) use command;

/// A program with its arguments, and perhaps others that read what it prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pipeline: Vec<Started>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Started {
    /// What starts it: `ip netns exec NAME`, `xargs`.
    by: Vec<String>,
    /// The program and its arguments.
    words: Vec<String>,
}

impl Command {
    /// A command of these words.
    #[must_use]
    pub fn new(words: Vec<String>) -> Self {
        let by = Vec::new();
        Self {
            pipeline: vec![Started { by, words }],
        }
    }

    /// Its output read by another.
    #[must_use]
    pub fn piped_to(mut self, reader: Self) -> Self {
        self.pipeline.extend(reader.pipeline);
        self
    }

    /// The same started by other words, such as `ip netns exec NAME`.
    pub(super) fn started_by(mut self, by: &[String]) -> Self {
        if let Some(first) = self.pipeline.first_mut() {
            first.by.splice(0..0, by.iter().cloned());
        }
        self
    }

    /// One line for a POSIX shell. `None` where a word cannot be typed, or is something else to its program.
    #[must_use]
    pub fn line(&self) -> Option<String> {
        let programs = self.pipeline.iter().map(|Started { by, words }| {
            let all = by.iter().chain(words);
            let quoted: Option<Vec<String>> = all.map(|word| quoted(word)).collect();
            is_as_meant(words).then_some(quoted?.join(" "))
        });
        Some(programs.collect::<Option<Vec<_>>>()?.join(" | "))
    }
}

impl From<&'static str> for Command {
    fn from(text: &'static str) -> Self {
        command![..text.split_whitespace()]
    }
}

/// One word for a POSIX shell: as it is where the shell takes it so, else in single quotes. `None` for what cannot be typed.
#[must_use]
pub fn quoted(word: &str) -> Option<String> {
    if is_unsayable(word) {
        return None;
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+,./:@%^".contains(c);
    Some(if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    })
}

/// Stands in rules and elements for what is not known (see `host::firewall`).
const MORE: char = '…';

/// Whether a program takes each word for what is meant by it. `ip`, `tc` and `bridge` take any word behind `dev`.
fn is_as_meant(words: &[String]) -> bool {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let [program, arguments @ ..] = words.as_slice() else {
        return false;
    };
    match *program {
        "nft" => is_one_of_nft(arguments),
        "ipset" => is_one_of_ipset(arguments),
        "sysctl" => arguments.iter().all(|word| is_one_setting(word)),
        program if program.starts_with("ovs-") => is_one_of_ovs(arguments),
        "ebtables" | "arptables" => is_one_of_iptables(arguments),
        program if program.starts_with("iptables") || program.starts_with("ip6tables") => {
            is_one_of_iptables(arguments)
        }
        _ => true,
    }
}

/// Programs of Open vSwitch take names with `:` for addresses of other switches, read values and rules as their own
/// languages, and `--` as the end of a command.
fn is_one_of_ovs(arguments: &[&str]) -> bool {
    let only = |word: &str, more: &str| {
        let known = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
        !word.is_empty() && !word.starts_with('-') && word.chars().all(known)
    };
    let is_name = |word: &str| only(word, "_.-");
    let is_rule =
        |word: &str| only(word, "_.-+=,:/()[]<>|\"*") && word.matches("actions=").count() <= 1;
    let is_setting = |word: &str| {
        let parts = word.split_once('=');
        parts.is_some_and(|(key, value)| only(key, "_:") && only(value, "_.-:"))
    };
    let arguments = match arguments {
        ["-O", version, rest @ ..] if only(version, "") => rest,
        all => all,
    };
    match arguments {
        []
        | ["show" | "exit" | "dump-flows" | "dpctl/dump-conntrack"]
        | ["--pidfile", "--detach"] => true,
        ["get", "interface", name, "options"] => is_name(name),
        ["set", "interface" | "port", name, setting] => is_name(name) && is_setting(setting),
        ["ofproto/trace", bridge, flow] => is_name(bridge) && is_rule(flow),
        ["dump-flows" | "meter-stats", bridge] => is_name(bridge),
        ["add-flow", bridge, rule] | ["--strict", "del-flows" | "mod-flows", bridge, rule] => {
            is_name(bridge) && is_rule(rule)
        }
        _ => false,
    }
}

/// nft joins its arguments and reads them as its language: names are identifiers, and nothing ends the command early.
fn is_one_of_nft(arguments: &[&str]) -> bool {
    const VERBS: [&str; 5] = ["list", "add", "insert", "delete", "get"];
    const FAMILIES: [&str; 6] = ["ip", "ip6", "inet", "arp", "bridge", "netdev"];
    let options = arguments.iter().take_while(|word| word.starts_with('-'));
    let said = arguments.get(options.count()..).unwrap_or_default();
    let said = match said {
        [verb, said @ ..] if VERBS.contains(verb) => said,
        said => said,
    };
    let named = |family: &&str, names: &[&str]| {
        FAMILIES.contains(family) && names.iter().all(|name| is_nft_name(name))
    };
    match said {
        ["ruleset"] => true,
        ["table", family, table] => named(family, &[table]),
        // what follows is tracer's own
        ["chain", family, table, chain, ..] => named(family, &[table, chain]),
        ["ct", "helper", family, table, helper, ..] => named(family, &[table, helper]),
        ["rule" | "element", family, table, of, rest @ ..] => {
            named(family, &[table, of]) && is_one_statement(&rest.join(" "))
        }
        _ => false,
    }
}

/// Whether nft reads a text to its end as a part of one command. Its strings end with the next quote (scanner.l).
fn is_one_statement(text: &str) -> bool {
    let (mut string, mut depth) = (false, 0_u32);
    for c in text.chars() {
        match c {
            MORE => return false,
            '"' => string = !string,
            _ if string => {}
            ';' | '#' | '$' | '\\' => return false,
            '{' => depth += 1,
            '}' => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return false,
            },
            _ => {}
        }
    }
    !string && depth == 0
}

/// Options of iptables take effect wherever they stand: `-M` runs a program, `-t` leads to another table.
fn is_one_of_iptables(arguments: &[&str]) -> bool {
    const OF_CHAINS: [&str; 6] = ["-A", "-D", "-I", "-L", "-P", "-nvL"];
    let long = |word: &str, option: &str| {
        let name = word.split('=').next().unwrap_or(word);
        name.len() > 2 && option.starts_with(name)
    };
    let runs = |word: &&&str| word.starts_with("-M") || long(word, "--modprobe");
    let tables = |word: &&&str| word.starts_with("-t") || long(word, "--table");
    let mut chains = arguments.windows(2).filter_map(|pair| match pair {
        [option, chain] if OF_CHAINS.contains(option) => Some(chain),
        _ => None,
    });
    arguments.iter().find(runs).is_none()
        && arguments.iter().filter(tables).count() <= 1
        && chains.next().is_none_or(|chain| !chain.starts_with('-'))
        && !arguments.iter().any(|word| word.contains(MORE))
}

/// ipset takes options wherever they stand.
fn is_one_of_ipset(arguments: &[&str]) -> bool {
    let mut words = arguments.iter();
    !words.any(|word| word.starts_with('-') || word.contains(MORE))
}

/// sysctl(8) opens what stands before the first `=` below /proc/sys.
fn is_one_setting(word: &str) -> bool {
    !word.contains("..") && word.matches('=').count() <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &[&str]) -> Option<String> {
        Command::new(words.iter().map(|word| (*word).to_owned()).collect()).line()
    }

    #[test]
    fn what_cannot_be_typed_is_in_no_command() {
        for name in [
            "a\nb",
            "\u{1b}[31m",
            "r\u{202e}z",
            "\u{fffd}",
            "\t",
            "\u{0}",
        ] {
            assert_eq!(line(&["ip", "link", "show", "dev", name]), None, "{name:?}");
        }
        assert_eq!(
            line(&["ip", "addr", "show", "dev", "веб"]).as_deref(),
            Some("ip addr show dev 'веб'")
        );
    }

    #[test]
    fn no_name_ends_a_command_of_nft_early() {
        let insert =
            |chain: &str, rule: &str| line(&["nft", "insert", "rule", "inet", "fw", chain, rule]);
        assert!(
            insert(
                "forward",
                "tcp dport { 80, 443 } comment \"a; $b # 'c'\" accept"
            )
            .is_some()
        );
        for (chain, rule) in [
            ("x;flush", "accept"),
            ("x accept", "accept"),
            ("-f", "accept"),
            ("c", "accept; flush ruleset"),
            ("c", "accept # counter"),
            ("c", "iifname \"a\";flush\" accept"),
            ("c", "comment \"not closed"),
            ("c", "ip saddr 1.1.1.1 } ; add"),
            ("c", "…"),
        ] {
            assert_eq!(insert(chain, rule), None, "{chain} {rule}");
        }
        assert_eq!(line(&["nft", "include \"/tmp/x\""]), None);
        assert_eq!(
            line(&["nft", "list", "ruleset"]).as_deref(),
            Some("nft list ruleset")
        );
        let block = [
            "nft",
            "chain",
            "inet",
            "fw",
            "forward",
            "{ policy accept; }",
        ];
        assert!(line(&block).is_some());
    }

    #[test]
    fn no_rule_is_an_option_of_iptables() {
        let insert = |rule: &[&str]| {
            let words = ["iptables", "-t", "nat", "-I", "OUT", "2"];
            line(&[&words, rule].concat())
        };
        assert!(insert(&["-m", "mark", "--mark", "1", "-j", "DROP"]).is_some());
        for rule in [
            ["--modprobe=/tmp/x", "-j"],
            ["--mod", "/tmp/x"],
            ["-M/tmp/x", "-j"],
            ["-t", "raw"],
            ["--tab", "raw"],
            ["-m", "…"],
        ] {
            assert_eq!(insert(&rule), None, "{rule:?}");
        }
        assert_eq!(line(&["iptables-legacy", "-nvL", "-Z"]), None);
        assert_eq!(line(&["ipset", "del", "-file", "x"]), None);
    }

    #[test]
    fn no_interface_is_another_setting() {
        let set = |name: &str| {
            line(&[
                "sysctl",
                "-w",
                &format!("net/ipv4/conf/{name}/forwarding=1"),
            ])
        };
        assert!(set("eth0.5").is_some());
        assert_eq!(set("../../../kernel/core_pattern=|x"), None);
        assert_eq!(set("x=1"), None);
    }
}
