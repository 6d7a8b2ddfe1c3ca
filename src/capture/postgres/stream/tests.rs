//! A stream over a socket that a test writes to.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::*;
use crate::capture::postgres::catalogue::TableFacts;
use crate::capture::postgres::column_types::ColumnType;
use crate::capture::postgres::coverage::CoverageCheck;
use crate::capture::postgres::pgoutput::RelationColumn;
use crate::capture::postgres::socket::Socket;
use crate::capture::postgres::table_facts::Facts;
use crate::capture::postgres::value::ValueKind;
use crate::capture::postgres::wire::{Transport, Wire};
use crate::capture::{SharedCoverage, SharedLoads};
use crate::clock::SystemClock;
use crate::codec::byte_text::Charset;
use crate::record::{ResourceName, TrailName};
use crate::trail::local::disk::SystemDisk;
use crate::trail::{Trail, TrailOptions, Writer};

/// Length of a status update on the wire.
const STATUS_BYTES: usize = 39;

fn copy_data(sent_micros: i64, payload: &[u8]) -> Vec<u8> {
    let body = [b"w".as_slice(), &[0; 16], &sent_micros.to_be_bytes(), payload].concat();
    [b"d".as_slice(), &(body.len() as u32 + 4).to_be_bytes(), &body].concat()
}

/// One transaction with one row, sent a second after it was committed: a stream that is behind waits with the flush.
fn an_old_transaction() -> Vec<u8> {
    let (commit_lsn, end_lsn, time, second) = (200_u64, 250_u64, 7_i64, 1_000_007);
    let begin = [b"B".as_slice(), &commit_lsn.to_be_bytes(), &time.to_be_bytes(), &5_u32.to_be_bytes()].concat();
    let ends = [commit_lsn.to_be_bytes(), end_lsn.to_be_bytes(), time.to_be_bytes()].concat();
    let commit = [b"C\0".as_slice(), &ends].concat();
    let row = b"I\0\0\0\x01N\0\x01t\0\0\0\x017";
    [&begin[..], row, &commit].map(|payload| copy_data(second, payload)).concat()
}

/// What becomes of a stream with that status into a new trail, from a server that `source` plays; and the trail.
async fn streamed(
    status: SharedStatus,
    source: impl AsyncFnOnce(&mut TcpStream),
) -> (Result<(), Fault>, Appender, tempfile::TempDir) {
    let home = tempfile::tempdir().unwrap();
    let (name, extract) = (TrailName::new("t1").unwrap(), ResourceName::new("e1").unwrap());
    let (options, disk, clock) =
        (TrailOptions::default(), std::sync::Arc::new(SystemDisk), std::sync::Arc::new(SystemClock));
    let writer = Writer::Extract(extract.clone());
    let trail = Trail::create(&home.path().join("t1"), name, writer, &options, disk, clock).unwrap();
    let mut appender = trail.appender().unwrap();
    let config = serde_json::json!({
        "source": {"type": "postgresql", "host": "h", "database": "d"}, "tables": ["public.*"], "trail": "t1",
    });
    let target = Target::new(&extract, &serde_json::from_value(config).unwrap(), None);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let connection = Connection { wire: Wire::new(Transport::Plain(Socket::new(near))), charset: Charset::default() };
    let mut far = listener.accept().await.unwrap().0;

    let (overlap, masked) = (Overlap::new(Lsn(100), Lsn(100), None, 0), MaskedTables::default());
    let meeting = Meeting { overlap, confirmed: Lsn(100), selection: 0, masked, xids: XidCount::new(9), standby: None };
    let (coverage, orders) = (SharedCoverage::default(), SharedLoads::default());
    let loader = Loader::new(&target, 150_000, (&status, &orders, &coverage));
    let checks = BackgroundCheck::new(CoverageCheck::new(&target, &coverage, 150_000));
    let (_stop, shutdown) = watch::channel(false);
    let connections = (connection, Catalogue::default());
    let mut stream = Stream::new(&target, connections, &mut appender, &status, meeting, (checks, loader), shutdown);
    let id = RelationColumn { identity: true, name: "id".into(), type_id: 23, type_modifier: -1 };
    let (schema, table, replica_identity) = ("public".into(), "t".into(), b'd');
    let message = RelationMessage { id: 1, schema, table, replica_identity, columns: vec![id] };
    let integer = ColumnType { kind: Some(ValueKind::Integer), name: "integer".into(), said: String::new() };
    let facts = Facts { table: TableFacts::default(), types: vec![integer] };
    stream.transactions.describe(&message, &facts).unwrap();

    let (outcome, ()) = tokio::join!(stream.run(), source(&mut far));
    (outcome, appender, home)
}

#[tokio::test]
async fn a_log_that_a_look_saw_end_before_the_trail_stops_the_stream() {
    let status = SharedStatus::default();
    status.update_own(|status| status.log_ends_early = Some("its log ends at 0/1".into()));
    let (outcome, ..) = streamed(status, async |_| {}).await;
    assert!(matches!(outcome, Err(Fault::Stop(CaptureError::SourceRewound { .. }))), "{outcome:?}");
}

#[tokio::test]
async fn whole_transactions_do_not_wait_for_the_next_session_when_this_one_breaks() {
    let (outcome, appender, _home) = streamed(SharedStatus::default(), async |far| {
        far.read_exact(&mut [0; STATUS_BYTES]).await.unwrap();
        far.write_all(&an_old_transaction()).await.unwrap();
        far.shutdown().await.unwrap();
    })
    .await;
    assert!(matches!(outcome, Err(Fault::Passing(_))), "{outcome:?}");
    // The next session may be long in coming.
    timeout(Duration::from_secs(60), appender.wait_durable(1)).await.unwrap().unwrap();
}
