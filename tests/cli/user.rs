//! Goal: users are managed from the command line, at a server and without one, and no password shows. Method: run it, and log
//! in with what it made.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use super::command::{client, done, fails, lines, run, stderr, stdout, trailcast};
use crate::support::http::{self, Basic};
use crate::support::{Folder, Server};

fn logs_in(server: &Server, name: &str, password: &str) -> bool {
    let basic = Basic::new(name, password);
    let answer = http::request(server.port(), "GET", "/services/v2/stream", &[("Authorization", basic.header())], b"");
    answer.unwrap().status == 200
}

#[test]
fn users_are_made_changed_listed_and_removed_at_a_running_server() {
    let server = Server::start();
    let user = |arguments: &[&str], input: &str| run(client(&server, &[&["user"], arguments].concat()), input);
    done(&user(&["add", "ann", "--role", "operator"], "one-1\n"), "user ann added as Operator\n");
    assert!(logs_in(&server, "ann", "one-1"));
    fails(&user(&["add", "ann"], "x\n"), 1, "already exists");
    done(&user(&["passwd", "ann"], "two-2\n"), "user ann has a new password\n");
    assert!(logs_in(&server, "ann", "two-2") && !logs_in(&server, "ann", "one-1"));
    done(&user(&["role", "ann", "Administrator"], ""), "user ann has the role Administrator\n");
    let listed = lines(&user(&["ls", "--json"], ""));
    assert_eq!(listed[0], serde_json::json!({"name": "admin", "role": "Administrator"}));
    assert_eq!(listed[1], serde_json::json!({"name": "ann", "role": "Administrator"}));
    assert!(stdout(&user(&["ls"], "")).starts_with("admin                    Administrator\n"));
    done(&user(&["rm", "ann"], ""), "user ann removed\n");
    assert!(!logs_in(&server, "ann", "two-2"));
    fails(&user(&["rm", "ann"], ""), 1, "user ann does not exist");
    fails(&user(&["add", "a/b"], "x\n"), 1, "no slash");
}

#[test]
fn grants_are_given_shown_and_taken_away_at_a_server_and_in_the_folder_of_a_stopped_one() {
    let mut server = Server::start();
    let data = server.data_dir().to_str().unwrap().to_owned();
    for stopped in [false, true] {
        if stopped {
            assert!(server.terminate().success());
        }
        let at = server.url("http");
        let user = |arguments: &[&str]| {
            let place: &[&str] = if stopped { &["--data-dir", &data] } else { &["--url", &at] };
            run(trailcast(&[&["user"], arguments, place].concat()), "one-1\n")
        };
        let grants: &[&str] = if stopped {
            &["--grant", "read trails=a*,b? streams=*", "--grant", "write trails=b1"]
        } else {
            &["--grant", "read trails=a*,b? streams=*; write trails=b1"]
        };
        done(&user(&[&["add", "ann", "--role", "Operator"], grants].concat()), "user ann added as Operator\n");
        let expected = serde_json::json!([
            {"trails": ["a*", "b?"], "streams": ["*"], "may": ["read"]}, {"trails": ["b1"], "may": ["write"]},
        ]);
        let shown = || lines(&user(&["ls", "--json"]))[1].clone();
        assert_eq!(shown(), serde_json::json!({"name": "ann", "role": "Operator", "grants": expected}));
        let line = "ann                      Operator      read trails=a*,b? streams=*; write trails=b1\n";
        assert!(stdout(&user(&["ls"])).ends_with(line), "{}", stdout(&user(&["ls"])));
        done(
            &user(&["grant", "ann", "read streams=s1", "read trails=t"]),
            "user ann may read streams=s1; read trails=t\n",
        );
        assert_eq!(shown()["grants"].as_array().unwrap().len(), 2);
        done(&user(&["ungrant", "ann"]), "user ann has no grants: only the role counts\n");
        assert_eq!(shown(), serde_json::json!({"name": "ann", "role": "Operator"}));
        fails(&user(&["grant", "ann", "see trails=a"]), 2, "must be \"read\" or \"write\" or \"manage\"");
        fails(&user(&["grant", "ann", "read trails=a b"]), 2, "neither trails= nor streams=");
        fails(&user(&["grant", "ann"]), 2, "required");
        fails(&user(&["grant", "admin", "read trails=a"]), 1, "last Administrator");
        done(&user(&["rm", "ann"]), "user ann removed\n");
    }
}

