//! Tokens to an expression, by the grammar of pcap-filter: `and` and `or` bind alike and to the left, `not` binds
//! more; an identifier without qualifiers takes those of the one before it.
//!
//! The place in the tokens is kept by [`cursor`]; the tests of header bytes (`tcp[tcpflags] …`) are in [`header`],
//! values in [`value`].

mod cursor;
mod header;
mod named;
mod value;

use std::net::IpAddr;
use std::ops::Range;

use super::FilterError;
use super::ast::{Expr, Side, Test};
use super::directory::{Directory, NoDirectory};
use super::lexer::TokenKind;
use super::names::{KEYWORDS, Keyword, Kind, REFUSED, lookup};
use crate::error::near;
use cursor::Parser;

/// Brackets and `not` within each other at which the work is given up, before the stack ends.
const DEEPEST: usize = 64;

/// Words and signs at which the work is given up: a chain of `and` and `or` is as deep as it is long.
const LONGEST: usize = 2048;

/// What stands before an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Qualifiers {
    pub(super) protocol: Option<Test>,
    pub(super) direction: Direction,
    pub(super) kind: Kind,
}

/// Which ends of a packet must pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Either,
    Both,
    One(Side),
}

/// Exact addresses that the expression asks for (not those that it excludes).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) src: Vec<IpAddr>,
    pub(super) dst: Vec<IpAddr>,
    pub(super) any: Vec<IpAddr>,
}

/// An expression as parsed.
#[derive(Clone, Debug)]
pub(super) struct Parsed {
    pub(super) expr: Expr,
    pub(super) asked: Asked,
}

/// Parses a whole expression. White space alone asks for every packet.
pub(super) fn parse(text: &str, directory: &dyn Directory) -> Result<Parsed, FilterError> {
    let mut parser = Parser::new(text, directory);
    if let Some(token) = parser.tokens.get(LONGEST) {
        return Err(parser
            .refuse(token.span.clone(), "the expression is too long")
            .hint("put hosts into nets and ports into ranges"));
    }
    let expr = if parser.peek() == &TokenKind::End {
        Expr::And(Vec::new())
    } else {
        parser.expression()?
    };
    parser.end()?;
    Ok(Parsed {
        expr,
        asked: parser.asked,
    })
}

/// Parses one value as if `qualifiers` stood before it.
pub(super) fn parse_value(text: &str, qualifiers: Qualifiers) -> Result<Parsed, FilterError> {
    let mut parser = Parser::new(text, &NoDirectory);
    let (word, span) = parser.word("a value", qualifiers.kind.example())?;
    let expr = parser.identifier(&word, span, qualifiers)?;
    parser.end()?;
    Ok(Parsed {
        expr,
        asked: parser.asked,
    })
}

