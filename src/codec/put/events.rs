//! CloudEvents 1.0 in the JSON format as people put them: each event is one transaction.
//!
//! Owns what an event's attributes become: `source` and `id` together are the transaction's id, `time` is its commit time
//! where `data` names none, and `data` is the transaction. The other attributes are checked and not kept. `data` is read as a
//! transaction that is put without an event, so that no digit of it is lost.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::{
    At, BadPut, BodyPlace, Fault, PutTransaction, RawObject, fault, level_by_level, not_ahead, shown, single_pass, text,
};
use crate::limits;
use crate::record::Timestamp;

/// Attributes that every event has, and those that it may have, of the core of the specification.
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];
const OPTIONAL: [&str; 4] = ["datacontenttype", "dataschema", "subject", "time"];

/// Reads a body that is one event.
pub(super) fn parse_one(body: &[u8], now: Timestamp) -> Result<Vec<PutTransaction<'_>>, BadPut> {
    let value: &RawValue = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    match event(value, None, now) {
        Ok(transaction) => Ok(vec![transaction]),
        Err((member, what)) => {
            let member = if member.is_empty() { "event".to_owned() } else { member };
            Err(BadPut { place: BodyPlace::Event(None), member, what })
        }
    }
}

/// Reads a body that is an array of events, which may be empty.
pub(super) fn parse_batch(body: &[u8], now: Timestamp) -> Result<Vec<PutTransaction<'_>>, BadPut> {
    let mut json = serde_json::Deserializer::from_slice(body);
    // One event after the other: a list of what is none would be many times as large as the body.
    match json.deserialize_seq(Events(now)).and_then(|read| json.end().map(|()| read)) {
        Ok(read) => read,
        Err(_) if body.trim_ascii_start().first().is_some_and(|first| *first != b'[') => {
            Err(BadPut { place: BodyPlace::Line(1), member: "body".into(), what: "must be an array of events".into() })
        }
        Err(error) => Err(malformed(&error)),
    }
}

fn malformed(error: &serde_json::Error) -> BadPut {
    let what = format!("malformed JSON: {error}");
    BadPut { place: BodyPlace::Line(error.line().max(1)), member: "body".into(), what }
}

/// Reads the elements of a batch up to the first that is refused.
struct Events(Timestamp);

impl<'de> Visitor<'de> for Events {
    type Value = Result<Vec<PutTransaction<'de>>, BadPut>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut elements: S) -> Result<Self::Value, S::Error> {
        let mut transactions = Vec::new();
        while let Some(value) = elements.next_element::<&'de RawValue>()? {
            match event(value, Some(transactions.len()), self.0) {
                Ok(transaction) => transactions.push(transaction),
                Err((member, what)) => {
                    // Nothing of the rest matters any more, but it has to be passed over.
                    while elements.next_element::<IgnoredAny>()?.is_some() {}
                    return Ok(Err(BadPut { place: BodyPlace::Event(Some(transactions.len())), member, what }));
                }
            }
        }
        Ok(Ok(transactions))
    }
}

/// The transaction that an event is.
fn event(value: &RawValue, number: Option<usize>, now: Timestamp) -> Result<PutTransaction<'_>, Fault> {
    let event =
        Event(RawObject::read(value.get()).map_err(|what| (String::new(), format!("{what}; an event is one")))?);
    let attributes = event.attributes()?;
    let data = event.data()?;
    let mut transaction = match single_pass::read(data.get().as_bytes(), now) {
        Some(mut transactions) if transactions.len() == 1 => transactions.swap_remove(0),
        _ => level_by_level::transaction(data, 0, now).map_err(|(member, what)| (in_data(&member), what))?,
    };
    if transaction.xid.is_some() {
        return fault("data.xid", "is not taken, because the event's source and id are the transaction's id");
    }
    if let (None, Some(time)) = (transaction.commit_ts, attributes.time) {
        transaction.commit_ts = Some(not_ahead(time, "time", now)?);
    }
    transaction.xid = Some(attributes.xid);
    transaction.at = At::Event(number);
    Ok(transaction)
}

