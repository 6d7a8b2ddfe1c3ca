//! Goal: what a server cannot do it says in one clear line, with the right exit code. Method: start it where it cannot.

use super::command::{run, stderr, trailcast};
use crate::support::{Folder, Server};

fn fails(arguments: &[&str], code: i32, says: &str) {
    let output = run(trailcast(arguments), "");
    let complaint = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {complaint}");
    assert!(complaint.contains(says), "{arguments:?}: {complaint}");
    assert_eq!(complaint.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{complaint}");
}

#[test]
fn wrong_usage_ends_with_2() {
    for arguments in [&["serve", "--listen", "here"][..], &["serve", "--nonsense"], &["fly"], &["tail"], &[]] {
        let output = run(trailcast(arguments), "");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
    }
    fails(&["serve", "--listen", "0.0.0.0:0"], 2, "--allow-plain-text");
    fails(&["demo", "--listen", "0.0.0.0:0"], 2, "loopback");
    fails(&["tail", "s1", "--url", "localhost:9002"], 2, "--url");
}

#[test]
fn help_and_version_end_with_0() {
    for arguments in [&["--help"][..], &["--version"], &["serve", "--help"]] {
        assert!(run(trailcast(arguments), "").status.success(), "{arguments:?}");
    }
}

#[test]
fn a_configuration_file_that_is_missing_or_wrong_ends_with_1() {
    fails(&["serve", "--config", "/nowhere/trailcast.toml"], 1, "/nowhere/trailcast.toml");
    let folder = Folder::new("config");
    let path = folder.path().join("trailcast.toml");
    std::fs::write(&path, "listne = \"127.0.0.1:0\"\n").unwrap();
    fails(&["serve", "--config", path.to_str().unwrap()], 1, "did you mean \"listen\"?");
}

#[test]
fn a_used_port_and_a_used_folder_end_with_1() {
    let server = Server::start();
    let folder = Folder::new("other");
    let port = server.port().to_string();
    let address = format!("127.0.0.1:{port}");
    fails(&["serve", "--listen", &address, "--data-dir", folder.path().to_str().unwrap()], 1, &port);
    let used = server.data_dir().to_str().unwrap();
    fails(&["serve", "--listen", "127.0.0.1:0", "--data-dir", used], 1, used);
}

#[test]
fn the_streams_of_the_configuration_file_are_served() {
    let folder = Folder::new("config");
    let path = folder.path().join("trailcast.toml");
    std::fs::write(&path, "[[stream]]\nname = \"s1\"\nsource.trail = \"a1\"\ndescription = \"of the file\"\n").unwrap();
    let server = Server::start_with(&["--config", path.to_str().unwrap()], &[]);
    assert_eq!(server.get("/services/v2/stream/s1").expect(200).response()["description"], "of the file");
}

#[test]
fn the_first_start_prints_a_password_once_and_it_works() {
    let folder = Folder::new("first");
    let data = folder.path().to_str().unwrap();
    let start = || {
        let mut command = trailcast(&["serve", "--listen", "127.0.0.1:0", "--data-dir", data]);
        command.stdin(std::process::Stdio::null());
        crate::support::Program::start(command)
    };
    let mut first = start();
    let listening = first.wait_for_complaint("listening on http://127.0.0.1:", super::command::PATIENCE);
    let password = first.wait_for_complaint("admin password: ", super::command::PATIENCE);
    let (port, password) = (listening.rsplit(':').next().unwrap(), password.rsplit(' ').next().unwrap());
    let asked = crate::support::http::request(
        port.parse().unwrap(),
        "GET",
        "/services/v2/stream",
        &[("Authorization", crate::support::http::Basic::new("admin", password).header())],
        b"",
    );
    assert_eq!(asked.unwrap().status, 200);
    super::command::interrupt(&mut first);
    let mut second = start();
    second.wait_for_complaint("listening on ", super::command::PATIENCE);
    super::command::interrupt(&mut second);
    let said = second.last_words();
    assert!(!said.contains("password"), "{said}");
}

#[test]
fn a_face_is_served_on_a_listener_of_its_own_too() {
    let folder = Folder::new("own");
    let data = folder.path().to_str().unwrap();
    let mut command =
        trailcast(&["serve", "--listen", "127.0.0.1:0", "--face-listen", "goldengate=127.0.0.1:0", "--data-dir", data]);
    command.stdin(std::process::Stdio::null());
    let mut server = crate::support::Program::start(command);
    let main = server.wait_for_complaint("listening on http://127.0.0.1:", super::command::PATIENCE);
    let own = server.wait_for_complaint("serving goldengate at http://127.0.0.1:", super::command::PATIENCE);
    let port = |line: &str| line.rsplit(':').next().unwrap().parse::<u16>().unwrap();
    assert_ne!(port(&main), port(&own));
    for line in [&main, &own] {
        crate::support::http::request(port(line), "GET", "/healthz", &[], b"").unwrap().expect(200);
    }
    super::command::interrupt(&mut server);
}

#[test]
fn a_face_that_is_none_is_refused_with_those_that_are() {
    fails(&["serve", "--face-listen", "kinesis=127.0.0.1:1"], 2, "there is goldengate");
    fails(&["serve", "--face-listen", "goldengate"], 2, "such as goldengate=127.0.0.1:9100");
    fails(&["serve", "--face-listen", "goldengate=0.0.0.0:1"], 2, "--allow-plain-text");
}
