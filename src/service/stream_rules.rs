//! The compiled rules of streams: each set compiled once, off the threads that serve unless it is a trifle, and shared by all
//! that ask for it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::access::Limit;
use crate::catalog::stream::{ConfigError, StreamConfig};
use crate::delivery::rules::Rules;
use crate::limits;
use crate::record::{TableName, TrailName};
use crate::service::Service;
use crate::service::off_thread::{OffThread, Turn};
use crate::service::streams::{Stream, StreamError};

/// The rules of a stream's revision, and of the following ones until they change.
#[derive(Debug, Default)]
pub(super) struct StreamRules {
    compiled: OnceLock<Result<Rules, ConfigError>>,
    /// Held by who compiles them.
    compiling: Arc<tokio::sync::Mutex<()>>,
}

/// Rules of a stream that match no table of its trail. Not necessarily wrong: tables may come later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnmatchedRules {
    /// Their numbers, and their names where they have one.
    rules: Vec<(usize, Option<String>)>,
    trail: TrailName,
    tables: usize,
    /// One of the tables, to compare with.
    example: TableName,
}

impl fmt::Display for UnmatchedRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (at, name)) in self.rules.iter().take(limits::RULES_NAMED_MAX).enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}rules[{at}]")?;
            if let Some(name) = name {
                write!(f, " ({})", name.chars().take(limits::RESOURCE_NAME_CHARS_MAX).collect::<String>())?;
            }
        }
        match self.rules.len().saturating_sub(limits::RULES_NAMED_MAX) {
            0 => {}
            others => write!(f, " and {others} more")?,
        }
        let matches = if self.rules.len() == 1 { "matches" } else { "match" };
        let tables = if self.tables == 1 { "table" } else { "tables" };
        let such_as = if self.tables == 1 { "which is" } else { "such as" };
        let Self { trail, example, .. } = self;
        write!(f, " {matches} none of the {} {tables} that the trail {trail} has now, {such_as} {example}", self.tables)
    }
}

/// Where rules are compiled, and how often they were.
#[derive(Debug)]
pub(super) struct RulesWork {
    off_thread: OffThread,
    /// Where tables are looked up for rules: nobody is to wait for that behind rules that take long to compile.
    looks: OffThread,
    compiled: Arc<AtomicU64>,
}

impl Default for RulesWork {
    fn default() -> Self {
        let off_thread = OffThread::new("rules", limits::RULES_COMPILED_AT_ONCE, limits::RULES_WAITING_MAX);
        let looks = OffThread::new("rule-tables", limits::RULES_COMPILED_AT_ONCE, limits::RULES_WAITING_MAX);
        Self { off_thread, looks, compiled: Arc::default() }
    }
}

impl RulesWork {
    /// Sets of rules that are being compiled or wait for it.
    pub(super) fn compiling(&self) -> usize {
        self.off_thread.busy()
    }

    /// Sets of rules compiled.
    pub(super) fn compiled(&self) -> u64 {
        self.compiled.load(Ordering::Relaxed)
    }
}

impl StreamRules {
    fn of(rules: Rules) -> Arc<Self> {
        Arc::new(Self { compiled: OnceLock::from(Ok(rules)), compiling: Arc::default() })
    }

    /// The memory that they take, in bytes, about; 0 while they are not compiled.
    pub(super) fn memory(&self) -> usize {
        self.compiled.get().and_then(|compiled| compiled.as_ref().ok()).map_or(0, Rules::memory)
    }
}

