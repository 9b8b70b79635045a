//! The manual of causes, docs/causes.md: an introduction, then the families with their causes.

use super::{Cause, FAMILIES};

const INTRODUCTION: &str = "\
# Causes

Every verdict that is not `delivered` carries a cause from this page (`verdict.cause`), or says that it knows none.
This page is generated from the catalogue in `tracer/src/diagnose/causes/`: `tracer causes > docs/causes.md`.

How a cause is found: each dropped packet is put before all rules; the one that explains most of the evidence wins.
Where two explain equally much, the confidence is `possible` and both are named. *Recognised* tells what a rule looks at:
the freeing function counts more than the kernel's reason, which often says too little.

| confidence | means |
|---|---|
| `certain` | the kernel said so |
| `likely` | the evidence points there; something else could do the same |
| `possible` | two causes fit, or evidence is missing |

A packet that nothing dropped and nothing received has the outcome `vanished`, mostly without a cause: the verdict says
where it was seen last, how many packets passed the hops before and after by the exact counters, and as evidence `between`
what stands there: programs, queues that drop, the process of a TUN device, counters of the interface. None of it is
called the cause, since none of it was seen to act. A process that reads from a TUN device and passes on nothing that the
trace can recognise is such a case.

`where.hook` is the place in the stack: a netfilter hook (`PREROUTING` `INPUT` `FORWARD` `OUTPUT` `POSTROUTING`,
`INGRESS`/`EGRESS` of netdev chains, `BRIDGE-…` of the bridge family, `ARP`), or `route`, `neighbor`, `device`,
`bridge`, `socket`, `qdisc`, `tc-ingress`, `tc-egress`, `xdp`, `cgroup`.
";

/// The whole manual, in Markdown.
#[must_use]
pub fn manual() -> String {
    let mut text = INTRODUCTION.to_string();
    for family in FAMILIES {
        text += &format!("\n## {}\n", family.heading);
        for cause in family.causes {
            text += &section(cause);
        }
        for note in family.notes {
            text += &format!("\n{note}");
        }
    }
    text
}

fn section(cause: &Cause) -> String {
    format!(
        "\n### {}\n{}\n*Recognised*: {}\n*Confirm*: {}\n*Fix*: {}\n",
        cause.code,
        unindented(cause.what),
        unindented(cause.recognised),
        unindented(cause.confirm),
        unindented(cause.fix)
    )
}

/// Text without the indentation that its lines have in the source.
fn unindented(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_manual_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/causes.md");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == manual(),
            "run `tracer causes > docs/causes.md`"
        );
    }
}
