//! JSON-RPC over Unix sockets, as Open vSwitch speaks it (ovsdb-server(7), ovs-appctl(8)): one request, one answer, bounded in
//! time and size.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The largest answer that is read.
const MOST: usize = 4 << 20;

/// Calls a method and gives its result.
///
/// # Errors
/// The socket cannot be reached, does not answer in time, or says that it will not.
pub(super) fn call(socket: &Path, method: &str, params: &Value) -> io::Result<Value> {
    let until = Instant::now() + PATIENCE;
    let mut stream = UnixStream::connect(socket)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = json!({"id": 0, "method": method, "params": params});
    stream.write_all(request.to_string().as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let read = stream.read(&mut buffer)?;
        answer.extend_from_slice(buffer.get(..read).unwrap_or_default());
        if let Some(value) = result(&answer)? {
            return Ok(value);
        }
        if read == 0 || answer.len() > MOST {
            return Err(io::Error::other("the answer has no end"));
        }
    }
}

/// The result in an answer; `None` where more of it is to come.
fn result(answer: &[u8]) -> io::Result<Option<Value>> {
    // An object ends with its brace: only then is it worth reading.
    if answer.last() != Some(&b'}') {
        return Ok(None);
    }
    let Ok(mut value) = serde_json::from_slice::<Value>(answer) else {
        return Ok(None);
    };
    match value.get("error") {
        None | Some(Value::Null) => Ok(value.get_mut("result").map(Value::take)),
        Some(Value::String(text)) => Err(io::Error::other(text.trim().to_owned())),
        Some(other) => Err(io::Error::other(other.to_string())),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_or_more_is_to_come() {
        assert!(result(br#"{"id":0,"res"#).unwrap().is_none());
        assert!(result(br#"{"id":0,"result":{"a":1}"#).unwrap().is_none());
        let whole = result(br#"{"error":null,"id":0,"result":"text\n"}"#).unwrap();
        assert_eq!(whole, Some(json!("text\n")));
        let refused = result(br#"{"error":"br0: unknown bridge\n","id":0,"result":null}"#);
        assert_eq!(refused.unwrap_err().to_string(), "br0: unknown bridge");
    }
}
