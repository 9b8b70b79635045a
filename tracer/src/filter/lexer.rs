//! Characters to tokens. Knows nothing of what words mean, but for `and`, `or` and `not`.

use std::ops::Range;

/// A piece of an expression and where it stands (bytes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) span: Range<usize>,
}

/// Kinds of token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// Anything between the signs below and white space.
    Word(String),
    Open,
    Close,
    OpenBracket,
    CloseBracket,
    Not,
    And,
    Or,
    Ampersand,
    Pipe,
    Relation(Relation),
    /// The end; the last token always.
    End,
}

/// Comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Signs, longer ones first.
const SIGNS: &[(&str, TokenKind)] = &[
    ("&&", TokenKind::And),
    ("||", TokenKind::Or),
    ("==", TokenKind::Relation(Relation::Equal)),
    ("!=", TokenKind::Relation(Relation::NotEqual)),
    ("<=", TokenKind::Relation(Relation::LessOrEqual)),
    (">=", TokenKind::Relation(Relation::GreaterOrEqual)),
    ("=", TokenKind::Relation(Relation::Equal)),
    ("<", TokenKind::Relation(Relation::Less)),
    (">", TokenKind::Relation(Relation::Greater)),
    ("!", TokenKind::Not),
    ("&", TokenKind::Ampersand),
    ("|", TokenKind::Pipe),
    ("(", TokenKind::Open),
    (")", TokenKind::Close),
    ("[", TokenKind::OpenBracket),
    ("]", TokenKind::CloseBracket),
];

/// Words that join.
const JOINERS: &[(&str, TokenKind)] = &[
    ("and", TokenKind::And),
    ("or", TokenKind::Or),
    ("not", TokenKind::Not),
];

/// All tokens of a text, then [`TokenKind::End`].
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let (kind, length) = next(rest);
        if let Some(kind) = kind {
            found.push(Token {
                kind,
                span: at..at + length,
            });
        }
        at += length;
    }
    found.push(Token {
        kind: TokenKind::End,
        span: text.len()..text.len(),
    });
    found
}

/// The token at the beginning (none for white space) and its length.
fn next(rest: &str) -> (Option<TokenKind>, usize) {
    if let Some(space) = rest.chars().next().filter(|c| c.is_whitespace()) {
        return (None, space.len_utf8());
    }
    if let Some((sign, kind)) = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)) {
        return (Some(kind.clone()), sign.len());
    }
    let length = rest
        .find(|c: char| c.is_whitespace() || "()[]!&|=<>".contains(c))
        .unwrap_or(rest.len());
    let word = rest.get(..length).unwrap_or(rest);
    let joiner = JOINERS.iter().find(|(name, _)| *name == word);
    let kind = joiner.map_or_else(
        || TokenKind::Word(word.to_owned()),
        |(_, kind)| kind.clone(),
    );
    (Some(kind), length)
}

#[cfg(test)]
mod tests {
    use super::{Relation, TokenKind, tokens};

    #[test]
    fn signs_need_no_spaces() {
        let kinds: Vec<_> = tokens("!tcp[13]&2!=0&&(a)")
            .into_iter()
            .map(|t| t.kind)
            .collect();
        let word = |text: &str| TokenKind::Word(text.to_owned());
        assert_eq!(
            kinds,
            [
                TokenKind::Not,
                word("tcp"),
                TokenKind::OpenBracket,
                word("13"),
                TokenKind::CloseBracket,
                TokenKind::Ampersand,
                word("2"),
                TokenKind::Relation(Relation::NotEqual),
                word("0"),
                TokenKind::And,
                TokenKind::Open,
                word("a"),
                TokenKind::Close,
                TokenKind::End,
            ]
        );
    }

    #[test]
    fn spans_cover_the_text_also_when_it_is_not_ascii() {
        let text = "höst\u{2003}or ü";
        let words: Vec<&str> = tokens(text).iter().map(|t| &text[t.span.clone()]).collect();
        assert_eq!(words, ["höst", "or", "ü", ""]);
    }
}
