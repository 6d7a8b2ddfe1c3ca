//! Capture from a test cluster, made over REST and waited for.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Postgres, Server};

/// Makes the extract `name` that captures `tables` into `trail`, and returns when every later commit will be captured.
pub fn capture(server: &Server, postgres: &Postgres, name: &str, tables: &[&str], trail: &str) {
    capture_from(server, postgres, postgres.source(), name, tables, trail);
}

/// The same with a `source` of one's own, which is this cluster too.
pub fn capture_from(server: &Server, postgres: &Postgres, source: Value, name: &str, tables: &[&str], trail: &str) {
    let body = json!({"source": source, "tables": tables, "trail": trail});
    server.post(&format!("/services/v2/extracts/{name}"), &body).expect(200);
    let deadline = Instant::now() + Duration::from_secs(60);
    // A slot holds every commit from the moment it has a confirmed position on.
    while postgres.psql("select count(*) from pg_replication_slots where confirmed_flush_lsn is not null") == "0" {
        let info = info(server, name);
        assert!(Instant::now() < deadline, "no slot was made: {info}\n{}", server.log_text());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What the extract says of itself.
pub fn info(server: &Server, name: &str) -> Value {
    server.get(&format!("/services/v2/extracts/{name}/info")).expect(200).response()
}
