//! Writes events of an event stream (Server-Sent Events; HTML Living Standard, section 9.2): one line of data, and an id
//! to go on from.
//!
//! The id stands behind the data, where it is known: the order of an event's fields means nothing.

/// What an event's data stands behind.
pub const DATA: &[u8] = b"data: ";
const ID: &[u8] = b"\nid: ";
const END: &[u8] = b"\n\n";

/// Bytes around an event's data, with an id of that length.
pub const fn around_bytes(id_bytes: usize) -> usize {
    DATA.len() + ID.len() + id_bytes + END.len()
}

/// Ends the event whose data, without a line break, ends `out` behind [`DATA`]. The id has no line break and no NUL.
pub fn finish(out: &mut Vec<u8>, id: Option<&str>) {
    if let Some(id) = id {
        out.extend_from_slice(ID);
        out.extend_from_slice(id.as_bytes());
    }
    out.extend_from_slice(END);
}

/// Takes event streams apart as the standard says, for tests of whatever writes them.
#[cfg(test)]
pub(crate) mod reading {
    /// An event that a client is given: its data, and the id that it would go on from.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) struct Event {
        pub(crate) data: String,
        pub(crate) last_event_id: String,
    }

    /// The events in whole bytes of a stream. What no empty line ends is no event.
    pub(crate) fn events(stream: &str) -> Vec<Event> {
        let (mut events, mut data, mut last_event_id) = (Vec::new(), String::new(), String::new());
        let lines = stream.replace("\r\n", "\n").replace('\r', "\n");
        let Some((lines, _)) = lines.rsplit_once('\n') else { return events };
        for line in lines.split('\n') {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                // Each line of data was noted with its line feed; the last one is not the client's.
                "" if line.is_empty() && data.pop().is_some() => {
                    events.push(Event { data: std::mem::take(&mut data), last_event_id: last_event_id.clone() });
                }
                "data" => data.extend([value, "\n"]),
                "id" if !value.contains('\0') => last_event_id = value.to_owned(),
                _ => {}
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::reading::{Event, events};
    use super::*;

    fn event(out: &mut Vec<u8>, data: &str, id: Option<&str>) {
        out.extend_from_slice(DATA);
        out.extend_from_slice(data.as_bytes());
        finish(out, id);
    }

    #[test]
    fn an_event_without_an_id_leaves_the_client_with_the_last_one() {
        let mut out = Vec::new();
        event(&mut out, "[1]", Some("p1"));
        event(&mut out, "[2]", None);
        assert_eq!(out, b"data: [1]\nid: p1\n\ndata: [2]\n\n");
        let of = |data: &str| Event { data: data.into(), last_event_id: "p1".into() };
        assert_eq!(events(std::str::from_utf8(&out).unwrap()), [of("[1]"), of("[2]")]);
    }

    #[test]
    fn what_stands_around_an_events_data_is_as_long_as_is_said() {
        let mut out = Vec::new();
        event(&mut out, "", Some("p123"));
        assert_eq!(out.len(), around_bytes(4));
    }

    proptest::proptest! {
        #[test]
        fn events_read_back(texts in proptest::collection::vec(("[^\r\n\0]{1,40}", proptest::option::of("[a-z0-9]{1,9}")), 0..9)) {
            let (mut out, mut expected, mut last_event_id) = (Vec::new(), Vec::new(), String::new());
            for (data, id) in &texts {
                event(&mut out, data, id.as_deref());
                id.iter().for_each(|id| last_event_id.clone_from(id));
                expected.push(Event { data: data.clone(), last_event_id: last_event_id.clone() });
            }
            proptest::prop_assert_eq!(events(std::str::from_utf8(&out).unwrap()), expected);
        }
    }
}