impl Service {
    /// The compiled rules of a stream; of one that there was at the start they are compiled when they are first asked for.
    pub async fn rules_of(&self, stream: &Arc<Stream>) -> Result<Rules, ConfigError> {
        if let Some(compiled) = stream.rules.compiled.get() {
            return compiled.clone();
        }
        if let Some(compiled) = Rules::compile_quickly(&stream.config) {
            return stream
                .rules
                .compiled
                .get_or_init(|| counted(&self.rules_work.compiled, &stream.config, compiled))
                .clone();
        }
        // Those who wait are sessions and requests, which have bounds of their own.
        let held = stream.rules.compiling.clone().lock_owned().await;
        if let Some(compiled) = stream.rules.compiled.get() {
            return compiled.clone();
        }
        let broken_off = |what: &dyn std::fmt::Display| ConfigError::new("rules", what.to_string());
        let turn = self.rules_work.off_thread.patient_turn().await.map_err(|busy| broken_off(&busy))?;
        let (stream, count) = (stream.clone(), self.rules_work.compiled.clone());
        let compiled = turn.run(move || {
            let compile = || counted(&count, &stream.config, Rules::compile_stored(&stream.config));
            let compiled = stream.rules.compiled.get_or_init(compile).clone();
            drop(held);
            compiled
        });
        compiled.await.map_err(|panicked| broken_off(&panicked))?
    }

    /// The rules of a stream that match no table of its trail, if there are any. None as well while the trail has no table
    /// with which to compare, and where nobody can look now.
    pub async fn unmatched_rules(&self, stream: &Arc<Stream>) -> Option<UnmatchedRules> {
        if stream.config.rules.is_empty() {
            return None;
        }
        let name = stream.config.source.trail_name()?;
        let trail = self.trails.get(&name)?.trail.as_ref().ok()?.clone();
        let rules = self.rules_of(stream).await.ok()?.of_source(trail.source_identity());
        let (turn, stream) = (self.rules_work.looks.turn().await.ok()?, stream.clone());
        let look = move || {
            let tables = trail.tables().ok()?;
            let example = tables.first()?.table.clone();
            let unmatched = rules.without_table(tables.iter().map(|schema| &schema.table)).into_iter();
            let rules: Vec<_> = unmatched.map(|at| (at, stream.config.rules[at].name.clone())).collect();
            (!rules.is_empty()).then_some(UnmatchedRules { rules, trail: name, tables: tables.len(), example })
        };
        turn.run(look).await.ok()?
    }

    /// Compiles the rules of a stream that is to be made or changed.
    pub(super) async fn compile_new_rules(&self, config: &StreamConfig) -> Result<Arc<StreamRules>, StreamError> {
        config.check_new_rules()?;
        let compiled = match Rules::compile_quickly(config) {
            Some(compiled) => compiled,
            None => {
                let turn: Turn = self.rules_work.off_thread.turn().await.map_err(|_| {
                    self.limit_hits.count(Limit::Rules);
                    StreamError::Busy
                })?;
                let config = config.clone();
                turn.run(move || Rules::compile(&config)).await?
            }
        };
        let rules = counted(&self.rules_work.compiled, config, compiled)?;
        let (most, others) = (limits::RULES_COMPILED_BYTES_SERVER_MAX, self.rules_bytes());
        if others + rules.memory() > most && !config.rules.is_empty() {
            let why = format!(
                "the compiled rules of all streams together must take at most {most} bytes; those of the others take {others}, \
                 these {}",
                rules.memory()
            );
            return Err(ConfigError::new("rules", why).into());
        }
        Ok(StreamRules::of(rules))
    }

    /// The memory that the compiled rules of all streams take, in bytes, about.
    pub(super) fn rules_bytes(&self) -> usize {
        self.streams.list().iter().map(|stream| stream.rules.memory()).sum()
    }
}

