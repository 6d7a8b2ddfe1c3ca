//! Whether our sessions have the settings that they ask for: limits of time above all, which a role or a database may have set
//! and which would end a session that does what it should.

use crate::capture::error::Fault;
use crate::capture::finding::Finding;
use crate::capture::postgres::catalogue::Catalogue;
use crate::capture::postgres::target::Target;

/// Limits of time that are to be off in our sessions.
const LIMITS: [&str; 5] = [
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "transaction_timeout",
];
/// The walsender's, in milliseconds as we ask for it.
const WAL_SENDER_TIMEOUT: (&str, &str) = ("wal_sender_timeout", "60000");

pub(super) async fn look(target: &Target, catalogue: &mut Catalogue) -> Result<Vec<Finding>, Fault> {
    const WHAT: &str = "timeouts";
    let names: Vec<String> = LIMITS.iter().chain([&WAL_SENDER_TIMEOUT.0]).map(|name| format!("'{name}'")).collect();
    let names = names.join(", ");
    let sql = format!("SELECT s.name, s.setting, s.reset_val FROM pg_catalog.pg_settings s WHERE s.name IN ({names})");
    let mut not_held = Vec::new();
    for row in catalogue.query(&target.address, &sql).await? {
        let [Some(name), Some(setting), _] = &row[..] else { continue };
        let wanted = if name == WAL_SENDER_TIMEOUT.0 { WAL_SENDER_TIMEOUT.1 } else { "0" };
        if setting != wanted {
            not_held.push(format!("{name} is {setting} in place of {wanted}"));
        }
    }
    if !not_held.is_empty() {
        let message = format!(
            "our sessions do not get the settings that they ask for ({}), and would be ended: a connection pooler that stands in \
             between drops them, so name the server itself as source.host",
            not_held.join(", ")
        );
        return Ok(vec![Finding::error(WHAT, message)]);
    }
    let set = set_elsewhere(target, catalogue, &names).await?;
    let set = if set.is_empty() {
        String::new()
    } else {
        format!("; what is set otherwise does not count ({})", set.join(", "))
    };
    Ok(vec![Finding::ok(WHAT, format!("no limit of time ends our sessions{set}"))])
}

/// What role and database have set, which our sessions outrank.
async fn set_elsewhere(target: &Target, catalogue: &mut Catalogue, names: &str) -> Result<Vec<String>, Fault> {
    let sql = format!(
        "SELECT DISTINCT o.setting FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) AS o(setting) \
         WHERE s.setrole IN (0, (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = session_user)) \
         AND s.setdatabase IN (0, (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())) \
         AND pg_catalog.split_part(o.setting, '=', 1) IN ({names}) ORDER BY 1"
    );
    let rows = catalogue.query(&target.address, &sql).await?;
    Ok(rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
}
