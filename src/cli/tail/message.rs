//! A message of a stream, cut into records whose text stays as it came.
//!
//! Takes each framing (an array, or one record) and CloudEvents, whose `data` is the record.

use serde_json::value::RawValue;

use crate::codec::put::RawObject;

/// One record of a message.
#[derive(Debug)]
pub(super) struct Record<'m> {
    text: &'m str,
    members: RawObject<'m>,
}

/// The records of a message.
pub(super) fn records(message: &str) -> Result<Vec<Record<'_>>, String> {
    let not_records = |error| format!("a message of the stream is not understood: {error}");
    let texts: Vec<&RawValue> = if message.trim_start().starts_with('[') {
        serde_json::from_str(message).map_err(not_records)?
    } else {
        vec![serde_json::from_str(message).map_err(not_records)?]
    };
    texts.into_iter().map(|raw| Record::parse(raw.get()).map_err(not_records)).collect()
}

impl<'m> Record<'m> {
    fn parse(text: &'m str) -> Result<Self, serde_json::Error> {
        let mut members: RawObject<'m> = serde_json::from_str(text)?;
        if members.get("specversion").is_some()
            && let Some(data) = members.get("data")
        {
            members = serde_json::from_str(data.get())?;
        }
        Ok(Self { text, members })
    }

    /// As it came.
    pub(super) fn text(&self) -> &'m str {
        self.text
    }

    /// Its members, those of the `data` of a CloudEvent.
    pub(super) fn members(&self) -> &RawObject<'m> {
        &self.members
    }

    /// A member that is a text.
    pub(super) fn string(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.members.get(name)?.get()).ok()
    }

    /// Its position; metadata and schema records have none.
    pub(super) fn pos(&self) -> Option<String> {
        self.string("pos")
    }

    /// Whether it is a change: neither metadata nor a schema.
    pub(super) fn is_data(&self) -> bool {
        self.string("op_type").is_some_and(|op| !matches!(op.as_str(), "STREAM_METADATA" | "OBJECT_METADATA"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_framing_gives_records_whose_text_is_unchanged() {
        let array = records(r#"[{"op_type":"INSERT","pos":"AQ1","after":{"n":1.10}}, {"id":"dml"}]"#).unwrap();
        assert_eq!(array[0].text(), r#"{"op_type":"INSERT","pos":"AQ1","after":{"n":1.10}}"#);
        assert_eq!((array[0].pos().as_deref(), array[0].is_data()), (Some("AQ1"), true));
        assert_eq!((array[1].pos(), array[1].is_data()), (None, false));
        let single = records(r#"{"op_type":"STREAM_METADATA"}"#).unwrap();
        assert_eq!((single.len(), single[0].is_data()), (1, false));
    }

    #[test]
    fn the_data_of_a_cloud_event_is_the_record() {
        let event = r#"{"specversion":"1.0","id":"AQ1","data":{"op_type":"DELETE","pos":"AQ1"}}"#;
        let message = format!("[{event}]");
        let records = records(&message).unwrap();
        assert_eq!((records[0].text(), records[0].pos().as_deref()), (event, Some("AQ1")));
    }

    #[test]
    fn what_is_no_record_is_an_error() {
        for bad in ["", "nonsense", "[1]", "[{]", "\"text\""] {
            assert!(records(bad).is_err(), "{bad}");
        }
    }
}
