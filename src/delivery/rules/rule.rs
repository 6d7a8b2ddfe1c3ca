//! One rule, compiled.

use serde_json::{Map, Value};

use super::compare::Comparer;
use super::meant::MeantPartitions;
use super::names::NamePattern;
use super::pattern::{BadPattern, Room};
use super::record::{InPartition, RecordBody, RecordHeader};
use super::truth::Truth;
use crate::catalog::stream::{Action, ColumnCondition, ColumnImage, ConfigError, PartitionNames, Rule, TextCondition};
use crate::codec::image::{Cell, Image};
use crate::record::{JsonKind, Operation, TableName, TableSchema};

/// A rule ready to be asked. Members of its filter AND together, values of one list OR.
#[derive(Debug)]
pub(super) struct CompiledRule {
    pub(super) action: Action,
    operations: Vec<Operation>,
    partitions: PartitionNames,
    columns: Vec<ColumnTest>,
    tokens: Vec<TokenTest>,
    tags: Vec<TokenTest>,
}

#[derive(Debug)]
struct ColumnTest {
    table: Option<NamePattern>,
    column: String,
    exact_case: bool,
    image: ColumnImage,
    comparer: Comparer,
}

#[derive(Debug)]
struct TokenTest {
    name: String,
    comparer: Comparer,
}

fn all<T, C>(
    path: &str,
    member: &str,
    given: &[T],
    mut compile: impl FnMut(&T) -> Result<C, BadPattern>,
) -> Result<Vec<C>, ConfigError> {
    let at_place =
        |(at, value)| compile(value).map_err(|bad| ConfigError::new(format!("{path}.{member}[{at}]"), bad.0));
    given.iter().enumerate().map(at_place).collect()
}

impl CompiledRule {
    /// The rule, and the names of its tables.
    pub(super) fn compile(path: &str, rule: &Rule, room: &mut Room) -> Result<(Self, Vec<NamePattern>), ConfigError> {
        let in_list = |list: &[Vec<Operation>], operation: &Operation| {
            list.is_empty() || list.iter().any(|operations| operations.contains(operation))
        };
        let operations = Operation::ALL.into_iter();
        let operations = operations
            .filter(|operation| in_list(&rule.object_types, operation) && in_list(&rule.operation_types, operation));
        let names = all(path, "objectNames", &rule.object_names, |name| NamePattern::compile(name))?;
        let compiled = Self {
            action: rule.action,
            operations: operations.collect(),
            partitions: PartitionNames::new(&rule.partition_names),
            columns: all(path, "columnValues", &rule.column_values, |condition| ColumnTest::compile(condition, room))?,
            tokens: all(path, "userTokens", &rule.user_tokens, |condition| TokenTest::compile(condition, room))?,
            tags: all(path, "tags", &rule.tags, |condition| TokenTest::compile(condition, room))?,
        };
        Ok((compiled, names))
    }

    /// Whether its conditions on columns can be about that table: those that name tables are about these alone, with their
    /// TRUNCATE and their statements.
    pub(super) fn has_columns_of(&self, table: Option<&TableName>, database: Option<&str>) -> bool {
        let is_of = |test: &ColumnTest| match table {
            Some(table) => test.is_about(table, database),
            None => test.table.is_none(),
        };
        self.columns.is_empty() || self.columns.iter().any(is_of)
    }

    /// `at` is the rule's number, and `meant` says which partitions rules mean.
    pub(super) fn matches_header(
        &self,
        at: usize,
        header: &RecordHeader<'_>,
        meant: Option<&mut MeantPartitions>,
    ) -> bool {
        let in_partition = match header.partition {
            _ if self.partitions.is_empty() => true,
            None => false,
            Some(InPartition::Any) => self.action == Action::Include,
            Some(InPartition::One(number)) => meant.is_some_and(|meant| meant.by_rule(at, &self.partitions, number)),
        };
        in_partition && self.operations.contains(&header.operation)
    }

    /// Conditions on what stands in a body.
    pub(super) fn conditions(&self) -> usize {
        self.columns.len() + self.tokens.len() + self.tags.len()
    }

    pub(super) fn reads_body(&self) -> bool {
        self.conditions() > 0
    }

    /// Unknown matches in an `include` rule and not in an `exclude` rule: neither loses a record.
    pub(super) fn matches_body(&self, operation: Operation, body: &RecordBody<'_>, database: Option<&str>) -> bool {
        let needed = if self.action == Action::Include { Truth::Unknown } else { Truth::True };
        self.columns_hold(operation, body, database) >= needed && self.tokens_hold(body)
    }