/// A transaction's member as one of the event.
fn in_data(member: &str) -> String {
    if member == "transaction" { "data".to_owned() } else { format!("data.{member}") }
}

/// What a transaction takes over of its event.
struct Attributes {
    xid: String,
    time: Option<Timestamp>,
}

struct Event<'a>(RawObject<'a>);

impl<'a> Event<'a> {
    /// A member that is there; null is as if it were not.
    fn member(&self, name: &str) -> Option<&'a RawValue> {
        self.0.get(name).filter(|value| value.get() != "null")
    }

    fn attribute(&self, name: &str) -> Result<Option<Cow<'a, str>>, Fault> {
        let Some(value) = self.member(name) else { return Ok(None) };
        let text = text(value.get(), name)?;
        if text.is_empty() {
            return fault(name, "must not be empty");
        }
        no_control_character(&text, name)?;
        Ok(Some(text))
    }

    fn required(&self, name: &str) -> Result<Cow<'a, str>, Fault> {
        self.attribute(name)?.ok_or_else(|| (name.to_owned(), "is required".to_owned()))
    }

    fn attributes(&self) -> Result<Attributes, Fault> {
        if self.required("specversion")? != "1.0" {
            return fault("specversion", "must be 1.0");
        }
        let [id, source, _] = [self.required("id")?, self.required("source")?, self.required("type")?];
        if source.contains(char::is_whitespace) {
            return fault("source", "must be a URI reference, which has no white space");
        }
        for name in ["dataschema", "subject"] {
            self.attribute(name)?;
        }
        let time = self.attribute("time")?.map(|text| moment(&text)).transpose()?;
        self.check_extensions()?;
        Ok(Attributes { xid: xid(&source, &id), time })
    }

    /// Whatever else stands in an event is an extension; a misspelt attribute mostly breaks their rules.
    fn check_extensions(&self) -> Result<(), Fault> {
        for (name, value) in &self.0.0 {
            let is_known = REQUIRED.iter().chain(&OPTIONAL).any(|known| known == name);
            if is_known || matches!(name.as_ref(), "data" | "data_base64") {
                continue;
            }
            let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            if name.is_empty() || !name.bytes().all(legal) {
                let what = "is no name of an attribute, which has lower-case letters and digits only";
                return fault(shown(name), what);
            }
            match value.get().as_bytes().first() {
                Some(b'"') => no_control_character(&text(value.get(), &shown(name))?, name)?,
                Some(b't' | b'f' | b'n') => {}
                Some(b'-' | b'0'..=b'9') if !value.get().contains(['.', 'e', 'E']) => {}
                _ => return fault(shown(name), "must be a string, a boolean or an integer"),
            }
        }
        Ok(())
    }

    fn data(&self) -> Result<&'a RawValue, Fault> {
        if self.member("data_base64").is_some() {
            return fault("data_base64", "is not taken; send the transaction as JSON in data");
        }
        if let Some(media_type) = self.attribute("datacontenttype")?.filter(|media_type| !is_json(media_type)) {
            let what = format!("is {:?}, and only JSON is taken", shown(&media_type));
            return fault("datacontenttype", what);
        }
        match self.member("data") {
            None => fault("data", "is required: the transaction"),
            Some(data) if !data.get().starts_with('{') => fault("data", "must be an object: the transaction"),
            Some(data) => Ok(data),
        }
    }
}

/// The specification's strings have none.
fn no_control_character(text: &str, member: &str) -> Result<(), Fault> {
    if text.contains(char::is_control) { fault(shown(member), "holds a control character") } else { Ok(()) }
}

/// As RFC 6839 and the JSON event format have it; case does not matter, nor do parameters.
fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(essence.as_str(), "application/json" | "text/json") || essence.ends_with("+json")
}

/// A time of any number of digits after the second, of which the first six count: an event has more to say than a trail
/// keeps, and nothing is looked for by it.
fn moment(text: &str) -> Result<Timestamp, Fault> {
    const FRACTION_DIGITS: usize = 6;
    let mut kept = Cow::Borrowed(text);
    if let Some((before, rest)) = text.split_once('.') {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits > FRACTION_DIGITS {
            kept = format!("{before}.{}{}", &rest[..FRACTION_DIGITS], &rest[digits..]).into();
        }
    }
    Timestamp::parse(&kept).map_err(|error| ("time".to_owned(), error.to_string()))
}

