//! `trailcast config`: what `serve` would make of its configuration, without starting.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use rustix::fs::{Access, access};
use serde_json::json;

use super::failure::Failure;
use super::logging;
use super::output::print;
use super::serve;
use crate::access::{Expiries, OriginRules};
use crate::catalog::TlsFiles;
use crate::clock::{Clock as _, SystemClock};
use crate::config::{
    AuditTarget, CONFIG_FILE_DEFAULT, ConfigFile, Overrides, Problem, Settings, SettingsError, located,
};
use crate::face::FaceName;
use crate::listen::Tls;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the configuration file, with the environment and the flags that `serve` would get, without starting
    ///
    /// Syntax, unknown members, ranges, the configurations of extracts and streams, the files of TLS, of JWT keys and of
    /// passwords, certificates that expire, folders. Prints every problem, with its line and value; ends with 0 when there
    /// are none or warnings only, else with 1.
    Check {
        /// Print JSON, one object a problem
        #[arg(long, env = "TRAILCAST_JSON", value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::SetTrue)]
        json: bool,
        #[command(flatten)]
        serve: serve::Arguments,
    },
    /// Print what holds after file, environment and flags (the last wins)
    Show {
        /// Print JSON
        #[arg(long, env = "TRAILCAST_JSON", value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::SetTrue)]
        json: bool,
        #[command(flatten)]
        serve: serve::Arguments,
    },
}

/// Runs a subcommand.
pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Check { json, serve } => check(serve, json),
        Command::Show { json, serve } => show(serve.settings()?, json),
    }
}

fn check(arguments: serve::Arguments, as_json: bool) -> Result<(), Failure> {
    let named = arguments.config_path().map(Path::to_owned);
    let path = named.clone().or_else(|| Path::new(CONFIG_FILE_DEFAULT).is_file().then(|| CONFIG_FILE_DEFAULT.into()));
    let (file, mut problems, text) = path.as_deref().map(ConfigFile::survey).unwrap_or_default();
    problems.extend(beyond(file, arguments.overrides()));
    let problems = located(&text, problems);
    let place = path.map_or_else(|| "environment and flags".to_owned(), |path| path.display().to_string());
    let line = |problem: &Problem| match as_json {
        true => json!({
            "line": problem.line, "member": problem.member, "message": problem.message, "value": problem.value,
            "severity": if problem.is_warning { "warning" } else { "error" },
        })
        .to_string(),
        false => format!("{place}: {problem}"),
    };
    let text: String = problems.iter().map(|problem| line(problem) + "\n").collect();
    print(text.as_bytes())?;
    match problems.iter().filter(|problem| !problem.is_warning).count() {
        0 if as_json => Ok(()),
        0 => Ok(print(format!("{place}: no problem\n").as_bytes())?),
        1 => Err(Failure::failed("1 problem")),
        count => Err(Failure::failed(format!("{count} problems"))),
    }
}

