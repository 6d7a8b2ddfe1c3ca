//! Goal: a configuration is checked before it is used, wholly, and the order of strength holds for every setting. Method: run
//! `config check` and `config show` over files, variables and flags.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use super::command::{run, stderr, stdout, trailcast};
use crate::support::authority::{Pair, valid_for, valid_for_days};
use crate::support::{Folder, Server};

fn write(folder: &Folder, text: &str) -> String {
    let path = folder.path().join("trailcast.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn check(folder: &Folder, text: &str) -> Output {
    let path = write(folder, text);
    run(trailcast(&["config", "check", "--config", &path]), "")
}

/// The fenced blocks of TOML in a document.
fn toml_blocks(document: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    let text = std::fs::read_to_string(path).unwrap();
    text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_examples_of_the_documentation_pass() {
    let blocks = [toml_blocks("README.md"), toml_blocks("docs/configuration-file.md")].concat();
    assert!(blocks.len() >= 2, "the documentation has no examples");
    for text in blocks {
        let folder = Folder::new("config");
        let path = write(&folder, &text);
        let mut command = trailcast(&["config", "check", "--config", &path]);
        command.env("OPS_PASSWORD", "choose-one").current_dir(folder.path());
        let output = run(command, "");
        assert!(output.status.success(), "{}{}\n{text}", stdout(&output), stderr(&output));
        assert_eq!(stdout(&output), format!("{path}: no problem\n"));
    }
}

#[test]
fn every_problem_is_printed_with_its_line_and_the_end_is_1() {
    let folder = Folder::new("config");
    let text = "lisen = \"127.0.0.1:1\"\nlogFormat = \"xml\"\n\n[[stream]]\nname = \"s1\"\nsource.trail = \"a1\"\nbuferSize = 1\n";
    let path = write(&folder, text);
    let output = run(trailcast(&["config", "check", "--config", &path]), "");
    assert_eq!(output.status.code(), Some(1));
    let expected = format!(
        "{path}: line 1: lisen: unknown member; did you mean \"listen\"?\n\
         {path}: line 2: logFormat: must be \"text\" or \"json\"; it is \"xml\"\n\
         {path}: line 7: stream[0].buferSize: unknown member; did you mean \"bufferSize\"?\n"
    );
    assert_eq!(stdout(&output), expected);
    assert_eq!(stderr(&output), "error: 3 problems\n");
    let output = run(trailcast(&["config", "check", "--config", &path, "--json"]), "");
    let first: Value = serde_json::from_str(stdout(&output).lines().next().unwrap()).unwrap();
    let expected = json!({
        "line": 1, "member": "lisen", "message": "unknown member; did you mean \"listen\"?", "value": null,
        "severity": "error",
    });
    assert_eq!((first, output.status.code()), (expected, Some(1)));
    let second: Value = serde_json::from_str(stdout(&output).lines().nth(1).unwrap()).unwrap();
    assert_eq!(second["value"], "\"xml\"");
    // `serve` says the same, and does not start.
    let served = run(trailcast(&["serve", "--config", &path]), "");
    assert!(served.status.code() == Some(1) && stderr(&served).contains("line 7: stream[0].buferSize"), "{served:?}");
}

#[test]
fn no_problem_hides_another() {
    let folder = Folder::new("config");
    let cases = [
        (
            "listn = 1\n[tls]\ncertificate = \"/nowhere/c.pem\"\nkey = \"/nowhere/k.pem\"\n",
            vec!["listn: unknown member", "tls.certificate: /nowhere/c.pem", "tls.key: /nowhere/k.pem"],
        ),
        (
            "listen = \"0.0.0.0:1\"\nlog = \"trailcast=loud\"\n[tls]\nkey = \"/nowhere/k.pem\"\n",
            vec!["TLS needs both", "tls.key: /nowhere/k.pem", "log: "],
        ),
        (
            "[[user]]\nname = \"o:ps\"\nrole = \"Admin\"\npasswordEnv = \"NOT_SET_7\"\n",
            vec![
                "line 2: user[0].name: ",
                "line 3: user[0].role: a role is",
                "line 4: user[0].passwordEnv: NOT_SET_7 is not set",
            ],
        ),
        (
            "[[stream]]\nname = \"a b\"\nsource.trail = \"aa\"\nbuferSize = 1\ntcpKeepAliveTimeout = 0\nqualityOfService = \"x\"\n",
            vec![
                "stream[0].name",
                "stream[0].buferSize",
                "stream[0].tcpKeepAliveTimeout",
                "stream[0].qualityOfService",
            ],
        ),
        (
            "[[trail]]\nname = \"a/b\"\nsegmentBytes = 1\nretention.bytes = 1\n",
            vec!["trail[0].name", "trail[0].segmentBytes", "trail[0].retention.bytes"],
        ),
        (
            "[[extract]]\nname = \"a b\"\ntables = [\"*\"]\ntrail = \"a1\"\nbegin = \"then\"\n[extract.source]\n\
             type = \"postgresql\"\nhost = \"h\"\ndatabase = \"d\"\nuser = \"u\"\nport = \"x\"\n",
            vec!["extract[0].name", "extract[0].tables[0]", "extract[0].source.port", "extract[0].begin"],
        ),
        (
            "[[stream]]\nname = \"s\"\nsource.trail = \"a\"\nbufferSize = 1\n[[stream]]\nname = \"r\"\nbufferSize = 1\n",
            vec!["stream[0].source.trail", "stream[0].bufferSize", "stream[1].source: is", "stream[1].bufferSize"],
        ),
        (
            "[[stream]]\nname = \"s\"\nsource.trail = \"aa\"\n\
             [stream.encoding.json]\nmodel = \"tree\"\nmaxLobSize = 0\n\
             [[stream.rules]]\nfilter.objectTypes = [\"DML\", \"DLM\", \"DDL\", \"X\"]\n\
             [[stream.rules]]\naction = \"includes\"\n\
             [[stream.rules]]\nacton = \"include\"\nfilter.objectNames = [\"*.t\", 7]\n\
             [[stream.rules]]\naction = \"include\"\nfilter.columnValues = [\n\
             {column = \"c\", operator = \"REGEX\", value = \"(\"},\n{column = \"c\", operator = \"EQ\"},\n\
             {operator = \"ISNULL\", value = 1},\n{column = \"c\"}]\n",
            vec![
                "line 5: stream[0].encoding.json.model: must be \"op\" or \"row\"; it is \"tree\"",
                "line 6: stream[0].encoding.json.maxLobSize: must be a whole number from 1 to 18446744073709552000; it is 0",
                "line 7: stream[0].rules[0].action: is required",
                "line 8: stream[0].rules[0].filter.objectTypes[1]: must be one of INSERT, UPDATE, DELETE, UPSERT, TRUNCATE, DDL, DML; it is \"DLM\"",
                "line 8: stream[0].rules[0].filter.objectTypes[3]: must be one of INSERT, UPDATE, DELETE, UPSERT, TRUNCATE, DDL, DML; it is \"X\"",
                "line 9: stream[0].rules[1].filter: is required",
                "line 10: stream[0].rules[1].action: must be \"include\" or \"exclude\"; it is \"includes\"",
                "line 12: stream[0].rules[2].acton: unknown member; did you mean \"action\"?",
                "line 13: stream[0].rules[2].filter.objectNames",
                "line 17: stream[0].rules[3].filter.columnValues[0]: the pattern does not compile",
                "line 18: stream[0].rules[3].filter.columnValues[1].value: is required",
                "line 19: stream[0].rules[3].filter.columnValues[2].column: is required",
                "line 19: stream[0].rules[3].filter.columnValues[2].value: has no meaning",
                "line 20: stream[0].rules[3].filter.columnValues[3].operator: is required",
            ],
        ),
    ];
    for (text, problems) in cases {
        let output = check(&folder, text);
        assert_eq!(output.status.code(), Some(1), "{text}");
        let told = stdout(&output);
        for problem in &problems {
            assert!(told.contains(problem), "{problem} is not in:\n{told}");
        }
        assert_eq!(told.lines().count(), problems.len(), "{told}");
    }
}

#[test]
fn what_only_a_start_would_find_is_found_without_one() {
    let folder = Folder::new("config");
    let other = Folder::new("other");
    for folder in [&folder, &other] {
        Pair::self_signed(&valid_for(&["localhost"])).write(folder.path());
    }
    let pem = |folder: &Folder, name: &str| folder.path().join(name).display().to_string();
    let tls = |key: String| format!("[tls]\ncertificate = \"{}\"\nkey = \"{key}\"\n", pem(&folder, "server.pem"));
    let extract = |name: &str, more: &str| {
        format!(
            "[[extract]]\nname = \"{name}\"\ntables = [\"public.*\"]\ntrail = \"a1\"\n{more}\n[extract.source]\n\
             type = \"postgresql\"\nhost = \"h\"\ndatabase = \"d\"\nuser = \"u\"\n"
        )
    };
    let file = pem(&folder, "server.pem");
    let cases = [
        (tls(pem(&other, "server.key")), "tls: the TLS certificate and key cannot be used"),
        (tls("/nowhere/k.pem".into()), "/nowhere/k.pem"),
        ("[tls]\nkey = \"k.pem\"".into(), "TLS needs both a certificate and its key"),
        ("listen = \"0.0.0.0:9002\"".into(), "plain text"),
        ("log = \"trailcast=loud\"".into(), "log: "),
        ("allowedOrigins = [\"example.com\"]".into(), "line 1: allowedOrigins[0]: an origin is"),
        (format!("dataDir = \"{file}\""), "is no folder"),
        (format!("dataDir = \"{file}/data\""), "is no folder"),
        ("[audit]\nfile = \"/nowhere/audit.log\"".into(), "audit.file: there is no folder /nowhere"),
        (
            "[[user]]\nname = \"a\"\nrole = \"User\"\npasswordFile = \"/nowhere/p\"".into(),
            "line 4: user[0].passwordFile: /nowhere/p",
        ),
        ("[[user]]\nname = \"a\"\nrole = \"User\"\npasswordEnv = \"NOT_SET_7\"".into(), "NOT_SET_7 is not set"),
        (
            "[[user]]\nname = \"a\"\nrole = \"User\"\npasswordEnv = \"PATH\"\ngrants = [\"read trails=a\", \"see\"]".into(),
            "line 5: user[0].grants[1]: may[0]: must be",
        ),
        (
            "[[user]]\nname = \"a\"\nrole = \"User\"\npasswordEnv = \"PATH\"\ngrants = [{trails = [\"a b\"], may = [\"read\"]}]".into(),
            "line 5: user[0].grants[0].trails[0]: must be a pattern",
        ),
        ("[[user]]\nname = \"a\"\nrole = \"King\"\npasswordEnv = \"X\"".into(), "line 3: user[0].role: a role is"),
        (extract("e1", "begin = \"then\""), "extract[0].begin: \"now\", or a position"),
        (extract("e1", "") + &extract("e2", ""), "extract[1].trail: another extract of this file writes it"),
        ("[[trail]]\nname = \"a1\"\nretention.bytes = 1".into(), "line 3: trail[0].retention.bytes: must be"),
        ("[limits]\nconnections = 0".into(), "line 2: limits.connections: must be a whole number from 1 to 1000000"),
        ("[[stream]]\nname = \"s\"\nsource.trail = \"a1\"\nrules = []".into(), "line 4: stream[0].rules"),
        ("a = \nb = = 1\n".into(), "line 2: "),
    ];
    for (text, says) in cases {
        let output = check(&folder, &text);
        assert_eq!(output.status.code(), Some(1), "{text}: {}", stdout(&output));
        assert!(stdout(&output).contains(says), "{text}: {}", stdout(&output));
    }
    let output = check(&folder, &tls(pem(&folder, "server.key")));
    assert!(output.status.success(), "{}", stdout(&output));
}

#[test]
fn a_certificate_that_expires_soon_is_a_warning_and_one_that_has_expired_a_problem() {
    let folder = Folder::new("config");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let text = format!("[tls]\ncertificate = \"{}\"\nkey = \"{}\"\n", at("server.pem"), at("server.key"));
    let check_after = |days: i64| {
        Pair::self_signed(&valid_for_days(&["localhost"], days)).write(folder.path());
        let output = check(&folder, &text);
        (output.status.code(), stdout(&output))
    };
    let (code, told) = check_after(31);
    assert!(code == Some(0) && told.lines().count() == 1, "{told}");
    let (code, told) = check_after(7);
    let warning = "line 2: tls.certificate: warning: a certificate in it expires in 7 days, at ";
    assert!(code == Some(0) && told.contains(warning) && told.ends_with("no problem\n"), "{told}");
    let (code, told) = check_after(-1);
    assert!(
        code == Some(1) && told.contains("line 2: tls.certificate: a certificate in it has expired, at "),
        "{told}"
    );
}

#[test]
fn a_private_key_is_refused_where_public_ones_belong_by_the_check_and_at_the_start() {
    let folder = Folder::new("config");
    let key = rcgen::KeyPair::generate().unwrap();
    let pem = folder.path().join("issuer.pem").display().to_string();
    let path = write(
        &folder,
        &format!("[jwt]\nissuer = \"i\"\naudience = \"a\"\nalgorithms = [\"ES256\"]\nkeys = \"{pem}\"\n"),
    );
    let said = |arguments: &[&str]| {
        let output = run(trailcast(arguments), "");
        (output.status.code(), stdout(&output) + &stderr(&output))
    };
    std::fs::write(&pem, key.public_key_pem()).unwrap();
    assert_eq!(said(&["config", "check", "--config", &path]).0, Some(0));
    std::fs::write(&pem, key.serialize_pem()).unwrap();
    for command in [&["config", "check", "--config", &path][..], &["serve", "--config", &path]] {
        let (code, told) = said(command);
        assert!(code == Some(1) && told.contains("line 5: jwt.keys: ") && told.contains("private key"), "{told}");
        assert!(!told.contains(key.serialize_pem().lines().nth(1).unwrap()), "{told}");
    }
}

#[test]
fn a_proxy_that_cannot_be_read_is_named_with_its_line() {
    let folder = Folder::new("config");
    for (text, says) in [
        ("trustedProxies = [\"10.0.0.1\", \"proxy\"]", "line 1: trustedProxies[1]: must be an address or a network"),
        ("trustedProxies = [\"10.0.0.1/8\"]", "trustedProxies[0]: has bits beyond its length"),
        ("trustedProxies = [\"0.0.0.0/0\"]", "trustedProxies[0]: would trust everybody"),
        ("trustedProxies = \"10.0.0.1\"", "trustedProxies: must be a list of strings; it is \"10.0.0.1\""),
        ("trustedProxies = [7]", "trustedProxies[0]: must be a string; it is 7"),
        ("proxyProtocol = 1", "proxyProtocol: must be true or false; it is 1"),
        ("proxyProtocol = true", "line 1: proxyProtocol: the PROXY protocol is on and no proxy is trusted"),
    ] {
        let output = check(&folder, text);
        assert!(output.status.code() == Some(1) && stdout(&output).contains(says), "{text}: {}", stdout(&output));
    }
    let flag = run(trailcast(&["serve", "--trusted-proxy", "10.0.0.1/8"]), "");
    assert!(flag.status.code() == Some(2) && stderr(&flag).contains("bits beyond"), "{}", stderr(&flag));
    let alone = run(trailcast(&["serve", "--proxy-protocol"]), "");
    assert!(alone.status.code() == Some(2) && stderr(&alone).contains("no proxy is trusted"), "{}", stderr(&alone));
}

#[test]
fn a_flag_is_stronger_than_the_environment_and_that_than_the_file_for_every_setting() {
    let folder = Folder::new("config");
    let at = |name: &str| folder.path().join(name).display().to_string();
    // Member, line of the file, variable, flag, and the value that each gives.
    let cases = [
        (
            "listen",
            "listen = \"127.0.0.1:1\"",
            "TRAILCAST_LISTEN",
            "--listen",
            ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"],
        ),
        ("dataDir", "dataDir = \"d1\"", "TRAILCAST_DATA_DIR", "--data-dir", ["d1", "d2", "d3"]),
        (
            "publicUrl",
            "publicUrl = \"https://a\"",
            "TRAILCAST_PUBLIC_URL",
            "--public-url",
            ["https://a", "https://b", "https://c"],
        ),
        (
            "allowedOrigins",
            "allowedOrigins = [\"https://a\"]",
            "TRAILCAST_ALLOWED_ORIGINS",
            "--allowed-origin",
            ["https://a", "https://b", "https://c"],
        ),
        (
            "trustedProxies",
            "trustedProxies = [\"10.0.0.1\"]",
            "TRAILCAST_TRUSTED_PROXIES",
            "--trusted-proxy",
            ["10.0.0.1", "10.0.0.2", "fd00::/8"],
        ),
        (
            "tls.certificate",
            "[tls]\ncertificate = \"c1\"\nkey = \"k\"",
            "TRAILCAST_TLS_CERTIFICATE",
            "--tls-certificate",
            ["c1", "c2", "c3"],
        ),
        ("tls.key", "[tls]\ncertificate = \"c\"\nkey = \"k1\"", "TRAILCAST_TLS_KEY", "--tls-key", ["k1", "k2", "k3"]),
        (
            "tls.clientCa",
            "[tls]\ncertificate = \"c\"\nkey = \"k\"\nclientCa = \"a1\"",
            "TRAILCAST_TLS_CLIENT_CA",
            "--tls-client-ca",
            ["a1", "a2", "a3"],
        ),
        ("log", "log = \"warn\"", "TRAILCAST_LOG", "--log", ["warn", "debug", "error"]),
        ("audit.file", "[audit]\nfile = \"f1\"", "TRAILCAST_AUDIT_LOG", "--audit-log", ["f1", "f2", "f3"]),
    ];
    let holds = |text: &str, variable: Option<(&str, &str)>, flag: &[String]| -> Value {
        let path = at("trailcast.toml");
        std::fs::write(&path, text).unwrap();
        let mut command = trailcast(&["config", "show", "--json", "--config", &path]);
        command.args(flag).envs(variable);
        let output = run(command, "");
        serde_json::from_str(&stdout(&output)).unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)))
    };
    let value = |shown: &Value, member: &str| match &shown[member] {
        Value::Array(values) => values[0].clone(),
        value => value.clone(),
    };
    let mut tested: Vec<&str> = cases.iter().map(|(member, ..)| *member).collect();
    for (member, line, variable, flag, [of_file, of_environment, of_flag]) in cases {
        let environment = Some((variable, of_environment));
        let flag = [format!("{flag}={of_flag}")];
        assert_eq!(value(&holds(line, None, &[]), member), of_file);
        assert_eq!(value(&holds(line, environment, &[]), member), of_environment);
        assert_eq!(value(&holds(line, environment, &flag), member), of_flag);
        assert_eq!(value(&holds(line, None, &flag), member), of_flag);
    }
    let line = "[face.goldengate]\nlisten = \"127.0.0.1:1\"";
    let (environment, flag) = (
        Some(("TRAILCAST_FACE_LISTEN", "goldengate=127.0.0.1:2")),
        ["--face-listen=goldengate=127.0.0.1:3".to_owned()],
    );
    for (environment, flag, address) in [
        (None, &[][..], "127.0.0.1:1"),
        (environment, &[], "127.0.0.1:2"),
        (environment, &flag, "127.0.0.1:3"),
        (None, &flag, "127.0.0.1:3"),
    ] {
        assert_eq!(holds(line, environment, flag)["face.goldengate.listen"], address);
    }
    tested.push("face.goldengate.listen");
    for (member, variable, flag, [one, other]) in [
        ("allowPlainText", "TRAILCAST_ALLOW_PLAIN_TEXT", "--allow-plain-text", [json!(true), json!(false)]),
        ("proxyProtocol", "TRAILCAST_PROXY_PROTOCOL", "--proxy-protocol", [json!(true), json!(false)]),
        ("digest", "TRAILCAST_DIGEST", "--digest", [json!(true), json!(false)]),
        ("logFormat", "TRAILCAST_LOG_FORMAT", "--log-format", [json!("json"), json!("text")]),
    ] {
        let bare = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        for (weak, strong) in [(&one, &other), (&other, &one)] {
            // Nobody may speak the PROXY protocol where nobody is trusted.
            let line = format!("trustedProxies = [\"10.0.0.1\"]\n{member} = {weak}");
            let (weak_flag, strong_flag) = (bare(weak), [format!("{flag}={}", bare(strong))]);
            assert_eq!(holds(&line, None, &[])[member], *weak);
            assert_eq!(holds(&line, Some((variable, &bare(strong))), &[])[member], *strong);
            assert_eq!(holds(&line, Some((variable, &weak_flag)), &strong_flag)[member], *strong);
        }
        tested.push(member);
    }
    // Every flag of `serve` but the one that names the file is among them.
    let help = stdout(&run(trailcast(&["serve", "--help"]), ""));
    let flags = help.lines().filter(|line| line.trim_start().starts_with("--")).count();
    assert_eq!(tested.len() + 1, flags, "{tested:?}\n{help}");
}

