//! Goal: whatever the configuration, the tables and the transactions, a session sends what was said of its records
//! before, in order, once, and a resumed one exactly the rest, in whichever framing. Method: random ones of each through a real trail on
//! disk and the session that the server runs, every record held against the schema record heard before it on that
//! connection, against both layouts of the AsyncAPI document, and against a plain session of the same rules.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use trailcast::catalog::stream::StreamConfig;
use trailcast::client::RecordReader;
use trailcast::codec::asyncapi::DocumentLayout;
use trailcast::codec::json::{MetaField, Model};
use trailcast::codec::token;
use trailcast::delivery::end::End;
use trailcast::delivery::framing::Framing;
use trailcast::delivery::negotiated::{Envelope, Negotiated};
use trailcast::record::Position;
use trailcast::trail::{Begin, Trail};

use super::any_config::any_config;
use super::any_trail::{AnyTransactions, any_transactions, write};
use super::described::{Described, SchemasHeard, document_of};
use super::heard::{Heard, parsed, session, stream};

/// Statements around which a session is resumed, of those that there are.
const STATEMENTS_TRIED: usize = 3;

/// A data record of a plain session: op model, nothing renamed, no limits.
#[derive(Debug, Clone)]
struct Plain {
    operation: String,
    table: String,
    position: Position,
}

fn plain_config(config: &StreamConfig) -> StreamConfig {
    let mut given = json!({"source": config.as_given()["source"]});
    if let Some(rules) = config.as_given().get("rules") {
        given["rules"] = rules.clone();
    }
    StreamConfig::from_value(given).unwrap()
}

async fn plain_records(trail: &Trail, config: &StreamConfig) -> Vec<Plain> {
    let config = plain_config(config);
    let heard = session(trail, &config, None, &Negotiated::new(Framing::WebSocket, Envelope::Records)).await;
    assert_eq!(heard.end, End::Reconfigured);
    let data = heard.texts.iter().map(|text| parsed(text)).filter(|record| record.get("pos").is_some());
    data.map(|record| {
        let token = token::decode(record["pos"].as_str().unwrap()).unwrap();
        let text = |member: &str| record[member].as_str().unwrap().to_owned();
        Plain { operation: text("op_type"), table: text("qual_table"), position: token.position }
    })
    .collect()
}

/// Holds one connection's records against what was said of them; returns the texts of the data records.
fn check_connection<'h>(
    heard: &'h Heard,
    config: &StreamConfig,
    described: &[Described],
    plain: &[Plain],
    events: bool,
) -> Vec<&'h str> {
    let mut schemas = SchemasHeard::default();
    let mut positions = heard.positions.iter().peekable();
    let mut data = Vec::new();
    // Tables whose shape was told and of which no row has come since.
    let mut told = Vec::new();
    for (at, text) in heard.texts.iter().enumerate() {
        let message = parsed(text);
        let record = if events { &message["data"] } else { &message };
        // The document describes the stream; events that a subprotocol asked for hold the records it describes.
        let said_of = if events && !config.cloud_events { record } else { &message };
        let kinds: Vec<_> = described.iter().map(|document| document.kind_of(said_of)).collect();
        assert!(kinds.windows(2).all(|pair| pair[0] == pair[1]), "the layouts differ: {kinds:?}");
        let with_schemas = heard.schemas;
        match kinds[0] {
            "SchemaRecord" => schemas.take(record),
            "DmlRecord" | "DdlRecord" => {
                let expected = plain.get(data.len()).unwrap_or_else(|| panic!("a record too many: {record:#}"));
                let is_ddl = expected.operation == "DDL";
                // Without its operation in it, a row of one column `ddl` reads like a statement.
                if config.json.meta.is_sent(MetaField::OpType) {
                    assert_eq!(kinds[0] == "DdlRecord", is_ddl, "{record:#}");
                }
                match (with_schemas, is_ddl) {
                    (false, _) => {}
                    (true, true) => schemas.check("DdlRecord", record),
                    (true, false) => schemas.check_row(&expected.table, record),
                }
                if is_ddl {
                    assert!(told.is_empty(), "told before the statement that may have made it: {told:?}, {record:#}");
                } else {
                    told.retain(|table| *table != expected.table);
                }
                data.push(text.as_str());
            }
            other => {
                if other == "ObjectMetadataRecord" {
                    let table = config.json.meta.name(MetaField::QualifiedTable);
                    told.push(record[table].as_str().unwrap().to_owned());
                }
                assert!(other != "StreamMetadataRecord" || at <= 1, "STREAM_METADATA comes first");
                if with_schemas {
                    schemas.check(other, record);
                }
            }
        }
        if events {
            check_event(&message);
        }
        // What the framing says of the position is that of the last record; a heartbeat's is of none that was sent.
        if let Some((_, position)) = positions.next_if(|(records, _)| *records == at + 1)
            && matches!(kinds[0], "DmlRecord" | "DdlRecord")
        {
            assert_eq!(plain.get(data.len().wrapping_sub(1)).map(|record| record.position), Some(*position));
        }
    }
    assert_eq!(positions.next(), None);
    data
}

