//! Names and sentences from outside as Markdown that shows them and does nothing else.

use crate::model::clean::clean;

/// Characters that mean something anywhere in a line: code, emphasis, links, HTML, entities, formulas.
const SPECIAL: [char; 9] = ['\\', '`', '*', '[', ']', '<', '&', '$', '~'];
/// Characters that mean something at the beginning of a line or an item.
const LEADING: [char; 5] = ['-', '+', '#', '>', '='];

/// A sentence. Underscores inside words (`nft_do_chain`) are plain text in every reader and stay readable.
pub(super) fn prose(text: &str) -> String {
    let text = clean(text);
    let mut out = String::with_capacity(text.len() + 8);
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let inside = before.is_alphanumeric() && rest.peek().is_some_and(|c| c.is_alphanumeric());
        let begins = out.is_empty() && LEADING.contains(&c);
        if SPECIAL.contains(&c) || begins || (c == '_' && !inside) {
            out.push('\\');
        }
        // `1. ` begins a list
        let ends = rest.peek().is_none_or(|c| c.is_whitespace());
        let number = before.is_ascii_digit() && out.chars().all(|c| c.is_ascii_digit());
        if number && ends && matches!(c, '.' | ')') {
            out.push('\\');
        }
        out.push(c);
        before = c;
    }
    out
}

/// A name, between as many backticks as it needs.
pub(super) fn code(text: &str) -> String {
    let text = clean(text);
    let ticks = "`".repeat(longest_run(&text) + 1);
    let touches = text.starts_with('`') || text.ends_with('`');
    // an empty span is no span, and one space at each end is taken off again
    let space = if touches || text.trim().is_empty() {
        " "
    } else {
        ""
    };
    format!("{ticks}{space}{text}{space}{ticks}")
}

/// Markdown inside a table's cell, where bars divide, in code too.
pub(super) fn cell(markdown: &str) -> String {
    markdown.replace('|', "\\|")
}

/// Commands, one a line, as a block of shell.
pub(super) fn fence(commands: &str) -> Vec<String> {
    let ticks = "`".repeat((longest_run(commands) + 1).max(3));
    let mut lines = vec![format!("{ticks}sh")];
    lines.extend(commands.lines().map(|line| clean(line).into_owned()));
    lines.push(ticks);
    lines
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_show_what_they_say() {
        let cases = [
            (
                "FORWARD DROP in nft_do_chain",
                "FORWARD DROP in nft_do_chain",
            ),
            ("__netif_receive_skb < a", "\\_\\_netif_receive_skb \\< a"),
            (
                "[x](http://y) *b* `c` $d$",
                "\\[x\\](http://y) \\*b\\* \\`c\\` \\$d\\$",
            ),
            ("# no heading", "\\# no heading"),
            ("- no item", "\\- no item"),
            ("12. no list", "12\\. no list"),
            ("10.0.0.1 > 10.0.0.2", "10.0.0.1 > 10.0.0.2"),
            ("<img src=x> &lt;", "\\<img src=x> \\&lt;"),
            ("a\nb\u{1b}", "a\\\\u{a}b\\\\u{1b}"),
        ];
        for (text, markdown) in cases {
            assert_eq!(prose(text), markdown);
        }
    }

    #[test]
    fn names_cannot_end_their_span() {
        let cases = [
            ("router/eth0", "`router/eth0`"),
            ("a`b", "``a`b``"),
            ("``", "``` `` ```"),
            ("", "`  `"),
        ];
        for (text, markdown) in cases {
            assert_eq!(code(text), markdown);
        }
        assert_eq!(cell(&code("a|b")), "`a\\|b`");
        assert_eq!(fence("echo ```"), ["````sh", "echo ```", "````"]);
        assert_eq!(fence("a\nb"), ["```sh", "a", "b", "```"]);
    }
}
