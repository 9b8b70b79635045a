//! The place in the tokens, and the refusals that any place can meet. Knows no grammar.

use std::ops::Range;

use super::{Asked, DEEPEST, Qualifiers};
use crate::filter::FilterError;
use crate::filter::directory::Directory;
use crate::filter::lexer::{Token, TokenKind, tokens};
use crate::filter::names::{KEYWORDS, Keyword, REFUSED, lookup};

/// A text being parsed: its tokens, the place in it, and what is carried along.
pub(super) struct Parser<'a> {
    pub(super) text: &'a str,
    pub(super) directory: &'a dyn Directory,
    pub(super) tokens: Vec<Token>,
    pub(super) at: usize,
    pub(super) depth: usize,
    /// Inside an odd number of `not`.
    pub(super) negated: bool,
    /// Qualifiers of the identifier before.
    pub(super) carried: Option<Qualifiers>,
    pub(super) asked: Asked,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str, directory: &'a dyn Directory) -> Self {
        Self {
            text,
            directory,
            tokens: tokens(text),
            at: 0,
            depth: 0,
            negated: false,
            carried: None,
            asked: Asked::default(),
        }
    }

    pub(super) fn peek(&self) -> &TokenKind {
        self.peek_at(0)
    }

    pub(super) fn peek_at(&self, ahead: usize) -> &TokenKind {
        self.tokens
            .get(self.at + ahead)
            .map_or(&TokenKind::End, |token| &token.kind)
    }

    pub(super) fn keyword(&self) -> Option<Keyword> {
        self.keyword_at(0)
    }

    pub(super) fn keyword_at(&self, ahead: usize) -> Option<Keyword> {
        match self.peek_at(ahead) {
            TokenKind::Word(word) => lookup(KEYWORDS, word),
            _ => None,
        }
    }

    /// Where the next token stands.
    pub(super) fn span(&self) -> Range<usize> {
        self.tokens
            .get(self.at)
            .map_or(self.text.len()..self.text.len(), |token| token.span.clone())
    }

    pub(super) fn advance(&mut self) {
        self.at += 1;
    }

    pub(super) fn take(&mut self, kind: &TokenKind) -> bool {
        let found = self.peek() == kind;
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn expect(
        &mut self,
        kind: &TokenKind,
        what: &str,
        example: &str,
    ) -> Result<(), FilterError> {
        if self.take(kind) {
            Ok(())
        } else {
            Err(self.missing(what, example))
        }
    }

    pub(super) fn missing(&self, what: &str, example: &str) -> FilterError {
        self.refuse_next(format!("{what} is expected here"))
            .hint(format!("for example: {example}"))
    }

    pub(super) fn word(
        &mut self,
        what: &str,
        example: &str,
    ) -> Result<(String, Range<usize>), FilterError> {
        let span = self.span();
        match self.peek() {
            TokenKind::Word(word) => {
                let word = word.clone();
                self.advance();
                Ok((word, span))
            }
            _ => Err(self.missing(what, example)),
        }
    }

    pub(super) fn refuse(&self, span: Range<usize>, message: impl Into<String>) -> FilterError {
        FilterError::new(self.text, span, message)
    }

    pub(super) fn refuse_next(&self, message: impl Into<String>) -> FilterError {
        self.refuse(self.span(), message)
    }

    pub(super) fn end(&self) -> Result<(), FilterError> {
        match self.peek() {
            TokenKind::End => Ok(()),
            TokenKind::Close => Err(self
                .refuse_next("this bracket closes nothing")
                .hint("take it away, or open one before")),
            TokenKind::Word(_) => Err(self.juxtaposed()),
            _ => Err(self
                .refuse_next("`and`, `or` or the end is expected here")
                .hint("join tests with `and`, `or`, `not` and ( )")),
        }
    }

    /// A word where a joining word should be.
    pub(super) fn juxtaposed(&self) -> FilterError {
        let TokenKind::Word(word) = self.peek() else {
            return self.refuse_next("`and` or `or` is expected here");
        };
        if let Some(hint) = lookup(REFUSED, word) {
            return self.refused(self.span(), word, hint);
        }
        let error = self.refuse_next("`and` or `or` is missing before this");
        if word.parse::<u16>().is_ok() {
            error.hint(format!("a port is `port {word}`, joined by `and`"))
        } else {
            error.hint(format!("write `and {word}`, or `or {word}`"))
        }
    }

    pub(super) fn refused(&self, span: Range<usize>, word: &str, hint: &str) -> FilterError {
        self.refuse(span, format!("`{word}` is not supported"))
            .hint(hint)
    }

    pub(super) fn deeper(&mut self) -> Result<(), FilterError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self
                .refuse_next("too deeply nested")
                .hint("take brackets away"));
        }
        Ok(())
    }
}
