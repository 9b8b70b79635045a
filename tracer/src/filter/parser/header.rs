//! Tests of header bytes: TCP flags and ICMP types. All others are refused.

use std::ops::Range;

use tracer_common::tuple::{FAMILY_V4, FAMILY_V6};

use super::Parser;
use super::value::number;
use crate::filter::FilterError;
use crate::filter::ast::{Expr, Test};
use crate::filter::lexer::{Relation, TokenKind};
use crate::filter::names::{ICMP_TYPES, ICMP6_TYPES, TCP_FLAGS, lookup};

/// What can be asked of a header.
const KNOWN: &str = "TCP flags and ICMP types can be tested: `tcp[tcpflags] & tcp-syn != 0`, \
                     `icmp[icmptype] == icmp-echo`, `icmp6[icmp6type] == icmp6-echo`";

impl Parser<'_> {
    /// What follows `tcp` and the like when a bracket opens.
    pub(super) fn header_test(&mut self, protocol: &str) -> Result<Expr, FilterError> {
        let bracket = self.span();
        self.advance();
        let (field, span) = self.word("a field", "tcp[tcpflags] & tcp-syn != 0")?;
        let parse: fn(&mut Self) -> Result<Expr, FilterError> = match (protocol, field.as_str()) {
            ("tcp", "tcpflags" | "13" | "13:1") => Self::tcp_flags,
            ("icmp", "icmptype" | "0" | "0:1") => Self::icmp_type,
            ("icmp6", "icmp6type" | "icmptype" | "0" | "0:1") => Self::icmp6_type,
            ("tcp" | "icmp" | "icmp6", _) => {
                return Err(self
                    .refuse(span, format!("this part of {protocol} is not matched"))
                    .hint(KNOWN));
            }
            _ => {
                return Err(self
                    .refuse(bracket, format!("bytes of {protocol} are not matched"))
                    .hint(KNOWN));
            }
        };
        self.expect(
            &TokenKind::CloseBracket,
            "`]`",
            "tcp[tcpflags] & tcp-syn != 0",
        )?;
        parse(self)
    }

    fn tcp_flags(&mut self) -> Result<Expr, FilterError> {
        let begin = self.span().start;
        let mask = if self.take(&TokenKind::Ampersand) {
            let span = self.span();
            let mask = self.bits(TCP_FLAGS, false)?;
            if mask == 0 {
                return Err(self.refuse(span, "this mask tests no flag").hint(KNOWN));
            }
            mask
        } else {
            0xff
        };
        let (relation, _) = self.relation()?;
        let equal = match relation {
            Relation::Equal => true,
            Relation::NotEqual => false,
            _ => {
                return Err(self
                    .refuse(self.before(), "flags are tested by == and !=")
                    .hint("write `tcp[tcpflags] & tcp-syn != 0` or `tcp[tcpflags] == tcp-syn`"));
            }
        };
        let value = self.bits(TCP_FLAGS, true)?;
        if value & !mask != 0 {
            let end = self.before().end;
            return Err(self
                .refuse(begin..end, "the value has flags that the mask takes away")
                .hint(
                    "name the flags in the mask: `tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn`",
                ));
        }
        Ok(flags_test(mask, value, equal))
    }

    fn icmp_type(&mut self) -> Result<Expr, FilterError> {
        self.message_type(FAMILY_V4, ICMP_TYPES)
    }

    fn icmp6_type(&mut self) -> Result<Expr, FilterError> {
        self.message_type(FAMILY_V6, ICMP6_TYPES)
    }

    fn message_type(&mut self, family: u8, names: &[(&str, u8)]) -> Result<Expr, FilterError> {
        let (relation, span) = self.relation()?;
        let value = self.bits(names, false)?;
        let below = value.checked_sub(1);
        let above = value.checked_add(1);
        let range = |first, last| {
            Expr::Test(Test::IcmpType {
                family,
                first,
                last,
            })
        };
        let ranges: Vec<Expr> = match relation {
            Relation::Equal => vec![range(value, value)],
            Relation::NotEqual => [
                below.map(|last| range(0, last)),
                above.map(|first| range(first, u8::MAX)),
            ]
            .into_iter()
            .flatten()
            .collect(),
            Relation::Less => below.map(|last| range(0, last)).into_iter().collect(),
            Relation::LessOrEqual => vec![range(0, value)],
            Relation::Greater => above
                .map(|first| range(first, u8::MAX))
                .into_iter()
                .collect(),
            Relation::GreaterOrEqual => vec![range(value, u8::MAX)],
        };
        if ranges.is_empty() {
            return Err(self
                .refuse(span.start..self.before().end, "no type is like this")
                .hint("types are from 0 to 255"));
        }
        Ok(Expr::Or(ranges))
    }

    fn relation(&mut self) -> Result<(Relation, Range<usize>), FilterError> {
        let span = self.span();
        match self.peek() {
            TokenKind::Relation(relation) => {
                let relation = *relation;
                self.advance();
                Ok((relation, span))
            }
            TokenKind::Pipe => Err(self
                .refuse_next("`&` binds more than `|`")
                .hint("put brackets around the flags: `& (tcp-syn|tcp-ack) != 0`")),
            TokenKind::Ampersand => Err(self
                .refuse_next("types are compared whole")
                .hint("write `icmp[icmptype] == icmp-echo`")),
            _ => Err(self
                .refuse_next("a comparison is expected here")
                .hint("finish the test, for example by `!= 0`")),
        }
    }

    /// A number or name of a byte; several joined by `|` in brackets, or (`bare`) without them.
    fn bits(&mut self, names: &[(&str, u8)], bare: bool) -> Result<u8, FilterError> {
        let bracketed = self.take(&TokenKind::Open);
        let mut bits = self.byte(names)?;
        while (bracketed || bare) && self.take(&TokenKind::Pipe) {
            bits |= self.byte(names)?;
        }
        if bracketed {
            self.expect(&TokenKind::Close, "`|` or `)`", "(tcp-syn|tcp-ack)")?;
        }
        Ok(bits)
    }

    fn byte(&mut self, names: &[(&str, u8)]) -> Result<u8, FilterError> {
        let (word, span) = self.word("a number or name", "tcp[tcpflags] & tcp-syn != 0")?;
        if let Some(value) = lookup(names, &word) {
            return Ok(value);
        }
        match number(&word).map(u8::try_from) {
            Some(Ok(value)) => Ok(value),
            Some(Err(_)) => Err(self
                .refuse(span, "this does not fit into a byte")
                .hint("give a number from 0 to 255")),
            None => {
                let known: Vec<String> = names.iter().map(|(name, _)| (*name).to_owned()).collect();
                let close = crate::error::near(&word, &known);
                let shown = if close.is_empty() {
                    known.iter().take(8).map(String::as_str).collect()
                } else {
                    close
                };
                Err(self
                    .refuse(span, format!("`{word}` is not known here"))
                    .hint(format!("give a number or a name: {}", shown.join(", "))))
            }
        }
    }

    /// Where the token before the next one stands.
    fn before(&self) -> Range<usize> {
        self.at
            .checked_sub(1)
            .and_then(|at| self.tokens.get(at))
            .map_or(0..0, |token| token.span.clone())
    }
}

fn flags_test(mask: u8, value: u8, equal: bool) -> Expr {
    let tcp = Expr::Test(Test::Proto {
        family: 0,
        proto: 6,
    });
    if equal {
        Expr::Test(Test::TcpFlags { mask, value })
    } else if mask.count_ones() == 1 {
        let value = mask & !value;
        Expr::Test(Test::TcpFlags { mask, value })
    } else {
        let other = Expr::Test(Test::TcpFlags { mask, value });
        Expr::And(vec![tcp, Expr::Not(Box::new(other))])
    }
}
