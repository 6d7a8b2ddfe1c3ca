//! The compiled rules of streams: each set compiled once, off the threads that serve unless it is a trifle, and shared by all
//! that ask for it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::refused::StreamError;
use crate::access::{Limit, LimitHits};
use crate::catalog::stream::{ConfigError, StreamConfig};
use crate::delivery::rules::Rules;
use crate::limits;
use crate::service::off_thread::{Busy, OffThread, Turn};
use crate::trail::PartitionMap;

/// The rules of a stream's revision, and of the following ones until they change.
#[derive(Debug)]
pub(super) struct StreamRules {
    compiled: OnceLock<Result<Rules, ConfigError>>,
    /// Held by who compiles them.
    compiling: Arc<tokio::sync::Mutex<()>>,
    compiler: Arc<RuleCompiler>,
}

/// Where rules are compiled, and how often they were.
#[derive(Debug)]
pub(super) struct RuleCompiler {
    off_thread: OffThread,
    /// Where tables are looked up for rules: nobody is to wait for that behind rules that take long to compile.
    looks: OffThread,
    compiled: AtomicU64,
    hits: Arc<LimitHits>,
}

/// What rules took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) struct RulesFigures {
    /// Sets that are being compiled or wait for it.
    pub(in crate::service) compiling: usize,
    /// Sets compiled.
    pub(in crate::service) compiled: u64,
    /// The memory of those that are kept, in bytes, about.
    pub(in crate::service) bytes: usize,
}

impl RuleCompiler {
    pub(super) fn new(hits: Arc<LimitHits>) -> Self {
        let off_thread = OffThread::new("rules", limits::RULES_COMPILED_AT_ONCE, limits::RULES_WAITING_MAX);
        let looks = OffThread::new("rule-tables", limits::RULES_COMPILED_AT_ONCE, limits::RULES_WAITING_MAX);
        Self { off_thread, looks, compiled: AtomicU64::new(0), hits }
    }

    /// The figures now, of rules that take so many bytes.
    pub(super) fn figures(&self, bytes: usize) -> RulesFigures {
        let compiled = self.compiled.load(Ordering::Relaxed);
        RulesFigures { compiling: self.off_thread.busy(), compiled, bytes }
    }

    /// A turn to look rules up among tables.
    pub(super) async fn turn_to_look(&self) -> Result<Turn, Busy> {
        self.looks.turn().await
    }

    /// Compiles the rules of a stream that is to be made or changed; `partitions` are its trail's, if it is there;
    /// `others_bytes` is what those of all streams take.
    pub(super) async fn compile_new(
        self: &Arc<Self>,
        config: &StreamConfig,
        partitions: Option<&PartitionMap>,
        others_bytes: impl FnOnce() -> usize,
    ) -> Result<Arc<StreamRules>, StreamError> {
        config.check_new_rules(partitions)?;
        let compiled = match Rules::compile_quickly(config) {
            Some(compiled) => compiled,
            None => {
                let turn: Turn = self.off_thread.turn().await.map_err(|Busy| {
                    self.hits.count(Limit::Rules);
                    StreamError::Busy
                })?;
                let config = config.clone();
                turn.run(move || Rules::compile(&config)).await?
            }
        };
        let rules = self.counted(config, compiled)?;
        let (most, others) = (limits::RULES_COMPILED_BYTES_SERVER_MAX, others_bytes());
        if others + rules.memory() > most && !config.rules.is_empty() {
            let why = format!(
                "the compiled rules of all streams together must take at most {most} bytes; those of the others take {others}, \
                 these {}",
                rules.memory()
            );
            return Err(ConfigError::new("rules", why).into());
        }
        Ok(StreamRules::of(self, OnceLock::from(Ok(rules))))
    }

    fn counted<R>(&self, config: &StreamConfig, compiled: R) -> R {
        // Without rules there is nothing to compile.
        if !config.rules.is_empty() {
            self.compiled.fetch_add(1, Ordering::Relaxed);
        }
        compiled
    }
}

impl StreamRules {
    /// Rules that were stored: they are compiled when they are first asked for.
    pub(super) fn stored(compiler: &Arc<RuleCompiler>) -> Arc<Self> {
        Self::of(compiler, OnceLock::new())
    }

    fn of(compiler: &Arc<RuleCompiler>, compiled: OnceLock<Result<Rules, ConfigError>>) -> Arc<Self> {
        Arc::new(Self { compiled, compiling: Arc::default(), compiler: compiler.clone() })
    }

    /// The memory that they take, in bytes, about; 0 while they are not compiled.
    pub(super) fn memory(&self) -> usize {
        self.compiled.get().and_then(|compiled| compiled.as_ref().ok()).map_or(0, Rules::memory)
    }

