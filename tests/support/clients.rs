//! Interpreters for the example programs: Python with its packages in `tests/.venv`, Node with `tests/clients`.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Folder, process, skip};

/// The project's folder.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A Python that has `websockets` and `requests`; `None`, said loudly, when `tests/run` has not made one.
pub fn python() -> Option<Command> {
    let mut command = process::tied_command(python_path()?, "KILL", None);
    command.env("PYTHONUNBUFFERED", "1").current_dir(project());
    Some(command)
}

/// The same, when it also has the package of that name.
pub fn python_with(package: &str) -> Option<Command> {
    let has = Command::new(python_path()?).args(["-c", &format!("import {package}")]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        skip(&format!("no Python with {package} in tests/.venv (tests/run installs it)"));
        return None;
    }
    python()
}

/// [`node`], when the package of that name is there too.
pub fn node_with(package: &str, script: &str) -> Option<(Command, Folder)> {
    if !project().join("tests/clients/node_modules").join(package).exists() {
        skip(&format!("no {package} in tests/clients/node_modules (tests/run installs it)"));
        return None;
    }
    node(script)
}

/// Where that Python is.
pub fn python_path() -> Option<PathBuf> {
    let listed = std::env::var_os("TRAILCAST_TEST_PYTHON").map(PathBuf::from);
    let python = listed.unwrap_or_else(|| project().join("tests/.venv/bin/python"));
    let probe = Command::new(&python).args(["-c", "import websockets, requests"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        skip("no Python with websockets and requests in tests/.venv (tests/run makes it)");
        return None;
    }
    Some(python)
}

/// Node on a script of the project that imports `ws`; `None`, said loudly, when there is none. The script runs as a
/// copy in a folder with the packages beside it, where a module finds them; keep the folder until it ended.
pub fn node(script: &str) -> Option<(Command, Folder)> {
    let modules = project().join("tests/clients/node_modules");
    let found = modules.join("ws").exists()
        && Command::new("node").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        skip("no Node with ws in tests/clients/node_modules (tests/run installs it)");
        return None;
    }
    let folder = Folder::new("node");
    std::os::unix::fs::symlink(&modules, folder.path().join("node_modules")).unwrap();
    let script = project().join(script);
    let copy = folder.path().join(script.file_name().unwrap());
    std::fs::copy(&script, &copy).unwrap();
    let mut command = process::tied_command("node", "KILL", None);
    command.arg(copy).current_dir(folder.path());
    Some((command, folder))
}
