//! An ordinary session with a PostgreSQL server, for who has statements of his own: `trailcast bench` makes its load with it.
//!
//! Owns nothing of capture; statements are the caller's, and so is how long they may take.

use super::connection::{Address, Connection};
use crate::capture::error::CaptureError;
use crate::catalog::extract::SourceConfig;

/// A logged-in client.
#[derive(Debug)]
pub struct SqlClient {
    connection: Connection,
}

impl SqlClient {
    /// Connects and logs in with the user and password of `source`.
    pub async fn open(source: &SourceConfig) -> Result<Self, CaptureError> {
        let user = source.user.clone().unwrap_or_default();
        let address = Address { user, password: source.password.clone(), source: source.clone() };
        let connection = Connection::open(&address, false).await.map_err(CaptureError::from_fault)?;
        Ok(Self { connection })
    }

    /// Runs one statement and gives its rows: text or NULL per column.
    pub async fn run(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, CaptureError> {
        let answer = self.connection.try_query_unlimited(sql).await.map_err(CaptureError::from_fault)?;
        answer.map_err(|error| CaptureError::Refused(error.to_string()))
    }

    /// Says good-bye.
    pub async fn close(self) {
        self.connection.close().await;
    }
}
