//! Compares a report with what a lab expects of it. Works on the JSON value, not on tracer's types: a lab holds
//! tracer to the documented format, as any other reader of reports would.

use std::fmt;

use serde_json::Value;

use crate::expect::{Expect, OneOrMore, contains};

/// One way in which a report is not what the lab expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The key of the lab file.
    pub key: &'static str,
    /// What was wanted.
    pub wanted: String,
    /// What the report says.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: expected {}, got {}",
            self.key, self.wanted, self.found
        )
    }
}

type Field = fn(&Expect) -> &OneOrMore;

/// Keys whose value must be one of those listed, and where the report has it.
const EQUAL: [(&str, &str, Field); 6] = [
    ("outcome", "/verdict/outcome", |expect| &expect.outcome),
    ("cause", "/verdict/cause", |expect| &expect.cause),
    ("node", "/verdict/where/node", |expect| &expect.node),
    ("namespace", "/verdict/where/namespace", |expect| {
        &expect.namespace
    }),
    ("interface", "/verdict/where/interface", |expect| {
        &expect.interface
    }),
    ("hook", "/verdict/where/hook", |expect| &expect.hook),
];

/// All differences between a report and what is expected of it.
#[must_use]
pub fn differences(expect: &Expect, report: &Value) -> Vec<Difference> {
    let mut differences = Vec::new();
    for (key, pointer, wanted) in EQUAL {
        let wanted = wanted(expect);
        let found = report
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or("null");
        if !wanted.0.is_empty() && !wanted.has(found) {
            differences.push(Difference {
                key,
                wanted: wanted.to_string(),
                found: found.to_owned(),
            });
        }
    }
    differences.extend(missing(
        "summary",
        &expect.summary,
        &[summary(report).to_owned()],
    ));
    differences.extend(missing("advice", &expect.advice, &advice(report)));
    differences.extend(hops(&expect.hops, report));
    differences.extend(missing("rewrites", &expect.rewrites, &rewrites(report)));
    differences.extend(missing("checks", &expect.checks, &checks(report)));
    differences.extend(present(&expect.absent, &words(report)));
    differences
}

/// Those of a report of a network without a fault: it advises nothing either, unless the lab wants advice there or
/// lets the flow end otherwise.
#[must_use]
pub fn healthy_differences(expect: &Expect, report: &Value) -> Vec<Difference> {
    let mut differences = differences(expect, report);
    let advised = advice(report);
    let allowed = !expect.advice.0.is_empty() || expect.outcome.0.iter().any(|o| o != "delivered");
    if !allowed && !advised.is_empty() {
        differences.push(Difference {
            key: "advice",
            wanted: "none".to_owned(),
            found: advised.join(" | "),
        });
    }
    differences
}

/// The verdict's one line.
#[must_use]
pub fn summary(report: &Value) -> &str {
    report
        .pointer("/verdict/summary")
        .and_then(Value::as_str)
        .unwrap_or("the report has no verdict")
}

/// One difference for each wanted text that is in none of those found.
fn missing<'a>(
    key: &'static str,
    wanted: &'a OneOrMore,
    found: &'a [String],
) -> impl Iterator<Item = Difference> + 'a {
    wanted
        .0
        .iter()
        .filter(move |text| !found.iter().any(|line| contains(line, text)))
        .map(move |text| Difference {
            key,
            wanted: format!("`{text}`"),
            found: if found.is_empty() {
                "none".to_owned()
            } else {
                found.join(" | ")
            },
        })
}

/// One difference for each word that is to be absent and is in one of the texts.
fn present<'a>(
    absent: &'a OneOrMore,
    found: &'a [String],
) -> impl Iterator<Item = Difference> + 'a {
    absent.0.iter().filter_map(|word| {
        let text = found.iter().find(|text| contains(text, word))?;
        Some(Difference {
            key: "absent",
            wanted: format!("no `{word}`"),
            found: text.clone(),
        })
    })
}

/// What a verdict says in words: summary, evidence and advice.
fn words(report: &Value) -> Vec<String> {
    let evidence = list(report, "/verdict/evidence")
        .filter_map(|evidence| evidence.get("text").and_then(Value::as_str))
        .map(str::to_owned);
    let mut words = vec![summary(report).to_owned()];
    words.extend(evidence);
    words.extend(advice(report));
    words
}

