//! The one table of metrics: name, kind, labels and help of each. `docs/metrics.md` is held equal to it by a test.
//!
//! Names end in their unit, counters in `_total`. A label's values are names of resources that exist now, or come from a
//! fixed list: what is deleted disappears, and nothing that a stranger sends makes a new series.

/// What a metric's value does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It goes up and down.
    Gauge,
    /// It only grows, until the server or the resource starts anew.
    Counter,
    /// Counts by upper bound, with sum and count.
    Histogram,
}

impl Kind {
    /// As the exposition format has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Its name, with its unit.
    pub name: &'static str,
    /// What its value does.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($metric:ident: $kind:ident, $name:literal, [$($label:literal),*], $help:literal;)*) => {
        /// Every metric; its row says what it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the help of its row says it")]
        pub enum Metric {
            $($metric,)*
        }

        impl Metric {
            /// Every metric, in the order in which they are given.
            pub const ALL: &'static [Self] = &[$(Self::$metric),*];

            /// Its row.
            pub const fn row(self) -> Row {
                match self {
                    $(Self::$metric => Row { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help },)*
                }
            }
        }
    };
}

metrics! {
    TrailBytes: Gauge, "trailcast_trail_bytes", ["trail"], "Bytes of a trail's segments on disk, without the zeros (256 KiB at most) that are written ahead of the data.";
    TrailSegments: Gauge, "trailcast_trail_segments", ["trail"], "Segments of a trail on disk.";
    TrailPartitions: Gauge, "trailcast_trail_partitions", ["trail", "state"], "Partitions of a trail; state is open, or closed: split or merged, and read only.";
    TrailPartitionLists: Counter, "trailcast_trail_partition_lists_given_up_total", [], "Segments of trails with partitions of which it is not known where each partition lies, for they have more pieces than are kept: readers of a partition read all of them.";
    TrailFirst: Gauge, "trailcast_trail_first_commit", ["trail"], "Commit number of the first transaction that a trail keeps.";
    TrailLast: Gauge, "trailcast_trail_last_commit", ["trail"], "Commit number of a trail's last durable transaction.";
    TrailLastSeconds: Gauge, "trailcast_trail_last_commit_timestamp_seconds", ["trail"], "Commit time of a trail's last durable transaction, in seconds since 1970.";
    TrailTransactions: Counter, "trailcast_trail_appended_transactions_total", ["trail"], "Transactions appended to a trail.";
    TrailRecords: Counter, "trailcast_trail_appended_records_total", ["trail"], "Records of these transactions.";
    TrailWritten: Counter, "trailcast_trail_written_bytes_total", ["trail"], "Bytes written to a trail, frames and segment ends included.";
    TrailFlush: Histogram, "trailcast_trail_flush_seconds", ["trail"], "Time that each flush of a trail took, in seconds.";
    TrailPending: Gauge, "trailcast_trail_unflushed_bytes", ["trail"], "Bytes given to a trail that are not durable yet.";
    TrailPendingAge: Gauge, "trailcast_trail_unflushed_seconds", ["trail"], "Age of the oldest of these bytes, in seconds; 0 when there are none.";
    TrailStopped: Gauge, "trailcast_trail_stopped", ["trail"], "1 when a trail does not take appends or is not served, else 0.";
    TrailDiskFull: Gauge, "trailcast_trail_disk_full", ["trail"], "1 when a trail stopped because the disk is full, which passes when there is room, else 0.";
    RetentionSegments: Counter, "trailcast_trail_retention_removed_segments_total", ["trail", "rule"], "Segments that retention has removed; rule is age, size or disk.";
    RetentionBytes: Counter, "trailcast_trail_retention_removed_bytes_total", ["trail", "rule"], "Bytes of these segments.";
    RetentionAgeSuspended: Gauge, "trailcast_retention_age_suspended", [], "1 while no segment is removed for its age, because the clock was set by more than an hour; else 0.";
    DiskSize: Gauge, "trailcast_disk_size_bytes", [], "Size of the file system that holds the trails.";
    DiskFree: Gauge, "trailcast_disk_free_bytes", [], "Room left in it.";
    DiskShare: Gauge, "trailcast_disk_retention_share_bytes", [], "What all trails together may take of it before retention removes their oldest segments.";

    PutRequests: Counter, "trailcast_put_requests_total", ["trail"], "Puts acknowledged.";
    PutTransactions: Counter, "trailcast_put_transactions_total", ["trail"], "Transactions of these puts, repeated ones included.";
    PutDuplicates: Counter, "trailcast_put_duplicate_transactions_total", ["trail"], "Transactions that were not appended again, because the trail had their xid.";
    PutOperations: Counter, "trailcast_put_operations_total", ["trail"], "Operations of the transactions put.";
    PutBytes: Counter, "trailcast_put_bytes_total", ["trail"], "Bytes of the bodies of these puts.";
    PutRefused: Counter, "trailcast_put_refused_total", ["reason"], "Puts refused; reason is body, no_trail, other_writer, disk_full, trail_stopped or too_large.";

    CaptureRunning: Gauge, "trailcast_capture_running", ["extract"], "1 when an extract captures, else 0.";
    CaptureLagBytes: Gauge, "trailcast_capture_lag_bytes", ["extract"], "Bytes of the source's log that a trail does not hold durably yet.";
    CaptureLagSeconds: Gauge, "trailcast_capture_lag_seconds", ["extract"], "Age of the transaction that is coming in, by the source's clock, in seconds; 0 between transactions, absent while it does not run.";
    CaptureSilent: Gauge, "trailcast_capture_silent_seconds", ["extract"], "Time since an extract last heard from its source, in seconds.";
    CaptureRetained: Gauge, "trailcast_capture_retained_wal_bytes", ["extract"], "Bytes of its log that the source keeps for an extract's slot, as last looked at.";
    CaptureSafe: Gauge, "trailcast_capture_safe_wal_bytes", ["extract"], "Bytes that the source may still write before the slot is in danger; absent when it sets no limit.";
    CaptureSlot: Gauge, "trailcast_capture_slot_status", ["extract", "status"], "1 for the slot's wal_status: reserved, extended, unreserved, lost, missing or unknown.";
    CaptureSpilled: Counter, "trailcast_capture_slot_spilled_bytes_total", ["extract"], "Bytes that the source has spilled to its disk to decode large transactions, where it counts them.";
    CaptureRefusedWrites: Gauge, "trailcast_capture_refused_writes_tables", ["extract"], "Tables on which the source refuses UPDATE and DELETE to its own application because they are published, as last looked at.";
    CaptureLeftOut: Gauge, "trailcast_capture_left_out_tables", ["extract"], "Tables that match and are not published, because their UPDATEs and DELETEs would be refused.";
    CaptureWaits: Gauge, "trailcast_capture_slot_wait_seconds", ["extract"], "Time for which the making of an extract's slot has waited for transactions that are open, in seconds; absent when it does not wait.";
    LoadRows: Gauge, "trailcast_load_rows", ["extract"], "Rows that the trail has of the tables whose initial load goes on or has ended.";
    LoadTables: Gauge, "trailcast_load_tables", ["extract", "state"], "Tables by how far their initial load is: queued, loading, loaded, cancelled or failed; absent while there has been none.";
    LoadWaits: Gauge, "trailcast_load_wait_seconds", ["extract"], "Time for which an initial load has waited for transactions that are open at the source, in seconds; absent when it does not wait.";
    CaptureTransactions: Counter, "trailcast_capture_transactions_total", ["extract"], "Transactions that an extract has appended.";
    CaptureRecords: Counter, "trailcast_capture_records_total", ["extract"], "Records of these transactions.";
    CaptureBytes: Counter, "trailcast_capture_received_bytes_total", ["extract"], "Bytes of changes received from the source.";
    CaptureHeld: Gauge, "trailcast_capture_held_bytes", ["extract"], "Bytes kept of transactions that the source has sent before their end, in memory and on the disk.";
    CaptureRetries: Counter, "trailcast_capture_retries_total", ["extract"], "Connections to the source that an extract has lost or did not get.";
    CaptureStarts: Counter, "trailcast_capture_starts_total", ["extract"], "Times that an extract began to stream.";
    CaptureDegraded: Gauge, "trailcast_capture_degraded_tables", ["extract"], "Tables of an extract that do not flow as asked although it runs.";
    CaptureGaps: Counter, "trailcast_capture_gaps_total", ["extract"], "Gaps that an extract has written into its trail since the trail was made, because tables did not flow for a while.";
    CaptureError: Gauge, "trailcast_capture_error", ["extract", "reason"], "1 while an extract's last error holds; reason is connection, no_tables, configuration, refused, writes_refused, other_source, other_timeline, slot_missing, slot_lost, slot_ahead, source_rewound, coverage_lost, malformed, held_too_much, disk_full, trail or panic.";

    Sessions: Gauge, "trailcast_stream_sessions", ["stream", "state"], "Live sessions of a stream; state is catching-up, at-tail or blocked.";
    StreamLagSeconds: Gauge, "trailcast_stream_lag_seconds", ["stream"], "Age of the oldest transaction that some session of a stream has not given its client, or the client has not taken, in seconds; 0 when all have everything, absent without sessions.";
    StreamLagBytes: Gauge, "trailcast_stream_lag_bytes", ["stream"], "Bytes of the trail that the session of a stream which is furthest behind has not read; absent without sessions.";
    SessionsOpened: Counter, "trailcast_stream_sessions_opened_total", ["stream"], "Sessions of a stream that were opened.";
    SessionsEnded: Counter, "trailcast_stream_sessions_ended_total", ["stream", "code"], "Sessions of a stream that ended, by close code; 1006 when the connection broke.";
    StreamRecords: Counter, "trailcast_stream_records_total", ["stream"], "Records sent by all sessions of a stream, metadata not counted.";
    StreamBytes: Counter, "trailcast_stream_bytes_total", ["stream"], "Bytes sent by all sessions of a stream.";
    EncodedRecords: Counter, "trailcast_stream_encoded_records_total", ["stream"], "Records encoded for a stream, each counted once however many sessions it went to.";
    EncodedBytes: Counter, "trailcast_stream_encoded_bytes_total", ["stream"], "Bytes of messages encoded for a stream, each counted once.";
    EncodeSeconds: Counter, "trailcast_stream_encode_seconds_total", ["stream"], "Time that reading and encoding for a stream took, in seconds.";
    KeptBytes: Gauge, "trailcast_stream_kept_bytes", ["stream"], "Bytes of encoded messages that are kept for the sessions of a stream.";

    GroupMembers: Gauge, "trailcast_group_members", ["stream", "group"], "Members of a consumer group that are connected.";
    GroupLag: Gauge, "trailcast_group_lag_transactions", ["stream", "group", "partition"], "Transactions of the trail behind what a partition of a consumer group is committed to; of groups beyond the first 200 only the partition furthest behind, under max.";
    GroupStuck: Gauge, "trailcast_group_needs_reset", ["stream", "group"], "1 while a consumer group cannot go on before it is reset: its positions are of another life of the trail, or retention has overtaken them; else 0.";
    CommitsWritten: Counter, "trailcast_group_commits_total", [], "Commits of partitions and other changes of consumer groups that are durable.";
    CommitFlushes: Counter, "trailcast_group_commit_flushes_total", [], "Flushes that these took.";
    CommitBytes: Gauge, "trailcast_group_positions_bytes", [], "Bytes of the file that the positions of consumer groups stand in.";

    DocumentsBuilding: Gauge, "trailcast_documents_building", [], "AsyncAPI documents that are being built or wait for it.";
    DocumentsBuilt: Counter, "trailcast_documents_built_total", [], "AsyncAPI documents built, each once for all who ask for it.";
    DocumentsShared: Counter, "trailcast_documents_shared_total", [], "AsyncAPI documents answered without building them.";
    DocumentsKept: Gauge, "trailcast_documents_kept_bytes", [], "Bytes of built AsyncAPI documents that are kept.";
    RulesCompiling: Gauge, "trailcast_rules_compiling", [], "Sets of rules that are being compiled or wait for it, those aside that take no time.";
    RulesCompiled: Counter, "trailcast_rules_compiled_total", [], "Sets of rules compiled, one for each revision of a stream whose rules are new.";
    RulesBytes: Gauge, "trailcast_rules_memory_bytes", [], "Memory that the compiled rules of all streams take, about.";

    Requests: Counter, "trailcast_http_requests_total", ["route", "method", "status"], "Requests answered, by template of the route and class of the status (1xx is a socket).";
    Refusals: Counter, "trailcast_http_refusals_total", ["reason"], "Answers that refused something, by the short name of their message code.";
    PositionsRefused: Counter, "trailcast_positions_refused_total", ["reason"], "Positions refused before a session began; reason is malformed, other-trail, other-rules, other-epoch, beyond-end or purged.";
    LimitHits: Counter, "trailcast_limit_hits_total", ["limit"], "Times that a limit which protects the server was hit.";
    UnreadAnswers: Gauge, "trailcast_unread_answer_bytes", [], "Bytes of answers that their clients have not read yet; answers of at most 4 KiB are not counted.";
    DeliveryUsed: Gauge, "trailcast_delivery_memory_bytes", [], "Memory taken by encoded messages, kept or on their way, over all streams.";
    DeliveryLimit: Gauge, "trailcast_delivery_memory_limit_bytes", [], "Memory that encoded messages may take.";
    DeliveryExhausted: Counter, "trailcast_delivery_memory_exhausted_total", [], "Times that memory for messages was missing when a block was to be made or to grow.";
    CertificateExpiry: Gauge, "trailcast_tls_certificate_expiry_timestamp_seconds", ["file"], "When the first certificate of a TLS file expires, in seconds since 1970; file is certificate or client_ca.";
    KeyFetches: Counter, "trailcast_jwks_fetches_total", ["result"], "Fetches of the keys of another issuer's tokens from its URL; result is taken or failed.";
    KeysFetched: Gauge, "trailcast_jwks_last_fetch_timestamp_seconds", [], "When keys were last taken from that URL, in seconds since 1970; absent before.";
    AuditFailed: Counter, "trailcast_audit_lines_failed_total", [], "Audit lines that their file did not take since the server started; the log has them.";
    AuditRefusals: Counter, "trailcast_audit_refusals_counted_total", [], "Refusals since the server started that share a line of the audit with others of their address and minute.";
    Panics: Counter, "trailcast_panics_total", ["task"], "Faults of the program itself (panics), by the task that they broke off; other for what is none of these.";
    TasksDown: Gauge, "trailcast_tasks_down", ["task"], "Tasks that have panicked and wait to be started again.";
    LogLost: Counter, "trailcast_log_lines_lost_total", [], "Log lines that could not be written to standard error since the server started, or found its queue full.";

    Build: Gauge, "trailcast_build_info", ["version"], "1; the version is a label.";
    ProcessResident: Gauge, "process_resident_memory_bytes", [], "Resident memory of the process.";
    ProcessFiles: Gauge, "process_open_fds", [], "Open file descriptors of the process.";
    ProcessFilesMax: Gauge, "process_max_fds", [], "File descriptors that the process may have open.";
    ProcessCpu: Counter, "process_cpu_seconds_total", [], "Processor time that the process has used, in seconds.";
    ProcessStart: Gauge, "process_start_time_seconds", [], "When the process started, in seconds since 1970.";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_page_about_metrics_lists_every_metric_with_its_help() {
        let page = include_str!("../../../docs/metrics.md");
        let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| `")).collect();
        let expected: Vec<_> = Metric::ALL
            .iter()
            .map(|metric| {
                let row = metric.row();
                let labels: Vec<_> = row.labels.iter().map(|label| format!("`{label}`")).collect();
                format!("| `{}` | {} | {} | {} |", row.name, row.kind.name(), labels.join(", "), row.help)
            })
            .collect();
        assert_eq!(rows, expected, "\n{}\n", expected.join("\n"));
    }

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        let mut names = HashSet::new();
        for row in Metric::ALL.iter().map(|metric| metric.row()) {
            assert!(names.insert(row.name), "{} stands twice", row.name);
            assert!(row.name.starts_with("trailcast_") || row.name.starts_with("process_"), "{}", row.name);
            assert!(row.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{}", row.name);
            assert_eq!(row.name.ends_with("_total"), row.kind == Kind::Counter, "{}", row.name);
            assert!(!row.help.contains(['\n', '\\', '|']) && row.help.ends_with('.'), "{}", row.name);
        }
    }
}
