//! DML records: what was prepared once for a table, and cells copied between.

use crate::codec::image::{Cell, Image, MalformedImage};
use crate::codec::json::cell::{self, Sent};
use crate::codec::json::head::{Head, HeadCache, HeadSubject, RecordContext};
use crate::codec::json::layout::{Layout, RowForm};
use crate::codec::json::row_template::{CellForm, RowTemplate, RowTemplateMaker};
use crate::codec::json::{JsonOptions, shrink};
use crate::codec::json_text::push_string;
use crate::record::{Operation, SchemaId, TableSchema};

/// A change of one row, or a TRUNCATE.
#[derive(Debug, Clone, Copy)]
pub struct DmlRecord<'a> {
    /// What goes with every record.
    pub context: RecordContext<'a>,
    /// Any operation but DDL.
    pub operation: Operation,
    /// The row before, if it applies.
    pub before: Option<Image<'a>>,
    /// The row after, if it applies.
    pub after: Option<Image<'a>>,
}

/// A record cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// It is beyond a limit of the stream, and the stream does not truncate: the session closes with 4013.
    #[error("{bytes} bytes are beyond {member} of {limit} bytes")]
    TooLarge {
        /// The option: `maxLobSize`, `maxDDLTextSize` or `maxRecordSize`.
        member: &'static str,
        /// The size met, in bytes.
        bytes: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The row image cannot be read.
    #[error(transparent)]
    Malformed(#[from] MalformedImage),
}

/// Column keys of one image: `,"COL":` each, escaped once.
#[derive(Debug)]
struct Keys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Keys {
    fn new(schema: &TableSchema, prefix: &str) -> Self {
        let mut keys = Self { bytes: Vec::new(), ends: Vec::new() };
        for column in &schema.columns {
            keys.bytes.push(b',');
            push_string(&mut keys.bytes, &format!("{prefix}{}", column.name));
            keys.bytes.push(b':');
            keys.ends.push(keys.bytes.len());
        }
        keys
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len()).filter_map(|column| self.get(column))
    }

    fn get(&self, column: usize) -> Option<&[u8]> {
        let start = if column == 0 { 0 } else { *self.ends.get(column - 1)? };
        self.bytes.get(start..*self.ends.get(column)?)
    }
}

/// A table's schema under a stream's options, ready to encode its records.
#[derive(Debug)]
pub struct PreparedTable {
    id: SchemaId,
    heads: [Head; 5],
    form: RowForm,
    before_open: Vec<u8>,
    after_open: Vec<u8>,
    before_keys: Keys,
    after_keys: Keys,
    /// Of rows with a before image, an after image, and both.
    templates: [RowTemplate; 3],
    /// How each column's cells are sent.
    sent: Vec<Sent>,
    names: Vec<Vec<u8>>,
    unchanged_key: Vec<u8>,
    truncated_key: Vec<u8>,
    omit_null: bool,
    truncate: bool,
    lob_bytes_max: Option<usize>,
    record_bytes_max: Option<usize>,
}

impl PreparedTable {
    /// Prepares a table's schema.
    pub fn new(schema: &TableSchema, options: &JsonOptions) -> Self {
        let layout = Layout::of(schema, options);
        let [before_prefix, after_prefix] = layout.form.prefixes();
        let (before_name, after_name) = match &layout.form {
            RowForm::Nested { before, after } => (before.as_str(), after.as_str()),
            RowForm::Flat { .. } | RowForm::Row => ("", ""),
        };
        let key = |name: &str, then: &[u8]| {
            let mut key = vec![b','];
            push_string(&mut key, name);
            key.extend_from_slice(then);
            key
        };
        let head = |operation| {
            let primary_keys =
                schema.columns.iter().filter(|column| column.key).map(|column| column.name.as_str()).collect();
            let subject = HeadSubject { operation, table: Some(&schema.table), primary_keys };
            Head::new(&layout.meta, &layout.static_fields, &subject, options)
        };
        let heads =
            [Operation::Insert, Operation::Update, Operation::Delete, Operation::Truncate, Operation::Upsert].map(head);
        let (before_open, after_open) = (key(before_name, b":{"), key(after_name, b":{"));
        let (before_keys, after_keys) = (Keys::new(schema, before_prefix), Keys::new(schema, after_prefix));
        // Operations differ in what the fields say, not in whether there are any.
        let comma = heads[0].has_fields;
        let nested = matches!(layout.form, RowForm::Nested { .. });
        let images = [(&before_open, &before_keys), (&after_open, &after_keys)];
        let templates = [[true, false], [false, true], [true, true]].map(|sent| template(images, sent, nested, comma));
        Self {
            id: schema.id,
            heads,
            before_open,
            after_open,
            before_keys,
            after_keys,
            templates,
            sent: schema.columns.iter().map(|column| Sent::of(column, options)).collect(),
            names: schema.columns.iter().map(|column| crate::codec::json_text::quoted(&column.name).into()).collect(),
            unchanged_key: key(&layout.unchanged, b":["),
            truncated_key: key(&layout.truncated, b":["),
            omit_null: options.omit_null,
            truncate: options.truncate,
            lob_bytes_max: options.lob_bytes_max,
            record_bytes_max: options.record_bytes_max,
            form: layout.form,
        }
    }