impl Parser<'_> {
    fn expression(&mut self) -> Result<Expr, FilterError> {
        let mut left = self.operand()?;
        loop {
            let join: fn(Vec<Expr>) -> Expr = match self.peek() {
                TokenKind::And => Expr::And,
                TokenKind::Or => Expr::Or,
                _ => return Ok(left),
            };
            self.advance();
            left = join(vec![left, self.operand()?]);
        }
    }

    fn operand(&mut self) -> Result<Expr, FilterError> {
        if self.take(&TokenKind::Not) {
            self.deeper()?;
            self.negated = !self.negated;
            let inner = self.operand()?;
            self.negated = !self.negated;
            self.depth -= 1;
            return Ok(Expr::Not(Box::new(inner)));
        }
        if self.peek() == &TokenKind::Open {
            return self.group();
        }
        self.primitive()
    }

    fn group(&mut self) -> Result<Expr, FilterError> {
        self.advance();
        self.deeper()?;
        let inner = self.expression()?;
        if matches!(self.peek(), TokenKind::Word(_)) {
            return Err(self.juxtaposed());
        }
        self.expect(&TokenKind::Close, "`)`", "(host 10.0.0.1 or host 10.0.0.2)")?;
        self.depth -= 1;
        Ok(inner)
    }

    fn primitive(&mut self) -> Result<Expr, FilterError> {
        let (word, span) = self.word("a test", "host 10.0.0.1")?;
        match lookup(KEYWORDS, &word) {
            Some(Keyword::Protocol(protocol)) => self.after_protocol(&word, protocol),
            Some(Keyword::Direction(side)) => self.after_direction(side, None),
            Some(Keyword::Kind(kind)) => self.values(Qualifiers {
                protocol: None,
                direction: Direction::Either,
                kind,
            }),
            Some(Keyword::Vlan) => self.vlan(),
            Some(Keyword::Tunnel) => self.tunnel(&word, span),
            None => self.bare(&word, span),
        }
    }

    fn after_protocol(&mut self, name: &str, protocol: Test) -> Result<Expr, FilterError> {
        if self.peek() == &TokenKind::OpenBracket {
            self.carried = None;
            return self.header_test(name);
        }
        match self.keyword() {
            Some(Keyword::Direction(side)) => {
                self.advance();
                self.after_direction(side, Some(protocol))
            }
            Some(Keyword::Kind(kind)) => {
                self.advance();
                self.values(Qualifiers {
                    protocol: Some(protocol),
                    direction: Direction::Either,
                    kind,
                })
            }
            _ => {
                self.carried = None;
                Ok(Expr::Test(protocol))
            }
        }
    }

    fn after_direction(&mut self, side: Side, protocol: Option<Test>) -> Result<Expr, FilterError> {
        let mut direction = Direction::One(side);
        let other = match side {
            Side::Src => Side::Dst,
            Side::Dst => Side::Src,
        };
        if self.keyword_at(1) == Some(Keyword::Direction(other)) {
            let joined = match self.peek() {
                TokenKind::Or => Some(Direction::Either),
                TokenKind::And => Some(Direction::Both),
                _ => None,
            };
            if let Some(joined) = joined {
                direction = joined;
                self.advance();
                self.advance();
            }
        }
        let mut kind = Kind::Host;
        if let Some(Keyword::Kind(named)) = self.keyword() {
            kind = named;
            self.advance();
        }
        self.values(Qualifiers {
            protocol,
            direction,
            kind,
        })
    }

    /// The identifier after its qualifiers, or several in brackets.
    fn values(&mut self, qualifiers: Qualifiers) -> Result<Expr, FilterError> {
        self.carried = Some(qualifiers);
        if self.peek() == &TokenKind::Open {
            return self.group();
        }
        let (word, span) = self.word(qualifiers.kind.wanted(), qualifiers.kind.example())?;
        if lookup(KEYWORDS, &word).is_some() && qualifiers.kind != Kind::Proto {
            let message = format!("{} is expected here", qualifiers.kind.wanted());
            return Err(self
                .refuse(span, message)
                .hint(format!("for example: {}", qualifiers.kind.example())));
        }
        self.identifier(&word, span, qualifiers)
    }

    /// A word that is no keyword: an address, or one more value for the qualifiers before.
    fn bare(&mut self, word: &str, span: Range<usize>) -> Result<Expr, FilterError> {
        if let Some(hint) = lookup(REFUSED, word) {
            return Err(self.refused(span, word, hint));
        }
        let is_address = value::address(word).is_some();
        match self.carried {
            Some(carried) if !is_address || matches!(carried.kind, Kind::Host | Kind::Net) => {
                self.identifier(word, span, carried)
            }
            _ if is_address => {
                let qualifiers = Qualifiers {
                    protocol: None,
                    direction: Direction::Either,
                    kind: Kind::Host,
                };
                self.carried = Some(qualifiers);
                self.identifier(word, span, qualifiers)
            }
            _ => Err(self.unknown(word, span)),
        }
    }

    fn unknown(&self, word: &str, span: Range<usize>) -> FilterError {
        let error = self.refuse(span, format!("`{word}` is no word of this language"));
        let known: Vec<String> = KEYWORDS
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect();
        if word.parse::<u16>().is_ok() {
            return error.hint(format!("a port is `port {word}`"));
        }
        match near(word, &known).first() {
            Some(close) => error.hint(format!("did you mean `{close}`?")),
            None if word.contains('.') => error.hint(value::NO_NAMES),
            None => error.hint("try `host ADDRESS`, `net ADDRESS/LENGTH`, `port NUMBER`, `tcp`, `udp`, `icmp`, joined by `and`, `or`, `not`"),
        }
    }

    fn vlan(&mut self) -> Result<Expr, FilterError> {
        self.carried = None;
        let TokenKind::Word(word) = self.peek() else {
            return Ok(Expr::Test(Test::Vlan(None)));
        };
        let Some(id) = value::number(word) else {
            return Ok(Expr::Test(Test::Vlan(None)));
        };
        if id > 4095 {
            return Err(self
                .refuse_next("VLAN ids end at 4095")
                .hint("`vlan` alone means any tag"));
        }
        self.advance();
        Ok(Expr::Test(Test::Vlan(u16::try_from(id).ok())))
    }

    fn tunnel(&mut self, name: &str, span: Range<usize>) -> Result<Expr, FilterError> {
        self.carried = None;
        if self.negated {
            return Err(self
                .refuse(span, format!("`{name}` cannot be negated: it chooses the headers that are looked at"))
                .hint("without it the outer and the inner headers are matched; exclude a tunnel by its port: `not udp port 4789`"));
        }
        if let TokenKind::Word(word) = self.peek()
            && value::number(word).is_some()
        {
            return Err(self
                .refuse_next("network identifiers of tunnels are not matched")
                .hint(format!(
                    "leave it out: `{name} and …`, and name addresses inside the tunnel"
                )));
        }
        Ok(Expr::Test(Test::Inner))
    }
}
