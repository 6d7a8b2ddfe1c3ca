//! Capture from a test cluster, made over REST and waited for.

use serde_json::{Value, json};

use super::{Postgres, Server, until};

/// Makes the extract `name` that captures `tables` into `trail`, and returns when every later commit will be captured.
pub fn capture(server: &Server, postgres: &Postgres, name: &str, tables: &[&str], trail: &str) {
    capture_from(server, postgres, postgres.source(), name, tables, trail);
}

/// The same with a `source` of one's own, which is this cluster too.
pub fn capture_from(server: &Server, postgres: &Postgres, source: Value, name: &str, tables: &[&str], trail: &str) {
    let body = json!({"source": source, "tables": tables, "trail": trail});
    server.post(&format!("/services/v2/extracts/{name}"), &body).expect(200);
    // A slot holds every commit from the moment it has a confirmed position on.
    until(|| {
        let slots = postgres.psql("select count(*) from pg_replication_slots where confirmed_flush_lsn is not null");
        if slots == "0" { Err(format!("no slot: {}\n{}", info(server, name), server.log_text())) } else { Ok(()) }
    });
}

/// What the extract says of itself.
pub fn info(server: &Server, name: &str) -> Value {
    info_until(server, name, |_| true)
}

/// The same, once it is as wanted.
pub fn info_until(server: &Server, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    server.get_until(&format!("/services/v2/extracts/{name}/info"), wanted)
}

/// Waits until the extract says of itself what is wanted.
pub fn until_info(server: &Server, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    until(|| {
        let shown = info(server, name);
        if wanted(&shown) { Ok(shown) } else { Err(format!("{shown}\n{}", server.log_text())) }
    })
}
