//! Figures for monitoring: gathers what the parts of the server count, without holding any of them up.
//!
//! The [`table`] says what there is. Adding a metric: a row there, a row in `docs/metrics.md`, a sample here.

mod page;
pub mod table;

use std::sync::atomic::{AtomicU64, Ordering};

pub use page::Page;
use table::Metric;

use super::audit::Audit;
use super::documents::DocumentFigures;
use super::extracts::ExtractInfo;
use super::groups::Groups;
use super::lag::Lag;
use super::principal::{Principal, Verb};
use super::puts::Puts;
use super::retention::RetentionPasses;
use super::streams::Streams;
use super::trails::{PutFigures, Trails};
use crate::access::{CertificateFile, Expiries, KeyRefresh, Limit, LimitHits};
use crate::capture::{ExtractStatus, LoadStatus, RunState, TableLoadState};
use crate::codec::close_code::CloseCode;
use crate::delivery::budget::Budget;
use crate::delivery::progress::SessionState;
use crate::limits;
use crate::log_output;
use crate::process::ProcessFigures;
use crate::record::Timestamp;
use crate::tasks::{self, Task};
use crate::trail::{
    FLUSH_SECONDS_BUCKETS, PartitionMap, RetentionRule, Trail, TrailStatus, Writer, partition_lists_given_up,
};

/// Close codes that say that something is wrong with a client.
const ALERTED_CODES: [CloseCode; 2] = [CloseCode::SILENT, CloseCode::SLOW];

/// Trails, and what puts have brought to them.
pub(super) fn sample_trails(page: &mut Page, principal: Principal<'_>, trails: &Trails, puts: &Puts, now: Timestamp) {
    let entries = trails.entries().into_iter();
    for (name, entry) in entries.filter(|(name, _)| principal.may_with_trail(Verb::Read, name)) {
        let name = name.as_str();
        let status = entry.served().ok().map(Trail::status);
        let stopped = status.as_ref().is_none_or(|status| status.stopped.is_some());
        page.add(Metric::TrailStopped, &[name], flag(stopped));
        let Some(status) = status else { continue };
        sample_trail(page, name, &status, now);
        if let Ok(trail) = entry.served() {
            sample_partitions(page, name, &trail.partitions());
        }
        if entry.served().is_ok_and(|trail| trail.description().writer == Writer::Puts) {
            sample_puts(page, name, &entry.put_figures);
        }
    }
    page.add(Metric::TrailPartitionLists, &[], partition_lists_given_up() as f64);
    for (reason, count) in puts.refusals() {
        page.add(Metric::PutRefused, &[reason], count as f64);
    }
}

fn sample_partitions(page: &mut Page, name: &str, partitions: &PartitionMap) {
    let open = partitions.open().len();
    page.add(Metric::TrailPartitions, &[name, "open"], open as f64);
    page.add(Metric::TrailPartitions, &[name, "closed"], (partitions.all().len() - open) as f64);
}

fn sample_trail(page: &mut Page, name: &str, status: &TrailStatus, now: Timestamp) {
    let work = &status.counters;
    let age = work.pending_since.map_or(0.0, |since| now.micros().saturating_sub(since.micros()).max(0) as f64 / 1e6);
    let figures = [
        (Metric::TrailBytes, status.bytes as f64),
        (Metric::TrailSegments, status.segments as f64),
        (Metric::TrailFirst, status.first_commit as f64),
        (Metric::TrailLast, status.last_commit as f64),
        (Metric::TrailTransactions, work.transactions as f64),
        (Metric::TrailRecords, work.records as f64),
        (Metric::TrailWritten, work.written_bytes as f64),
        (Metric::TrailPending, work.pending_bytes as f64),
        (Metric::TrailPendingAge, age),
        (Metric::TrailDiskFull, flag(status.disk_full)),
    ];
    figures.into_iter().for_each(|(metric, value)| page.add(metric, &[name], value));
    if status.last_commit > 0 {
        page.add(Metric::TrailLastSeconds, &[name], status.last_commit_ts.micros() as f64 / 1e6);
    }
    let seconds = work.flush_nanos as f64 / 1e9;
    page.histogram(Metric::TrailFlush, &[name], &FLUSH_SECONDS_BUCKETS, &work.flushes, seconds);
    for (rule, (segments, bytes)) in RetentionRule::ALL.into_iter().zip(work.removed) {
        page.add(Metric::RetentionSegments, &[name, rule.name()], segments as f64);
        page.add(Metric::RetentionBytes, &[name, rule.name()], bytes as f64);
    }
}

