//! Rules, compiled: which records a stream sends (contract section 3).
//!
//! The first rule that matches decides; without a match a record is left out if there is any `include` rule. Names and
//! operations stand in a frame's header, so most records are decided before their body is read. Members and ranges of
//! rules are `catalog::stream`'s.

mod compare;
mod meant;
mod names;
mod pattern;
mod record;
mod rule;
#[cfg(test)]
mod tests;
mod truth;

use std::collections::HashMap;
use std::sync::Arc;

use crate::catalog::stream::{Action, ConfigError, StreamConfig};
use crate::limits;
use crate::record::{Operation, SourceIdentity, TableName};
use crate::trail::CurrentPartitions;

use meant::MeantPartitions;
use names::NameIndex;
use pattern::Room;
pub use record::{InPartition, RecordBody, RecordHeader};
use rule::CompiledRule;

/// What a record's header alone says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderVerdict {
    /// The record is sent.
    Pass,
    /// The record is not sent.
    Drop,
    /// Its values or tokens decide: [`Rules::decide`].
    NeedsBody,
}

/// A stream's rules. Cheap to clone; each clone remembers for itself which rules name which table.
#[derive(Debug, Clone)]
pub struct Rules {
    compiled: Arc<Compiled>,
    source: SourceIdentity,
    /// Which partitions they mean, of a trail.
    meant: Option<MeantPartitions>,
    /// The trail had more than one partition when the rules were made for it.
    in_partitions: bool,
    /// The source's database, as it was known when a table was met last.
    database: Option<Arc<str>>,
    by_table: HashMap<TableName, Arc<[usize]>>,
    /// Those of the last table asked for: rows of one table mostly come together.
    recent: Option<(TableName, Arc<[usize]>)>,
}

#[derive(Debug)]
struct Compiled {
    rules: Vec<CompiledRule>,
    names: NameIndex,
    otherwise: bool,
    conditions: usize,
    memory: usize,
    names_partitions: bool,
}

impl Rules {
    /// Compiles a stream's rules; a pattern that does not compile, or with which all of them take too much memory, is an
    /// error naming its place. May take seconds: see [`Self::compile_quickly`].
    pub fn compile(config: &StreamConfig) -> Result<Self, ConfigError> {
        Self::compile_within(config, limits::RULES_COMPILED_BYTES_MAX)
    }

    /// The same for a stream that there is already, however much memory its rules take.
    pub fn compile_stored(config: &StreamConfig) -> Result<Self, ConfigError> {
        Self::compile_within(config, usize::MAX)
    }

    /// The same if it takes no longer than what a thread that serves others does anyhow: few values, and no pattern among
    /// them.
    pub fn compile_quickly(config: &StreamConfig) -> Option<Result<Self, ConfigError>> {
        let quick = config.rule_patterns() == 0 && config.rule_values() <= limits::RULES_INLINE_VALUES;
        quick.then(|| Self::compile(config))
    }

    fn compile_within(config: &StreamConfig, bytes_max: usize) -> Result<Self, ConfigError> {
        let mut room = Room::new(bytes_max, config.rule_patterns());
        let (mut rules, mut names) = (Vec::new(), NameIndex::default());
        for (at, rule) in config.rules.iter().enumerate() {
            let (rule, tables) = CompiledRule::compile(&format!("rules[{at}].filter"), rule, &mut room)?;
            names.add(at, tables);
            rules.push(rule);
        }
        let otherwise = !config.rules.iter().any(|rule| rule.action == Action::Include);
        let conditions = rules.iter().map(CompiledRule::conditions).sum();
        let memory = room.used() + names.memory() + (rules.len() + conditions) * size_of::<CompiledRule>();
        let names_partitions = config.rules.iter().any(|rule| !rule.partition_names.is_empty());
        let compiled = Arc::new(Compiled { rules, names, otherwise, conditions, memory, names_partitions });
        let (source, by_table) = Default::default();
        Ok(Self { compiled, source, meant: None, in_partitions: false, database: None, by_table, recent: None })
    }

    /// The same rules for the trail of that source: names in three parts may begin with its database. That is looked up
    /// when a table is met, since of a new trail it is known no earlier.
    pub fn of_source(self, source: &SourceIdentity) -> Self {
        Self { source: source.clone(), database: None, by_table: HashMap::new(), recent: None, ..self }
    }

    /// The same rules for a trail with these partitions, and those to come.
    pub fn of_partitions(self, partitions: &CurrentPartitions) -> Self {
        let in_partitions = !partitions.get().is_single();
        Self { meant: Some(MeantPartitions::new(partitions)), in_partitions, ..self }
    }

    /// Whether it matters in which partition a record is.
    pub fn ask_for_partitions(&self) -> bool {
        self.compiled.names_partitions
    }

    /// Where a record is for these rules. The only partition of a trail has no name: rules that name partitions have never
    /// matched there.
    #[inline]
    pub fn partition_of(&self, partition: u16, operation: Operation) -> Option<InPartition> {
        // Partition 0 of a trail that was split since the rules were made for it stays what it was.
        let has_name = self.in_partitions || partition > 0;
        let of_table = matches!(operation, Operation::Ddl | Operation::Truncate);
        has_name.then_some(if of_table { InPartition::Any } else { InPartition::One(partition) })
    }