#[test]
fn users_and_trails_of_the_file_are_made_once_and_later_changes_stay() {
    let folder = Folder::new("config");
    let password = folder.path().join("password");
    std::fs::write(&password, "of-the-file\n").unwrap();
    let text = |role: &str, seconds: u32| {
        format!(
            "[[user]]\nname = \"ann\"\nrole = \"{role}\"\npasswordFile = \"{}\"\n\
             [[trail]]\nname = \"a1\"\nretention.ageSeconds = {seconds}\n",
            password.display()
        )
    };
    let path = write(&folder, &text("Operator", 100));
    let mut server = Server::start_with(&["--config", &path], &[]);
    let logs_in = |server: &Server, password: &str| {
        let basic = crate::support::http::Basic::new("ann", password);
        let headers = [("Authorization", basic.header())];
        crate::support::http::request(server.port(), "GET", "/services/v2/stream", &headers, b"").unwrap().status == 200
    };
    assert!(logs_in(&server, "of-the-file"));
    let retention = |server: &Server| {
        server.get("/services/v2/trails/a1").expect(200).response()["retention"]["ageSeconds"].clone()
    };
    assert_eq!(retention(&server), 100);
    server.patch("/services/v2/users/ann", &json!({"password": "changed"})).expect(200);
    let log = server.last_words();
    assert!(log.lines().any(|line| line.contains("START") && line.contains("/services/v2/users/ann")), "{log}");
    std::fs::write(&password, "of-the-file-again\n").unwrap();
    write(&folder, &text("User", 200));
    server.start_again();
    assert!(logs_in(&server, "changed") && !logs_in(&server, "of-the-file-again"));
    assert_eq!(server.get("/services/v2/users/ann").expect(200).response()["role"], "Operator");
    assert_eq!(retention(&server), 100);
    let log = server.last_words();
    assert_eq!(log.matches("not applied, PATCH it").count(), 2, "{log}");
}

