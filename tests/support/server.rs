//! The real `trailcast serve` on a port and a data folder of its own, killed and started again at will.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::http::{self, Answer, Basic};
use super::log::Log;
use super::port::Port;
use super::process;
use super::subscriber::{Refused, Subscriber};
use super::waiting::{PATIENCE, until};
use super::workplace::Folder;

/// The user that every first start makes.
pub const USER: &str = "admin";
/// Its password in the tests.
pub const PASSWORD: &str = "correct-horse-9";
const START: Duration = Duration::from_secs(60);
const LISTENING: &str = "listening on http";

/// A running server, or one between two lives.
#[derive(Debug)]
pub struct Server {
    child: Option<Child>,
    port: Port,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    credentials: Basic,
    log: Log,
    /// Where standard error goes, when not to the log.
    stderr: Option<OwnedFd>,
    /// How many files it may open, when not as many as the tests.
    files_max: Option<u64>,
    data: Folder,
}

impl Server {
    /// A server on an empty data folder.
    pub fn start() -> Self {
        Self::start_with(&[], &[])
    }

    /// A server on an empty data folder with further arguments of `serve` and further environment variables.
    pub fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::stopped(Folder::new("data"), arguments, environment).started()
    }

    /// A server on a data folder that is there.
    pub fn start_on(data: Folder, arguments: &[&str]) -> Self {
        Self::stopped(data, arguments, &[]).started()
    }

    /// A server whose standard error goes somewhere else than to the log that tests wait for.
    pub fn start_telling(stderr: OwnedFd, data: Folder, environment: &[(&str, &str)]) -> Self {
        let mut server = Self::stopped(data, &[], environment);
        server.stderr = Some(stderr);
        server.started()
    }

    /// A server that may not have more than `files_max` files open.
    pub fn start_with_files(files_max: u64, arguments: &[&str]) -> Self {
        let mut server = Self::stopped(Folder::new("data"), arguments, &[]);
        server.files_max = Some(files_max);
        server.started()
    }

    fn started(mut self) -> Self {
        self.start_again();
        self
    }

    fn stopped(data: Folder, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self {
            child: None,
            port: Port::hold(),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            environment: environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            credentials: Basic::new(USER, PASSWORD),
            log: Log::default(),
            stderr: None,
            files_max: None,
            data,
        }
    }

    /// The program under test.
    pub fn program() -> PathBuf {
        PathBuf::from(env!("CARGO_BIN_EXE_trailcast"))
    }

    /// Starts the server, again on its folder and its port.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "the server runs already");
        let mut command = match self.files_max {
            None => process::tied_command(Self::program(), "KILL", None),
            Some(files) => {
                let mut shell = process::tied_command("sh", "KILL", None);
                shell.args(["-c", &format!("ulimit -n {files}; exec \"$@\""), "sh"]).arg(Self::program());
                shell
            }
        };
        command
            .args(["serve", "--listen", &format!("127.0.0.1:{}", self.port())])
            .arg("--data-dir")
            .arg(self.data.path())
            .args(&self.arguments)
            .env("TRAILCAST_ADMIN_PASSWORD", PASSWORD)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(self.stderr.as_ref().map_or_else(Stdio::piped, |stderr| stderr.try_clone().unwrap().into()));
        let mut child = command.spawn().unwrap();
        self.log = child.stderr.take().map(Log::follow).unwrap_or_default();
        self.child = Some(child);
        if self.stderr.is_some() {
            let answers = || http::request(self.port(), "GET", "/healthz", &[], b"");
            return until(|| answers().map(drop).map_err(|error| format!("the server does not start: {error}")));
        }
        if self.log.wait_for(LISTENING, START).is_none() {
            panic!("the server does not start:\n{}", self.log.text());
        }
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, and waits for the exit status.
    pub fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        process::signal(&child, "TERM");
        process::wait(&mut child, Duration::from_secs(20)).unwrap_or_else(|| {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the server does not end on SIGTERM:\n{}", self.log.text())
        })
    }

    /// Its data folder, for who goes on without it; it is ended first.
    pub fn into_data(mut self) -> Folder {
        self.kill();
        std::mem::replace(&mut self.data, Folder::adopt(PathBuf::new()))
    }

    /// Changes a variable of the environment from the next start on.
    pub fn set_environment(&mut self, name: &str, value: Option<&str>) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Its data folder.
    pub fn data_dir(&self) -> &Path {
        self.data.path()
    }

    /// The credentials of the administrator.
    pub fn credentials(&self) -> &Basic {
        &self.credentials
    }

    /// `http://admin:…@127.0.0.1:PORT`, without a slash at the end; `scheme` is `http` or `ws`.
    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{USER}:{PASSWORD}@127.0.0.1:{}", self.port())
    }

    /// The last of what it wrote to standard error, for the message of a test that fails: a line that it has written may not
    /// be here yet. Whoever expects one waits for it, and whoever expects none waits for [`Self::last_words`].
    pub fn log_text(&self) -> String {
        self.log.text()
    }

    /// The first line of its log that holds `part`, waited for.
    pub fn says(&self, part: &str) -> String {
        self.says_times(part, 1).swap_remove(0)
    }

    /// The lines of its log that hold `part`, once there are `count` of them.
    pub fn says_times(&self, part: &str, count: usize) -> Vec<String> {
        let found = self.log.wait_for_lines(part, count, PATIENCE);
        found.unwrap_or_else(|| panic!("it does not say {part:?} {count} times:\n{}", self.log.text()))
    }

    /// Ends it in good order; all that it said in this life.
    pub fn last_words(&mut self) -> String {
        let status = self.terminate();
        assert!(status.success(), "{status}:\n{}", self.log.text());
        self.log.whole(PATIENCE).unwrap_or_else(|| panic!("its log does not end:\n{}", self.log.text()))
    }

    /// Waits for a line of its log that holds `part`; none if it does not come within `patience`.
    pub fn wait_for_log(&self, part: &str, patience: Duration) -> Option<String> {
        self.log.wait_for(part, patience)
    }

    /// One request as the administrator, with any headers and body.
    pub fn request(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut all = vec![("Authorization", self.credentials.header())];
        all.extend_from_slice(headers);
        http::request(self.port(), method, target, &all, body)
            .unwrap_or_else(|error| panic!("{method} {}: {error}\n{}", shortened(target), self.log.text()))
    }

    /// GET.
    pub fn get(&self, target: &str) -> Answer {
        self.request("GET", target, &[], b"")
    }

    /// What is asked for (the member `response`), once it is as wanted.
    pub fn get_until(&self, target: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(|| {
            let seen = self.get(target).expect(200).response();
            if wanted(&seen) { Ok(seen) } else { Err(format!("{target}: {seen}\n{}", self.log.text())) }
        })
    }

    /// What `/readyz` says to the administrator, once its status is `status`.
    pub fn readiness(&self, status: u16) -> Value {
        self.get_ready_until(|seen| seen["ready"] == (status == 200))
    }

    /// What `/readyz` says to the administrator, once it is as wanted.
    pub fn get_ready_until(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        until(|| {
            let seen = self.get("/readyz").json();
            if wanted(&seen) { Ok(seen) } else { Err(format!("{seen}\n{}", self.log.text())) }
        })
    }

    /// A sample of `/metrics` by its name with labels, once it is there and as wanted.
    pub fn sample_until(&self, name: &str, wanted: impl Fn(f64) -> bool) -> f64 {
        until(|| {
            let page = self.get("/metrics").expect(200).text();
            let is = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
            match is {
                Some(value) if wanted(value) => Ok(value),
                seen => Err(format!("{name} is {seen:?}\n{}", self.log.text())),
            }
        })
    }

    /// DELETE.
    pub fn delete(&self, target: &str) -> Answer {
        self.request("DELETE", target, &[], b"")
    }

    /// POST of a JSON value.
    pub fn post(&self, target: &str, body: &Value) -> Answer {
        self.post_text(target, &body.to_string())
    }

    /// POST of a text that is said to be JSON.
    pub fn post_text(&self, target: &str, body: &str) -> Answer {
        self.request("POST", target, &[("Content-Type", "application/json")], body.as_bytes())
    }

    /// PATCH of a JSON value.
    pub fn patch(&self, target: &str, body: &Value) -> Answer {
        self.request("PATCH", target, &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }

    /// Makes a trail for puts.
    pub fn make_trail(&self, trail: &str) {
        self.post(&format!("/services/v2/trails/{trail}"), &serde_json::json!({})).expect(200);
    }

    /// Makes a stream over a trail.
    pub fn make_stream(&self, stream: &str, trail: &str) {
        let body = serde_json::json!({"source": {"trail": trail}});
        self.post(&format!("/services/v2/stream/{stream}"), &body).expect(200);
    }

    /// Puts transactions, one or many values.
    pub fn put(&self, trail: &str, transactions: &[Value]) -> Answer {
        let lines: Vec<String> = transactions.iter().map(Value::to_string).collect();
        let target = format!("/services/v2/trails/{trail}/transactions");
        self.request("POST", &target, &[("Content-Type", "application/x-ndjson")], lines.join("\n").as_bytes())
    }

    /// Subscribes to a stream; `query` is empty or `begin=…`.
    pub fn subscribe(&self, stream: &str, query: &str) -> Result<Subscriber, Refused> {
        subscribe(self.port(), stream, query, &self.credentials)
    }
}

/// Subscribes to a stream of the server at `port`, from a thread that does not hold the [`Server`].
pub fn subscribe(port: u16, stream: &str, query: &str, credentials: &Basic) -> Result<Subscriber, Refused> {
    let mark = if query.is_empty() { "" } else { "?" };
    Subscriber::connect(port, &format!("/services/v2/stream/{stream}{mark}{query}"), Some(credentials))
}

fn shortened(target: &str) -> String {
    target.chars().take(200).collect()
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the server said:\n{}", self.log.text());
        }
    }
}
