//! Messages of the output plugin, read from bytes.

use super::*;
use proptest::prelude::*;

fn tuple_bytes(values: &[Option<Option<Vec<u8>>>]) -> Vec<u8> {
    let mut out = (values.len() as u16).to_be_bytes().to_vec();
    for value in values {
        match value {
            None => out.push(b'n'),
            Some(None) => out.push(b'u'),
            Some(Some(text)) => {
                out.push(b't');
                out.extend_from_slice(&(text.len() as u32).to_be_bytes());
                out.extend_from_slice(text);
            }
        }
    }
    out
}

fn update(old: Option<u8>, values: &[Option<Option<Vec<u8>>>]) -> Vec<u8> {
    let mut out = vec![b'U', 0, 0, 0x40, 1];
    if let Some(kind) = old {
        out.push(kind);
        out.extend(tuple_bytes(values));
    }
    out.push(b'N');
    out.extend(tuple_bytes(values));
    out
}

proptest! {
    #[test]
    fn an_update_reads_back_as_sent(
        old in proptest::option::of(prop_oneof![Just(b'K'), Just(b'O')]),
        values in proptest::collection::vec(
            proptest::option::of(proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40))), 0..12),
    ) {
        let bytes = update(old, &values);
        let Message::Update { relation, old: before, new } = Message::decode(&bytes, Charset::Utf8).unwrap() else {
            panic!("another message")
        };
        let expected: Vec<_> = values.iter().map(|value| match value {
            None => TupleValue::Null,
            Some(None) => TupleValue::Unchanged,
            Some(Some(text)) => TupleValue::Text(text),
        }).collect();
        prop_assert_eq!(relation, 0x4001);
        prop_assert_eq!(new.values().collect::<Vec<_>>(), expected.clone());
        prop_assert_eq!(before.map(|before| before.key_only), old.map(|kind| kind == b'K'));
        if let Some(before) = before {
            prop_assert_eq!(before.tuple.values().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_message_cut_short_is_an_error(
        values in proptest::collection::vec(
            proptest::option::of(proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9))), 0..5),
        cut in any::<proptest::sample::Index>(),
    ) {
        let bytes = update(Some(b'O'), &values);
        prop_assert!(Message::decode(&bytes[..cut.index(bytes.len())], Charset::Utf8).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic(
        kind in proptest::sample::select(b"BCORYIUDTMSEcAwk".to_vec()),
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let bytes = [vec![kind], bytes].concat();
        let _ = Envelope::decode(&bytes);
        let _ = EmittedStart::of(&bytes, true, Charset::Utf8);
        let _ = InBlock::of(&bytes).map(|message| Message::decode_in_block(message, Charset::Utf8));
        match Message::decode(&bytes, Charset::Utf8) {
            Ok(Message::Insert { new, .. }) => prop_assert_eq!(new.values().count(), new.len()),
            Ok(Message::Truncate(ids)) => prop_assert!(ids.iter().count() <= bytes.len()),
            _ => {}
        }
    }
}

#[test]
fn a_begin_carries_time_since_2000() {
    let mut bytes = vec![b'B'];
    bytes.extend_from_slice(&0x16B_3748_u64.to_be_bytes());
    bytes.extend_from_slice(&1_i64.to_be_bytes());
    bytes.extend_from_slice(&7_u32.to_be_bytes());
    let commit_ts = Timestamp::parse("2000-01-01T00:00:00.000001Z").unwrap();
    let begin = Message::Begin { commit_lsn: Lsn(0x16B_3748), commit_ts, xid: 7 };
    assert_eq!(Message::decode(&bytes, Charset::Utf8), Ok(begin));
    bytes.push(0);
    assert_eq!(Message::decode(&bytes, Charset::Utf8), Err(Malformed("bytes after its end")));
}

#[test]
fn a_relation_of_the_catalogue_has_its_schema_named() {
    let bytes = b"R\0\0\0\x01\0t\0d\0\x01\x01id\0\0\0\0\x17\xff\xff\xff\xff";
    let Ok(Message::Relation(relation)) = Message::decode(bytes, Charset::Utf8) else { panic!("no relation") };
    assert_eq!((&*relation.schema, &*relation.table, relation.replica_identity), ("pg_catalog", "t", b'd'));
    let column = RelationColumn { identity: true, name: "id".into(), type_id: 23, type_modifier: -1 };
    assert_eq!(relation.columns, [column]);
}

#[test]
fn a_type_says_what_it_comes_down_to() {
    let message = Message::decode(b"Y\0\0\x40\x02\0int4\0", Charset::Utf8);
    let expected = TypeMessage { id: 0x4002, schema: "pg_catalog".into(), name: "int4".into() };
    assert_eq!(message, Ok(Message::Type(expected)));
}

#[test]
fn a_change_in_a_block_is_what_it_is_elsewhere_with_a_number_of_its_transaction() {
    let outside = b"I\0\0\0\x01N\0\x01t\0\0\0\x017";
    let inside = [&outside[..1], &7_u32.to_be_bytes(), &outside[1..]].concat();
    let message = InBlock::of(&inside).unwrap();
    assert_eq!((message.xid, message.kind, message.rest), (Some(7), b'I', &outside[1..]));
    assert_eq!(Message::decode_in_block(message, Charset::Utf8), Message::decode(outside, Charset::Utf8));
    // A logical message has that of the whole transaction, whichever subtransaction it is of: it says nothing.
    let outside = b"M\x01\0\0\0\0\0\0\0\x10m\0\0\0\0\0";
    let inside = [&outside[..1], &7_u32.to_be_bytes(), &outside[1..]].concat();
    let message = InBlock::of(&inside).unwrap();
    assert_eq!((message.xid, message.kind, message.rest), (None, b'M', &outside[1..]));
    assert_eq!(Message::decode_in_block(message, Charset::Utf8), Message::decode(outside, Charset::Utf8));
    // What ends a block has none.
    let stop = InBlock::of(b"E").unwrap();
    assert_eq!((stop.xid, Message::decode_in_block(stop, Charset::Utf8)), (None, Ok(Message::StreamStop)));
    assert!(InBlock::of(b"I\0\0").is_err() && InBlock::of(b"").is_err());
}

#[test]
fn blocks_begin_and_end() {
    let numbers = [0x10_u64.to_be_bytes(), 0x20_u64.to_be_bytes(), 1_u64.to_be_bytes()].concat();
    let commit_ts = Timestamp::parse("2000-01-01T00:00:00.000001Z").unwrap();
    for (bytes, message) in [
        (b"S\0\0\0\x07\x01".to_vec(), Message::StreamStart { xid: 7 }),
        (b"A\0\0\0\x07\0\0\0\x08".to_vec(), Message::StreamAbort { xid: 7, subxid: 8 }),
        (
            [b"c\0\0\0\x07\0".as_slice(), &numbers].concat(),
            Message::StreamCommit { xid: 7, commit_lsn: Lsn(0x10), end_lsn: Lsn(0x20), commit_ts },
        ),
    ] {
        assert_eq!(Message::decode(&bytes, Charset::Utf8), Ok(message));
        assert!(Message::decode(&bytes[..bytes.len() - 1], Charset::Utf8).is_err());
    }
}

#[test]
fn a_logical_message_is_known_by_its_prefix_before_it_is_there() {
    let bytes = b"M\x01\0\0\0\0\0\0\0\x10orders\0\0\0\0\x02{}";
    let expected = EmittedMessage { transactional: true, lsn: Lsn(0x10), prefix: "orders".into(), content: b"{}" };
    assert_eq!(Message::decode(bytes, Charset::Utf8), Ok(Message::Emitted(expected)));
    let start = |there, in_block| EmittedStart::of(there, in_block, Charset::Utf8);
    assert_eq!(start(&bytes[..21], false), Some(EmittedStart::Known("orders".into(), 2)));
    assert_eq!((start(&bytes[..20], false), start(&bytes[..16], false)), (None, None));
    let inside = [b"M\0\0\0\x07", &bytes[1..]].concat();
    assert_eq!(start(&inside, true), Some(EmittedStart::Known("orders".into(), 2)));
    assert_eq!(start(b"I\0\0", true), None);
    let long = [&bytes[..10], &[b'p'; limits::MESSAGE_PREFIX_FORESEEN_BYTES]].concat();
    assert_eq!(start(&long, false), Some(EmittedStart::LongPrefix));
    assert_eq!(start(&long[..long.len() - 1], false), None);
}

#[test]
fn names_need_not_be_utf_8() {
    let Ok(Message::Relation(relation)) = Message::decode(b"R\0\0\0\x01s\0caf\xE9\0d\0\0", Charset::Undeclared) else {
        panic!("no relation")
    };
    assert_eq!(relation.table, "caf\u{FFFD}E9");
}
