//! The configuration file, in TOML.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::face_listeners::{self, FaceListener};
use super::limit_members::LimitMembers;
use super::problem::{Problem, Problems, line_at};
use super::resources::{self, FileUser, PasswordSource};
use super::section::Section;
use super::security::{self, AuditSizes, JwtMembers, TlsMembers};
use super::{ListenAddress, LogFormat, members};
use crate::access::{JwtRules, Network};
use crate::catalog::extract::ExtractConfig;
use crate::catalog::stream::StreamConfig;
use crate::catalog::trail::TrailSettings;
use crate::limits;
use crate::record::{ResourceName, TrailName};

/// What a configuration file says; `None` and empty where it says nothing.
#[derive(Debug, Clone, Default)]
pub struct ConfigFile {
    /// `listen`.
    pub listen: Option<SocketAddr>,
    /// `dataDir`.
    pub data_dir: Option<PathBuf>,
    /// `publicUrl`.
    pub public_url: Option<String>,
    /// `allowedOrigins`.
    pub allowed_origins: Vec<String>,
    /// `allowPlainText`.
    pub allow_plain_text: Option<bool>,
    /// `trustedProxies`.
    pub trusted_proxies: Vec<Network>,
    /// `proxyProtocol`.
    pub proxy_protocol: Option<bool>,
    /// `[tls]`.
    pub tls: TlsMembers,
    /// `digest`.
    pub digest: Option<bool>,
    /// `[jwt]`.
    pub jwt: Option<(JwtMembers, JwtRules)>,
    /// `log`.
    pub log: Option<String>,
    /// `logFormat`.
    pub log_format: Option<LogFormat>,
    /// `audit.file`.
    pub audit_file: Option<PathBuf>,
    /// The other members of `[audit]`.
    pub audit_sizes: AuditSizes,
    /// `[limits]`.
    pub limits: LimitMembers,
    /// `[face.NAME]`.
    pub faces: Vec<FaceListener>,
    /// `[[user]]`.
    pub users: Vec<FileUser>,
    /// Where the password of each `[[user]]` stands, by its number: also of one that has a fault.
    pub user_passwords: Vec<(usize, PasswordSource)>,
    /// `[[trail]]`.
    pub trails: Vec<(TrailName, TrailSettings)>,
    /// `[[extract]]`.
    pub extracts: Vec<(ResourceName, ExtractConfig)>,
    /// `[[stream]]`.
    pub streams: Vec<(ResourceName, StreamConfig)>,
}

/// A configuration file cannot be used: everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFileError {
    /// The file; empty for a text of no file.
    pub path: PathBuf,
    /// What is wrong, in the order of the file; at least one.
    pub problems: Vec<Problem>,
}

impl std::error::Error for ConfigFileError {}