/// What no single member tells, and what is wrong outside of the file. Of a file with problems, as far as it could be read.
/// Members are named where the file says it: what comes from a flag or the environment has no line.
fn beyond(mut file: ConfigFile, mut overrides: Overrides) -> Vec<Problem> {
    let mut problems = Vec::new();
    let over = members_over_the_file(&overrides);
    let mut note = |member: &str, failed: Option<String>| {
        let whole = member.split('[').next().unwrap_or(member);
        let source = if over.iter().any(|member| member == whole) { " (of a flag or the environment)" } else { "" };
        problems.extend(failed.map(|what| Problem::of(&format!("{member}{source}"), what)));
    };
    let tls_files = [
        ("tls.certificate", overrides.tls_certificate.clone(), file.tls.certificate.clone()),
        ("tls.key", overrides.tls_key.clone(), file.tls.key.clone()),
        ("tls.clientCa", overrides.tls_client_ca.clone(), file.tls.client_ca.clone()),
    ];
    let mut tls_is_there = true;
    for (member, over, in_file) in tls_files {
        let fault = over.or(in_file).as_deref().and_then(unreadable);
        tls_is_there &= fault.is_none();
        note(member, fault);
    }
    for (at, password) in &file.user_passwords {
        note(&format!("user[{at}].{}", password.member()), password.read().err());
    }
    // A contradiction is noted and taken away, so that it hides nothing.
    let settings = loop {
        match Settings::new(file.clone(), overrides.clone()) {
            Ok(settings) => break settings,
            Err(error) => {
                let member = match error {
                    SettingsError::HalfTls => {
                        file.tls = Default::default();
                        (overrides.tls_certificate, overrides.tls_key, overrides.tls_client_ca) = (None, None, None);
                        overrides.allow_plain_text = Some(true);
                        "tls"
                    }
                    SettingsError::PlainText { ref member, .. } => {
                        overrides.allow_plain_text = Some(true);
                        member
                    }
                    SettingsError::SameAddress { ref face, .. } => {
                        let is_it = |name: FaceName| *face == format!("face.{name}");
                        file.faces.retain(|listener| !is_it(listener.face));
                        overrides.faces.retain(|(name, _)| !is_it(*name));
                        face
                    }
                    SettingsError::ProxyProtocolOfNobody => {
                        overrides.proxy_protocol = Some(false);
                        "proxyProtocol"
                    }
                };
                note(member, Some(error.to_string()));
            }
        }
    };
    let origins = |public: Option<&str>, allowed: &[String]| {
        OriginRules::new(settings.listen, public, allowed).err().map(|error| error.to_string())
    };
    note("publicUrl", origins(settings.public_url.as_deref(), &[]));
    for (at, origin) in settings.allowed_origins.iter().enumerate() {
        note(&format!("allowedOrigins[{at}]"), origins(None, std::slice::from_ref(origin)));
    }
    for listener in &settings.faces {
        let wrong = OriginRules::new(listener.listen, listener.public_url.as_deref(), &[]).err();
        note(&listener.member("publicUrl"), wrong.map(|error| error.to_string()));
    }
    note("log", logging::filter(&settings.log).err().map(|error| error.to_string()));
    note("dataDir", folder_fault(&settings.data_dir));
    if let Some(AuditTarget::File(options)) = &settings.audit {
        let faults: Vec<_> = options.of_each_kind().iter().filter_map(|options| file_fault(&options.path)).collect();
        // Where one cannot be made, the others beside it cannot either, and for the same reason.
        note("audit.file", faults.into_iter().next());
    }
    let expiries = Arc::new(Expiries::default());
    let mut load = |files: TlsFiles, listener, member: &str| {
        let loaded = Tls::load(files, listener, Arc::new(SystemClock), expiries.clone());
        note(member, loaded.err().map(|error| error.to_string()));
    };
    for listener in settings.faces {
        // What it has of the main listener is looked at there.
        if let Some(files) = listener.tls.clone().filter(|files| settings.tls.as_ref() != Some(files)) {
            load(files, listener.face.name(), &listener.member("tls"));
        }
    }
    if let Some(files) = settings.tls.filter(|_| tls_is_there) {
        load(files, "", "tls");
    }
    for (member, trouble) in expiries.troubles(SystemClock.now()) {
        let what = format!("a certificate in it {}", trouble.what);
        problems.push(Problem { is_warning: !trouble.expired, ..Problem::of(&member, what) });
    }
    problems
}

/// Members that flags or the environment give.
fn members_over_the_file(overrides: &Overrides) -> Vec<String> {
    let given = [
        ("listen", overrides.listen.is_some()),
        ("dataDir", overrides.data_dir.is_some()),
        ("publicUrl", overrides.public_url.is_some()),
        ("allowedOrigins", !overrides.allowed_origins.is_empty()),
        ("proxyProtocol", overrides.proxy_protocol.is_some()),
        ("tls.certificate", overrides.tls_certificate.is_some()),
        ("tls.key", overrides.tls_key.is_some()),
        ("tls.clientCa", overrides.tls_client_ca.is_some()),
        ("log", overrides.log.is_some()),
        ("audit.file", overrides.audit_log.is_some()),
    ];
    let given = given.into_iter().filter(|(_, is_given)| *is_given).map(|(member, _)| member.to_owned());
    given.chain(overrides.faces.iter().map(|(face, _)| format!("face.{face}.listen"))).collect()
}