#[test]
fn users_are_managed_in_the_folder_of_a_stopped_server_and_a_lost_password_is_set_anew() {
    let mut server = Server::start();
    let data = server.data_dir().to_str().unwrap().to_owned();
    let user = |arguments: &[&str], input: &str| {
        run(trailcast(&[&["user"], arguments, &["--data-dir", &data]].concat()), input)
    };
    fails(&user(&["ls"], ""), 1, "a server uses the data folder");
    assert!(stderr(&user(&["passwd", "admin"], "x\n")).contains("--url"));
    assert!(server.terminate().success());
    done(&user(&["passwd", "admin"], "found-again\n"), "user admin has a new password\n");
    done(&user(&["add", "ann"], "one-1\n"), "user ann added as User\n");
    assert_eq!(lines(&user(&["ls", "--json"], "")).len(), 2);
    server.start_again();
    assert!(logs_in(&server, "admin", "found-again") && logs_in(&server, "ann", "one-1"));
    assert!(!logs_in(&server, "admin", crate::support::server::PASSWORD));
}

#[test]
fn users_changed_in_the_folder_of_a_stopped_server_are_audited_at_its_next_start_and_once() {
    let folder = Folder::new("audit");
    let file = folder.path().join("audit.log");
    let mut server = Server::start_with(&["--audit-log", file.to_str().unwrap()], &[]);
    assert!(server.terminate().success());
    let data = server.data_dir().to_str().unwrap().to_owned();
    let user = |arguments: &[&str], input: &str| {
        run(trailcast(&[&["user"], arguments, &["--data-dir", &data]].concat()), input)
    };
    done(&user(&["add", "ann"], "one-1\n"), "user ann added as User\n");
    done(&user(&["passwd", "ann"], "two-2\n"), "user ann has a new password\n");
    done(&user(&["rm", "ann"], ""), "user ann removed\n");
    fails(&user(&["rm", "ann"], ""), 1, "user ann does not exist");
    fails(&user(&["passwd", "ann"], "two-2\n"), 1, "user ann does not exist");
    fails(&user(&["add", "admin"], "two-2\n"), 1, "already exists");
    fails(&user(&["add", "a:b"], "two-2\n"), 1, "colon");
    fails(&user(&["role", "admin", "User"], ""), 1, "last Administrator");
    for _ in 0..2 {
        server.start_again();
        assert!(server.terminate().success());
    }
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let members = |line: &serde_json::Value| {
        ["auth", "method", "path", "result", "status"].map(|member| line[member].to_string().replace('"', ""))
    };
    let expected = [
        ["start", "START", "/services/v2/users/admin", "done", "200"],
        ["offline", "POST", "/services/v2/users/ann", "done", "200"],
        ["offline", "PATCH", "/services/v2/users/ann", "done", "200"],
        ["offline", "DELETE", "/services/v2/users/ann", "done", "200"],
        ["offline", "DELETE", "/services/v2/users/ann", "failed", "404"],
        ["offline", "PATCH", "/services/v2/users/ann", "failed", "404"],
        ["offline", "POST", "/services/v2/users/admin", "failed", "409"],
        ["offline", "POST", "/services/v2/users/a:b", "failed", "400"],
        ["offline", "PATCH", "/services/v2/users/admin", "failed", "409"],
    ];
    assert_eq!(lines.iter().map(members).collect::<Vec<_>>(), expected);
    assert!(lines[1]["user"].as_str().unwrap().starts_with("uid "), "{text}");
    assert!(lines[1]["time"].as_str() < lines[2]["time"].as_str(), "{text}");
    assert!(!text.contains("one-1") && !text.contains("two-2"), "{text}");
}

