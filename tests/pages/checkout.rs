//! A copy of the checkout, and somebody who types the blocks of a page in it.
//!
//! What stands for something else here: `cargo run` and `cargo install` for the program that was built with these tests
//! (`cargo` is a script), the usual ports for free ones, and what the page's setting says. Everything else is as typed.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::block::Block;
use super::setting::Setting;
use super::terminal::Terminal;
use crate::support::clients::project;
use crate::support::port::Port;
use crate::support::waiting::{PATIENCE, until};
use crate::support::{Folder, Server, clients, process};

/// Stands for cargo: what it would build is built.
const CARGO: &str = r#"#!/bin/sh
[ -f Cargo.toml ] || { echo "cargo: no Cargo.toml here" >&2; exit 1; }
case "$*" in
    "run --release -- "*) shift 3; exec PROGRAM "$@" ;;
    "install --path . --locked") mkdir -p "$HOME/.cargo/bin" && exec ln -s PROGRAM "$HOME/.cargo/bin/trailcast" ;;
    *) echo "this test does not know cargo $*" >&2; exit 1 ;;
esac
"#;
/// With this in its configuration curl fails where it is answered with an error, which it would pass over.
const CURLRC: &str = "fail-with-body\nsilent\nshow-error\n";

/// The copy, its terminals, and what is around it.
#[derive(Debug)]
pub(super) struct Checkout {
    // Terminals end before the folder goes that they run in.
    staying: Vec<(String, Terminal)>,
    setting: Setting,
    port: Port,
    terminals: usize,
    folder: Folder,
}

impl Checkout {
    /// A new copy, in the setting of a page.
    pub(super) fn new(setting: Setting) -> Self {
        let folder = Folder::new("page");
        let (copy, home, programs) =
            (folder.path().join("checkout"), folder.path().join("home"), folder.path().join("bin"));
        for folder in [&copy, &home, &programs] {
            std::fs::create_dir(folder).unwrap();
        }
        copy_checkout(&copy);
        std::fs::write(home.join(".curlrc"), CURLRC).unwrap();
        let cargo = programs.join("cargo");
        std::fs::write(&cargo, CARGO.replace("PROGRAM", Server::program().to_str().unwrap())).unwrap();
        std::fs::set_permissions(&cargo, PermissionsExt::from_mode(0o755)).unwrap();
        if setting.is_installed {
            symlink(Server::program(), programs.join("trailcast")).unwrap();
        }
        let (prepared, server, made) = (setting.prepared.clone(), setting.server, setting.made.clone());
        let mut checkout = Self { staying: Vec::new(), setting, port: Port::hold(), terminals: 0, folder };
        std::fs::write(checkout.state(), format!("cd '{}'\n", copy.display())).unwrap();
        checkout.type_in("the page's setting", &prepared);
        if let Some(server) = server {
            checkout.leave_running("the page's setting", server, "listening on");
        }
        checkout.type_in("the page's setting", &made);
        checkout
    }

    /// Runs a block, unless it is marked; whether it was run.
    pub(super) fn run(&mut self, block: &Block) -> bool {
        if block.mark("not run").is_some() {
            return false;
        }
        let place = block.place();
        println!("{place}");
        if block.mark("Ctrl-C").is_some() {
            self.interrupt_all();
        }
        if let Some(question) = block.mark("once") {
            until(|| if self.ask(&place, question).is_empty() { Err(format!("{place}: no row")) } else { Ok(()) });
        }
        let text = self.substituted(&block.text);
        let script = match block.language.as_str() {
            "" | "sh" => text,
            "console" => {
                text.lines().filter_map(|line| line.strip_prefix("$ ")).map(|line| format!("{line}\n")).collect()
            }
            "python" => {
                let file = self.write("snippet.py", &text);
                format!("python '{}'\n", file.display())
            }
            "toml" => {
                let file = self.write(block.mark("file").unwrap_or("page.toml"), &text);
                format!("trailcast config check --config '{}'\n", file.display())
            }
            "sql" => return self.run_sql(block, &text),
            "json" => {
                let values = serde_json::Deserializer::from_str(&text).into_iter::<serde_json::Value>();
                values.for_each(|value| drop(value.unwrap_or_else(|error| panic!("{place}: {error}"))));
                return true;
            }
            "yaml" => {
                let value: Result<serde_yaml::Value, _> = serde_yaml::from_str(&text);
                value.unwrap_or_else(|error| panic!("{place}: {error}"));
                return true;
            }
            other => panic!("{place}: a block of {other} is neither run nor marked"),
        };
        match block.mark("stays") {
            Some(says) => self.leave_running(&place, &script, says),
            None => self.type_in(&place, &script),
        }
        true
    }

