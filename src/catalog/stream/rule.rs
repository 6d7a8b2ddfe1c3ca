//! `rules`: their members and ranges (contract section 3). Patterns are compiled in `delivery`.

use serde_json::Value;

use super::partition_names::{self, PartitionNames};
use crate::codec::member::{ConfigError, Members};
use crate::limits;
use crate::record::Operation;
use crate::trail::PartitionMap;

/// What a rule does with a record that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Sends it.
    Include,
    /// Leaves it out.
    Exclude,
}

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
    /// SQL's pattern with `%` and `_`, `\` before one of them taking it literally.
    Like,
    /// A regular expression found anywhere in the text.
    Regex,
    /// Is null.
    IsNull,
    /// Is not null.
    NotNull,
}

pub(super) const COMPARISONS: [(&str, Comparison); 10] = [
    ("EQ", Comparison::Eq),
    ("NE", Comparison::Ne),
    ("LT", Comparison::Lt),
    ("LE", Comparison::Le),
    ("GT", Comparison::Gt),
    ("GE", Comparison::Ge),
    ("LIKE", Comparison::Like),
    ("REGEX", Comparison::Regex),
    ("ISNULL", Comparison::IsNull),
    ("NOTNULL", Comparison::NotNull),
];

/// Which image a condition looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnImage {
    /// The row after; of a delete the row before.
    After,
    /// The row before.
    Before,
    /// One of them is enough.
    Either,
}

/// A condition on a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnCondition {
    /// A pattern of table names; other tables do not meet the condition.
    pub table: Option<String>,
    /// The column's name, without regard to case unless double-quoted.
    pub column: String,
    /// How to compare.
    pub operator: Comparison,
    /// With what: text, or a number as written. None for `ISNULL` and `NOTNULL`.
    pub value: Option<String>,
    /// In which image.
    pub image: ColumnImage,
}

/// A condition on a user token or tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextCondition {
    /// Its name.
    pub name: String,
    /// How to compare.
    pub operator: Comparison,
    /// With what.
    pub value: Option<String>,
}

/// One rule. An empty list is a member that was not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub name: Option<String>,
    /// What it does.
    pub action: Action,
    /// Patterns of table names.
    pub object_names: Vec<String>,
    /// Operations by `objectTypes`.
    pub object_types: Vec<Vec<Operation>>,
    /// Operations by `operationTypes`.
    pub operation_types: Vec<Vec<Operation>>,
    /// Conditions on columns.
    pub column_values: Vec<ColumnCondition>,
    /// Conditions on user tokens.
    pub user_tokens: Vec<TextCondition>,
    /// Conditions on tags; one that is only named is there.
    pub tags: Vec<TextCondition>,
    /// Patterns of partition names.
    pub partition_names: Vec<String>,
}

const FILTER_MEMBERS: [&str; 7] =
    ["objectNames", "objectTypes", "operationTypes", "columnValues", "userTokens", "tags", "partitionNames"];

pub(super) fn parse_rules(members: &Members<'_>) -> Result<Vec<Rule>, ConfigError> {
    let rules = members.list("rules", 1, limits::RULES_MAX)?.unwrap_or_default();
    rules.iter().enumerate().map(|(at, rule)| Rule::parse(&format!("rules[{at}]"), rule)).collect()
}

impl Rule {
    /// The values of all of its lists: what asking it may cost.
    pub(super) fn values(&self) -> usize {
        let names = self.object_names.len() + self.partition_names.len();
        let operations = self.object_types.len() + self.operation_types.len();
        names + operations + self.column_values.len() + self.user_tokens.len() + self.tags.len()
    }

    /// The patterns of its conditions.
    pub(super) fn patterns(&self) -> impl Iterator<Item = &str> {
        let is_pattern = |operator| matches!(operator, Comparison::Regex | Comparison::Like);
        let columns = self.column_values.iter().map(|condition| (condition.operator, condition.value.as_deref()));
        let texts = self.user_tokens.iter().chain(&self.tags);
        let texts = texts.map(|condition| (condition.operator, condition.value.as_deref()));
        columns.chain(texts).filter_map(move |(operator, value)| value.filter(|_| is_pattern(operator)))
    }