    fn columns_hold(&self, operation: Operation, body: &RecordBody<'_>, database: Option<&str>) -> Truth {
        if self.columns.is_empty() {
            return Truth::True;
        }
        match (operation, body.schema) {
            // They have no columns to ask: as good as unknown, so that no rule on values loses one. Whether it is about
            // their table, the name has told.
            (Operation::Truncate | Operation::Ddl, _) | (_, None) => Truth::Unknown,
            (_, Some(schema)) => {
                let tests = self.columns.iter().filter(|test| test.is_about(&schema.table, database));
                Truth::any(tests.map(|test| test.holds(operation, schema, body)))
            }
        }
    }

    fn tokens_hold(&self, body: &RecordBody<'_>) -> bool {
        if self.tokens.is_empty() && self.tags.is_empty() {
            return true;
        }
        let tokens: Map<String, Value> =
            body.tokens.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        [&self.tokens, &self.tags].iter().all(|tests| tests.is_empty() || tests.iter().any(|test| test.holds(&tokens)))
    }
}

impl TokenTest {
    fn compile(condition: &TextCondition, room: &mut Room) -> Result<Self, BadPattern> {
        let comparer = Comparer::compile(condition.operator, condition.value.as_deref(), room)?;
        Ok(Self { name: condition.name.clone(), comparer })
    }

    /// A token that is not there is null.
    fn holds(&self, tokens: &Map<String, Value>) -> bool {
        let json = tokens.get(&self.name).map_or_else(|| "null".to_owned(), Value::to_string);
        self.comparer.holds(&json, JsonKind::Any)
    }
}

impl ColumnTest {
    fn compile(condition: &ColumnCondition, room: &mut Room) -> Result<Self, BadPattern> {
        let quoted = condition.column.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
        Ok(Self {
            table: condition.table.as_deref().map(NamePattern::compile).transpose()?,
            column: quoted.map_or_else(|| condition.column.clone(), |name| name.replace("\"\"", "\"")),
            exact_case: quoted.is_some(),
            image: condition.image,
            comparer: Comparer::compile(condition.operator, condition.value.as_deref(), room)?,
        })
    }

    /// The column that is meant: one of exactly this name, else the first of it in other case.
    fn column_of(&self, schema: &TableSchema) -> Option<usize> {
        let exact = schema.columns.iter().position(|column| column.name == self.column);
        let in_other_case = || {
            let wanted = self.column.to_lowercase();
            schema.columns.iter().position(|column| column.name.to_lowercase() == wanted)
        };
        exact.or_else(|| if self.exact_case { None } else { in_other_case() })
    }

    fn is_about(&self, table: &TableName, database: Option<&str>) -> bool {
        self.table.as_ref().is_none_or(|pattern| pattern.matches(table, database))
    }

    fn holds(&self, operation: Operation, schema: &TableSchema, body: &RecordBody<'_>) -> Truth {
        let Some(column) = self.column_of(schema) else { return Truth::Unknown };
        let kind = schema.columns[column].kind;
        let before = body.before.map(|image| cell_of(image, column));
        // A value that did not change is the one before.
        let after = body.after.map(|image| match cell_of(image, column) {
            Cell::Unchanged => before.unwrap_or(Cell::Unchanged),
            cell => cell,
        });
        match self.image {
            ColumnImage::After if operation == Operation::Delete => self.test(before, kind),
            ColumnImage::After => self.test(after, kind),
            ColumnImage::Before => self.test(before, kind),
            ColumnImage::Either if before.is_none() && after.is_none() => Truth::Unknown,
            ColumnImage::Either => {
                Truth::any([before, after].into_iter().flatten().map(|cell| self.test(Some(cell), kind)))
            }
        }
    }

    fn test(&self, cell: Option<Cell<'_>>, kind: JsonKind) -> Truth {
        match cell {
            None | Some(Cell::Absent | Cell::Unchanged) => Truth::Unknown,
            Some(Cell::Null) => self.comparer.holds("null", kind).into(),
            Some(Cell::Json(json)) => self.comparer.holds(json, kind).into(),
        }
    }
}

fn cell_of(image: Image<'_>, column: usize) -> Cell<'_> {
    image.cells().nth(column).and_then(Result::ok).unwrap_or(Cell::Absent)
}
