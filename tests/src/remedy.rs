//! The commands of a report's advice that a lab types in: the first change, and the undo that names it. Works on the
//! JSON value; what an entry is for is read from its `kind`, never guessed from its words.

use serde_json::Value;

/// A change that a report advises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its place in the list of advice, counted from one: what the `undoes` of its undo says.
    pub number: u64,
    /// What to type; several commands stand in lines of their own.
    pub command: String,
}

/// The first entry of kind `change` that has a command.
#[must_use]
pub fn first_change(report: &Value) -> Option<Change> {
    (1..).zip(advice(report)).find_map(|(number, entry)| {
        Some(Change {
            number,
            command: command(entry, "change")?,
        })
    })
}

/// The command of the entry of kind `undo` that takes a change back.
#[must_use]
pub fn undo_of(report: &Value, change: &Change) -> Option<String> {
    advice(report)
        .filter(|entry| entry.get("undoes").and_then(Value::as_u64) == Some(change.number))
        .find_map(|entry| command(entry, "undo"))
}

fn advice(report: &Value) -> impl Iterator<Item = &Value> {
    report
        .pointer("/verdict/advice")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn command(entry: &Value, kind: &str) -> Option<String> {
    let text = |key| entry.get(key).and_then(Value::as_str);
    (text("kind") == Some(kind))
        .then(|| text("command"))
        .flatten()
        .filter(|command| !command.trim().is_empty())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report(advice: &Value) -> Value {
        json!({"verdict": {"advice": advice}})
    }

    #[test]
    fn the_first_change_with_a_command_and_its_own_undo() {
        let report = report(&json!([
            {"kind": "look", "text": "check first", "command": "iptables -S"},
            {"kind": "change", "text": "ask the owner", "command": null},
            {"kind": "change", "text": "let it pass", "command": "iptables -I X\niptables -I Y"},
            {"kind": "change", "text": "let all pass", "command": "iptables -P X ACCEPT"},
            {"kind": "undo", "text": "to undo", "command": "iptables -P X DROP", "undoes": 4},
            {"kind": "undo", "text": "to undo", "command": "iptables -D Y\niptables -D X", "undoes": 3}
        ]));
        let change = first_change(&report);
        assert_eq!(
            change,
            Some(Change {
                number: 3,
                command: "iptables -I X\niptables -I Y".to_owned()
            })
        );
        let undo = change.and_then(|change| undo_of(&report, &change));
        assert_eq!(undo.as_deref(), Some("iptables -D Y\niptables -D X"));
    }

    #[test]
    fn what_is_no_change_is_not_typed_in() {
        for advice in [
            json!([]),
            json!(null),
            json!([{"text": "let it pass", "command": "iptables -P FORWARD ACCEPT"}]),
            json!([{"kind": "look", "text": "which", "command": "nft list ruleset"}]),
            json!([{"kind": "change", "text": "type nothing", "command": " "}]),
            json!([{"kind": "undo", "text": "to undo", "command": "ip link set x down", "undoes": 1}]),
        ] {
            assert_eq!(first_change(&report(&advice)), None, "{advice}");
        }
    }

    #[test]
    fn an_undo_without_a_command_or_of_another_change_is_none() {
        let change = Change {
            number: 1,
            command: "x".to_owned(),
        };
        for undo in [
            json!({"kind": "undo", "text": "restore it", "command": null, "undoes": 1}),
            json!({"kind": "undo", "text": "other", "command": "y", "undoes": 2}),
            json!({"kind": "undo", "text": "of none", "command": "y", "undoes": null}),
            json!({"kind": "look", "text": "no undo", "command": "y", "undoes": 1}),
        ] {
            let report = report(&json!([{"kind": "change", "text": "", "command": "x"}, undo]));
            assert_eq!(undo_of(&report, &change), None, "{report}");
        }
    }
}