    fn parse(path: &str, value: &Value) -> Result<Self, ConfigError> {
        let rule = Members::of(path, value, &["name", "description", "action", "filter"])?;
        rule.text("description", 0, limits::DESCRIPTION_CHARS_MAX)?;
        let name = rule.text("name", 1, limits::RULE_TEXT_CHARS_MAX)?.map(str::to_owned);
        let action = rule.choice("action", &[("include", Action::Include), ("exclude", Action::Exclude)])?;
        let action = action.ok_or_else(|| rule.error("action", "is required: \"include\" or \"exclude\""))?;
        let filter = rule.get("filter").ok_or_else(|| rule.error("filter", "is required"))?;
        let filter = Members::of(&rule.path_of("filter"), filter, &FILTER_MEMBERS)?;
        let owned = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect();
        let (values_max, chars_max) = (limits::RULE_VALUES_MAX, limits::RULE_TEXT_CHARS_MAX);
        Ok(Self {
            name,
            action,
            object_names: owned(filter.texts("objectNames", values_max, chars_max)?),
            object_types: operations(&filter, "objectTypes")?,
            operation_types: operations(&filter, "operationTypes")?,
            column_values: conditions(&filter, "columnValues", ColumnCondition::parse)?,
            user_tokens: conditions(&filter, "userTokens", TextCondition::parse)?,
            tags: conditions(&filter, "tags", TextCondition::parse_tag)?,
            partition_names: owned(filter.texts("partitionNames", values_max, chars_max)?),
        })
    }
}

/// The words of `objectTypes` and `operationTypes`.
pub(super) const OPERATION_WORDS: [&str; 7] = ["INSERT", "UPDATE", "DELETE", "UPSERT", "TRUNCATE", "DDL", "DML"];

fn naming_partitions(rules: &[Rule]) -> impl Iterator<Item = (String, &[String])> {
    let naming = rules.iter().enumerate().filter(|(_, rule)| !rule.partition_names.is_empty());
    naming.map(|(at, rule)| (format!("rules[{at}].filter.partitionNames"), &rule.partition_names[..]))
}

/// Refuses names that no partition of the trail has; the only partition of a trail has none.
pub(super) fn check_partition_names(rules: &[Rule], partitions: Option<&PartitionMap>) -> Result<(), ConfigError> {
    for (member, names) in naming_partitions(rules) {
        let Some(partitions) = partitions.filter(|partitions| !partitions.is_single()) else {
            let why = "must not be given for a trail that is not there or has one partition: the rule would match no record; make \
                       the trail with partitions first";
            return Err(ConfigError::new(member, why));
        };
        partition_names::check(&member, names, partitions)?;
    }
    Ok(())
}

/// The first member that means one of these two partitions and not the other.
pub(super) fn tells_apart(rules: &[Rule], partitions: &PartitionMap, one: u16, other: u16) -> Option<String> {
    let mut naming = naming_partitions(rules);
    let apart = naming.find(|(_, names)| {
        let meant = PartitionNames::new(names).meant(partitions);
        meant.get(usize::from(one)) != meant.get(usize::from(other))
    });
    apart.map(|(member, _)| member)
}

/// Refuses what only rules of earlier versions may hold, beside names of partitions.
pub(super) fn check_new(rules: &[Rule]) -> Result<(), ConfigError> {
    let (values_max, texts_max) = (limits::RULES_VALUES_MAX, limits::RULES_REGEX_BYTES_MAX);
    let values: usize = rules.iter().map(Rule::values).sum();
    if values > values_max {
        let range =
            format!("the lists of all filters together must hold at most {values_max} values, and hold {values}");
        return Err(ConfigError::new("rules", range));
    }
    let texts: usize = rules.iter().flat_map(Rule::patterns).map(str::len).sum();
    if texts > texts_max {
        let range = format!(
            "the values of all REGEX and LIKE conditions together must have at most {texts_max} bytes, and have {texts}"
        );
        return Err(ConfigError::new("rules", range));
    }
    Ok(())
}

