//! A row's key, as its image has it: the JSON array of the values of the table's key columns, in the order of its columns.
//!
//! The same text is the same key: values are in the source's own text form, and a row that is changed is told of by the key that it
//! had, to the letter.

use serde::{Deserialize, Serialize};

use crate::codec::image::{Cell, Image};
use crate::record::TableSchema;

/// The JSON text of an array.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::capture) struct Key(pub(in crate::capture) Box<str>);

impl Key {
    /// Of a row: what its image does not say of the key, the image before says. None where that is not known.
    pub(in crate::capture) fn of(schema: &TableSchema, image: Image<'_>, before: Option<Image<'_>>) -> Option<Self> {
        let mut key = String::from("[");
        let mut earlier = before.map(|before| before.cells());
        let mut cells = image.cells();
        for column in &schema.columns {
            let cell = cells.next()?.ok()?;
            let before = match &mut earlier {
                Some(cells) => Some(cells.next()?.ok()?),
                None => None,
            };
            if !column.key {
                continue;
            }
            let text = match (cell, before) {
                (Cell::Json(text), _) | (Cell::Unchanged | Cell::Absent, Some(Cell::Json(text))) => text,
                _ => return None,
            };
            if key.len() > 1 {
                key.push(',');
            }
            key.push_str(text);
        }
        key.push(']');
        (key.len() > 2).then(|| Self(key.into()))
    }

    /// About how many bytes it takes where keys are kept.
    pub(super) fn kept_bytes(&self) -> usize {
        self.0.len() + KEPT_BYTES
    }
}

/// What is kept of a key beside its text.
const KEPT_BYTES: usize = 64;

/// Whether the image lacks a value that the source did not send because it did not change.
pub(super) fn lacks_values(image: Image<'_>) -> bool {
    image.cells().any(|cell| matches!(cell, Ok(Cell::Unchanged)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::image::ImageWriter;
    use crate::record::{Column, JsonKind, SchemaId, TableName};

    fn schema() -> TableSchema {
        let column = |name: &str, key| Column {
            name: name.into(),
            kind: JsonKind::String,
            sql_type: String::new(),
            nullable: true,
            key,
        };
        let columns = vec![column("a", true), column("note", false), column("b", true)];
        TableSchema { id: SchemaId(1), table: TableName::parse("public.t").unwrap(), columns }
    }

    fn image(cells: [Cell<'_>; 3]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = ImageWriter::new(&mut out);
        cells.into_iter().for_each(|cell| writer.cell(cell));
        out
    }

    fn key(image: &[u8], before: Option<&[u8]>) -> Option<String> {
        Key::of(&schema(), Image::whole(image), before.map(Image::whole)).map(|key| key.0.into())
    }

    #[test]
    fn a_key_has_the_key_columns_of_the_image_and_what_it_does_not_say_from_the_one_before() {
        let whole = image([Cell::Json("1"), Cell::Null, Cell::Json("\"x\"")]);
        assert_eq!(key(&whole, None).as_deref(), Some("[1,\"x\"]"));
        let unchanged = image([Cell::Unchanged, Cell::Unchanged, Cell::Json("\"y\"")]);
        assert_eq!(key(&unchanged, Some(&whole)).as_deref(), Some("[1,\"y\"]"));
        assert!(lacks_values(Image::whole(&unchanged)) && !lacks_values(Image::whole(&whole)));
        for unknown in [[Cell::Unchanged, Cell::Null, Cell::Json("2")], [Cell::Null, Cell::Null, Cell::Json("2")]] {
            assert_eq!(key(&image(unknown), None), None);
        }
    }
}