    /// Appends the record. On an error `out` is as it was.
    pub fn encode(&self, record: &DmlRecord<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.encode_next(record, out, &mut HeadCache::default())
    }

    /// The same for records that come one after another; all that share a cache have the same options.
    #[inline]
    pub fn encode_next(
        &self,
        record: &DmlRecord<'_>,
        out: &mut Vec<u8>,
        cache: &mut HeadCache,
    ) -> Result<(), EncodeError> {
        let start = out.len();
        let encoded = self.encode_within(record, out, start, cache);
        if encoded.is_err() {
            out.truncate(start);
        }
        encoded
    }

    #[inline]
    fn encode_within(
        &self,
        record: &DmlRecord<'_>,
        out: &mut Vec<u8>,
        start: usize,
        cache: &mut HeadCache,
    ) -> Result<(), EncodeError> {
        self.push_record(record, out, self.lob_bytes_max, cache)?;
        let Some(limit) = self.record_bytes_max else { return Ok(()) };
        let bytes = out.len() - start;
        if bytes <= limit {
            return Ok(());
        }
        if self.truncate {
            for lob_bytes_max in shrink::steps(limit, self.lob_bytes_max) {
                out.truncate(start);
                self.push_record(record, out, Some(lob_bytes_max), cache)?;
                if out.len() - start <= limit {
                    return Ok(());
                }
            }
        }
        Err(EncodeError::TooLarge { member: "maxRecordSize", bytes, limit })
    }

    #[inline]
    fn push_record(
        &self,
        record: &DmlRecord<'_>,
        out: &mut Vec<u8>,
        lob_bytes_max: Option<usize>,
        cache: &mut HeadCache,
    ) -> Result<(), EncodeError> {
        let images = [record.before, record.after].into_iter().flatten();
        out.reserve(256 + images.map(|image| image.as_bytes().len() + self.after_keys.bytes.len()).sum::<usize>());
        let Some(head) = self.heads.get(record.operation as usize - 1) else { return Err(MalformedImage.into()) };
        head.push(out, &record.context, (self.id, record.operation), cache);
        let row_at = out.len();
        let images = self.sent_images(record);
        if !self.push_by_template(out, images, lob_bytes_max)? {
            out.truncate(row_at);
            self.push_by_cells(out, images, lob_bytes_max, head.has_fields)?;
        }
        Ok(())
    }

