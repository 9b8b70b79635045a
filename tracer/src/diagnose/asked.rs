//! Whether a node of several was asked for a packet: what one node translates, another sees with a tuple that its expression
//! may not name. What it was not asked for it has not seen, whether it came or not.

use crate::filter::{Request, compile};
use crate::host::facts::TracedNode;
use crate::model::{KtimeNs, Tuple};

/// Whether the node's trace looked for packets with this tuple, or for their answers, at that time. An expression that
/// cannot be read here is taken to name it.
pub(super) fn is_asked(node: &TracedNode, tuple: &Tuple, at: KtimeNs) -> bool {
    let run = &node.run;
    let names = |expression: &str, one_way: bool| {
        compile(&Request {
            expr: expression.to_owned(),
            one_way,
            ..Request::default()
        })
        .map_or(true, |filter| filter.names(tuple))
    };
    // words of clauses have no names of pods or processes, which mean nothing here
    let clauses = run.clauses.join(" or ");
    let expression = if clauses.is_empty() {
        &run.expression
    } else {
        &clauses
    };
    let mut added = run.also.iter().filter(|also| also.from <= at);
    names(expression, run.one_way) || added.any(|also| names(&also.expression, run.one_way))
}