fn counted<R>(count: &AtomicU64, config: &StreamConfig, compiled: R) -> R {
    // Without rules there is nothing to compile.
    if !config.rules.is_empty() {
        count.fetch_add(1, Ordering::Relaxed);
    }
    compiled
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;
    use serde_json::{Value, json};

    use super::*;
    use crate::catalog::Shelf;
    use crate::clock::SystemClock;
    use crate::record::ResourceName;

    fn service(home: &std::path::Path) -> Service {
        Service::open(home, Arc::new(SystemClock), Default::default()).unwrap()
    }

    fn with_filter(filter: &Value) -> Value {
        json!({"source": {"trail": "a1"}, "rules": [{"action": "include", "filter": filter}]})
    }

    #[tokio::test]
    async fn rules_that_are_refused_today_start_where_they_are_stored_and_may_stay_as_they_are() {
        let home = tempfile::tempdir().unwrap();
        let condition = |number| json!({"column": "a", "operator": "REGEX", "value": format!(r"\w{{15}}{number}")});
        let many: Value = (0..60).map(condition).collect();
        let stored = [
            ("large", with_filter(&json!({"columnValues": many}))),
            ("parted", with_filter(&json!({"partitionNames": ["p*"]}))),
        ];
        for (name, config) in &stored {
            let raw = RawValue::from_string(config.to_string()).unwrap();
            service(home.path()).catalog.put(Shelf::Streams, name, &raw).unwrap();
        }
        let service = service(home.path());
        for (name, config) in &stored {
            let name = ResourceName::new(name).unwrap();
            let stream = service.streams.get(&name).unwrap();
            service.rules_of(&stream).await.unwrap();
            let new_name = ResourceName::new("new").unwrap();
            let refused = service.make_stream(&new_name, StreamConfig::from_value(config.clone()).unwrap()).await;
            assert!(refused.unwrap_err().to_string().starts_with("rules[0].filter."));
            service.patch_stream(&name, &json!({"description": "other"})).await.unwrap();
            let other = json!({"rules": [config["rules"][0], {"action": "exclude", "filter": {}}]});
            service.patch_stream(&name, &other).await.unwrap_err();
            let mended = json!({"rules": [{"action": "exclude", "filter": {}}]});
            service.patch_stream(&name, &mended).await.unwrap();
        }
        assert!(service.rules_bytes() < 10_000);
    }

    #[tokio::test]
    async fn a_stored_stream_that_names_partitions_says_so_among_its_errors() {
        let home = tempfile::tempdir().unwrap();
        let config = with_filter(&json!({"partitionNames": ["p*"]}));
        let raw = RawValue::from_string(config.to_string()).unwrap();
        service(home.path()).catalog.put(Shelf::Streams, "parted", &raw).unwrap();
        let (service, name) = (service(home.path()), ResourceName::new("parted").unwrap());
        let says =
            |stream: &Stream| stream.errors().concat().starts_with("rules[0].filter.partitionNames names partitions");
        assert!(says(&service.streams.get(&name).unwrap()));
        let (stream, _) = service.patch_stream(&name, &json!({"description": "other"})).await.unwrap();
        assert!(says(&stream), "the rule is there still");
        let (stream, _) = service.patch_stream(&name, &json!({"rules": null})).await.unwrap();
        assert!(!says(&stream));
    }

    #[tokio::test]
    async fn many_who_need_the_rules_of_a_stored_stream_have_them_compiled_once() {
        let home = tempfile::tempdir().unwrap();
        let condition = json!([{"column": "a", "operator": "REGEX", "value": "^a+$"}]);
        let config = with_filter(&json!({"columnValues": condition}));
        let raw = RawValue::from_string(config.to_string()).unwrap();
        service(home.path()).catalog.put(Shelf::Streams, "s", &raw).unwrap();
        let service = Arc::new(service(home.path()));
        let stream = service.streams.get(&ResourceName::new("s").unwrap()).unwrap();
        let asking: Vec<_> = (0..50)
            .map(|_| {
                let (service, stream) = (service.clone(), stream.clone());
                tokio::spawn(async move { service.rules_of(&stream).await.map(drop) })
            })
            .collect();
        for one in asking {
            one.await.unwrap().unwrap();
        }
        assert_eq!((service.rules_work.compiled(), service.rules_work.compiling()), (1, 0));
    }
}