fn advice(report: &Value) -> Vec<String> {
    let text = |value: &Value, key| {
        value
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    list(report, "/verdict/advice")
        .map(|advice| format!("{} $ {}", text(advice, "text"), text(advice, "command")))
        .collect()
}

fn rewrites(report: &Value) -> Vec<String> {
    paths(report)
        .flat_map(|path| list(path, "/hops"))
        .flat_map(|hop| list(hop, "/rewrites"))
        .filter_map(|rewrite| rewrite.as_str().map(str::to_owned))
        .collect()
}

/// What packets were checked by between hops: in the namespace of the hop before, or of the first one.
fn checks(report: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for path in paths(report) {
        let first = path.pointer("/hops/0/namespace");
        let of = |holder: &Value, namespace: Option<&Value>, lines: &mut Vec<String>| {
            let namespace = namespace.and_then(Value::as_str).unwrap_or_default();
            for check in list(holder, "/checks") {
                let word = |key: &str| check.get(key).and_then(Value::as_str).unwrap_or_default();
                lines.push(format!(
                    "{namespace} {} {} {}/{} {} → {} by {}",
                    word("hook"),
                    word("family"),
                    word("table"),
                    word("chain"),
                    word("text"),
                    word("verdict"),
                    word("by")
                ));
            }
        };
        of(path, first, &mut lines);
        for hop in list(path, "/hops") {
            of(hop, hop.get("namespace"), &mut lines);
        }
    }
    lines
}

/// The places must follow each other in some forward path, with others between them where there are.
fn hops(wanted: &OneOrMore, report: &Value) -> Option<Difference> {
    let forward: Vec<Vec<String>> = paths(report)
        .filter(|path| path.get("direction").and_then(Value::as_str) == Some("forward"))
        .map(|path| list(path, "/hops").map(place).collect())
        .collect();
    if wanted.0.is_empty() || forward.iter().any(|path| is_subsequence(&wanted.0, path)) {
        return None;
    }
    let found: Vec<String> = forward.iter().map(|path| path.join(" ")).collect();
    Some(Difference {
        key: "hops",
        wanted: wanted.0.join(" "),
        found: if found.is_empty() {
            "no forward path".to_owned()
        } else {
            found.join(" | ")
        },
    })
}

fn place(hop: &Value) -> String {
    let text = |key| hop.get(key).and_then(Value::as_str).unwrap_or("?");
    format!("{}/{}", text("namespace"), text("interface"))
}

fn is_subsequence(wanted: &[String], path: &[String]) -> bool {
    let mut places = path.iter();
    wanted.iter().all(|want| places.any(|place| place == want))
}

fn paths(report: &Value) -> impl Iterator<Item = &Value> {
    list(report, "/flows").flat_map(|flow| list(flow, "/paths"))
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report() -> Value {
        json!({
            "verdict": {
                "outcome": "dropped", "cause": "netfilter.drop",
                "summary": "FORWARD DROP on n2",
                "evidence": [{"kind": "chain", "text": "policy drop of Docker"}],
                "where": {"namespace": "n2", "interface": null, "hook": "FORWARD"},
                "advice": [{"text": "let it pass", "command": "iptables -P FORWARD ACCEPT"}]
            },
            "flows": [{"paths": [
                {"direction": "forward", "hops": [
                    {"namespace": "a", "interface": "eth0", "rewrites": []},
                    {"namespace": "n1", "interface": "p0", "rewrites": ["dnat 10.0.0.1:80 > 10.0.0.9:8080"]},
                    {"namespace": "n2", "interface": "u0", "rewrites": [], "checks": [
                        {"hook": "FORWARD", "family": "inet", "table": "fw", "chain": "f", "text": "policy drop",
                         "verdict": "drop", "by": "facts"}]}]},
                {"direction": "reply", "hops": [
                    {"namespace": "n2", "interface": "u0", "rewrites": ["snat x"]}]}]}]
        })
    }

    fn keys(toml: &str) -> Vec<&'static str> {
        #[expect(clippy::unwrap_used, reason = "the texts are below")]
        let expect: Expect = toml::from_str(toml).unwrap();
        differences(&expect, &report())
            .iter()
            .map(|difference| difference.key)
            .collect()
    }

    #[test]
    fn a_report_that_says_it_all_has_no_difference() {
        let none: [&str; 0] = [];
        assert_eq!(
            keys(
                "outcome='dropped'\ncause=['x','netfilter.drop']\nnamespace='n2'\ninterface='null'\nhook='FORWARD'
                summary=['forward','N2']\nadvice=['iptables','PASS']\nhops=['a/eth0','n2/u0']\nrewrites=['dnat','snat']
                checks=['n2 FORWARD inet fw/f policy drop → drop by facts']
                absent=['mtu','delete']"
            ),
            none
        );
    }

    #[test]
    fn each_key_can_differ() {
        for (toml, key) in [
            ("outcome='delivered'", "outcome"),
            ("cause='route.none'", "cause"),
            ("namespace='n1'", "namespace"),
            ("interface='u0'", "interface"),
            ("hook='INPUT'", "hook"),
            ("summary=['FORWARD', 'INPUT']", "summary"),
            ("advice='nft'", "advice"),
            ("hops=['n2/u0', 'a/eth0']", "hops"),
            ("rewrites='vxlan'", "rewrites"),
            ("checks='by trace'", "checks"),
            ("absent='forward drop'", "absent"),
            ("absent=['mtu', 'docker']", "absent"),
            ("absent='-p forward'", "absent"),
            ("absent='let it'", "absent"),
        ] {
            assert_eq!(keys(toml), [key]);
        }
    }

    #[test]
    fn a_healthy_report_advises_nothing_unless_the_lab_says_so() {
        let healthy = |toml: &str, report: &Value| {
            #[expect(clippy::unwrap_used, reason = "the texts are below")]
            let expect: Expect = toml::from_str(toml).unwrap();
            let found = healthy_differences(&expect, report);
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let calm = json!({"verdict": {"outcome": "delivered", "advice": []}});
        let mut advised = report();
        if let Some(outcome) = advised.pointer_mut("/verdict/outcome") {
            *outcome = json!("delivered");
        }
        assert_eq!(healthy("outcome='delivered'", &calm), Vec::<String>::new());
        assert_eq!(
            healthy("outcome='delivered'", &advised),
            ["advice: expected none, got let it pass $ iptables -P FORWARD ACCEPT"]
        );
        for toml in [
            "outcome='delivered'\nadvice='let it pass'",
            "outcome=['delivered','unanswered']",
        ] {
            assert_eq!(healthy(toml, &advised), Vec::<String>::new(), "{toml}");
        }
    }

    #[test]
    fn an_empty_report_differs_and_does_not_panic() {
        let expect = Expect {
            outcome: OneOrMore(vec!["delivered".to_owned()]),
            hops: OneOrMore(vec!["a/b".to_owned()]),
            ..Expect::default()
        };
        let found: Vec<String> = differences(&expect, &json!({}))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            found,
            [
                "outcome: expected delivered, got null",
                "hops: expected a/b, got no forward path"
            ]
        );
    }
}