/// The disk of the trails, as retention saw it.
pub(super) fn sample_disk(page: &mut Page, retention: &RetentionPasses) {
    let load = |figure: &AtomicU64| figure.load(Ordering::Relaxed) as f64;
    page.add(Metric::RetentionAgeSuspended, &[], flag(retention.age_suspension().is_some()));
    let disk = retention.disk();
    if disk.size_bytes.load(Ordering::Relaxed) > 0 {
        page.add(Metric::DiskSize, &[], load(&disk.size_bytes));
        page.add(Metric::DiskFree, &[], load(&disk.free_bytes));
        page.add(Metric::DiskShare, &[], load(&disk.share_bytes));
    }
}

/// Extracts.
pub(super) fn sample_extracts(page: &mut Page, extracts: &[ExtractInfo]) {
    for extract in extracts {
        let name = extract.name.as_str();
        sample_extract(page, name, &extract.status);
        page.add(Metric::CaptureDegraded, &[name], extract.coverage.degraded.len() as f64);
        page.add(Metric::CaptureGaps, &[name], extract.coverage.gaps_written as f64);
    }
}

/// Streams: their sessions, what was encoded for them, their rules.
pub(super) fn sample_streams(
    page: &mut Page,
    principal: Principal<'_>,
    streams: &Streams,
    trails: &Trails,
    now: Timestamp,
) {
    for stream in streams.list(principal) {
        let name = stream.name.as_str();
        let figures = stream.activity.figures();
        for (state, live) in SessionState::ALL.into_iter().zip(figures.live) {
            page.add(Metric::Sessions, &[name, state.name()], live as f64);
        }
        let lag = Lag::of_sessions(&stream, trails, now).unwrap_or_default();
        if let Some(seconds) = lag.seconds {
            page.add(Metric::StreamLagSeconds, &[name], seconds);
        }
        if let Some(bytes) = lag.bytes {
            page.add(Metric::StreamLagBytes, &[name], bytes as f64);
        }
        page.add(Metric::SessionsOpened, &[name], figures.opened as f64);
        page.add(Metric::StreamRecords, &[name], figures.records as f64);
        page.add(Metric::StreamBytes, &[name], figures.bytes as f64);
        let encoding = stream.activity.encoding.figures();
        page.add(Metric::EncodedRecords, &[name], encoding.records as f64);
        page.add(Metric::EncodedBytes, &[name], encoding.bytes as f64);
        page.add(Metric::EncodeSeconds, &[name], encoding.nanos as f64 / 1e9);
        page.add(Metric::KeptBytes, &[name], stream.kept_bytes() as f64);
        let mut ends = figures.ends;
        // Those that alerts are made of are there from the start: what appears with 1 has not increased.
        for code in ALERTED_CODES {
            ends.entry(code).or_default();
        }
        for (code, count) in ends {
            page.add(Metric::SessionsEnded, &[name, &code.to_string()], count as f64);
        }
    }
    let rules = streams.rules_figures();
    page.add(Metric::RulesCompiling, &[], rules.compiling as f64);
    page.add(Metric::RulesCompiled, &[], rules.compiled as f64);
    page.add(Metric::RulesBytes, &[], rules.bytes as f64);
}

