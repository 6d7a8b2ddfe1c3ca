//! One extract over one trail, and the trail's records as short lines.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use trailcast::capture::postgres::PublicationStatus;
use trailcast::capture::{Capture, CaptureError, ProductStatus, SharedCoverage, SharedLoads, SharedStatus, Status};
use trailcast::catalog::extract::ExtractConfig;
use trailcast::clock::SystemClock;
use trailcast::codec::image::{Cell, Image};
use trailcast::record::{ResourceName, TableSchema, TrailName};
use trailcast::trail::local::disk::SystemDisk;
use trailcast::trail::{Appender, Begin, Body, Entry, Fill, Trail, TrailOptions, Writer};

use crate::support::trail::appender;
use crate::support::{Folder, Postgres};

const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `test` with a cluster of each major.
pub fn on_each_major(test: impl AsyncFn(Postgres)) {
    Postgres::on_each_major(|cluster| runtime().block_on(test(cluster)));
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A trail that an extract writes.
pub struct Rig {
    pub trail: Trail,
    pub config: ExtractConfig,
    pub status: SharedStatus,
    pub coverage: SharedCoverage,
    pub loads: SharedLoads,
    running: Option<Running>,
    folder: Folder,
}

struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), CaptureError>>,
}

fn name() -> ResourceName {
    ResourceName::new("e1").unwrap()
}

impl Rig {
    /// A new trail, for an extract of the cluster's schema `public`; nothing runs yet.
    pub fn new(cluster: &Postgres) -> Self {
        let folder = Folder::new("capture");
        let writer = Writer::Extract(name());
        let options = TrailOptions { segment_bytes: 1 << 20, ..TrailOptions::default() };
        let (disk, clock) = (Arc::new(SystemDisk), Arc::new(SystemClock));
        let place = folder.path().join("a1");
        let trail = Trail::create(&place, TrailName::new("a1").unwrap(), writer, &options, disk, clock).unwrap();
        let config = serde_json::json!({"source": cluster.source(), "tables": ["public.*"], "trail": "a1"});
        let config: ExtractConfig = serde_json::from_value(config).unwrap();
        let (status, coverage) = (SharedStatus::new(config.source.kind), SharedCoverage::default());
        Self { trail, config, status, coverage, loads: SharedLoads::default(), running: None, folder }
    }

    /// A new trail, for an extract with further members of `postgresql`, which has a slot and a publication of that name.
    pub fn with(cluster: &Postgres, slot: &str, mut members: serde_json::Value) -> Self {
        let mut rig = Self::new(cluster);
        let mut config = serde_json::to_value(&rig.config).unwrap();
        (members["slot"], members["publication"]) = (slot.into(), slot.into());
        config["postgresql"] = members;
        rig.config = serde_json::from_value(config).unwrap();
        rig
    }

    /// A new trail with its extract at work: what is committed from now on is captured.
    pub async fn running(cluster: &Postgres) -> Self {
        let mut rig = Self::new(cluster);
        rig.start().await;
        rig.until_begun().await;
        rig
    }

    /// Starts the extract.
    pub async fn start(&mut self) {
        let mut appender = self.appender().await;
        let (stop, shutdown) = watch::channel(false);
        let (config, status, coverage) = (self.config.clone(), self.status.clone(), self.coverage.clone());
        let capture = Capture::new(name(), config, None, status, coverage, self.loads.clone());
        let task = tokio::spawn(async move { capture.run(&mut appender, shutdown).await });
        self.running = Some(Running { stop, task });
    }

    /// The folder with everything that is kept.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// The writing end; the one before may still be letting go of it.
    pub async fn appender(&self) -> Appender {
        appender(&self.trail).await
    }

    /// Waits until the trail has a starting point.
    pub async fn until_begun(&self) {
        let mut durable = self.trail.durable();
        let begun = timeout(PATIENCE, durable.wait_for(|mark| mark.source.is_some())).await;
        assert!(begun.is_ok(), "capture did not begin: {:?}", self.status());
    }

    /// How it is doing.
    pub fn status(&self) -> Status {
        self.status.snapshot().common
    }

    /// What is said of its publications.
    pub fn publication(&self) -> PublicationStatus {
        let ProductStatus::Postgresql(status) = self.status.snapshot().product;
        status.publication
    }

