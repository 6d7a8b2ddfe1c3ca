//! How operations of one form lie in their table's shape, found once for all of them, and their images written so.

use std::sync::Arc;

use crate::codec::image::ImageWriter;
use crate::codec::json_text;
use crate::codec::put::{PutCell, PutForm, PutOperation, PutTransaction};
use crate::limits::PUT_FITTINGS_KEPT;
use crate::record::{Column, JsonKind, TableName, TableSchema};

/// Where the values of one form go.
#[derive(Debug)]
pub(super) struct Fitting {
    /// The shape in force.
    pub(super) schema: Arc<TableSchema>,
    before: Option<Vec<Place>>,
    after: Option<Vec<Place>>,
}

/// A value does not fit its column as the shape has it.
#[derive(Debug)]
pub(super) struct Unfitting;

/// The fittings used last: few, because each is as long as its table's list of columns, and a body may have any number
/// of forms.
#[derive(Debug, Default)]
pub(super) struct Fittings(Vec<(usize, Fitting)>);

impl Fittings {
    /// The fitting of the transaction's form with that number, made if need be; none if it does not fit its table's shape.
    pub(super) fn of<'s>(
        &mut self,
        number: usize,
        form: &PutForm<'_>,
        shape: impl FnOnce() -> Option<&'s Arc<TableSchema>>,
    ) -> Option<&Fitting> {
        let known = self.0.iter().rposition(|(known, _)| *known == number);
        let at = match known {
            Some(at) => at,
            None => {
                let fitting = Fitting::of(form, shape()?)?;
                if self.0.len() >= PUT_FITTINGS_KEPT {
                    self.0.remove(0);
                }
                self.0.push((number, fitting));
                self.0.len() - 1
            }
        };
        self.0.get(at).map(|(_, fitting)| fitting)
    }

    /// The table has another shape now.
    pub(super) fn forget(&mut self, table: &TableName) {
        self.0.retain(|(_, fitting)| fitting.schema.table != *table);
    }
}

/// A column of the shape.
#[derive(Debug, Clone)]
struct Place {
    /// Which of the image's values it gets.
    cell: Option<usize>,
    kind: JsonKind,
    nullable: bool,
}

impl Fitting {
    /// Nothing if the shape lacks a column of the form, or a column of its key is none of the shape's.
    fn of(form: &PutForm<'_>, schema: &Arc<TableSchema>) -> Option<Self> {
        let places = |image: &Option<Vec<_>>| match image {
            Some(columns) => places(form, columns, schema).map(Some),
            None => Some(None),
        };
        Some(Self { schema: schema.clone(), before: places(&form.before)?, after: places(&form.after)? })
    }

    /// Whether the operation has a before image, and an after image.
    pub(super) fn images(&self) -> (bool, bool) {
        (self.before.is_some(), self.after.is_some())
    }

    /// Appends the operation's images. Unless its values fit the shape what was appended is of no use.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        transaction: &PutTransaction<'_>,
        operation: &PutOperation,
    ) -> Result<(), Unfitting> {
        let (before, after) = transaction.images(operation);
        let write = |out: &mut Vec<u8>, places: &Option<Vec<Place>>, cells| {
            places.as_ref().is_none_or(|places| write_image(out, places, cells))
        };
        if write(out, &self.before, before) && write(out, &self.after, after) { Ok(()) } else { Err(Unfitting) }
    }
}

fn places<N: AsRef<str>>(form: &PutForm<'_>, columns: &[N], schema: &TableSchema) -> Option<Vec<Place>> {
    let place = |column: &Column| Place { cell: None, kind: column.kind, nullable: column.nullable };
    let mut places: Vec<Place> = schema.columns.iter().map(place).collect();
    for (at, name) in columns.iter().enumerate() {
        let name = name.as_ref();
        let column = column_at(schema, at, name)?;
        if !schema.columns[column].key && form.key.iter().any(|key| key == name) {
            return None;
        }
        places[column].cell = Some(at);
    }
    Some(places)
}

/// Where the column of that name stands, which is mostly at that place.
pub(super) fn column_at(schema: &TableSchema, at: usize, name: &str) -> Option<usize> {
    match schema.columns.get(at) {
        Some(column) if column.name == name => Some(at),
        _ => schema.columns.iter().position(|column| column.name == name),
    }
}

fn write_image(out: &mut Vec<u8>, places: &[Place], cells: &[PutCell<'_>]) -> bool {
    let mut writer = ImageWriter::new(out);
    for place in places {
        let Some(cell) = place.cell.and_then(|at| cells.get(at)) else {
            writer.absent();
            continue;
        };
        match kind_of(cell.json) {
            None if place.nullable => writer.null(),
            Some(kind) if kind == place.kind || place.kind == JsonKind::Any => {
                if cell.compact {
                    writer.json(cell.json.as_bytes());
                } else {
                    writer.json_with(|out| json_text::push_compacted(out, cell.json));
                }
            }
            _ => return false,
        }
    }
    true
}

/// Which JSON a value is; none for null, which says nothing of its column.
pub(super) fn kind_of(json: &str) -> Option<JsonKind> {
    Some(match json.as_bytes().first()? {
        b'n' => return None,
        b'"' => JsonKind::String,
        b't' | b'f' => JsonKind::Boolean,
        b'{' => JsonKind::Object,
        b'[' => JsonKind::Array,
        _ => JsonKind::Number,
    })
}