/// Consumer groups, and the file of their positions.
pub(super) fn sample_groups(page: &mut Page, principal: Principal<'_>, groups: &Groups) {
    for (at, group) in groups.list(principal).into_iter().enumerate() {
        let (stream, name) = (group.stream.as_str(), group.name.as_str());
        page.add(Metric::GroupMembers, &[stream, name], group.members.len() as f64);
        page.add(Metric::GroupStuck, &[stream, name], flag(group.state.needs_reset()));
        if at < limits::GROUPS_SHOWN_BY_PARTITION_MAX {
            for partition in &group.partitions {
                let Some(lag) = partition.lag_transactions else { continue };
                page.add(Metric::GroupLag, &[stream, name, &partition.partition.to_string()], lag as f64);
            }
        } else if let Some(lag) = group.lag_transactions() {
            page.add(Metric::GroupLag, &[stream, name, "max"], lag as f64);
        }
    }
    let figures = groups.figures();
    page.add(Metric::CommitsWritten, &[], figures.changes as f64);
    page.add(Metric::CommitFlushes, &[], figures.flushes as f64);
    page.add(Metric::CommitBytes, &[], figures.bytes as f64);
}

/// Built documents.
pub(super) fn sample_documents(page: &mut Page, documents: DocumentFigures) {
    page.add(Metric::DocumentsBuilding, &[], documents.building as f64);
    page.add(Metric::DocumentsBuilt, &[], documents.built as f64);
    page.add(Metric::DocumentsShared, &[], documents.shared as f64);
    page.add(Metric::DocumentsKept, &[], documents.kept_bytes as f64);
}

/// Limits that protect the server, and the memory for messages.
pub(super) fn sample_limits(page: &mut Page, hits: &LimitHits, memory: &Budget) {
    for (limit, count) in hits.all() {
        page.add(Metric::LimitHits, &[Limit::name(limit)], count as f64);
    }
    page.add(Metric::UnreadAnswers, &[], hits.unread_answer_bytes() as f64);
    page.add(Metric::DeliveryUsed, &[], memory.used() as f64);
    page.add(Metric::DeliveryLimit, &[], memory.limit() as f64);
    page.add(Metric::DeliveryExhausted, &[], memory.exhausted() as f64);
}

/// What callers are known by: certificates, the keys of another issuer.
pub(super) fn sample_access(page: &mut Page, expiries: &Expiries, keys: &KeyRefresh) {
    for file in CertificateFile::ALL {
        if let Some(end) = expiries.of(file) {
            page.add(Metric::CertificateExpiry, &[file.name()], end.micros() as f64 / 1e6);
        }
    }
    if let Some(figures) = keys.figures() {
        page.add(Metric::KeyFetches, &["taken"], figures.taken as f64);
        page.add(Metric::KeyFetches, &["failed"], figures.failed as f64);
        if let Some(at) = figures.last_taken {
            page.add(Metric::KeysFetched, &[], at.micros() as f64 / 1e6);
        }
    }
}

/// The audit.
pub(super) fn sample_audit(page: &mut Page, audit: &Audit) {
    page.add(Metric::AuditFailed, &[], audit.failed() as f64);
    page.add(Metric::AuditRefusals, &[], audit.counted_refusals() as f64);
}

fn sample_puts(page: &mut Page, name: &str, puts: &PutFigures) {
    let figures = [
        (Metric::PutRequests, &puts.requests),
        (Metric::PutTransactions, &puts.transactions),
        (Metric::PutDuplicates, &puts.duplicates),
        (Metric::PutOperations, &puts.operations),
        (Metric::PutBytes, &puts.bytes),
    ];
    for (metric, figure) in figures {
        page.add(metric, &[name], figure.load(Ordering::Relaxed) as f64);
    }
}