fn operations(filter: &Members<'_>, name: &str) -> Result<Vec<Vec<Operation>>, ConfigError> {
    let words = filter.texts(name, limits::RULE_VALUES_MAX, limits::RULE_TEXT_CHARS_MAX)?;
    let one = |(at, word): (usize, &str)| {
        if !OPERATION_WORDS.contains(&word) {
            let words = OPERATION_WORDS.join(", ");
            return Err(filter.error(&format!("{name}[{at}]"), format!("must be one of {words}")));
        }
        Ok(match Operation::parse(word) {
            Some(operation) => vec![operation],
            None => Operation::ALL.into_iter().filter(|operation| *operation != Operation::Ddl).collect(),
        })
    };
    words.into_iter().enumerate().map(one).collect()
}

fn conditions<T>(
    filter: &Members<'_>,
    name: &str,
    parse: impl Fn(&str, &Value) -> Result<T, ConfigError>,
) -> Result<Vec<T>, ConfigError> {
    let values = filter.list(name, 1, limits::RULE_VALUES_MAX)?.unwrap_or_default();
    let path = |at| filter.path_of(&format!("{name}[{at}]"));
    values.iter().enumerate().map(|(at, value)| parse(&path(at), value)).collect()
}

impl ColumnCondition {
    fn parse(path: &str, value: &Value) -> Result<Self, ConfigError> {
        let members = Members::of(path, value, &["table", "column", "operator", "value", "image"])?;
        let images = [("after", ColumnImage::After), ("before", ColumnImage::Before), ("either", ColumnImage::Either)];
        let (operator, value) = operator_and_value(&members)?;
        Ok(Self {
            table: members.text("table", 1, limits::RULE_TEXT_CHARS_MAX)?.map(str::to_owned),
            column: required_text(&members, "column")?,
            operator,
            value,
            image: members.choice("image", &images)?.unwrap_or(ColumnImage::After),
        })
    }
}

impl TextCondition {
    fn parse(path: &str, value: &Value) -> Result<Self, ConfigError> {
        let members = Members::of(path, value, &["name", "operator", "value"])?;
        let (operator, value) = operator_and_value(&members)?;
        Ok(Self { name: required_text(&members, "name")?, operator, value })
    }

    /// A tag's name alone says that the tag is there.
    fn parse_tag(path: &str, value: &Value) -> Result<Self, ConfigError> {
        let Value::String(name) = value else { return Self::parse(path, value) };
        let chars_max = limits::RULE_TEXT_CHARS_MAX;
        if !(1..=chars_max).contains(&name.chars().count()) {
            return Err(ConfigError::new(path, format!("must be a string of 1 to {chars_max} characters")));
        }
        Ok(Self { name: name.clone(), operator: Comparison::NotNull, value: None })
    }
}

fn required_text(members: &Members<'_>, name: &str) -> Result<String, ConfigError> {
    let text = members.text(name, 1, limits::RULE_TEXT_CHARS_MAX)?;
    text.map(str::to_owned).ok_or_else(|| members.error(name, "is required"))
}

fn operator_and_value(members: &Members<'_>) -> Result<(Comparison, Option<String>), ConfigError> {
    let operator = members.choice("operator", &COMPARISONS)?;
    let operator = operator.ok_or_else(|| members.error("operator", "is required"))?;
    let needs_value = !matches!(operator, Comparison::IsNull | Comparison::NotNull);
    let value = match members.get("value") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.chars().count() <= limits::RULE_TEXT_CHARS_MAX => Some(text.clone()),
        Some(Value::Number(number)) if number.as_str().len() <= limits::RULE_TEXT_CHARS_MAX => Some(number.to_string()),
        Some(Value::Bool(truth)) => Some(truth.to_string()),
        Some(_) => {
            let allowed = format!(
                "must be a string or a number of at most {} characters, true or false",
                limits::RULE_TEXT_CHARS_MAX
            );
            return Err(members.error("value", allowed));
        }
    };
    match (needs_value, value.is_some()) {
        (true, false) => Err(members.error("value", "is required with this operator")),
        (false, true) => Err(members.error("value", "has no meaning with this operator")),
        _ => Ok((operator, value)),
    }
}
