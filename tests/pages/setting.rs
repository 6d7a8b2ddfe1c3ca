//! What a page takes for granted: a server, a database, a file. And what of its text stands for something else here.

use std::process::Command;

use crate::support::{Postgres, clients, skip};

/// What is there before a page's first block.
#[derive(Debug, Default)]
pub(super) struct Setting {
    /// Typed first, in the shell of the page.
    pub(super) prepared: String,
    /// A server that runs meanwhile, in a terminal of its own.
    pub(super) server: Option<&'static str>,
    /// Typed once the server runs.
    pub(super) made: String,
    /// The database of `sql` blocks, whose name is `app`.
    pub(super) postgres: Option<Postgres>,
    /// Whether `cargo install` has been run: every page but the README has that behind it.
    pub(super) is_installed: bool,
    /// What stands for what, beside ports: a name that is only an example, a folder that the tests must not touch.
    pub(super) substitutions: Vec<(&'static str, String)>,
}

/// A server with the user `admin` and the password `choose-one`.
const SERVE: &str = "TRAILCAST_ADMIN_PASSWORD=choose-one trailcast serve --data-dir ./trailcast-data";
/// The same over TLS, with a certificate that was prepared.
const SERVE_TLS: &str = "TRAILCAST_ADMIN_PASSWORD=choose-one trailcast serve --data-dir ./trailcast-data \
                         --tls-certificate server.pem --tls-key server.key";
/// A trail `a1` with a row, and a stream `s1` over it.
const TRAIL_AND_STREAM: &str = r#"
    curl -u admin:choose-one -X POST http://127.0.0.1:9002/services/v2/trails/a1
    curl -u admin:choose-one -H 'Content-Type: application/json' http://127.0.0.1:9002/services/v2/stream/s1 \
        -d '{"source": {"trail": "a1"}}'
    echo '{"operations":[{"op":"INSERT","table":"app.orders","key":["id"],"after":{"id":0}}]}' |
        TRAILCAST_USER=admin TRAILCAST_PASSWORD=choose-one trailcast put a1
"#;
/// Files of TLS and JWT by the names of the page.
const KEYS: &str = r#"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout server.key -out server.pem \
        -subj /CN=localhost -addext subjectAltName=DNS:localhost 2> /dev/null
    cp server.pem clients.pem
    openssl genrsa -out issuer.key 2048 2> /dev/null && openssl rsa -in issuer.key -pubout -out issuer.pem 2> /dev/null
    export CURL_CA_BUNDLE="$PWD/server.pem"
"#;
/// A stream `s1` at that server.
const STREAM_OVER_TLS: &str = r#"
    curl -u admin:choose-one -H 'Content-Type: application/json' https://localhost:9002/services/v2/stream/s1 \
        -d '{"source": {"trail": "a1"}}'
"#;

impl Setting {
    /// The setting of a page; none, said loudly, where what it needs is not here.
    pub(super) fn of(page: &str) -> Option<Self> {
        if !is_here("curl") {
            skip("no curl");
            return None;
        }
        let server = Self { server: Some(SERVE), made: TRAIL_AND_STREAM.into(), ..Self::bare() };
        let added = |more: &str| format!("{TRAIL_AND_STREAM}{more}");
        Some(match page {
            "README.md" => {
                clients::python_path()?;
                let postgres = Postgres::newest()?;
                postgres.psql("CREATE DATABASE app");
                Self { postgres: Some(postgres), ..Self::default() }
            }
            "docs/authentication.md" => {
                if !is_here("openssl") {
                    skip("no openssl");
                    return None;
                }
                let substitutions = vec![("https://host:", "https://localhost:".to_owned())];
                let (prepared, made) = (KEYS.to_owned(), STREAM_OVER_TLS.to_owned());
                Self { prepared, server: Some(SERVE_TLS), made, substitutions, ..Self::bare() }
            }
            "docs/backup.md" => {
                let made = added("mkdir backups\n");
                Self { made, substitutions: vec![("/backups/", "./backups/".to_owned())], ..server }
            }
            "docs/clients.md" => {
                let name = ("/NAME/", "/s1/".to_owned());
                let named = ("\"NAME\"", "\"s1\"".to_owned());
                let login = ("USER:PASSWORD", "admin:choose-one".to_owned());
                Self { substitutions: vec![name, named, login], ..server }
            }
            "docs/configuration-file.md" => {
                Self { prepared: "export OPS_PASSWORD=choose-one\n".into(), ..Self::bare() }
            }
            "docs/operating.md" => {
                let asked =
                    "export TRAILCAST_USER=admin TRAILCAST_PASSWORD=choose-one TRAILCAST_NEW_PASSWORD=choose-another\n";
                Self { made: added(asked), ..server }
            }
            "docs/partitions.md" => {
                Self { made: added("export TRAILCAST_USER=admin TRAILCAST_PASSWORD=choose-one\n"), ..server }
            }
            "docs/pull-reads.md" => {
                let name = ("/NAME/", "/s1/".to_owned());
                Self { substitutions: vec![name, ("USER:PASSWORD", "admin:choose-one".to_owned())], ..server }
            }
            "docs/puts.md" => {
                let ann = "TRAILCAST_USER=admin TRAILCAST_PASSWORD=choose-one TRAILCAST_NEW_PASSWORD=choose-one \
                           trailcast user add ann --role Operator\n";
                Self { made: added(ann), ..server }
            }
            _ => Self::bare(),
        })
    }

    /// Nothing but the program.
    pub(super) fn bare() -> Self {
        Self { is_installed: true, ..Self::default() }
    }
}

fn is_here(program: &str) -> bool {
    Command::new(program).arg("version").output().is_ok()
}
