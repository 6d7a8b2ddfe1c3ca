//! The PostgreSQL that a run loads: where it is, the run's table in it, and an extract of that table.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::resources::{make_extract, remove};
use crate::capture::CaptureError;
use crate::capture::postgres::sql_client::SqlClient;
use crate::catalog::extract::{Secret, SourceConfig, SourceKind, TlsMode};
use crate::cli::failure::Failure;
use crate::client::ServerAddress;
use crate::limits;

const LOOK_EVERY: Duration = Duration::from_millis(5);
/// What `ServerAddress` takes when no port is given, and what is meant then.
const PORT_LEFT_OUT: u16 = 80;
const PORT_DEFAULT: u16 = 5432;

/// Where it is.
#[derive(Debug, Clone, Args)]
pub(super) struct DatabaseArguments {
    /// The database: postgresql://USER[:PASSWORD]@HOST[:PORT]/DATABASE; without a password PGPASSWORD is taken
    #[arg(long = "pg", id = "pg", env = "TRAILCAST_BENCH_PG", value_name = "URL", hide_env_values = true)]
    url: Option<String>,
}

impl DatabaseArguments {
    /// What was given, if anything was.
    pub(super) fn source(&self) -> Result<Option<SourceConfig>, Failure> {
        let Some(url) = &self.url else { return Ok(None) };
        let usage = || Failure::usage("--pg: postgresql://USER[:PASSWORD]@HOST[:PORT]/DATABASE is expected");
        let (scheme, rest) = url.split_once("://").ok_or_else(usage)?;
        if !matches!(scheme, "postgresql" | "postgres") {
            return Err(usage());
        }
        let address = ServerAddress::parse(&format!("http://{rest}"), None, None).map_err(|_| usage())?;
        let database = address.prefix.trim_start_matches('/').to_owned();
        let (user, given) =
            address.credentials.map_or((address.user, None), |who| (Some(who.user), Some(who.password)));
        if database.is_empty() || user.is_none() {
            return Err(usage());
        }
        let password = given.or_else(|| std::env::var("PGPASSWORD").ok());
        Ok(Some(SourceConfig {
            kind: SourceKind::Postgresql,
            host: address.host,
            port: Some(if address.port == PORT_LEFT_OUT { PORT_DEFAULT } else { address.port }),
            database,
            user,
            password: password.map(Secret::new),
            credentials: None,
            tls: TlsMode::Prefer,
        }))
    }
}

/// The run's own table, and the extract that captures it into a trail of its own.
#[derive(Debug)]
pub(super) struct Captured {
    source: SourceConfig,
    /// Name of table, extract and trail; slot and publication have it too.
    pub(super) name: String,
}

fn said(error: &CaptureError) -> Failure {
    Failure::failed(format!("PostgreSQL: {error}"))
}

impl Captured {
    /// Makes the table and an extract of it, and returns when every later commit will be captured.
    pub(super) async fn make(address: &ServerAddress, source: SourceConfig, name: String) -> Result<Self, Failure> {
        let captured = Self { source, name };
        let name = &captured.name;
        let table = format!("CREATE TABLE {name} (id bigint PRIMARY KEY, amount numeric(12,2), note text)");
        captured.run(&table).await?;
        make_extract(address, name, &captured.extract()).await?;
        let sql = format!(
            "SELECT 1 FROM pg_replication_slots WHERE slot_name = '{name}' AND confirmed_flush_lsn IS NOT NULL AND active"
        );
        let deadline = Instant::now() + Duration::from_secs(limits::BENCH_DRAIN_SECONDS_MAX);
        while captured.run(&sql).await?.is_empty() {
            if Instant::now() > deadline {
                return Err(Failure::failed("the extract made no slot; the server's log says why"));
            }
            tokio::time::sleep(LOOK_EVERY * 10).await;
        }
        Ok(captured)
    }

    fn extract(&self) -> Value {
        let source = &self.source;
        json!({
            "source": {
                "type": "postgresql",
                "host": source.host,
                "port": source.port,
                "database": source.database,
                "user": source.user,
                "password": source.password.as_ref().map(|secret| secret.reveal()),
            },
            "tables": [format!("public.{}", self.name)],
            "trail": self.name,
            "postgresql": {"slot": self.name},
        })
    }

    /// A session with the database.
    pub(super) async fn session(&self) -> Result<SqlClient, Failure> {
        SqlClient::open(&self.source).await.map_err(|error| said(&error))
    }

    /// Runs one statement in a session of its own.
    pub(super) async fn run(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, Failure> {
        let mut session = self.session().await?;
        let rows = session.run(sql).await.map_err(|error| said(&error))?;
        session.close().await;
        Ok(rows)
    }

    /// Process id of the walsender, when it runs on this machine.
    pub(super) async fn walsender(&self) -> Option<u32> {
        let is_here = ["localhost", "127.0.0.1", "::1"].contains(&self.source.host.as_str());
        let sql = format!("SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{}'", self.name);
        let rows = if is_here { self.run(&sql).await.ok()? } else { return None };
        rows.first()?.first()?.as_ref()?.parse().ok()
    }

    /// Removes extract, trail, slot, publication and table.
    pub(super) async fn remove(&self, address: &ServerAddress) -> Result<(), Failure> {
        let name = &self.name;
        remove(address, "extracts", name).await?;
        remove(address, "trails", name).await?;
        let active = format!("SELECT 1 FROM pg_replication_slots WHERE slot_name = '{name}' AND active");
        let deadline = Instant::now() + Duration::from_secs(limits::BENCH_DRAIN_SECONDS_MAX);
        while !self.run(&active).await?.is_empty() && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY * 10).await;
        }
        self.run(&format!("SELECT pg_drop_replication_slot('{name}')")).await?;
        self.run(&format!("DROP PUBLICATION IF EXISTS trailcast_{name}")).await?;
        self.run(&format!("DROP TABLE {name}")).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(url: &str) -> Result<Option<SourceConfig>, Failure> {
        DatabaseArguments { url: Some(url.into()) }.source()
    }

    #[test]
    fn a_url_says_where_the_database_is() {
        let found = source("postgresql://ann:se%20cret@db.example/shop").unwrap().unwrap();
        let password = found.password.as_ref().map(|secret| secret.reveal());
        assert_eq!((found.host.as_str(), found.port(), password), ("db.example", 5432, Some("se cret")));
        assert_eq!((found.database.as_str(), found.user.as_deref()), ("shop", Some("ann")));
        assert_eq!(source("postgres://ann:x@[::1]:5433/shop").unwrap().unwrap().port(), 5433);
    }

    #[test]
    fn what_is_left_out_is_usage() {
        for url in ["mysql://ann:x@db/shop", "postgresql://db/shop", "postgresql://ann:x@db", "shop"] {
            assert!(matches!(source(url), Err(Failure::Usage(_))), "{url}");
        }
    }
}