#[test]
fn the_limits_of_the_file_hold() {
    let folder = Folder::new("config");
    let text = "[limits]\nsessions = 1\nconnections = 8\nconnectionsPerAddress = 8\nheaderSeconds = 1\nslowClientSeconds = 1\n[[stream]]\nname = \"s1\"\nsource.trail = \"a1\"\n";
    let server = Server::start_with(&["--config", &write(&folder, text)], &[]);
    server.make_trail("a1");
    let first = server.subscribe("s1", "").unwrap();
    match server.subscribe("s1", "") {
        Err(crate::support::subscriber::Refused::Answer(answer)) => {
            assert!(answer.status == 503 && answer.titles().contains("1 sessions already"), "{answer}");
        }
        other => panic!("a second session: {other:?}"),
    }
    drop(first);
    // A reader that takes nothing is closed after the second that it has.
    let big = "v".repeat(1 << 20);
    for id in 0..24 {
        let row = json!({"operations": [{"op": "INSERT", "table": "t", "after": {"id": id, "v": big}}]});
        server.put("a1", &[row]).expect(200);
    }
    server.wait_for_log("closeCode=1", super::command::PATIENCE).unwrap();
    let stuck = server.subscribe("s1", "begin=earliest").unwrap();
    server.wait_for_log("closeCode=4011", super::command::PATIENCE).unwrap();
    drop(stuck);
    // A connection that says nothing is closed after the second that it has.
    let mut silent = crate::support::http::connect(server.port(), std::time::Duration::from_secs(8)).unwrap();
    let read = std::io::Read::read(&mut silent, &mut [0; 512]);
    assert!(read.is_ok(), "{read:?}");
}

#[test]
fn with_an_administrator_in_the_file_no_other_is_made() {
    let folder = Folder::new("config");
    let path = write(&folder, "[[user]]\nname = \"root\"\nrole = \"Administrator\"\npasswordEnv = \"ROOT_PASSWORD\"\n");
    let mut server =
        Server::start_with(&["--config", &path], &[("TRAILCAST_ADMIN_PASSWORD", ""), ("ROOT_PASSWORD", "r")]);
    let log = server.last_words();
    assert!(!log.contains("admin password"), "{log}");
    let data = server.data_dir().to_str().unwrap();
    assert!(
        stdout(&run(trailcast(&["user", "ls", "--data-dir", data]), ""))
            .lines()
            .eq(["root                     Administrator"])
    );
}