/// Why a file could not be read.
fn unreadable(path: &Path) -> Option<String> {
    std::fs::File::open(path).err().map(|error| format!("{}: {error}", path.display()))
}

/// Why a folder could be neither used nor made.
fn folder_fault(path: &Path) -> Option<String> {
    if path.exists() {
        return if path.is_dir() { writable(path) } else { Some(format!("{} is no folder", path.display())) };
    }
    let parent = path.ancestors().skip(1).find(|parent| parent.exists() || parent.as_os_str().is_empty());
    let parent = parent.filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    folder_fault(parent)
}

/// Why a file could be neither appended to nor made.
fn file_fault(path: &Path) -> Option<String> {
    if path.is_dir() {
        return Some(format!("{} is a folder", path.display()));
    }
    if path.exists() {
        return writable(path);
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if parent.is_dir() { writable(parent) } else { Some(format!("there is no folder {}", parent.display())) }
}

fn writable(path: &Path) -> Option<String> {
    access(path, Access::WRITE_OK).err().map(|error| format!("{} cannot be written: {error}", path.display()))
}

fn show(settings: Settings, as_json: bool) -> Result<(), Failure> {
    let path = |path: &PathBuf| path.display().to_string();
    let tls = settings.tls.as_ref();
    let audit = settings.audit.as_ref().map(|audit| match audit {
        AuditTarget::StandardOutput => "-".to_owned(),
        AuditTarget::File(options) => path(&options.path),
    });
    let mut shown = json!({
        "listen": settings.listen.to_string(),
        "dataDir": path(&settings.data_dir),
        "publicUrl": settings.public_url,
        "allowedOrigins": settings.allowed_origins,
        "allowPlainText": settings.allow_plain_text,
        "trustedProxies": settings.proxies.networks().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "proxyProtocol": settings.proxies.speaks_proxy_protocol(),
        "tls.certificate": tls.map(|files| path(&files.certificate)),
        "tls.key": tls.map(|files| path(&files.key)),
        "tls.clientCa": tls.and_then(|files| files.client_ca.as_ref()).map(path),
        "digest": settings.access.digest,
        "log": settings.log,
        "logFormat": settings.log_format.name(),
        "audit.file": audit,
    });
    for (member, value) in settings.limits.all() {
        shown[format!("limits.{member}")] = json!(value);
    }
    for listener in &settings.faces {
        let tls = listener.tls.as_ref();
        shown[listener.member("listen")] = json!(listener.listen.to_string());
        shown[listener.member("publicUrl")] = json!(listener.public_url);
        shown[listener.member("connections")] = json!(listener.connections_max);
        shown[listener.member("tls.certificate")] = json!(tls.map(|files| path(&files.certificate)));
        shown[listener.member("tls.key")] = json!(tls.map(|files| path(&files.key)));
        shown[listener.member("tls.clientCa")] = json!(tls.and_then(|files| files.client_ca.as_ref()).map(path));
    }
    let names = |names: Vec<String>| json!(names);
    shown["user"] = names(settings.users.iter().map(|user| user.name.clone()).collect());
    shown["extract"] = names(settings.extracts.iter().map(|(name, _)| name.to_string()).collect());
    shown["trail"] = names(settings.trails.iter().map(|(name, _)| name.to_string()).collect());
    shown["stream"] = names(settings.streams.iter().map(|(name, _)| name.to_string()).collect());
    if as_json {
        return Ok(print(format!("{shown}\n").as_bytes())?);
    }
    let members = shown.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let text: String = members.map(|(name, value)| format!("{name} = {value}\n")).collect();
    Ok(print(text.as_bytes())?)
}