impl std::fmt::Display for ConfigFileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.path.as_os_str().is_empty() {
            write!(f, "{}: ", self.path.display())?;
        }
        for (at, problem) in self.problems.iter().enumerate() {
            let separator = if at == 0 { "" } else { "\n  " };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl ConfigFile {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ConfigFileError> {
        let (read, problems, _) = Self::survey(path);
        if problems.is_empty() { Ok(read) } else { Err(ConfigFileError { path: path.into(), problems }) }
    }

    /// What a file says as far as it can be read, everything that is wrong with it, and its text.
    pub fn survey(path: &Path) -> (Self, Vec<Problem>, String) {
        match Self::text_of(path) {
            Ok(text) => {
                let (read, problems) = Self::survey_text(&text);
                (read, problems, text)
            }
            Err(message) => (Self::default(), vec![Problem::of("", message)], String::new()),
        }
    }

    fn text_of(path: &Path) -> Result<String, String> {
        let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
        let mut text = String::new();
        let limit = limits::CONFIG_FILE_BYTES_MAX;
        let read = file.take(limit + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
        if read as u64 > limit {
            return Err(format!("a configuration file has at most {limit} bytes"));
        }
        Ok(text)
    }

    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<Self, ConfigFileError> {
        let (read, problems) = Self::survey_text(text);
        if problems.is_empty() { Ok(read) } else { Err(ConfigFileError { path: PathBuf::new(), problems }) }
    }

    fn survey_text(text: &str) -> (Self, Vec<Problem>) {
        let table: toml::Table = match text.parse() {
            Ok(table) => table,
            Err(error) => return (Self::default(), not_toml(text, &error)),
        };
        let problems = Problems::default();
        members::check("", &table, members::FILE, &problems);
        let read = Self::of_section(&Section::of_file(&table, &problems));
        (read, problems.located(text))
    }

    fn of_section(file: &Section<'_>) -> Self {
        let audit = file.inner("audit");
        let (users, user_passwords) = resources::users(file);
        Self {
            listen: file.parsed("listen").map(|ListenAddress(address)| address),
            data_dir: file.text("dataDir").map(PathBuf::from),
            public_url: file.text("publicUrl").map(str::to_owned),
            allowed_origins: file.texts("allowedOrigins"),
            allow_plain_text: file.truth("allowPlainText"),
            trusted_proxies: security::trusted_proxies(file),
            proxy_protocol: file.truth("proxyProtocol"),
            tls: TlsMembers::read(file),
            digest: file.truth("digest"),
            jwt: JwtMembers::read(file),
            log: file.text("log").map(str::to_owned),
            log_format: file.parsed("logFormat"),
            audit_file: audit.as_ref().and_then(|audit| audit.text("file")).map(PathBuf::from),
            audit_sizes: audit.as_ref().map(AuditSizes::read).unwrap_or_default(),
            limits: LimitMembers::read(file),
            faces: face_listeners::read(file),
            users,
            user_passwords,
            trails: resources::trails(file),
            extracts: resources::extracts(file),
            streams: resources::streams(file),
        }
    }
}

/// Every error of the syntax. The parser's own text would show the line, which may hold a password.
fn not_toml(text: &str, first: &toml::de::Error) -> Vec<Problem> {
    let problem = |error: &toml::de::Error| Problem {
        line: Some(line_at(text, error.span().map_or(0, |span| span.start))),
        ..Problem::of("", error.message().lines().next().unwrap_or("not TOML"))
    };
    let (_, all) = DeTable::parse_recoverable(text);
    let mut problems: Vec<Problem> =
        if all.is_empty() { vec![problem(first)] } else { all.iter().map(problem).collect() };
    problems.sort_by_key(|problem| problem.line);
    // One slip makes the parser stumble more than once.
    problems.dedup_by_key(|problem| problem.line);
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PasswordSource;

    fn error(text: &str) -> String {
        ConfigFile::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn every_member_is_read() {
        let file = ConfigFile::parse(
            r#"
            listen = "127.0.0.1:9100"
            dataDir = "/var/lib/trailcast"
            publicUrl = "https://streams.example.com"
            allowedOrigins = ["https://app.example.com"]
            allowPlainText = false
            log = "info,trailcast::capture=debug"
            logFormat = "json"

            [limits]
            connections = 7

            [[extract]]
            name = "orders"
            tables = ["public.*"]
            trail = "a1"
            [extract.source]
            type = "postgresql"
            host = "db"
            database = "shop"
            user = "trailcast"
            password = "secret"

            [[stream]]
            name = "s1"
            source.trail = "a1"
            encoding.json.model = "row"
            [[stream.rules]]
            action = "include"
            filter.objectNames = ["public.orders"]
            "#,
        )
        .unwrap();
        assert_eq!(file.listen.unwrap().port(), 9100);
        assert_eq!(file.public_url.as_deref(), Some("https://streams.example.com"));
        assert_eq!(file.allowed_origins, ["https://app.example.com"]);
        assert_eq!((file.allow_plain_text, file.log_format), (Some(false), Some(LogFormat::Json)));
        assert_eq!(file.limits.server.connections_max, 7);
        assert_eq!(file.extracts[0].0.as_str(), "orders");
        assert_eq!(file.extracts[0].1.source.host, "db");
        assert_eq!(file.streams[0].1.as_given()["encoding"]["json"]["model"], "row");
    }

    #[test]
    fn an_unknown_member_is_refused_and_the_nearest_named() {
        assert_eq!(
            error("dataDirectory = \"x\""),
            "line 1: dataDirectory: unknown member; the members here are listen, dataDir, publicUrl, allowedOrigins, \
             allowPlainText, trustedProxies, \
             proxyProtocol, tls, digest, jwt, log, logFormat, audit, limits, face, user, extract, trail, stream"
        );
        assert_eq!(error("data_dir = \"x\""), "line 1: data_dir: unknown member; did you mean \"dataDir\"?");
        assert!(error("[[extracts]]").contains("did you mean \"extract\"?"));
        let nested = error("[[stream]]\nname = \"s1\"\nsource.trail = \"a1\"\nbufersize = 1");
        assert!(
            nested.starts_with("line 4: stream[0].bufersize: unknown member; did you mean \"bufferSize\"?"),
            "{nested}"
        );
        let deep = error("[[stream]]\nname = \"s1\"\nsource.trail = \"a1\"\n[stream.encoding.json]\nflaten = true");
        assert!(
            deep.starts_with("line 5: stream[0].encoding.json.flaten: unknown member; did you mean \"flatten\"?"),
            "{deep}"
        );
    }

    #[test]
    fn an_error_names_the_member_or_the_line() {
        assert!(error("listen = 9002").starts_with("line 1: listen: must be"));
        assert!(error("listen = \"9002\"").starts_with("line 1: listen: must be an address and a port"));
        assert!(error("logFormat = \"xml\"").starts_with("line 1: logFormat: must be"));
        assert!(error("allowPlainText = \"yes\"").starts_with("line 1: allowPlainText: must be true or false"));
        assert!(error("[[stream]]\nsource.trail = \"a1\"").starts_with("line 1: stream[0].name: is missing"));
        let twice = "[[stream]]\nname = \"s\"\nsource.trail = \"a1\"\n";
        assert!(error(&format!("{twice}{twice}")).contains("line 5: stream[1].name: s is named twice"));
        assert!(error("\n\nlog = = 1").starts_with("line 3: "));
    }

    #[test]
    fn an_error_does_not_show_a_password() {
        for text in [
            "password = \"hunter2",
            "[[extract]]\nname = \"e\"\n[extract.source]\npassword = \"hunter2\"\nhost = 3",
            "[[extract]]\nname = \"e\"\nsource.password = [\"hunter2\"]",
            "[[extract]]\nname = \"e\"\nsource = \"postgres://u:hunter2@h/d\"",
        ] {
            assert!(!error(text).contains("hunter2"), "{}", error(text));
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let path = Path::new("/nowhere/trailcast.toml");
        assert!(ConfigFile::read(path).unwrap_err().to_string().starts_with("/nowhere/trailcast.toml: "));
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once_and_in_the_order_of_the_file() {
        let text = r#"
            listen = 7
            lgo = "info"
            [audit]
            maxBytes = 1
            [[user]]
            name = "a:b"
            [[extract]]
            name = "e1"
            tables = ["public.*"]
            trail = "a1"
            source = { type = "postgresql", hots = "db", database = "d", user = "u" }
            [[stream]]
            name = "s1"
            source.trail = "a1"
            bufferSize = 1
            qualityOfService = "never"
        "#;
        let problems = ConfigFile::parse(text).unwrap_err().problems;
        let found: Vec<_> = problems.iter().map(|problem| (problem.line.unwrap(), problem.member.as_str())).collect();
        let expected = [
            (2, "listen"),
            (3, "lgo"),
            (5, "audit.maxBytes"),
            (6, "user[0].role"),
            (6, "user[0].passwordFile"),
            (7, "user[0].name"),
            (12, "extract[0].source.hots"),
            (16, "stream[0].bufferSize"),
            (17, "stream[0].qualityOfService"),
        ];
        assert_eq!(found, expected);
        let syntax = ConfigFile::parse("a = \nb = 1\nc = = 2").unwrap_err().problems;
        assert_eq!(syntax.iter().map(|problem| problem.line).collect::<Vec<_>>(), [Some(1), Some(3)]);
    }

    #[test]
    fn a_wrong_member_of_an_extract_is_named() {
        let extract = |source: &str, more: &str| {
            let text = format!(
                "[[extract]]\nname = \"e\"\ntables = [\"public.*\"]\ntrail = \"a1\"\n{more}\n[extract.source]\n\
                 database = \"d\"\nuser = \"u\"\n{source}"
            );
            error(&text)
        };
        let right = "type = \"postgresql\"\nhost = \"h\"";
        for (source, more, says) in [
            ("type = \"oracle\"\nhost = \"h\"", "", "line 9: extract[0].source.type: unknown variant"),
            ("type = \"postgresql\"\nhost = 7", "", "line 10: extract[0].source.host: invalid type"),
            ("type = \"postgresql\"", "", "line 6: extract[0].source.host: is required"),
            (right, "status = \"asleep\"", "line 5: extract[0].status: unknown variant"),
            (right, "postgresql.slot = \"Upper\"", "line 5: extract[0].postgresql.slot: 1 to 63"),
        ] {
            let said = extract(source, more);
            assert!(said.starts_with(says), "{said}");
        }
    }

    #[test]
    fn users_trails_audit_and_limits_are_read() {
        let file = ConfigFile::parse(
            r#"
            [audit]
            file = "audit.log"
            keep = 3
            [limits]
            connections = 100
            slowClientSeconds = 60
            [[user]]
            name = "ann"
            role = "Operator"
            passwordFile = "/run/secrets/ann"
            [[user]]
            name = "bob"
            role = "Administrator"
            passwordEnv = "BOB_PASSWORD"
            [[trail]]
            name = "a1"
            retention.ageSeconds = 60
            "#,
        )
        .unwrap();
        assert_eq!(file.users[0].password, PasswordSource::File("/run/secrets/ann".into()));
        assert_eq!(file.users[1].password, PasswordSource::Environment("BOB_PASSWORD".into()));
        assert_eq!(file.trails[0].1.retention_seconds, Some(60));
        assert_eq!((file.limits.server.connections_max, file.limits.sockets.slow.as_secs()), (100, 60));
        assert_eq!((file.audit_file, file.audit_sizes.kept), (Some("audit.log".into()), 3));
    }

    #[test]
    fn a_users_password_does_not_stand_in_the_file() {
        let both = "[[user]]\nname = \"a\"\nrole = \"User\"\n";
        assert!(
            error(&format!("{both}password = \"hunter2\"")).contains("unknown member; did you mean \"passwordEnv\"?")
        );
        assert!(error(both).contains("either passwordFile or passwordEnv"));
        assert!(error(&format!("{both}passwordFile = \"f\"\npasswordEnv = \"E\"")).contains("either passwordFile"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}") {
            let _ = ConfigFile::parse(&text);
        }
    }
}