/// One id for `source` and `id`, which tell events apart only together: both with one space between, of which a source has
/// none; what would be too long is `sha256:` and the digest of that, without a space.
fn xid(source: &str, id: &str) -> String {
    let joined = format!("{source} {id}");
    if joined.len() <= limits::XID_BYTES_MAX {
        return joined;
    }
    let digest = Sha256::digest(joined.as_bytes());
    digest.iter().fold("sha256:".to_owned(), |mut text, byte| {
        use fmt::Write as _;
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::super::{PutFormat, parse_as};
    use super::*;

    const EVENT: &str = r#"{"specversion":"1.0","id":"1","source":"/shop","type":"shop.order","data":{"operations":[
        {"op":"INSERT","table":"t","after":{"x":1.50}}]}}"#;

    fn now() -> Timestamp {
        Timestamp::parse("2026-07-13T04:00:00Z").unwrap()
    }

    /// The event with a member of its own in place of one, or beside those it has.
    fn with(name: &str, value: &str) -> String {
        let mut members: serde_json::Map<String, serde_json::Value> = serde_json::from_str(EVENT).unwrap();
        members.remove(name);
        let rest = serde_json::to_string(&members).unwrap();
        format!("{{\"{name}\":{value},{}", &rest[1..])
    }

    fn data_with(members: &str) -> String {
        with("data", &format!(r#"{{{members},"operations":[{{"op":"TRUNCATE","table":"t"}}]}}"#))
    }

    fn one(body: &str) -> Result<PutTransaction<'_>, String> {
        let read = parse_as(PutFormat::Event, body.as_bytes(), now()).map_err(|bad| bad.to_string())?;
        let batch = format!("[{body}]");
        let batched = parse_as(PutFormat::EventBatch, batch.as_bytes(), now()).map(|all| all[0].xid.clone());
        assert_eq!(batched, Ok(read[0].xid.clone()), "batched it is the same");
        Ok(read.into_iter().next().unwrap())
    }

    #[test]
    fn an_event_is_a_transaction() {
        let transaction = one(EVENT).unwrap();
        assert_eq!((transaction.xid.as_deref(), transaction.commit_ts), (Some("/shop 1"), None));
        assert_eq!(transaction.cells[0].json, "1.50");
    }

    #[test]
    fn its_time_is_the_commit_time_unless_data_has_one() {
        let time = |body: &str| one(body).unwrap().commit_ts.map(Timestamp::to_rfc3339);
        let early = with("time", r#""2020-01-02T03:04:05.123456789+01:00""#);
        assert_eq!(time(&early).unwrap(), "2020-01-02T02:04:05.123456Z");
        let own =
            data_with(r#""commitTs":"2021-01-01T00:00:00Z""#).replacen('{', r#"{"time":"2030-01-01T00:00:00Z","#, 1);
        assert_eq!(time(&own).unwrap(), "2021-01-01T00:00:00.000000Z");
    }

    #[test]
    fn source_and_id_are_told_apart_and_long_ones_too() {
        assert_eq!(xid("a", "b c").split_once(' '), Some(("a", "b c")));
        let (long, longer) = (xid("a", &"x".repeat(254)), xid("a", &"x".repeat(255)));
        assert_eq!((long.len(), longer.len()), (256, 71));
        assert!(longer.starts_with("sha256:") && !longer.contains(' '));
        assert_ne!(longer, xid("a", &"x".repeat(256)));
    }

    #[test]
    fn an_attribute_that_is_null_is_not_there_and_extensions_may_be_any() {
        for (name, value) in [
            ("subject", "null"),
            ("data_base64", "null"),
            ("time", "null"),
            ("traceparent", r#""00-0af7-b7ad-01""#),
            ("sampled", "true"),
            ("priority", "-7"),
            ("nothing", "null"),
            ("datacontenttype", r#""Application/JSON; charset=utf-8""#),
            ("datacontenttype", r#""application/vnd.shop+json""#),
        ] {
            assert!(one(&with(name, value)).is_ok(), "{name} {value}");
        }
    }

    #[test]
    fn every_fault_names_its_member() {
        for (body, says) in [
            (with("specversion", "null"), "specversion: is required"),
            (with("specversion", r#""0.3""#), "specversion: must be 1.0"),
            (with("specversion", "1.0"), "specversion: must be a string"),
            (with("id", "null"), "id: is required"),
            (with("id", r#""""#), "id: must not be empty"),
            (with("id", "7"), "id: must be a string"),
            (with("id", r#""a\u0000b""#), "id: holds a control character"),
            (with("id", r#""\ud800""#), "id: holds half of a surrogate pair"),
            (with("source", "null"), "source: is required"),
            (with("source", r#""a b""#), "source: must be a URI reference"),
            (with("type", r#""""#), "type: must not be empty"),
            (with("type", "null"), "type: is required"),
            (with("subject", "1"), "subject: must be a string"),
            (with("time", r#""yesterday""#), "time: not an ISO 8601 timestamp"),
            (with("time", r#""2026-07-13T04:05:01Z""#), "time: may be at most 300 seconds ahead"),
            (with("datacontenttype", r#""text/plain""#), "datacontenttype: is \"text/plain\""),
            (with("data_base64", r#""e30=""#), "data_base64: is not taken"),
            (with("specVersion", r#""1.0""#), "specVersion: is no name of an attribute"),
            (with("trace_parent", r#""x""#), "trace_parent: is no name of an attribute"),
            (with("priority", "1.5"), "priority: must be a string, a boolean or an integer"),
            (with("priority", "{}"), "priority: must be a string, a boolean or an integer"),
            (with("data", "null"), "data: is required"),
            (with("data", r#""{}""#), "data: must be an object"),
            (with("data", "[]"), "data: must be an object"),
            (with("data", "{}"), "data.operations: is required"),
            (with("data", r#"{"operations":[{"op":"INSERT","table":"t"}]}"#), "data.operations[0].after: is required"),
            (data_with(r#""xid":"1""#), "data.xid: is not taken"),
            (data_with(r#""commitTs":"soon""#), "data.commitTs: not an ISO 8601"),
            (data_with(r#""more":1"#), "data.more: unknown member"),
            (EVENT.replacen(r#""id":"1""#, r#""id":"1","id":"2""#, 1), "member \"id\" stands twice"),
            ("[]".into(), "must be an object"),
            ("1".into(), "must be an object"),
            (String::new(), "line 1: body: malformed JSON"),
            (format!("{EVENT} {EVENT}"), "body: malformed JSON"),
            (EVENT[..90].into(), "body: malformed JSON"),
        ] {
            let refusal = parse_as(PutFormat::Event, body.as_bytes(), now()).unwrap_err().to_string();
            assert!(refusal.contains(says), "{body}: {refusal}");
            let batch = format!("[{EVENT},{body}]");
            let refusal = parse_as(PutFormat::EventBatch, batch.as_bytes(), now()).unwrap_err().to_string();
            if !says.contains("body") {
                assert!(refusal.starts_with("events[1]") && refusal.contains(says), "{batch}: {refusal}");
            }
        }
    }

    #[test]
    fn a_batch_is_an_array_and_may_be_empty() {
        let read = |body: &str| parse_as(PutFormat::EventBatch, body.as_bytes(), now()).map(|read| read.len());
        let refusal = |body: &str| read(body).unwrap_err().to_string();
        assert_eq!((read("[]"), read(&format!(" [{EVENT},\n{EVENT}] "))), (Ok(0), Ok(2)));
        assert_eq!(refusal(EVENT), "line 1: body: must be an array of events");
        for bad in ["", "[", "[] []", &format!("[{EVENT}"), &format!("[{EVENT},]")] {
            assert!(refusal(bad).contains("body: malformed JSON"), "{bad}: {}", refusal(bad));
        }
        assert!(refusal("[{}, 1").contains("malformed JSON"), "{}", refusal("[{}, 1"));
    }
}