fn check_event(event: &Value) {
    for (name, value) in event.as_object().unwrap() {
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()), "{name}");
        assert!(name == "data" || value.as_str().is_some_and(|text| !text.is_empty()), "{name}: {value}");
    }
    assert_eq!(event["specversion"], "1.0");
}

/// Where a member stands that no column can displace.
fn member<'r>(config: &StreamConfig, record: &'r Value, field: MetaField) -> Option<&'r str> {
    let nested = config.json.model == Model::Op && config.json.flatten.is_none();
    let sent = nested && config.json.meta.is_sent(field);
    sent.then(|| record[config.json.meta.name(field)].as_str().unwrap())
}

/// A client that goes by the schema records alone finds each record's position, whatever columns are called.
fn check_client(heard: &Heard, config: &StreamConfig, plain: &[Plain], events: bool) {
    let mut reader = RecordReader::new(stream().as_str());
    let mut positions = plain.iter().map(|record| record.position);
    for text in &heard.texts {
        let read = reader.read(text).unwrap();
        let record = &read[0];
        if record.is_data() && heard.schemas {
            let expected = positions.next().unwrap();
            let has_one = config.json.meta.is_sent(MetaField::Pos) || events;
            let found = record.pos().map(|pos| token::decode(&pos).unwrap().position);
            assert_eq!(found, has_one.then_some(expected), "{text}");
        }
    }
}

fn check_places(data: &[&str], config: &StreamConfig, plain: &[Plain], events: bool) {
    for (at, text) in data.iter().enumerate() {
        let message = parsed(text);
        let record = if events { &message["data"] } else { &message };
        let position = plain[at].position;
        if let Some(pos) = member(config, record, MetaField::Pos) {
            assert_eq!(token::decode(pos).unwrap().position, position);
        }
        if let Some(place) = member(config, record, MetaField::TransInd) {
            let same = |other: Option<&Plain>| other.is_some_and(|other| other.position.commit == position.commit);
            let first = at.checked_sub(1).is_none_or(|before| !same(plain.get(before)));
            let expected = match (first, !same(plain.get(at + 1))) {
                (true, true) => "WHOLE",
                (true, false) => "BEGIN",
                (false, false) => "MIDDLE",
                (false, true) => "END",
            };
            assert_eq!(place, expected, "{record:#}");
        }
    }
}

/// The position after which to go on, where a record was too large.
fn too_large(heard: &Heard) -> Option<Position> {
    match &heard.end {
        End::Reconfigured => None,
        End::RecordTooLarge { after, .. } => {
            assert!(heard.end.close_reason().len() <= 123 && heard.end.close_reason().contains(after));
            Some(token::decode(after).unwrap().position)
        }
        other => panic!("{other:?}"),
    }
}

