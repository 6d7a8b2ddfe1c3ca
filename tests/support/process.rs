//! Child processes that do not outlive the test: killed on drop, and by the kernel when the test process dies.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A command that gets `signal` when the **thread** that spawned it ends: so spawn from the test's own thread, or from
/// one that lives as long.
pub fn tied_command(program: impl AsRef<OsStr>, signal: &str, user: Option<&str>) -> Command {
    if !setpriv_is_here() {
        assert!(user.is_none(), "to run a program as another user the tests need setpriv (package util-linux)");
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.arg(format!("--pdeathsig={signal}"));
    if let Some(user) = user {
        command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--init-groups"]);
    }
    command.arg("--").arg(program);
    command
}

fn setpriv_is_here() -> bool {
    static HERE: OnceLock<bool> = OnceLock::new();
    *HERE.get_or_init(|| Command::new("setpriv").arg("--version").output().is_ok_and(|output| output.status.success()))
}

/// Sends a signal by its name (`TERM`), to one process by its id.
pub fn signal(child: &Child, name: &str) {
    let done = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", child.id())).output().unwrap();
    assert!(done.status.success(), "kill -{name}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Waits for the end of a child; `None` when it still runs after `patience`.
pub fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        // The standard library has no wait with a deadline.
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    static ROOT: OnceLock<bool> = OnceLock::new();
    *ROOT.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or("1 1");
        uids.split_whitespace().nth(1) == Some("0")
    })
}

/// Runs a command to its end and returns what it printed; panics with what it complained of.
pub fn output(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let complaint = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {}\n{complaint}", done.status);
    String::from_utf8(done.stdout).unwrap()
}

/// Copies a folder with owners and modes.
pub fn copy_folder(from: &Path, to: &Path) {
    output(Command::new("cp").arg("-a").arg(from).arg(to));
}

/// A line of `/proc/PID/status`, in KiB.
pub fn memory_kib(pid: u32, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
    value.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}
