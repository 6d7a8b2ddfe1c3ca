//! Which column of its table's schema each value of a put goes to: found once for all operations of one form, whose images are
//! then written so.

use std::sync::Arc;

use crate::codec::image::ImageWriter;
use crate::codec::json_text;
use crate::codec::put::{PutCell, PutForm, PutOperation, PutTransaction};
use crate::limits::PUT_MAPPINGS_KEPT;
use crate::record::{Column, JsonKind, TableName, TableSchema};

/// Where the values of one form go.
#[derive(Debug)]
pub(super) struct ColumnMapping {
    /// The schema in force.
    pub(super) schema: Arc<TableSchema>,
    before: Option<Vec<Target>>,
    after: Option<Vec<Target>>,
}

/// A value does not fit its column as the schema has it.
#[derive(Debug)]
pub(super) struct Misfit;

/// The mappings used last: few, because each is as long as its table's list of columns, and a body may have any number
/// of forms.
#[derive(Debug, Default)]
pub(super) struct ColumnMappings(Vec<(usize, ColumnMapping)>);

impl ColumnMappings {
    /// The mapping of the transaction's form with that number, made if need be; none if it does not fit its table's schema.
    pub(super) fn of<'s>(
        &mut self,
        number: usize,
        form: &PutForm<'_>,
        schema: impl FnOnce() -> Option<&'s Arc<TableSchema>>,
    ) -> Option<&ColumnMapping> {
        let known = self.0.iter().rposition(|(known, _)| *known == number);
        let at = match known {
            Some(at) => at,
            None => {
                let mapping = ColumnMapping::of(form, schema()?)?;
                if self.0.len() >= PUT_MAPPINGS_KEPT {
                    self.0.remove(0);
                }
                self.0.push((number, mapping));
                self.0.len() - 1
            }
        };
        self.0.get(at).map(|(_, mapping)| mapping)
    }

    /// The table has another schema now.
    pub(super) fn forget(&mut self, table: &TableName) {
        self.0.retain(|(_, mapping)| mapping.schema.table != *table);
    }
}

/// A column of the schema.
#[derive(Debug, Clone)]
struct Target {
    /// Which of the image's values it gets.
    cell: Option<usize>,
    kind: JsonKind,
    nullable: bool,
}

impl ColumnMapping {
    /// Nothing if the schema lacks a column of the form, or a column of its key is none of the schema's.
    fn of(form: &PutForm<'_>, schema: &Arc<TableSchema>) -> Option<Self> {
        let targets = |image: &Option<Vec<_>>| match image {
            Some(columns) => targets(form, columns, schema).map(Some),
            None => Some(None),
        };
        Some(Self { schema: schema.clone(), before: targets(&form.before)?, after: targets(&form.after)? })
    }

    /// Whether the operation has a before image, and an after image.
    pub(super) fn images(&self) -> (bool, bool) {
        (self.before.is_some(), self.after.is_some())
    }

    /// Appends the operation's images. Unless its values fit the schema what was appended is of no use.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        transaction: &PutTransaction<'_>,
        operation: &PutOperation,
    ) -> Result<(), Misfit> {
        let (before, after) = transaction.images(operation);
        let write = |out: &mut Vec<u8>, targets: &Option<Vec<Target>>, cells| {
            targets.as_ref().is_none_or(|targets| write_image(out, targets, cells))
        };
        if write(out, &self.before, before) && write(out, &self.after, after) { Ok(()) } else { Err(Misfit) }
    }
}

fn targets<N: AsRef<str>>(form: &PutForm<'_>, columns: &[N], schema: &TableSchema) -> Option<Vec<Target>> {
    let target = |column: &Column| Target { cell: None, kind: column.kind, nullable: column.nullable };
    let mut targets: Vec<Target> = schema.columns.iter().map(target).collect();
    for (at, name) in columns.iter().enumerate() {
        let name = name.as_ref();
        let column = column_at(schema, at, name)?;
        if !schema.columns[column].key && form.key.iter().any(|key| key == name) {
            return None;
        }
        targets[column].cell = Some(at);
    }
    Some(targets)
}

/// Where the column of that name stands, which is mostly at that place.
pub(super) fn column_at(schema: &TableSchema, at: usize, name: &str) -> Option<usize> {
    match schema.columns.get(at) {
        Some(column) if column.name == name => Some(at),
        _ => schema.columns.iter().position(|column| column.name == name),
    }
}

fn write_image(out: &mut Vec<u8>, targets: &[Target], cells: &[PutCell<'_>]) -> bool {
    let mut writer = ImageWriter::new(out);
    for target in targets {
        let Some(cell) = target.cell.and_then(|at| cells.get(at)) else {
            writer.absent();
            continue;
        };
        match kind_of(cell.json) {
            None if target.nullable => writer.null(),
            Some(kind) if kind == target.kind || target.kind == JsonKind::Any => {
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
