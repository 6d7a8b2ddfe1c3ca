//! Sessions that write, and the ledger of what was acknowledged to them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use trailcast::capture::postgres::sql_client::SqlClient;
use trailcast::catalog::extract::SourceConfig;

use crate::support::waiting::PATIENCE;

pub const WRITERS: u64 = 3;
/// Between two rows of one writer: the trail is read as a whole at the end.
const PAUSE: Duration = Duration::from_millis(2);
/// Numbers that one writer may use.
pub const IDS: u64 = 1_000_000_000;

/// Sessions that write rows and keep account of what was acknowledged to them.
pub struct Load {
    port: Arc<AtomicU16>,
    is_over: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<BTreeSet<u64>>>,
    number: Arc<AtomicU64>,
    sessions: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn start(source: &serde_json::Value, port: u16) -> Self {
        let source: SourceConfig = serde_json::from_value(source.clone()).unwrap();
        let (port, is_over) = (Arc::new(AtomicU16::new(port)), Arc::new(AtomicBool::new(false)));
        let (acknowledged, number) = (Arc::new(Mutex::default()), Arc::new(AtomicU64::new(0)));
        let mut load = Self { port, is_over, acknowledged, number, sessions: Vec::new() };
        load.sessions = (0..WRITERS).map(|writer| tokio::spawn(load.session(writer * IDS, source.clone()))).collect();
        load
    }

    /// Inserts one row after the other, changes every second one and removes every third one later.
    fn session(&self, first: u64, mut source: SourceConfig) -> impl Future<Output = ()> + Send + use<> {
        let (port, is_over) = (self.port.clone(), self.is_over.clone());
        let (acknowledged, number) = (self.acknowledged.clone(), self.number.clone());
        async move {
            let mut next = first;
            while !is_over.load(Ordering::SeqCst) {
                source.port = Some(port.load(Ordering::SeqCst));
                let Ok(mut client) = SqlClient::open(&source).await else {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                while !is_over.load(Ordering::SeqCst) {
                    // One that fails may be there all the same.
                    let id = next;
                    next += 1;
                    tokio::time::sleep(PAUSE).await;
                    if client.run(&format!("insert into t values ({id}, 0)")).await.is_err() {
                        break;
                    }
                    acknowledged.lock().unwrap().insert(id);
                    number.fetch_add(1, Ordering::SeqCst);
                    let more = match id % 6 {
                        0 | 2 | 4 => format!("update t set v = v + {id} where id = {id}"),
                        3 => format!("delete from t where id = {id}"),
                        _ => continue,
                    };
                    if client.run(&more).await.is_err() {
                        break;
                    }
                }
            }
        }
    }

    /// The primary is at another port now.
    pub fn go_to(&self, port: u16) {
        self.port.store(port, Ordering::SeqCst);
    }

    /// Waits until so many more rows are acknowledged.
    pub async fn until_more(&self, rows: u64) {
        let (wanted, deadline) = (self.number.load(Ordering::SeqCst) + rows, Instant::now() + PATIENCE);
        while self.number.load(Ordering::SeqCst) < wanted {
            assert!(Instant::now() < deadline, "the load does not go on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops it; gives the rows that were acknowledged.
    pub async fn stop(self) -> BTreeSet<u64> {
        self.is_over.store(true, Ordering::SeqCst);
        for session in self.sessions {
            session.await.unwrap();
        }
        let acknowledged = self.acknowledged.lock().unwrap();
        acknowledged.clone()
    }
}