    /// The before and the after image, where the record has it and it is sent.
    #[inline]
    fn sent_images<'a>(&self, record: &DmlRecord<'a>) -> [Option<Image<'a>>; 2] {
        match (&self.form, record.operation) {
            (RowForm::Row, Operation::Delete) => [record.before, None],
            (RowForm::Row, _) => [None, record.after],
            (RowForm::Flat { .. } | RowForm::Nested { .. }, _) => [record.before, record.after],
        }
    }

    /// Says whether it could; if not, `out` has part of the row.
    #[inline]
    fn push_by_template(
        &self,
        out: &mut Vec<u8>,
        images: [Option<Image<'_>>; 2],
        lob_bytes_max: Option<usize>,
    ) -> Result<bool, MalformedImage> {
        let [before, after] = images;
        let template = match (before.is_some(), after.is_some()) {
            (true, false) => &self.templates[0],
            (false, true) => &self.templates[1],
            (true, true) => &self.templates[2],
            (false, false) => return Ok(false),
        };
        let form = CellForm { sent: &self.sent, lob_bytes_max, omit_null: self.omit_null };
        template.push(out, before, after, form)
    }

    /// Any row. `comma`: whether the next member needs one.
    fn push_by_cells(
        &self,
        out: &mut Vec<u8>,
        [before, after]: [Option<Image<'_>>; 2],
        lob_bytes_max: Option<usize>,
        comma: bool,
    ) -> Result<(), EncodeError> {
        let mut row = RowWriter { table: self, out, comma, lob_bytes_max, lists: Lists::default() };
        if matches!(self.form, RowForm::Nested { .. }) {
            row.push_object(before, &self.before_open, &self.before_keys)?;
            row.push_object(after, &self.after_open, &self.after_keys)?;
        } else {
            row.push_cells(before, &self.before_keys)?;
            row.push_cells(after, &self.after_keys)?;
        }
        row.push_lists();
        out.push(b'}');
        Ok(())
    }
}

/// The template of rows of which the `sent` images are sent: key of its object and keys of its columns for each.
fn template(images: [(&Vec<u8>, &Keys); 2], sent: [bool; 2], nested: bool, mut comma: bool) -> RowTemplate {
    let mut maker = RowTemplateMaker::default();
    for (of_after, (open, keys)) in [false, true].into_iter().zip(images) {
        if !sent[usize::from(of_after)] {
            continue;
        }
        if nested {
            maker.push(&open[usize::from(!comma)..]);
            comma = false;
        }
        for key in keys.iter() {
            maker.push(&key[usize::from(!comma)..]);
            comma = true;
            maker.push_cell(of_after);
        }
        if nested {
            maker.push(b"}");
            comma = true;
        }
    }
    maker.push(b"}");
    maker.finish()
}

/// Columns to name at the end of a record. Empty for nearly every record, and then never allocated.
#[derive(Default)]
struct Lists {
    unchanged: Vec<usize>,
    truncated: Vec<usize>,
}

struct RowWriter<'t, 'o> {
    table: &'t PreparedTable,
    out: &'o mut Vec<u8>,
    /// Whether the next member needs a comma.
    comma: bool,
    lob_bytes_max: Option<usize>,
    lists: Lists,
}

impl RowWriter<'_, '_> {
    fn push_object(&mut self, image: Option<Image<'_>>, open: &[u8], keys: &Keys) -> Result<(), EncodeError> {
        let Some(image) = image else { return Ok(()) };
        self.push_key(open);
        self.comma = false;
        self.push_cells(Some(image), keys)?;
        self.out.push(b'}');
        self.comma = true;
        Ok(())
    }

    /// Appends a key that is written with a comma before it.
    #[inline]
    fn push_key(&mut self, key: &[u8]) {
        self.out.extend_from_slice(if self.comma { key } else { &key[1..] });
        self.comma = true;
    }

    fn push_cells(&mut self, image: Option<Image<'_>>, keys: &Keys) -> Result<(), EncodeError> {
        let Some(image) = image else { return Ok(()) };
        let mut cells = image.cells();
        for column in 0..cells.len() {
            let key = keys.get(column).ok_or(MalformedImage)?;
            match cells.next().ok_or(MalformedImage)?? {
                Cell::Json(json) => match self.lob_bytes_max {
                    Some(limit) if json.len() > limit => self.push_long(column, key, json, limit)?,
                    _ => {
                        self.push_key(key);
                        self.push_value(column, json);
                    }
                },
                Cell::Null if self.table.omit_null => {}
                Cell::Null => {
                    self.push_key(key);
                    self.out.extend_from_slice(b"null");
                }
                Cell::Unchanged => self.lists.unchanged.push(column),
                Cell::Absent => {}
            }
        }
        Ok(())
    }

    #[inline]
    fn push_value(&mut self, column: usize, json: &str) {
        self.table.sent[column].push(self.out, json);
    }

    /// A cell whose text is longer than the limit; what it stands for need not be.
    #[cold]
    fn push_long(&mut self, column: usize, key: &[u8], json: &str, limit: usize) -> Result<(), EncodeError> {
        let bytes = cell::value_bytes(json);
        if bytes <= limit {
            self.push_key(key);
            self.push_value(column, json);
            return Ok(());
        }
        if !self.table.truncate {
            return Err(EncodeError::TooLarge { member: "maxLobSize", bytes, limit });
        }
        self.lists.truncated.push(column);
        let mut value = Vec::new();
        if self.table.sent[column] != Sent::AsIs {
            self.table.sent[column].push(&mut value, json);
        }
        let json = std::str::from_utf8(&value).ok().filter(|value| !value.is_empty()).unwrap_or(json);
        // Half a number or half an object would be another value or no JSON: such a value is left out.
        if json.starts_with('"') {
            self.push_key(key);
            cell::push_cut(self.out, json, limit);
        }
        Ok(())
    }

    fn push_lists(&mut self) {
        let table = self.table;
        let lists = std::mem::take(&mut self.lists);
        for (mut columns, key) in [(lists.unchanged, &table.unchanged_key), (lists.truncated, &table.truncated_key)] {
            if columns.is_empty() {
                continue;
            }
            columns.sort_unstable();
            columns.dedup();
            self.push_key(key);
            for (at, column) in columns.into_iter().enumerate() {
                if at > 0 {
                    self.out.push(b',');
                }
                self.out.extend_from_slice(&table.names[column]);
            }
            self.out.push(b']');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::image::ImageWriter;
    use crate::codec::json::meta::MetaFields;
    use crate::codec::json::{Decimals, Model};
    use crate::record::{Column, JsonKind, TableName};
    use proptest::prelude::*;

    fn schema(columns: usize) -> TableSchema {
        let name = |at: usize| {
            ["ID", "A\"B", "", "a rather long name of a column, longer than any window"][at % 4].repeat(at / 4 + 1)
        };
        let column = |at| Column {
            name: name(at),
            kind: [JsonKind::Number, JsonKind::String, JsonKind::Any, JsonKind::Number, JsonKind::Array][at % 5],
            sql_type: if at % 5 == 4 { "integer[]".into() } else { String::new() },
            nullable: true,
            key: at == 0,
        };
        TableSchema {
            id: SchemaId(1),
            table: TableName::parse("pub.T").unwrap(),
            columns: (0..columns).map(column).collect(),
        }
    }

    fn image(cells: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = ImageWriter::new(&mut bytes);
        for (at, cell) in cells.iter().enumerate() {
            match cell {
                0 => writer.null(),
                1 => writer.absent(),
                2 => writer.unchanged(),
                _ if at % 5 == 0 || at % 5 == 3 => writer.json(b"12.50"),
                length if at % 5 == 4 => writer.json(format!("[{length}]").as_bytes()),
                length if at % 5 == 2 && length % 2 == 0 => writer.json(length.to_string().as_bytes()),
                length => writer.json(format!("\"{}\"", "x".repeat(usize::from(*length))).as_bytes()),
            }
        }
        bytes
    }

    /// Mostly values, now and then something else.
    fn any_cells() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![9 => 3..80_u8, 1 => 0..3_u8], 7)
    }

    proptest! {
        #[test]
        fn a_row_by_its_template_is_the_row_cell_by_cell(
            columns in 0..7_usize,
            before in proptest::option::of(any_cells()),
            after in proptest::option::of(any_cells()),
            form in 0..3_u8,
            flags in 0..8_u8,
            lob_bytes_max in proptest::option::of(1..60_usize),
            comma: bool,
        ) {
            let options = JsonOptions {
                model: if form == 0 { Model::Row } else { Model::Op },
                flatten: (form == 1).then(|| ".".to_owned()),
                omit_null: flags & 1 == 1,
                all_as_strings: flags & 2 == 2,
                decimals: if flags & 4 == 4 { Decimals::String } else { Decimals::Number },
                truncate: true,
                ..JsonOptions::default()
            };
            let options = if comma { options } else { no_fields(options) };
            let table = PreparedTable::new(&schema(columns), &options);
            prop_assert_eq!(table.heads[0].has_fields, comma);
            let before = before.map(|cells| image(&cells[..columns]));
            let after = after.map(|cells| image(&cells[..columns]));
            let images = [before.as_deref().map(Image::whole), after.as_deref().map(Image::whole)];
            let (mut by_template, mut by_cells) = (Vec::new(), Vec::new());
            table.push_by_cells(&mut by_cells, images, lob_bytes_max, comma).unwrap();
            if table.push_by_template(&mut by_template, images, lob_bytes_max).unwrap() {
                prop_assert_eq!(String::from_utf8(by_template), String::from_utf8(by_cells));
            }
        }
    }

    fn no_fields(options: JsonOptions) -> JsonOptions {
        let none = serde_json::json!({"opType": false, "qualifiedTable": false, "opTs": false, "pos": false});
        JsonOptions { meta: MetaFields::parse("metaFields", &none).unwrap(), ..options }
    }

    #[test]
    fn a_row_of_values_needs_only_its_template() {
        let table = PreparedTable::new(&schema(6), &JsonOptions::default());
        let image = image(&[9; 6]);
        let mut out = Vec::new();
        let pushed = table.push_by_template(&mut out, [None, Some(Image::whole(&image))], None);
        assert!(pushed.unwrap());
        assert!(out.starts_with(b",\"after\":{\"ID\":12.50,\"A\\\"B\":\"xxx"), "{}", String::from_utf8_lossy(&out));
    }
}