    /// The compiled rules of this configuration, which has them.
    pub(super) async fn compiled(self: &Arc<Self>, config: &Arc<StreamConfig>) -> Result<Rules, ConfigError> {
        if let Some(compiled) = self.compiled.get() {
            return compiled.clone();
        }
        if let Some(compiled) = Rules::compile_quickly(config) {
            return self.compiled.get_or_init(|| self.compiler.counted(config, compiled)).clone();
        }
        // Those who wait are sessions and requests, which have bounds of their own.
        let held = self.compiling.clone().lock_owned().await;
        if let Some(compiled) = self.compiled.get() {
            return compiled.clone();
        }
        let broken_off = |what: &dyn fmt::Display| ConfigError::new("rules", what.to_string());
        let turn = self.compiler.off_thread.patient_turn().await.map_err(|busy| broken_off(&busy))?;
        let (rules, config) = (self.clone(), config.clone());
        let compiled = turn.run(move || {
            let compile = || rules.compiler.counted(&config, Rules::compile_stored(&config));
            let compiled = rules.compiled.get_or_init(compile).clone();
            drop(held);
            compiled
        });
        compiled.await.map_err(|panicked| broken_off(&panicked))?
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;
    use serde_json::{Value, json};

    use super::*;
    use crate::catalog::Shelf;
    use crate::clock::SystemClock;
    use crate::record::ResourceName;
    use crate::service::Service;
    use crate::service::principal::Principal;
    use crate::service::streams::Stream;

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
            service(home.path()).catalog().put(Shelf::Streams, name, &raw).unwrap();
        }
        let service = service(home.path());
        for (name, config) in &stored {
            let name = ResourceName::new(name).unwrap();
            let stream = service.streams().get(&name).unwrap();
            stream.compiled_rules().await.unwrap();
            let new_name = ResourceName::new("new").unwrap();
            let refused = service
                .streams()
                .make(Principal::House, &new_name, StreamConfig::from_value(config.clone()).unwrap())
                .await;
            assert!(refused.unwrap_err().to_string().starts_with("rules[0].filter."));
            service.streams().patch(Principal::House, &name, &json!({"description": "other"})).await.unwrap();
            let other = json!({"rules": [config["rules"][0], {"action": "exclude", "filter": {}}]});
            service.streams().patch(Principal::House, &name, &other).await.unwrap_err();
            let mended = json!({"rules": [{"action": "exclude", "filter": {}}]});
            service.streams().patch(Principal::House, &name, &mended).await.unwrap();
        }
        assert!(service.streams().rules_figures().bytes < 10_000);
    }

    #[tokio::test]
    async fn a_stored_stream_that_names_partitions_of_no_trail_says_so_among_its_errors() {
        let home = tempfile::tempdir().unwrap();
        let config = with_filter(&json!({"partitionNames": ["p*"]}));
        let raw = RawValue::from_string(config.to_string()).unwrap();
        service(home.path()).catalog().put(Shelf::Streams, "parted", &raw).unwrap();
        let (service, name) = (service(home.path()), ResourceName::new("parted").unwrap());
        let says = |stream: &Stream| {
            let said = service.streams().unmatched_partitions(stream).unwrap_or_default();
            said.starts_with("rules[0].filter.partitionNames must not be given for a trail that is not there")
        };
        assert!(says(&service.streams().get(&name).unwrap()));
        let (stream, _) =
            service.streams().patch(Principal::House, &name, &json!({"description": "other"})).await.unwrap();
        assert!(says(&stream), "the rule is there still");
        let (stream, _) = service.streams().patch(Principal::House, &name, &json!({"rules": null})).await.unwrap();
        assert!(!says(&stream));
    }

    #[tokio::test]
    async fn many_who_need_the_rules_of_a_stored_stream_have_them_compiled_once() {
        let home = tempfile::tempdir().unwrap();
        let condition = json!([{"column": "a", "operator": "REGEX", "value": "^a+$"}]);
        let config = with_filter(&json!({"columnValues": condition}));
        let raw = RawValue::from_string(config.to_string()).unwrap();
        service(home.path()).catalog().put(Shelf::Streams, "s", &raw).unwrap();
        let service = service(home.path());
        let stream = service.streams().get(&ResourceName::new("s").unwrap()).unwrap();
        let asking: Vec<_> = (0..50)
            .map(|_| {
                let stream = stream.clone();
                tokio::spawn(async move { stream.compiled_rules().await.map(drop) })
            })
            .collect();
        for one in asking {
            one.await.unwrap().unwrap();
        }
        let figures = service.streams().rules_figures();
        assert_eq!((figures.compiled, figures.compiling), (1, 0));
    }
}
