//! Whether the server lets us in, and how the connection is protected; where it does not, what to change by the reason that it
//! gives.

use crate::capture::error::Fault;
use crate::capture::finding::Finding;
use crate::capture::postgres::catalogue::{Catalogue, unexpected};
use crate::capture::postgres::connection::identifier;
use crate::capture::postgres::server_error::code_in;
use crate::capture::postgres::target::Target;

const WHAT: &str = "connection";

/// Logs in.
pub(super) async fn look(target: &Target, catalogue: &mut Catalogue) -> Result<Vec<Finding>, Fault> {
    let sql = "SELECT coalesce(s.ssl, false), s.version FROM (SELECT pg_catalog.pg_backend_pid() AS pid) AS own \
               LEFT JOIN pg_catalog.pg_stat_ssl s ON s.pid = own.pid";
    let rows = catalogue.query(&target.address, sql).await?;
    let Some([Some(has_tls), tls]) = rows.first().map(|row| &row[..]) else { return Err(unexpected("pg_stat_ssl")) };
    let source = &target.address.source;
    let place = format!("{}:{}", source.host, source.port());
    let logged_in = format!("{} is logged in to {} at {place}", target.address.user, source.database);
    if has_tls == "t" {
        let protocol = tls.as_deref().unwrap_or("TLS");
        return Ok(vec![Finding::ok(WHAT, format!("{logged_in}, over {protocol}"))]);
    }
    if is_loopback(&source.host) {
        return Ok(vec![Finding::ok(WHAT, format!("{logged_in}, without TLS on this machine"))]);
    }
    let advice = "let the server have a certificate (ssl = on), and make source.tls \"require\" or \"verify-full\"";
    Ok(vec![Finding::warning(WHAT, format!("{logged_in}, without TLS: rows cross the network readable; {advice}"))])
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host == "::1" || host.starts_with("127.")
}

/// What to do about a server that does not let us in.
pub(super) fn refusal(target: &Target, fault: &Fault) -> Finding {
    let text = fault.to_string();
    let (user, source) = (&target.address.user, &target.address.source);
    let (role, database) = (identifier(user), identifier(&source.database));
    let error = |advice: String| Finding::error(WHAT, format!("{text}: {advice}"));
    match code_in(&text) {
        Some("28000") if text.contains("pg_hba.conf") => {
            let address = quoted(&text).unwrap_or("OUR-ADDRESS");
            let bits = if address.contains(':') { 128 } else { 32 };
            let line = format!("host {database} {role} {address}/{bits} scram-sha-256");
            error(format!("run the statement after this line was added to the server's pg_hba.conf: {line}"))
                .mended_by("SELECT pg_reload_conf()")
        }
        Some("28000") => error(format!("let the role {user} log in")).mended_by(format!("ALTER ROLE {role} LOGIN")),
        Some("28P01") => error(format!(
            "there is no role {user}, it has no password, or another one: a superuser sets it with ALTER ROLE {role} PASSWORD \
             and the new password, and the extract gets the same"
        )),
        Some("3D000") => error("name a database that the server has as source.database".to_owned()),
        Some("42501") => error(format!("let {user} connect to the database"))
            .mended_by(format!("GRANT CONNECT ON DATABASE {database} TO {role}")),
        Some("53300") => {
            error("end connections that nobody needs, or let the server have more (max_connections)".into())
        }
        Some(_) => Finding::error(WHAT, text.clone()),
        None => {
            let place = format!("{}:{}", source.host, source.port());
            error(format!(
                "look whether the server runs, listens at {place} (listen_addresses, port) and can be reached from here"
            ))
        }
    }
}

/// The first text in double quotes: of a missing line in `pg_hba.conf` it is our address as the server sees it, in any
/// language.
fn quoted(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('"')?;
    let (address, _) = rest.split_once('"')?;
    address.parse::<std::net::IpAddr>().is_ok().then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_address_is_taken_from_what_the_server_says() {
        let text =
            "no pg_hba.conf entry for host \"10.0.0.7\", user \"u\", database \"d\", no encryption (SQLSTATE 28000)";
        assert_eq!(quoted(text), Some("10.0.0.7"));
        assert_eq!(quoted("kein Eintrag für Host \"fe80::1\""), Some("fe80::1"));
        assert_eq!(quoted("no pg_hba.conf entry for host \"[local]\""), None);
        assert_eq!(quoted("role \"u\" is not permitted to log in"), None);
    }
}
