//! Bridges and ports as ovsdb-server has them (vswitchd/vswitch.ovsschema), read in one transaction that changes nothing.

use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::rpc;
use crate::host::facts::{OvsBridge, OvsPort};

/// All bridges.
///
/// # Errors
/// The database cannot be asked, or answers something else.
pub(super) fn bridges(socket: &Path) -> io::Result<Vec<OvsBridge>> {
    let select = |table, columns: &[&str]| json!({"op": "select", "table": table, "where": [], "columns": columns});
    let request = json!([
        "Open_vSwitch",
        select(
            "Bridge",
            &["name", "fail_mode", "protocols", "controller", "ports"]
        ),
        select("Port", &["_uuid", "name", "tag", "trunks", "interfaces"]),
        select("Interface", &["_uuid", "name", "type", "options", "ofport"]),
    ]);
    Ok(of_answer(&rpc::call(socket, "transact", &request)?))
}

/// The answer: one list of rows for each table.
fn of_answer(answer: &Value) -> Vec<OvsBridge> {
    let rows = |number: usize| {
        let rows = answer.get(number).and_then(|result| result.get("rows"));
        rows.and_then(Value::as_array).into_iter().flatten()
    };
    rows(0)
        .map(|bridge| {
            let mine = set(bridge.get("ports"));
            let ports = rows(1).filter(|port| mine.contains(&id(port)));
            OvsBridge {
                name: text(bridge, "name"),
                fail_mode: set(bridge.get("fail_mode")).into_iter().next(),
                protocols: set(bridge.get("protocols")),
                controlled: !set(bridge.get("controller")).is_empty(),
                ports: ports
                    .flat_map(|port| {
                        let of_port = set(port.get("interfaces"));
                        rows(2)
                            .filter(move |interface| of_port.contains(&id(interface)))
                            .map(|interface| port_of(port, interface))
                    })
                    .collect(),
            }
        })
        .collect()
}

fn port_of(port: &Value, interface: &Value) -> OvsPort {
    let number = |value: &String| value.parse().ok();
    let kind = text(interface, "type");
    OvsPort {
        name: text(interface, "name"),
        number: set(interface.get("ofport"))
            .iter()
            .find_map(number)
            .unwrap_or(0),
        datapath: None,
        kind: if kind.is_empty() {
            "system".to_owned()
        } else {
            kind
        },
        options: map(interface.get("options")),
        tag: set(port.get("tag"))
            .iter()
            .find_map(|value| value.parse().ok()),
        trunks: set(port.get("trunks"))
            .iter()
            .filter_map(|value| value.parse().ok())
            .collect(),
    }
}

fn text(row: &Value, column: &str) -> String {
    let value = row.get(column).and_then(Value::as_str);
    value.unwrap_or_default().to_owned()
}

fn id(row: &Value) -> String {
    row.get("_uuid").and_then(atom).unwrap_or_default()
}

/// A string or a number, or what stands behind `uuid` (RFC 7047, 5.1).
fn atom(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(pair) => match pair.as_slice() {
            [kind, value] if kind == "uuid" => Some(value.as_str()?.to_owned()),
            _ => None,
        },
        _ => None,
    }
}

/// `["set",[…]]`, or one value alone.
fn set(value: Option<&Value>) -> Vec<String> {
    let Some(value) = value else {
        return Vec::new();
    };
    if let Some([kind, values]) = value.as_array().map(Vec::as_slice)
        && kind == "set"
    {
        let values = values.as_array().into_iter().flatten();
        return values.filter_map(atom).collect();
    }
    atom(value).into_iter().collect()
}

/// `["map",[[key,value],…]]`.
fn map(value: Option<&Value>) -> Vec<(String, String)> {
    let pairs = value
        .and_then(|value| value.get(1))
        .and_then(Value::as_array);
    let pair = |pair: &Value| Some((atom(pair.get(0)?)?, atom(pair.get(1)?)?));
    pairs.into_iter().flatten().filter_map(pair).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "the answer is written below")]
mod tests {
    use super::*;

    #[test]
    fn rows_are_put_together() {
        let answer = json!([
            {"rows": [{"name": "br-int", "fail_mode": "secure", "protocols": ["set", ["OpenFlow13"]], "controller": ["set", []],
                       "ports": ["set", [["uuid", "p1"], ["uuid", "p2"]]]}]},
            {"rows": [{"_uuid": ["uuid", "p1"], "name": "acc", "tag": 20, "trunks": ["set", []], "interfaces": ["uuid", "i1"]},
                      {"_uuid": ["uuid", "p2"], "name": "tun0", "tag": ["set", []], "trunks": ["set", [5, 6]], "interfaces": ["uuid", "i2"]}]},
            {"rows": [{"_uuid": ["uuid", "i1"], "name": "acc", "type": "", "options": ["map", []], "ofport": 6},
                      {"_uuid": ["uuid", "i2"], "name": "tun0", "type": "vxlan", "options": ["map", [["remote_ip", "172.21.9.2"]]], "ofport": ["set", []]}]},
        ]);
        let [bridge] = of_answer(&answer).try_into().unwrap();
        assert_eq!(bridge.fail_mode.as_deref(), Some("secure"));
        assert_eq!(bridge.protocols, ["OpenFlow13"]);
        assert!(!bridge.controlled);
        let [access, tunnel] = bridge.ports.try_into().unwrap();
        assert_eq!(
            (access.kind.as_str(), access.number, access.tag),
            ("system", 6, Some(20))
        );
        assert_eq!((tunnel.number, tunnel.trunks.as_slice()), (0, &[5, 6][..]));
        assert_eq!(tunnel.option("remote_ip"), Some("172.21.9.2"));
        assert_eq!(of_answer(&json!("nonsense")), []);
    }
}