fn sample_extract(page: &mut Page, name: &str, shown: &ExtractStatus) {
    let (status, log) = (&shown.common, shown.kept_log());
    let (refused_writes, left_out) = shown.refused_and_left_out();
    let running = status.status == RunState::Running;
    let figures = [
        (Metric::CaptureRunning, Some(flag(running))),
        (Metric::CaptureLagBytes, status.lag_bytes.map(|bytes| bytes as f64)),
        (Metric::CaptureLagSeconds, status.lag_seconds.filter(|_| running)),
        (Metric::CaptureSilent, status.heard.map(|heard| heard.elapsed().as_secs_f64())),
        (Metric::CaptureRetained, log.and_then(|log| log.retained_bytes).map(|bytes| bytes as f64)),
        (Metric::CaptureSafe, log.and_then(|log| log.safe_bytes).map(|bytes| bytes as f64)),
        (Metric::CaptureSpilled, log.and_then(|log| log.spilled_bytes).map(|bytes| bytes as f64)),
        (Metric::CaptureRefusedWrites, Some(refused_writes as f64)),
        (Metric::CaptureLeftOut, Some(left_out as f64)),
        (Metric::CaptureWaits, status.waits_for.as_ref().map(|wait| wait.seconds as f64)),
        (Metric::CaptureTransactions, Some(status.transactions as f64)),
        (Metric::CaptureRecords, Some(status.records as f64)),
        (Metric::CaptureBytes, Some(status.received_bytes as f64)),
        (Metric::CaptureHeld, Some(status.held_bytes as f64)),
        (Metric::CaptureRetries, Some(status.retries as f64)),
        (Metric::CaptureStarts, Some(status.starts as f64)),
    ];
    for (metric, value) in figures {
        if let Some(value) = value {
            page.add(metric, &[name], value);
        }
    }
    sample_loads(page, name, status.snapshot.as_ref());
    if let Some(log) = log {
        page.add(Metric::CaptureSlot, &[name, log.state], 1.0);
    }
    if let Some(reason) = status.last_error_reason {
        page.add(Metric::CaptureError, &[name, reason], 1.0);
    }
}

fn sample_loads(page: &mut Page, name: &str, loads: Option<&LoadStatus>) {
    let Some(loads) = loads else { return };
    page.add(Metric::LoadRows, &[name], loads.tables.iter().map(|table| table.rows).sum::<u64>() as f64);
    for state in TableLoadState::ALL {
        let number = loads.tables.iter().filter(|table| table.state == state).count();
        page.add(Metric::LoadTables, &[name, state.name()], number as f64);
    }
    if let Some(wait) = &loads.waits_for {
        page.add(Metric::LoadWaits, &[name], wait.seconds as f64);
    }
}

/// The process itself: its tasks, its log, what the kernel says of it. Asks the kernel: not for a thread that serves sessions.
pub(super) fn sample_process(page: &mut Page) {
    sample_tasks(page);
    page.add(Metric::LogLost, &[], log_output::lost() as f64);
    sample_kernel(page);
}

fn sample_tasks(page: &mut Page) {
    let known: u64 = Task::ALL.into_iter().map(Task::panics).sum();
    for task in Task::ALL {
        page.add(Metric::Panics, &[task.name()], task.panics() as f64);
        page.add(Metric::TasksDown, &[task.name()], task.down() as f64);
    }
    page.add(Metric::Panics, &["other"], tasks::panics().saturating_sub(known) as f64);
}

fn sample_kernel(page: &mut Page) {
    let process = ProcessFigures::now();
    let figures = [
        (Metric::ProcessResident, process.resident_bytes.map(|bytes| bytes as f64)),
        (Metric::ProcessFiles, process.open_files.map(|files| files as f64)),
        (Metric::ProcessFilesMax, process.open_files_max.map(|files| files as f64)),
        (Metric::ProcessCpu, process.cpu_seconds),
        (Metric::ProcessStart, process.started_seconds),
    ];
    for (metric, value) in figures {
        if let Some(value) = value {
            page.add(metric, &[], value);
        }
    }
    page.add(Metric::Build, &[env!("CARGO_PKG_VERSION")], 1.0);
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}
