//! A real MariaDB for one test: a data folder of its own, a socket in it and no port, gone when the test is over.
//!
//! The programs are those of Debian's packages `mariadb-server-core` and `mariadb-client-core`, wherever they stand.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::log::Log;
use crate::support::{Folder, process, skip};

const START: Duration = Duration::from_secs(60);

/// A running server. The superuser is `root`, without a password; the database is `d`.
#[derive(Debug)]
pub struct MariaDb {
    child: Child,
    log: Log,
    folder: Folder,
}

/// Where a program stands; it need not be in `PATH` for whoever is not root.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/bin".into()]);
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

impl MariaDb {
    /// A server with the settings that it has by itself; `None`, said loudly, where MariaDB is not installed.
    pub fn start() -> Option<Self> {
        let found = ["mariadbd", "mariadb-install-db", "mariadb"].map(program);
        let [Some(server), Some(install), Some(_)] = found else {
            skip("no MariaDB is installed");
            return None;
        };
        let folder = Folder::new("mariadb");
        let as_root = process::is_root().then_some("--user=root");
        let data = format!("--datadir={}", folder.path().join("data").display());
        let options = ["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"];
        process::output(Command::new(install).arg("--no-defaults").args(as_root).arg(&data).args(options));
        let mut command = process::tied_command(server, "KILL", None);
        command.arg("--no-defaults").args(as_root).arg(&data).arg("--skip-networking");
        command.arg(format!("--socket={}", socket(folder.path()).display()));
        command.arg(format!("--pid-file={}", folder.path().join("pid").display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = child.stderr.take().map(Log::follow).unwrap_or_default();
        let server = Self { child, log, folder };
        let ready = server.log.wait_for("ready for connections", START);
        assert!(ready.is_some(), "MariaDB does not start:\n{}", server.log.text());
        server.run("mysql", "create database d");
        Some(server)
    }

    /// Runs statements; returns what they select, a row a line, tabs between.
    pub fn sql(&self, sql: &str) -> String {
        self.run("d", sql)
    }

    fn run(&self, database: &str, sql: &str) -> String {
        let file = self.folder.path().join("statements.sql");
        std::fs::write(&file, sql).unwrap();
        let mut command = Command::new(program("mariadb").unwrap());
        command.args([
            "--no-defaults",
            "--user=root",
            "--skip-column-names",
            "--batch",
            "--default-character-set=utf8mb4",
        ]);
        command.arg(format!("--socket={}", socket(self.folder.path()).display())).arg(database);
        process::output(command.stdin(std::fs::File::open(&file).unwrap())).trim_end_matches('\n').to_owned()
    }
}

/// The path of a socket has room for 107 bytes.
fn socket(folder: &Path) -> PathBuf {
    folder.join("s")
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("MariaDB said:\n{}", self.log.text());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