async fn holds(config: &StreamConfig, transactions: &AnyTransactions, resume: u32, negotiated: &Negotiated) {
    let folder = tempfile::tempdir().unwrap();
    let trail = write(&folder.path().join("t1"), transactions).await;
    let plain = plain_records(&trail, config).await;
    assert!(plain.windows(2).all(|pair| {
        let place = |record: &Plain| (record.position.commit, record.position.record);
        place(&pair[0]) < place(&pair[1])
    }));
    let tables: Vec<_> =
        trail.read(Begin::Now).await.unwrap().tables().iter().map(|schema| (**schema).clone()).collect();
    let layouts = [DocumentLayout::GoldenGate, DocumentLayout::AsyncApi];
    let described = layouts.map(|layout| Described::read(&document_of(config, &tables, layout)));
    let events = negotiated.envelope.wraps_in_events();

    // The whole stream; beyond a record that is too large, on from where the server says.
    let mut sent: Vec<(Position, String)> = Vec::new();
    let mut after = None;
    loop {
        let rest = match &after {
            None => &plain[..],
            Some(position) => behind(&plain, position),
        };
        let heard = session(&trail, config, after, negotiated).await;
        let data = check_connection(&heard, config, &described, rest, events);
        if after.is_none() {
            check_places(&data, config, &plain, events);
            check_client(&heard, config, &plain, events);
        }
        sent.extend(rest.iter().zip(&data).map(|(record, text)| (record.position, (*text).to_owned())));
        match too_large(&heard) {
            Some(position) => {
                assert_eq!(rest.get(data.len()).map(|record| record.position), Some(position), "it skips one record");
                after = Some(position);
            }
            None => {
                assert_eq!(data.len(), rest.len(), "records are missing");
                break;
            }
        }
    }

    // From any position, and from those around each statement, exactly the rest, up to where a record is too large.
    let around = |at: usize| [at.checked_sub(1), Some(at)];
    let statements = plain.iter().enumerate().filter(|(_, record)| record.operation == "DDL");
    let mut resumed: Vec<_> = statements.take(STATEMENTS_TRIED).flat_map(|(at, _)| around(at)).flatten().collect();
    resumed.push(resume as usize % plain.len().max(1));
    resumed.sort_unstable();
    resumed.dedup();
    for from in resumed.into_iter().filter_map(|at| plain.get(at)) {
        let heard = session(&trail, config, Some(from.position), negotiated).await;
        let data = check_connection(&heard, config, &described, behind(&plain, &from.position), events);
        let place = (from.position.commit, from.position.record);
        let rest = sent.iter().filter(|(position, _)| (position.commit, position.record) > place);
        let rest: Vec<_> = rest.map(|(_, text)| text.as_str()).take(data.len()).collect();
        assert_eq!(data, rest);
        if too_large(&heard).is_none() {
            assert_eq!(data.len(), behind(&plain, &from.position).len());
        }
    }
}

fn behind<'p>(plain: &'p [Plain], position: &Position) -> &'p [Plain] {
    let place = (position.commit, position.record);
    let at = plain.partition_point(|record| (record.position.commit, record.position.record) <= place);
    &plain[at..]
}

#[test]
fn every_record_is_what_was_said_before_it_and_a_resumed_session_sends_the_rest() {
    let long = std::env::var_os("TRAILCAST_TEST_LONG").is_some();
    let config = Config { cases: if long { 2_000 } else { 200 }, max_shrink_iters: 400, ..Config::default() };
    let subprotocol = prop_oneof![4 => Just(false), 1 => Just(true)];
    let framing = prop_oneof![2 => Just(Framing::WebSocket), 1 => Just(Framing::EventStream), 1 => Just(Framing::Line)];
    let cases = (any_config(), any_transactions(), any::<u32>(), subprotocol, framing);
    let outcome = TestRunner::new(config).run(&cases, |(config, transactions, resume, subprotocol, framing)| {
        let envelope = if subprotocol { Envelope::CloudEvent } else { Envelope::configured(&config) };
        let negotiated = Negotiated::new(framing, envelope);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let case =
            std::panic::AssertUnwindSafe(|| runtime.block_on(holds(&config, &transactions, resume, &negotiated)));
        std::panic::catch_unwind(case).map_err(|_| TestCaseError::fail(config.as_given().to_string()))
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
