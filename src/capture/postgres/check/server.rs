//! The server itself: its version, whether it is a standby, its character set, its clock.

use crate::capture::error::Fault;
use crate::capture::finding::Finding;
use crate::capture::postgres::catalogue::{Catalogue, scalar, unexpected};
use crate::capture::postgres::setup::SERVER_VERSION_MIN;
use crate::capture::postgres::target::Target;
use crate::clock::SharedClock;
use crate::limits;

/// First server of which a standby gives logical changes, as `server_version_num`.
const SERVER_VERSION_STANDBY: u32 = 160_000;

/// What the server is.
#[derive(Debug)]
pub(super) struct Server {
    /// As `server_version_num`.
    pub(super) version: u32,
    shown: String,
    is_standby: bool,
    encoding: String,
}

impl Server {
    pub(super) async fn read(target: &Target, catalogue: &mut Catalogue) -> Result<Self, Fault> {
        let sql = "SELECT pg_catalog.current_setting('server_version_num'), pg_catalog.current_setting('server_version'), \
                   pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('server_encoding')";
        let rows = catalogue.query(&target.address, sql).await?;
        let Some([Some(version), Some(shown), Some(standby), Some(encoding)]) = rows.first().map(|row| &row[..]) else {
            return Err(unexpected("server_version_num"));
        };
        let version = version.parse().map_err(|_| unexpected("server_version_num"))?;
        Ok(Self { version, shown: shown.clone(), is_standby: standby == "t", encoding: encoding.clone() })
    }

    /// Whether its version is one that we know.
    pub(super) fn is_known(&self) -> bool {
        self.version >= SERVER_VERSION_MIN
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        const WHAT: &str = "server";
        let product = format!("PostgreSQL {}", self.shown);
        if !self.is_known() {
            return vec![Finding::error(WHAT, format!("{product} is too old: PostgreSQL 13 or newer is required"))];
        }
        let mut found = vec![match self.is_standby {
            false => Finding::ok(WHAT, product),
            true if self.version < SERVER_VERSION_STANDBY => Finding::error(
                WHAT,
                format!("{product} is a standby, which gives no changes before version 16: name the primary"),
            ),
            true => Finding::warning(
                WHAT,
                format!(
                    "{product} is a standby: publications are made at its primary, a slot waits for the primary's activity, \
                     and hot_standby_feedback has to be on"
                ),
            ),
        }];
        if self.encoding == "SQL_ASCII" {
            let message = "the database has no character set (SQL_ASCII): a byte that is no UTF-8 is shown as U+FFFD and its two \
                           hexadecimal digits";
            found.push(Finding::warning("encoding", message));
        }
        found
    }
}

/// The server's clock against ours.
pub(super) async fn clock(
    target: &Target,
    catalogue: &mut Catalogue,
    ours: &SharedClock,
) -> Result<Vec<Finding>, Fault> {
    let sql = "SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::bigint";
    let before = ours.now().micros();
    let rows = catalogue.query(&target.address, sql).await?;
    let after = ours.now().micros();
    let theirs: i64 = scalar(&rows).and_then(|text| text.parse().ok()).ok_or_else(|| unexpected("clock_timestamp"))?;
    Ok(vec![apart(before, theirs, after)])
}

/// What is to be said of a clock that showed `theirs` at some time between `before` and `after` of ours, in microseconds.
fn apart(before: i64, theirs: i64, after: i64) -> Finding {
    let micros = if theirs < before {
        theirs - before
    } else if theirs > after {
        theirs - after
    } else {
        0
    };
    let (seconds, side) = (micros.unsigned_abs() as f64 / 1e6, if micros < 0 { "behind" } else { "ahead of" });
    if micros.unsigned_abs() <= limits::SOURCE_CLOCK_MILLIS_MAX * 1_000 {
        return Finding::ok("clock", "the server's clock and ours agree".to_owned());
    }
    Finding::warning(
        "clock",
        format!(
            "the server's clock is {seconds:.1} s {side} ours: commit times and the seconds of every lag are wrong by that much; \
             let both machines keep their time by NTP"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::finding::FindingState;

    #[test]
    fn clocks_are_compared_beyond_the_time_of_the_answer() {
        let second = 1_000_000;
        for (theirs, says) in [
            (-3 * second, Some("3.0 s behind")),
            (-second, None),
            (4 * second, None),
            (12 * second, None),
            (15 * second, Some("5.0 s ahead of")),
        ] {
            let found = apart(0, theirs, 10 * second);
            assert_eq!(found.state == FindingState::Ok, says.is_none(), "{theirs} {found:?}");
            assert!(says.is_none_or(|says| found.message.contains(says)), "{found:?}");
        }
    }
}
