//! An audit line as an event of the log: where there is no writer, or the writer does not take it.

use serde_json::{Map, Value};

/// One event of the log, with the members that the line would have; its `time` too, for the log's own may be later.
pub(super) fn log(members: &Map<String, Value>) {
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let number = |name: &str| members.get(name).and_then(Value::as_u64);
    let seconds = members.get("seconds").and_then(Value::as_f64);
    let together = |name: &str| members.get(name).filter(|value| !value.is_string()).map(Value::to_string);
    tracing::info!(
        target: "audit",
        time = text("time"),
        event = text("event"),
        user = text("user"),
        claimed = text("claimed").map(str::to_owned).or_else(|| together("claimed")),
        auth = text("auth"),
        peer = text("peer"),
        via = text("via"),
        method = text("method"),
        action = text("action"),
        path = text("path"),
        result = text("result"),
        status = number("status"),
        code = text("code"),
        detail = text("detail"),
        session = number("session"),
        stream = text("stream"),
        begin = text("begin"),
        closeCode = number("closeCode"),
        records = number("records"),
        bytes = number("bytes"),
        seconds,
        since = text("since"),
        count = number("count"),
        statuses = together("statuses"),
    );
}
