//! Goal: whoever runs his own certificate authority names it with `--ca`, and every command that talks to a server takes the
//! server's certificate; whoever does not, or names another file, is told what to do. Method: the program's own TLS
//! listener with a certificate of an authority made for the test.

use std::process::{Command, Output};

use rcgen::{BasicConstraints, IsCa};

use super::command::{PATIENCE, interrupt, rows, run, stderr, stdout, trailcast};
use crate::support::authority::{Authority, Pair, valid_for};
use crate::support::{Folder, Program, Server};

/// What it signed for 127.0.0.1.
fn signed_by(authority: &Authority) -> Pair {
    authority.signed(&valid_for(&["127.0.0.1"]))
}

/// A folder of files.
struct Files(Folder);

impl Files {
    fn new() -> Self {
        Self(Folder::new("certificates"))
    }

    /// Writes one and gives its path.
    fn with(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// A server over TLS that has the trail `events` and the stream `orders` of it.
fn server(files: &Files, pair: &Pair) -> Server {
    let mut plain = Server::start();
    plain.make_trail("events");
    plain.make_stream("orders", "events");
    plain.terminate();
    let [certificate, key] = pair.write(files.0.path());
    Server::start_on(plain.into_data(), &["--tls-certificate", &certificate, "--tls-key", &key])
}

fn client(server: &Server, arguments: &[&str], ca: Option<&str>) -> Command {
    let mut command = trailcast(arguments);
    command.env("TRAILCAST_URL", server.url("https")).args(ca.iter().flat_map(|file| ["--ca", file]));
    command
}

fn done(command: Command, input: &str) -> Output {
    let output = run(command, input);
    assert!(output.status.success(), "{}", stderr(&output));
    output
}

/// A command that must fail with this exit code, and its words.
fn refused(command: Command, code: i32) -> String {
    let output = run(command, "");
    assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    stderr(&output)
}

#[test]
fn every_command_that_talks_to_a_server_takes_a_certificate_of_an_authority_that_it_is_given() {
    let (files, own) = (Files::new(), Authority::new("Own"));
    let server = server(&files, &signed_by(&own));
    let ca = files.with("ca.pem", &own.certificate.pem());
    let given = |arguments: &[&str]| client(&server, arguments, Some(&ca));

    assert!(stdout(&done(given(&["put", "events"]), &rows(1, 2))).contains('p'));
    let mut tail = Program::start(given(&["tail", "orders"]));
    assert_eq!(
        tail.lines_until(PATIENCE, |line| line.contains("id=2")).iter().filter(|line| line.contains("INSERT")).count(),
        2
    );
    interrupt(&mut tail);
    let mut socket = client(&server, &["tail", "orders", "--ca", &ca], None);
    socket.env("TRAILCAST_URL", server.url("wss"));
    let mut socket = Program::start(socket);
    socket.lines_until(PATIENCE, |line| line.contains("id=2"));
    interrupt(&mut socket);
    assert!(stdout(&done(given(&["user", "ls"]), "")).contains("admin"));
    done(given(&["bench", "subscribe", "orders", "--records", "2", "--verify"]), "");
    done(given(&["bench", "publish", "events", "--records", "2", "--operations", "1"]), "");

    let mut by_environment = client(&server, &["user", "ls"], None);
    by_environment.env("TRAILCAST_CA", &ca);
    assert!(stdout(&done(by_environment, "")).contains("admin"));

    // Control: without it, the same server is not believed.
    for arguments in [&["put", "events"][..], &["tail", "orders"], &["user", "ls"], &["bench", "subscribe", "orders"]] {
        let output = run(client(&server, arguments, None), &rows(3, 4));
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("signed by none of the authorities that this host trusts"), "{arguments:?}: {said}");
        assert!(said.contains("--ca FILE or TRAILCAST_CA"), "{arguments:?}: {said}");
    }
}

#[test]
fn a_bundle_may_hold_other_things_and_stands_beside_the_systems_roots() {
    let (files, own, other) = (Files::new(), Authority::new("Own"), Authority::new("Other"));
    let server = server(&files, &signed_by(&own));
    let bundle = format!(
        "Ours since 2020\n{}\n\n# and\n{}{}",
        other.certificate.pem(),
        own.certificate.pem(),
        signed_by(&own).key
    );
    done(client(&server, &["user", "ls"], Some(&files.with("bundle.pem", &bundle))), "");

    let mut beside = client(&server, &["user", "ls"], Some(&files.with("other.pem", &other.certificate.pem())));
    beside.env("SSL_CERT_FILE", files.with("system.pem", &own.certificate.pem()));
    done(beside, "");
}

#[test]
fn a_certificate_of_another_authority_is_not_taken_and_that_is_said() {
    let (files, own) = (Files::new(), Authority::new("Own"));
    let server = server(&files, &signed_by(&own));
    // One is called as the right one is, and has another key.
    for name in ["Other", "Own"] {
        let file = files.with("other.pem", &Authority::new(name).certificate.pem());
        let said = refused(client(&server, &["user", "ls"], Some(&file)), 1);
        assert!(
            said.contains(&format!("neither by an authority in {file} nor by one that this host trusts")),
            "{said}"
        );
        assert!(said.contains("give with --ca the certificate of the authority that signed it"), "{said}");
    }
    let elsewhere = server.url("https").replace("127.0.0.1", "localhost");
    let mut by_another_name = client(&server, &["user", "ls"], Some(&files.with("ca.pem", &own.certificate.pem())));
    by_another_name.env("TRAILCAST_URL", elsewhere);
    let said = refused(by_another_name, 1);
    assert!(said.contains("its certificate is not taken") && said.contains("localhost"), "{said}");
}

#[test]
fn a_certificate_that_signs_itself_is_taken_when_it_is_given_unless_it_says_that_it_is_an_authoritys() {
    let files = Files::new();
    let with = |is_ca| {
        let mut params = valid_for(&["127.0.0.1"]);
        params.is_ca = is_ca;
        Pair::self_signed(&params)
    };
    let pair = with(IsCa::NoCa);
    let plain = server(&files, &pair);
    done(client(&plain, &["user", "ls"], Some(&files.with("ca.pem", &pair.certificate))), "");

    let pair = with(IsCa::Ca(BasicConstraints::Unconstrained));
    let as_authority = server(&files, &pair);
    let said = refused(client(&as_authority, &["user", "ls"], Some(&files.with("ca.pem", &pair.certificate))), 1);
    assert!(said.contains("shows an authority's certificate (CA:TRUE) as its own"), "{said}");
}

#[test]
fn a_file_that_names_no_authority_is_refused_before_anybody_is_asked() {
    let (files, own) = (Files::new(), Authority::new("Own"));
    let certificate = own.certificate.pem();
    let broken = certificate.replacen("MII", "!!!", 1);
    let short = certificate.replacen('\n', "\nAAAA\n", 1);
    let large = format!("{certificate}{}", "#".repeat(4 << 20));
    let cases = [
        (files.with("empty.pem", ""), "holds no certificate; give PEM"),
        (files.with("key.pem", &signed_by(&own).key), "holds no certificate; give PEM"),
        (files.with("text.pem", "no certificate\n"), "holds no certificate; give PEM"),
        (files.with("broken.pem", &format!("{certificate}{broken}")), "certificate 2 of"),
        (files.with("short.pem", &short), "certificate 1 of"),
        (files.with("large.pem", &large), "larger than 4 MiB"),
        (files.0.path().to_str().unwrap().to_owned(), "cannot be read: Is a directory"),
        (files.0.path().join("none.pem").to_str().unwrap().to_owned(), "cannot be read: No such file or directory"),
    ];
    for (file, says) in cases {
        // Nobody listens there.
        let said = refused(trailcast(&["user", "ls", "--url", "https://127.0.0.1:1", "--ca", &file]), 2);
        assert!(said.starts_with("error: --ca: ") && said.contains(says) && said.contains(&file), "{file}: {said}");
    }
}