    /// Waits until what is said of its publications is as wanted.
    pub async fn until_publication(&self, wanted: impl Fn(&PublicationStatus) -> bool) {
        let waiting = async {
            while !wanted(&self.publication()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(timeout(PATIENCE, waiting).await.is_ok(), "it stayed at {:?}", self.publication());
    }

    /// Waits until the status is as wanted.
    pub async fn until(&self, wanted: impl Fn(&Status) -> bool) {
        let waiting = async {
            while !wanted(&self.status()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(timeout(PATIENCE, waiting).await.is_ok(), "it stayed at {:?}", self.status());
    }

    /// Stops the extract, or waits for its end if it stops by itself.
    pub async fn stop(&mut self) -> Result<(), CaptureError> {
        let running = self.running.take().unwrap();
        running.stop.send_replace(true);
        timeout(PATIENCE, running.task).await.expect("the extract does not stop").unwrap()
    }

    /// Ends the extract as a kill does: nothing more is confirmed to the source.
    pub async fn kill(&mut self) {
        let running = self.running.take().unwrap();
        running.task.abort();
        let _ = running.task.await;
    }

    /// Waits until the extract stops by itself.
    pub async fn end(&mut self) -> CaptureError {
        let running = self.running.take().unwrap();
        timeout(PATIENCE, running.task).await.expect("the extract goes on").unwrap().unwrap_err()
    }

    /// Waits until the trail holds so many transactions, or more.
    pub async fn until_commits(&self, number: u64) {
        let mut durable = self.trail.durable();
        let reached = timeout(PATIENCE, durable.wait_for(|mark| mark.commit >= number)).await;
        assert!(reached.is_ok(), "not {number} transactions: {:?}", self.status());
    }

    /// The records of the trail, a list a transaction, once it holds that many transactions.
    pub async fn transactions(&self, number: usize) -> Vec<Vec<String>> {
        let mut durable = self.trail.durable();
        let reached = timeout(PATIENCE, durable.wait_for(|mark| mark.commit >= number as u64)).await;
        let all = self.all().await;
        assert!(reached.is_ok() && all.len() == number, "{} of {number}: {:?}", all.len(), self.status());
        all
    }

    /// The records of all transactions that are durable now.
    pub async fn all(&self) -> Vec<Vec<String>> {
        let mut reader = self.trail.read(Begin::Earliest).await.unwrap();
        let mut seen: Vec<Vec<String>> = Vec::new();
        while reader.fill().await.unwrap() != Fill::AtMark {
            match reader.next().unwrap() {
                Some(Entry::Begin(_)) => seen.push(Vec::new()),
                Some(Entry::Record(record)) => {
                    let row = match record.body().unwrap() {
                        Body::Row(row) => row,
                        Body::Ddl { table, statement } => {
                            seen.last_mut().unwrap().push(format!("DDL {table} {statement}"));
                            continue;
                        }
                        Body::Message(message) => {
                            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                            let line = format!("MESSAGE {} {}", text(message.key.unwrap()), text(message.value));
                            seen.last_mut().unwrap().push(line);
                            continue;
                        }
                    };
                    let schema = record.schema.unwrap();
                    let mut line = format!("{} {}", record.operation.as_str(), schema.table);
                    for (mark, image) in [(" -", row.before), (" +", row.after)] {
                        if let Some(image) = image {
                            line.push_str(mark);
                            line.push_str(&cells(schema, image));
                        }
                    }
                    seen.last_mut().unwrap().push(line);
                }
                Some(Entry::Commit(_) | Entry::Gap(_)) | None => {}
            }
        }
        seen
    }

    /// The schema that the last record was written with.
    pub async fn last_schema(&self) -> Arc<TableSchema> {
        self.schemas().await.pop().unwrap()
    }

    /// The schema that each record was written with.
    pub async fn schemas(&self) -> Vec<Arc<TableSchema>> {
        let mut reader = self.trail.read(Begin::Earliest).await.unwrap();
        let mut schemas = Vec::new();
        while reader.fill().await.unwrap() != Fill::AtMark {
            if let Some(Entry::Record(record)) = reader.next().unwrap() {
                schemas.extend(record.schema.cloned());
            }
        }
        schemas
    }
}

/// ` id=1 note=null big~`: a tilde for "unchanged", nothing for "absent".
fn cells(schema: &TableSchema, image: Image<'_>) -> String {
    let mut line = String::new();
    for (column, cell) in schema.columns.iter().zip(image.cells()) {
        match cell.unwrap() {
            Cell::Absent => {}
            Cell::Null => line += &format!(" {}=null", column.name),
            Cell::Unchanged => line += &format!(" {}~", column.name),
            Cell::Json(text) => line += &format!(" {}={text}", column.name),
        }
    }
    line
}