    /// The memory that they take, in bytes, about; all clones share it.
    pub fn memory(&self) -> usize {
        self.compiled.memory
    }

    /// Whether a record may take so long to decide that none is on a thread that serves others.
    pub fn are_costly(&self) -> bool {
        let wildcards = self.compiled.names.patterns();
        self.compiled.conditions > limits::INLINE_CONDITIONS_MAX || wildcards > limits::INLINE_WILDCARDS_MAX
    }

    /// Whether every record passes, so that nothing need be asked.
    pub fn pass_everything(&self) -> bool {
        self.compiled.rules.is_empty()
    }

    /// Decides by table, operation and partition, where they suffice.
    pub fn decide_header(&mut self, header: &RecordHeader<'_>) -> HeaderVerdict {
        if self.pass_everything() {
            return HeaderVerdict::Pass;
        }
        for at in self.rules_of(header.table).iter() {
            let rule = &self.compiled.rules[*at];
            if !rule.matches_header(*at, header, self.meant.as_mut()) {
                continue;
            }
            if rule.reads_body() {
                return HeaderVerdict::NeedsBody;
            }
            return verdict(rule.action == Action::Include);
        }
        verdict(self.compiled.otherwise)
    }

    /// Whether some row of this table may pass, as far as its name says.
    pub fn may_pass(&mut self, table: &TableName) -> bool {
        let rows = Operation::ALL.into_iter().filter(|operation| *operation != Operation::Ddl);
        self.may_pass_any(table, rows)
    }

    /// Whether anything of this table may pass, a statement too. In doubt it may: values and tokens are not known.
    pub fn may_concern(&mut self, table: &TableName) -> bool {
        self.may_pass_any(table, Operation::ALL.into_iter())
    }

    fn may_pass_any(&mut self, table: &TableName, mut operations: impl Iterator<Item = Operation>) -> bool {
        operations.any(|operation| {
            let partition = self.in_partitions.then_some(InPartition::Any);
            let header = RecordHeader { table: Some(table), operation, partition };
            self.decide_header(&header) != HeaderVerdict::Drop
        })
    }

    /// The rules, by their numbers, that name tables, and none of these. None at all where that would take too long to find
    /// out ([`limits::RULE_COMPARISONS_MAX`]). May take a second: not for a thread that serves others.
    pub fn without_table<'t>(&self, tables: impl ExactSizeIterator<Item = &'t TableName>) -> Vec<usize> {
        let compiled = &self.compiled;
        let names = compiled.names.patterns() + compiled.conditions + 1;
        if names.saturating_mul(tables.len()) > limits::RULE_COMPARISONS_MAX {
            return Vec::new();
        }
        let database = self.source.database();
        let mut left: Vec<usize> = (0..compiled.rules.len()).collect();
        for table in tables {
            let found = compiled.rules_of(Some(table), database.as_deref());
            left.retain(|at| found.binary_search(at).is_err());
            if left.is_empty() {
                break;
            }
        }
        left
    }

    /// Decides a record whose body was read.
    pub fn decide(&mut self, header: &RecordHeader<'_>, body: &RecordBody<'_>) -> bool {
        for at in self.rules_of(header.table).iter() {
            let rule = &self.compiled.rules[*at];
            let by_header = rule.matches_header(*at, header, self.meant.as_mut());
            if by_header && rule.matches_body(header.operation, body, self.database.as_deref()) {
                return rule.action == Action::Include;
            }
        }
        self.compiled.otherwise
    }

    /// The rules whose `objectNames` and conditions on columns are about that table, in order.
    fn rules_of(&mut self, table: Option<&TableName>) -> Arc<[usize]> {
        let Some(name) = table else { return self.compiled.rules_of(None, None) };
        if let Some((_, rules)) = self.recent.as_ref().filter(|(recent, _)| recent == name) {
            return Arc::clone(rules);
        }
        if let Some(known) = self.by_table.get(name) {
            self.recent = Some((name.clone(), Arc::clone(known)));
            return Arc::clone(known);
        }
        if self.database.is_none() {
            self.database = self.source.database().map(Arc::from);
        }
        let rules = self.compiled.rules_of(table, self.database.as_deref());
        if self.by_table.len() >= limits::RULE_TABLES_REMEMBERED {
            self.by_table.clear();
        }
        self.by_table.insert(name.clone(), Arc::clone(&rules));
        rules
    }
}

impl Compiled {
    fn rules_of(&self, table: Option<&TableName>, database: Option<&str>) -> Arc<[usize]> {
        let named = self.names.rules_of(table, database).into_iter();
        named.filter(|at| self.rules[*at].has_columns_of(table, database)).collect()
    }
}

fn verdict(pass: bool) -> HeaderVerdict {
    if pass { HeaderVerdict::Pass } else { HeaderVerdict::Drop }
}