#[test]
fn audit_lines_of_a_stopped_server_wait_until_they_can_be_written_and_tell_their_own_time() {
    let mut server = Server::start();
    assert!(server.terminate().success());
    let data = server.data_dir().to_str().unwrap().to_owned();
    let user = |arguments: &[&str]| run(trailcast(&[&["user"], arguments, &["--data-dir", &data]].concat()), "one-1\n");
    done(&user(&["add", "ann"]), "user ann added as User\n");
    let waiting = server.data_dir().join("audit-offline.jsonl");
    let line: serde_json::Value = serde_json::from_slice(&std::fs::read(&waiting).unwrap()).unwrap();
    let made_at = line["time"].as_str().unwrap().to_owned();
    server.set_environment("TRAILCAST_AUDIT_LOG", Some("/dev/full"));
    server.start_again();
    server.says("stay for the next start");
    assert!(server.terminate().success());
    // A byte that is no text keeps no other line back.
    let lines = [b"\xff\n".as_slice(), &std::fs::read(&waiting).unwrap()].concat();
    std::fs::write(&waiting, lines).unwrap();
    server.set_environment("TRAILCAST_AUDIT_LOG", None);
    server.start_again();
    let log = server.last_words();
    let told = |line: &&str| line.contains("/services/v2/users/ann") && line.contains(&made_at);
    assert_eq!(log.lines().filter(told).count(), 1, "{made_at}: {log}");
    assert_eq!(log.matches("cut or garbled").count(), 1, "{log}");
    assert!(!waiting.exists());
}

#[test]
fn a_change_whose_audit_line_cannot_be_written_is_made_and_fails() {
    let mut server = Server::start();
    assert!(server.terminate().success());
    let data = server.data_dir().to_str().unwrap().to_owned();
    let user = |arguments: &[&str]| run(trailcast(&[&["user"], arguments, &["--data-dir", &data]].concat()), "one-1\n");
    let waiting = server.data_dir().join("audit-offline.jsonl");
    std::os::unix::fs::symlink("/dev/full", &waiting).unwrap();
    fails(&user(&["add", "ann"]), 1, "the change is made, but its audit line cannot be written");
    std::fs::remove_file(&waiting).unwrap();
    assert_eq!(lines(&user(&["ls", "--json"])).len(), 2);
}

#[test]
fn the_last_administrator_is_neither_removed_nor_demoted_with_a_server_or_without() {
    let mut server = Server::start();
    let online = |arguments: &[&str]| run(client(&server, arguments), "");
    for arguments in [&["user", "rm", "admin"][..], &["user", "role", "admin", "Operator"]] {
        fails(&online(arguments), 1, "admin is the last Administrator");
    }
    assert!(server.terminate().success());
    let data = server.data_dir().to_str().unwrap().to_owned();
    for arguments in [&["user", "rm", "admin"][..], &["user", "role", "admin", "Operator"]] {
        let offline = run(trailcast(&[arguments, &["--data-dir", &data]].concat()), "");
        fails(&offline, 1, "admin is the last Administrator");
    }
}

#[test]
fn a_password_comes_from_a_file_the_environment_or_standard_input_and_never_from_a_flag() {
    let server = Server::start();
    let folder = Folder::new("password");
    let file = folder.path().join("password");
    std::fs::write(&file, "of-the-file\nsecond line\n").unwrap();
    let file = file.to_str().unwrap();
    let of_file = client(&server, &["user", "add", "u1", "--password-file", file]);
    assert!(run(of_file, "of-stdin\n").status.success());
    let mut of_environment = client(&server, &["user", "add", "u2"]);
    of_environment.env("TRAILCAST_NEW_PASSWORD", "of-the-environment");
    assert!(run(of_environment, "of-stdin\n").status.success());
    let of_input = client(&server, &["user", "add", "u3", "--password-file", "-"]);
    assert!(run(of_input, "of-stdin\n").status.success());
    let made = [("u1", "of-the-file"), ("u2", "of-the-environment"), ("u3", "of-stdin")];
    assert!(made.iter().all(|(name, password)| logs_in(&server, name, password)));
    fails(&run(client(&server, &["user", "add", "u4"]), ""), 1, "no password in the first line");
    fails(&run(client(&server, &["user", "add", "u4", "--password-file", "/nowhere"]), ""), 1, "/nowhere");
    fails(&run(client(&server, &["user", "add", "u4"]), &"x".repeat(300)), 1, "1 to 256 bytes");
    fails(&run(client(&server, &["user", "add", "u4", "--password", "x"]), ""), 2, "--password");
    fails(&run(client(&server, &["user", "add", "u4", "--role", "King"]), ""), 2, "User, Operator or Administrator");
    let mut stranger = client(&server, &["user", "ls"]);
    stranger.env("TRAILCAST_URL", format!("http://127.0.0.1:{}", server.port()));
    fails(&run(stranger, ""), 1, "TRAILCAST_PASSWORD");
}