    /// Types a script into the shell of the page, which keeps folder and variables from one to the next.
    fn type_in(&mut self, place: &str, script: &str) {
        let kept = format!("{{ export -p; printf 'cd %q\\n' \"$PWD\"; }} > '{}'\n", self.state().display());
        let mut terminal = self.terminal(&format!("{}\n{kept}", self.substituted(script)));
        let ended = terminal.end();
        if !ended.is_some_and(|status| status.success()) {
            panic!("{place}: it ends with {ended:?}\n{script}it printed:\n{}", terminal.printed());
        }
    }

    /// Types a script into another terminal, where its last command goes on.
    fn leave_running(&mut self, place: &str, script: &str, says: &str) {
        let mut terminal = self.terminal(&self.substituted(script));
        if let Err(what) = terminal.wait_for(says) {
            panic!("{place}: {what}\n{script}it printed:\n{}", terminal.printed());
        }
        self.staying.push((place.to_owned(), terminal));
    }

    fn interrupt_all(&mut self) {
        // The last one first: a subscriber before its server, whose end would only make it try again.
        while let Some((place, mut terminal)) = self.staying.pop() {
            terminal.interrupt().unwrap_or_else(|what| panic!("{place}: {what}"));
        }
    }

    fn terminal(&mut self, script: &str) -> Terminal {
        self.terminals += 1;
        let output = self.folder.path().join(format!("terminal-{}.txt", self.terminals));
        // A terminal's programs end on Ctrl-C, also where whoever runs the tests has that signal ignored.
        let mut shell = process::tied_command("env", "KILL", None);
        shell.args(["--default-signal=INT", "bash"]);
        let begin = format!(". '{}'\nset -eo pipefail\n", self.state().display());
        shell.arg("-c").arg(begin + script);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TRAILCAST_") {
                shell.env_remove(name);
            }
        }
        let home = self.folder.path().join("home");
        shell.env("PATH", self.path(&home)).env("HOME", &home).env("CURL_HOME", &home);
        // Where the program listens, and asks, unless told otherwise.
        let address = format!("127.0.0.1:{}", self.port.number());
        shell.env("TRAILCAST_URL", format!("http://{address}")).env("TRAILCAST_LISTEN", address);
        shell.env("PYTHONUNBUFFERED", "1").env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
        Terminal::start(shell, output)
    }

    /// Ours first, then what `cargo install` makes, the tests' own Python, and what the machine has.
    fn path(&self, home: &Path) -> String {
        let python = clients::python_path().and_then(|python| python.parent().map(Path::to_owned));
        let own = [Some(self.folder.path().join("bin")), Some(home.join(".cargo/bin")), python];
        let mut path: Vec<String> = own.iter().flatten().map(|folder| folder.display().to_string()).collect();
        path.push(std::env::var("PATH").unwrap());
        path.join(":")
    }

    fn run_sql(&self, block: &Block, text: &str) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = self.psql(&block.place(), text);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if output.status.success() {
                return true;
            }
            let again = block.mark("again while").is_some_and(|why| said.contains(why)) && Instant::now() < deadline;
            assert!(again, "{}: {}\n{text}it printed:\n{said}", block.place(), output.status);
        }
    }

    fn ask(&self, place: &str, question: &str) -> String {
        let output = self.psql(place, question);
        assert!(output.status.success(), "{place}: {question}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn psql(&self, place: &str, text: &str) -> std::process::Output {
        let postgres = self.setting.postgres.as_ref().unwrap_or_else(|| panic!("{place}: the page has no database"));
        let mut psql = postgres.psql_command();
        psql.args(["-d", "app", "-f"]).arg(self.write("page.sql", text));
        psql.output().unwrap()
    }

    fn substituted(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (from, to) in &self.setting.substitutions {
            text = text.replace(from, to);
        }
        if let Some(postgres) = &self.setting.postgres {
            text = text.replace("5432", &postgres.port().to_string());
        }
        text.replace("9002", &self.port.number().to_string())
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state.sh")
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join("checkout").join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// What is in the repository and what was changed since, without what is built or installed.
fn copy_checkout(to: &Path) {
    let script = "tar -C \"$0\" --exclude=./.git --exclude=./target --exclude=./tests/.venv --exclude=./tests/.venv27 \
                  --exclude=node_modules --exclude='./trailcast-*' --exclude=./compare-results --exclude=./benches/compare/.venv \
                  -cf - . | tar -C \"$1\" -xf -";
    process::output(Command::new("bash").args(["-o", "pipefail", "-c", script]).arg(project()).arg(to));
}
