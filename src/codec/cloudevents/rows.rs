//! How the events of rows begin: what those of one table, operation and transaction share is written once and copied.

use crate::codec::cloudevents::{EventContext, EventKind, canonical, partition_columns, partition_key};
use crate::codec::image::{Cell, Image};
use crate::codec::json_text::push_string;
use crate::codec::token::{ContractHash, TransactionTokens};
use crate::record::{Operation, Position, SchemaId, TableSchema, Timestamp};

/// What the event around a row says of it.
#[derive(Debug, Clone, Copy)]
pub struct RowEvent<'a> {
    /// The row's table.
    pub schema: &'a TableSchema,
    /// What was done to it.
    pub operation: Operation,
    /// The image that its key is taken from.
    pub image: Option<Image<'a>>,
    /// Its position.
    pub position: Position,
    /// The stream's contract, for the position's token.
    pub contract: ContractHash,
    /// The commit time.
    pub time: Timestamp,
}

/// What the last row's event and the next one's may have in common. All that share it are of one stream.
#[derive(Debug, Default)]
pub struct RowEvents(Option<Shared>);

#[derive(Debug)]
struct Shared {
    of: (SchemaId, Operation, u64),
    tokens: TransactionTokens,
    /// From behind the id to before the partition key.
    middle: Vec<u8>,
    /// From behind the partition key to before the record's number.
    sequence: Vec<u8>,
    /// The column that decides the partition, if it is just one.
    key: Option<usize>,
}

impl EventContext {
    /// Appends a row's event up to and with `"data":`: the same event as [`EventContext::open`] makes.
    #[inline]
    pub fn open_row(&self, out: &mut Vec<u8>, row: &RowEvent<'_>, events: &mut RowEvents) {
        let of = (row.schema.id, row.operation, row.position.commit);
        let known = events.0.take().filter(|shared| shared.of == of);
        let shared = events.0.insert(known.unwrap_or_else(|| self.shared(row)));
        out.extend_from_slice(b"{\"specversion\":\"1.0\",\"id\":\"");
        shared.tokens.push(out, row.position.record);
        out.extend_from_slice(&shared.middle);
        push_key(out, row, shared.key);
        out.extend_from_slice(&shared.sequence);
        out.extend_from_slice(&ten_digits(row.position.record));
        out.extend_from_slice(b"\",\"data\":");
    }

    fn shared(&self, row: &RowEvent<'_>) -> Shared {
        let mut middle = vec![b'"'];
        let subject = row.schema.table.to_string();
        self.push_shared(&mut middle, EventKind::Record(row.operation), Some(row.time), &subject);
        middle.extend_from_slice(b",\"partitionkey\":");
        let mut columns = partition_columns(row.schema);
        let key = columns.next().filter(|_| columns.next().is_none());
        Shared {
            of: (row.schema.id, row.operation, row.position.commit),
            tokens: TransactionTokens::new(&row.position, row.contract),
            middle,
            sequence: format!(",\"sequence\":\"{:020}.", row.position.commit).into_bytes(),
            key,
        }
    }
}

/// The partition key as a JSON string. A key of one column that is a text or a number is copied.
#[inline]
fn push_key(out: &mut Vec<u8>, row: &RowEvent<'_>, key: Option<usize>) {
    let cell = key.zip(row.image).and_then(|(key, image)| image.cells().nth(key));
    match cell {
        Some(Ok(Cell::Json(json))) if json.starts_with('"') && json != "\"\"" => {
            out.extend_from_slice(json.as_bytes());
        }
        Some(Ok(Cell::Json(json))) if json.starts_with(|first: char| first.is_ascii_digit() || first == '-') => {
            out.push(b'"');
            out.extend_from_slice(canonical(json).as_bytes());
            out.push(b'"');
        }
        _ => push_string(out, &partition_key(row.schema, row.image)),
    }
}

fn ten_digits(mut number: u32) -> [u8; 10] {
    let mut digits = [b'0'; 10];
    for digit in digits.iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::cloudevents::Event;
    use crate::codec::image::ImageWriter;
    use crate::codec::token;
    use crate::record::{Column, Epoch, JsonKind, TableName};
    use proptest::prelude::*;

    fn schema(keys: &[bool]) -> TableSchema {
        let column = |(at, key): (usize, &bool)| Column {
            name: format!("c{at}"),
            kind: JsonKind::Any,
            sql_type: String::new(),
            nullable: true,
            key: *key,
        };
        let id = keys.iter().fold(1, |id, key| id * 2 + u32::from(*key));
        let columns = keys.iter().enumerate().map(column).collect();
        TableSchema { id: SchemaId(id), table: TableName::parse("a.\"b\"\"\"").unwrap(), columns }
    }

    fn any_cell() -> impl Strategy<Value = Option<String>> {
        proptest::option::of(prop_oneof!["-?[1-9][0-9]{0,9}", "true", "\\{\"a\":1\\}", "\"[a-z]{0,3}\"", "\"\\\\\"ä\""])
    }

    proptest! {
        #[test]
        fn an_event_opened_for_a_row_is_the_event_opened_for_any_record(
            rows in proptest::collection::vec((any::<[bool; 2]>(), [any_cell(), any_cell()], 1..3_u64, any::<u32>(), any::<bool>()), 1..9),
        ) {
            let context = EventContext::new("s\"1", "io.trailcast");
            let contract = ContractHash(9);
            let mut events = RowEvents::default();
            for (keys, cells, commit, record, has_image) in rows {
                let schema = schema(&keys);
                let mut bytes = Vec::new();
                let mut writer = ImageWriter::new(&mut bytes);
                for cell in &cells {
                    match cell {
                        Some(json) => writer.json(json.as_bytes()),
                        None => writer.null(),
                    }
                }
                let image = has_image.then(|| Image::whole(&bytes));
                let position = Position { epoch: Epoch(5), commit, record, xid_hash: 7 };
                let time = Timestamp::from_micros(1_000_000 * commit.cast_signed());
                let row = RowEvent { schema: &schema, operation: Operation::Update, image, position, contract, time };
                let (mut quick, mut plain) = (Vec::new(), Vec::new());
                context.open_row(&mut quick, &row, &mut events);
                let (pos, subject) = (token::encode(&position, contract), schema.table.to_string());
                let event = Event {
                    kind: EventKind::Record(Operation::Update),
                    id: pos.as_str(),
                    time: Some(time),
                    subject: Some(&subject),
                    partition_key: Some(&partition_key(&schema, image)),
                    position: Some(position),
                };
                context.open(&mut plain, &event);
                prop_assert_eq!(String::from_utf8(quick), String::from_utf8(plain));
            }
        }
    }
}