#[test]
fn without_flags_a_free_default_folder_is_taken_and_none_is_made() {
    let place = Folder::new("cwd");
    let in_place = |arguments: &[&str]| {
        let mut command = trailcast(arguments);
        command.current_dir(place.path());
        command
    };
    // Nothing there: a server is looked for, and the folder is not made by the way.
    let nobody = run(in_place(&["user", "ls"]), "");
    assert_eq!(nobody.status.code(), Some(1), "{}", stderr(&nobody));
    assert!(!place.path().join("trailcast-data").exists());
    std::fs::create_dir(place.path().join("trailcast-data")).unwrap();
    let mut first = in_place(&["user", "add", "ann"]);
    first.env("TRAILCAST_NEW_PASSWORD", "p");
    fails(&run(first, ""), 1, "the first user must be an Administrator");
    let mut first = in_place(&["user", "add", "root", "--role", "Administrator"]);
    first.env("TRAILCAST_NEW_PASSWORD", "p");
    assert!(run(first, "").status.success());
    assert!(stdout(&run(in_place(&["user", "ls"]), "")).starts_with("root "));
    fails(&run(trailcast(&["user", "ls", "--data-dir", "/nowhere/at/all"]), ""), 1, "there is no data folder");
    // A server somewhere else uses the default folder.
    let mut server = in_place(&["serve", "--listen", "127.0.0.1:0"]);
    server.stdin(Stdio::null());
    let mut server = crate::support::Program::start(server);
    server.wait_for_complaint("listening on ", super::command::PATIENCE);
    let mut lost = in_place(&["user", "ls"]);
    lost.envs([("TRAILCAST_USER", "root"), ("TRAILCAST_PASSWORD", "p")]);
    let lost = run(lost, "");
    // Somebody else's server may listen at the usual address of this machine.
    if stderr(&lost).contains("no connection") {
        fails(&lost, 1, "say with --url where it listens");
    }
    super::command::interrupt(&mut server);
}

#[test]
fn a_terminal_is_asked_twice_and_shows_nothing_of_the_password() {
    if !Command::new("script").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return crate::support::skip("no terminal: script (package bsdutils) is missing");
    }
    let server = Server::start();
    let program = Server::program();
    let typed = |first: &str, second: &str| {
        let line = format!("{} user add ann --url {}", program.display(), server.url("http"));
        let mut command = Command::new("script");
        command.args(["-qefc", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut seen = String::new();
        let mut wait_for = |part: &str| {
            while !seen.contains(part) {
                let mut byte = [0];
                if output.read(&mut byte).unwrap_or(0) == 0 {
                    break;
                }
                seen.push(char::from(byte[0]));
            }
            seen.clone()
        };
        wait_for("new password: ");
        writeln!(input, "{first}").unwrap();
        wait_for("again: ");
        writeln!(input, "{second}").unwrap();
        let seen = wait_for("never shown");
        (child.wait().unwrap().code(), seen)
    };
    let (code, seen) = typed("hidden-1", "hidden-2");
    assert!(code == Some(1) && seen.contains("not the same") && !seen.contains("hidden-"), "{code:?} {seen}");
    let (code, seen) = typed("hidden-1", "hidden-1");
    assert!(code == Some(0) && seen.contains("user ann added as User") && !seen.contains("hidden-"), "{code:?} {seen}");
    assert!(logs_in(&server, "ann", "hidden-1"));
}
