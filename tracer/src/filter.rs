//! The user's expression (pcap-filter syntax) to the clauses that the kernel programs match.
//!
//! The way: `lexer` → `parser` → an expression (`ast`) → terms (`normal_form`, of `conjunction`s) → clauses (`lower`) and
//! their words (`words`). Pure. What the kernel cannot express is refused with a caret, never left out.
//! docs/expressions.md tells users what is accepted.

mod ast;
mod conjunction;
mod directory;
mod lexer;
mod lower;
mod names;
mod normal_form;
mod parser;
mod words;

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;

use tracer_common::filter::{self, MAX_CLAUSES, RawClause, RawFilter, VLAN_ANY};
use unicode_width::UnicodeWidthStr;
use zerocopy::FromZeros;

use crate::error::Error;
use crate::model::{Proto, Tuple};
use crate::uapi::tcp;
use ast::{Expr, Side};
use conjunction::{Conjunction, Span};
pub use directory::{Directory, End, Named, NoDirectory, Unknown};
use lexer::TokenKind;
use names::{KEYWORDS, Keyword, Kind, lookup};
use normal_form::Term;
use parser::{Asked, Direction, Parsed, Qualifiers};

/// What the command line asks for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// EXPR, its words joined by spaces; empty: every IP packet.
    pub expr: String,
    /// `--src`.
    pub src: Option<String>,
    /// `--dst`.
    pub dst: Option<String>,
    /// `--sport`.
    pub sport: Option<String>,
    /// `--dport`.
    pub dport: Option<String>,
    /// `--proto`.
    pub proto: Option<String>,
    /// `--one-way`.
    pub one_way: bool,
}

/// What the kernel and the other stages get.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// At most [`MAX_CLAUSES`], in the order in which they are read.
    pub clauses: Vec<RawClause>,
    /// The expression with the shorthands joined in; empty when nothing was asked.
    pub expression: String,
    /// One expression for each term; their `or` is the filter. Of two terms that are each other's replies only one
    /// is there, unless `one_way`.
    pub words: Vec<String>,
    /// Exact hosts asked for as source.
    pub asked_src: Vec<IpAddr>,
    /// Exact hosts asked for as destination.
    pub asked_dst: Vec<IpAddr>,
    /// Exact hosts asked for on either side.
    pub asked_any: Vec<IpAddr>,
    /// All of them: the kernel's `neighbors` (which may hold fewer).
    pub addresses: Vec<IpAddr>,
    /// Every term names an address or a net.
    pub names_addresses: bool,
    /// Ports that packets which are sent to a service can have as destination, first and last; empty: any.
    pub asked_ports: Vec<(u16, u16)>,
    /// ARP packets are asked for by name.
    pub wants_arp: bool,
    /// Replies are not followed, as asked.
    pub one_way: bool,
    /// Whether the filter can see an answer: not with `one_way`, and not when every term asks for a TCP flag or
    /// ICMP type that answers do not carry. Without it the lack of an answer means nothing.
    pub sees_replies: bool,
}

impl Compiled {
    /// Whether packets with this tuple or their answers can match. VLAN tags, TCP flags and whether a packet is inside a
    /// tunnel are not asked.
    #[must_use]
    pub fn names(&self, tuple: &Tuple) -> bool {
        let mut filter = RawFilter::new_zeroed();
        for (slot, clause) in filter.clauses.iter_mut().zip(&self.clauses) {
            *slot = RawClause {
                vlan: VLAN_ANY,
                ..*clause
            };
            filter.clauses_len += 1;
        }
        let inside = filter::Asked {
            inner: 1,
            ..filter::Asked::LOOSE
        };
        filter.matches::<[u8]>(&mut tuple.raw(), &inside, true) != 0
    }
}

/// Why an expression is refused. `Display` is the message alone; [`FilterError::excerpt`] shows the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    message: String,
    text: String,
    span: Range<usize>,
    hint: Option<String>,
}

/// Most characters on either side of where the refused part begins that are shown.
const EXCERPT: usize = 160;

impl FilterError {
    fn new(text: &str, span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            text: text.to_owned(),
            span,
            hint: None,
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// As seen in a longer text that begins with `prefix`.
    fn behind(mut self, prefix: &str) -> Self {
        self.text.insert_str(0, prefix);
        self.span = self.span.start + prefix.len()..self.span.end + prefix.len();
        self
    }

    /// Two lines: the text, and carets under the part that is refused.
    #[must_use]
    pub fn excerpt(&self) -> String {
        // a tab or control character would move the carets
        let clean = |text: &str| text.replace(|c: char| c.is_control(), " ");
        let part = |range: Range<usize>| clean(self.text.get(range).unwrap_or_default());
        // of a text that is too long for a line, what stands around the part
        let all = part(0..self.span.start);
        let before: String = match all.char_indices().rev().nth(EXCERPT) {
            Some((at, _)) => format!("… {}", all.get(at..).unwrap_or_default()),
            None => all,
        };
        let rest = part(self.span.start..self.text.len());
        let after: String = match rest.char_indices().nth(EXCERPT) {
            Some((at, _)) => format!("{} …", rest.get(..at).unwrap_or_default()),
            None => rest,
        };
        let refused = part(self.span.clone());
        let carets = refused.width().clamp(1, after.width().max(1));
        let indent = before.width();
        format!(
            "{before}{after}\n{}{}",
            " ".repeat(indent),
            "^".repeat(carets)
        )
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for FilterError {}

impl From<FilterError> for Error {
    fn from(refused: FilterError) -> Self {
        let error = Self::usage(refused.message.as_str()).excerpt(refused.excerpt());
        match refused.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// Whether a word of an expression is one of the language, rather than a value.
#[must_use]
pub fn is_keyword(word: &str) -> bool {
    lookup(KEYWORDS, word).is_some()
}

/// Compiles what the command line asks for, without names.
///
/// # Errors
/// What is not understood, cannot be expressed, matches nothing or needs too many clauses.
pub fn compile(request: &Request) -> Result<Compiled, FilterError> {
    compile_with(request, &NoDirectory)
}

/// Compiles what the command line asks for. Names of pods and processes stand for what the directory says now.
///
/// # Errors
/// Those of [`compile`], and names that the directory does not have.
pub fn compile_with(request: &Request, directory: &dyn Directory) -> Result<Compiled, FilterError> {
    let asked = join(request, directory)?;
    let text = asked.text.as_str();
    let whole = |message: String| FilterError::new(text, 0..text.len(), message);
    let narrower = "name fewer hosts or ports, put them into one net or portrange, or trace one after the other";
    let terms = normal_form::terms(&asked.expr, !request.one_way)
        .map_err(|_| whole("the expression is too complex".to_owned()).hint(narrower))?;
    if terms.is_empty() {
        return Err(whole("no packet can match this".to_owned())
            .hint("tests joined by `and` exclude each other; `or` may be meant"));
    }
    let clauses = lower::clauses(&terms, request.one_way);
    if clauses.len() > MAX_CLAUSES {
        let needed = clauses.len();
        return Err(whole(format!(
            "the expression needs {needed} clauses, the filter in the kernel holds {MAX_CLAUSES}"
        ))
        .hint(narrower));
    }
    let Asked { src, dst, any } = asked.hosts;
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in src.iter().chain(&dst).chain(&any) {
        if !addresses.contains(address) {
            addresses.push(*address);
        }
    }
    Ok(Compiled {
        clauses,
        words: terms.iter().map(words::term).collect(),
        asked_src: src,
        asked_dst: dst,
        asked_any: any,
        addresses,
        asked_ports: asked_ports(&terms, request.one_way),
        names_addresses: terms.iter().all(|term| term.conjunction.names_an_address()),
        wants_arp: terms.iter().any(|term| term.conjunction.is_arp()),
        one_way: request.one_way,
        sees_replies: !request.one_way && terms.iter().any(answerable),
        expression: asked.text,
    })
}

/// Destination ports of terms that leave the source port open; each term stands for its replies too.
fn asked_ports(terms: &[Term], one_way: bool) -> Vec<(u16, u16)> {
    let mut ports = Vec::new();
    for Conjunction { sport, dport, .. } in terms.iter().map(|term| term.conjunction) {
        let there = (sport == Span::ALL).then_some(dport);
        let back = (dport == Span::ALL && !one_way).then_some(sport);
        match there.or(back) {
            Some(Span::ALL) => return Vec::new(),
            Some(span) => ports.push((span.first, span.last)),
            None => {}
        }
    }
    ports
}

/// The expression for packets to the destination of this tuple, from whichever port: one clause.
#[must_use]
pub fn destination(tuple: &Tuple) -> String {
    let host = format!("dst host {}", tuple.dst);
    let name = match tuple.proto {
        Proto::Tcp => "tcp",
        Proto::Udp => "udp",
        Proto::Sctp => "sctp",
        Proto::Icmp => "icmp",
        Proto::Icmp6 => "icmp6",
        Proto::Arp => "arp",
        Proto::Other(number) => return format!("proto {number} and {host}"),
    };
    match tuple.dport {
        0 => format!("{name} and {host}"),
        port => format!("{name} and {host} and dst port {port}"),
    }
}

/// Expression and shorthands together.
struct Joined {
    text: String,
    expr: Expr,
    hosts: Asked,
}

fn join(request: &Request, directory: &dyn Directory) -> Result<Joined, FilterError> {
    let Parsed { expr, asked } = parser::parse(&request.expr, directory)?;
    let mut joined = Joined {
        text: request
            .expr
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
        expr: Expr::And(vec![expr]),
        hosts: asked,
    };
    let shorthands = shorthands(request)?;
    let has_or = lexer::tokens(&joined.text)
        .iter()
        .any(|token| token.kind == TokenKind::Or);
    if has_or && !shorthands.is_empty() {
        joined.text = format!("({})", joined.text);
    }
    for Parsed { expr, asked } in shorthands {
        if !joined.text.is_empty() {
            joined.text.push_str(" and ");
        }
        joined.text.push_str(&shorthand_words(&expr));
        joined.hosts.src.extend(asked.src);
        joined.hosts.dst.extend(asked.dst);
        joined.expr = Expr::And(vec![joined.expr, expr]);
    }
    Ok(joined)
}

/// `--src` and its like, in the order in which they are written out.
fn shorthands(request: &Request) -> Result<Vec<Parsed>, FilterError> {
    let rows = [
        ("--proto ", &request.proto, None, Kind::Proto),
        ("--src ", &request.src, Some(Side::Src), Kind::Host),
        ("--sport ", &request.sport, Some(Side::Src), Kind::Port),
        ("--dst ", &request.dst, Some(Side::Dst), Kind::Host),
        ("--dport ", &request.dport, Some(Side::Dst), Kind::Port),
    ];
    let mut parsed = Vec::new();
    for (option, value, side, kind) in rows {
        let Some(value) = value else { continue };
        let kind = if kind == Kind::Port && value.contains('-') {
            Kind::PortRange
        } else {
            kind
        };
        let direction = side.map_or(Direction::Either, Direction::One);
        let protocol = match lookup(KEYWORDS, value) {
            Some(Keyword::Protocol(test)) if kind == Kind::Proto => Some(test),
            _ => None,
        };
        parsed.push(match protocol {
            Some(test) => Parsed {
                expr: Expr::Test(test),
                asked: Asked::default(),
            },
            None => parser::parse_value(
                value,
                Qualifiers {
                    protocol: None,
                    direction,
                    kind,
                },
            )
            .map_err(|error| error.behind(option))?,
        });
    }
    Ok(parsed)
}

fn shorthand_words(expr: &Expr) -> String {
    match expr {
        Expr::Test(test) => words::tests(&Conjunction::of(*test)).join(" and "),
        Expr::Not(_) | Expr::And(_) | Expr::Or(_) => String::new(),
    }
}

/// Whether an answer to a packet of this term can match it in the other direction.
fn answerable(term: &Term) -> bool {
    let Conjunction {
        tcp_mask,
        tcp_flags,
        icmp_type,
        ..
    } = term.conjunction;
    let one_of_the_handshake = tcp_flags & tcp::SYN != 0 && tcp_mask & tcp::ACK != 0;
    let one_type = icmp_type != Span::ALL && icmp_type.first == icmp_type.last;
    !(one_of_the_handshake || tcp_flags & tcp::RST != 0 || one_type)
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends where it fails"
)]
mod tests;
