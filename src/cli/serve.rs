//! `trailcast serve`: the server, until it is asked to end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::failure::Failure;
use super::furnish::Furniture;
use super::logging;
use super::output::say;
use super::server::{RunningServer, ServerOptions};
use super::stop::Stop;
use super::token_keys;
use crate::access::Network;
use crate::config::{CONFIG_FILE_DEFAULT, ConfigFile, FaceAddress, ListenAddress, LogFormat, Overrides, Settings};
use crate::tasks::{self, Task};

/// The environment's name of the password that the first start gives to `admin`.
const ADMIN_PASSWORD: &str = "TRAILCAST_ADMIN_PASSWORD";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Configuration file [default: trailcast.toml, if it is there]
    #[arg(long, env = "TRAILCAST_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address and port to listen on; port 0 takes a free one [default: 127.0.0.1:9002]
    #[arg(long, env = "TRAILCAST_LISTEN", value_name = "ADDRESS")]
    listen: Option<ListenAddress>,
    /// Serve a face alone on a listener of its own too, such as goldengate=127.0.0.1:9100; may be repeated
    #[arg(long = "face-listen", env = "TRAILCAST_FACE_LISTEN", value_name = "NAME=ADDRESS", value_delimiter = ',')]
    face_listen: Vec<FaceAddress>,
    /// Folder for trails and catalog [default: ./trailcast-data]
    #[arg(long, env = "TRAILCAST_DATA_DIR", value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// The address that clients use, when it is not the one they ask at
    #[arg(long, env = "TRAILCAST_PUBLIC_URL", value_name = "URL")]
    public_url: Option<String>,
    /// Web origins that may connect, beside the server's own; may be repeated
    #[arg(long = "allowed-origin", env = "TRAILCAST_ALLOWED_ORIGINS", value_name = "ORIGIN", value_delimiter = ',')]
    allowed_origins: Vec<String>,
    /// Speak plain text on an address other than loopback
    #[arg(long, env = "TRAILCAST_ALLOW_PLAIN_TEXT", value_name = "BOOLEAN", num_args = 0..=1,
          require_equals = true, default_missing_value = "true", value_parser = clap::builder::BoolishValueParser::new())]
    allow_plain_text: Option<bool>,
    /// Proxies whose word on a client's address counts: addresses or networks such as 10.1.0.0/16; may be repeated
    #[arg(long = "trusted-proxy", env = "TRAILCAST_TRUSTED_PROXIES", value_name = "ADDRESS", value_delimiter = ',')]
    trusted_proxies: Vec<Network>,
    /// Expect a header of the PROXY protocol (version 1 or 2) at the begin of each connection of a trusted proxy
    #[arg(long, env = "TRAILCAST_PROXY_PROTOCOL", value_name = "BOOLEAN", num_args = 0..=1,
          require_equals = true, default_missing_value = "true", value_parser = clap::builder::BoolishValueParser::new())]
    proxy_protocol: Option<bool>,
    /// Speak TLS with this certificate, a PEM file
    #[arg(long, env = "TRAILCAST_TLS_CERTIFICATE", value_name = "FILE")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's private key, a PEM file
    #[arg(long, env = "TRAILCAST_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Take client certificates of these authorities, a PEM file
    #[arg(long, env = "TRAILCAST_TLS_CLIENT_CA", value_name = "FILE")]
    tls_client_ca: Option<PathBuf>,
    /// Take Digest authentication too
    #[arg(long, env = "TRAILCAST_DIGEST", value_name = "BOOLEAN", num_args = 0..=1,
          require_equals = true, default_missing_value = "true", value_parser = clap::builder::BoolishValueParser::new())]
    digest: Option<bool>,
    /// What to log: a level, or directives such as info,trailcast::capture=debug [default: info]
    #[arg(long, env = "TRAILCAST_LOG", value_name = "LEVEL")]
    log: Option<String>,
    /// How log lines look: text or json [default: text]
    #[arg(long, env = "TRAILCAST_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// Write audit lines to this file, as JSON; - for standard output [default: to the log]
    #[arg(long, env = "TRAILCAST_AUDIT_LOG", value_name = "FILE")]
    audit_log: Option<PathBuf>,
}

impl Arguments {
    /// The configuration file that is named, if one is.
    pub(super) fn config_path(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// What holds after file, environment and flags.
    pub(super) fn settings(self) -> Result<Settings, Failure> {
        let file = config_file(self.config_path())?;
        Settings::new(file, self.overrides()).map_err(Failure::usage)
    }

    /// What stands over the file.
    pub(super) fn overrides(self) -> Overrides {
        Overrides {
            listen: self.listen.map(|ListenAddress(address)| address),
            data_dir: self.data_dir,
            public_url: self.public_url,
            allowed_origins: self.allowed_origins,
            allow_plain_text: self.allow_plain_text,
            trusted_proxies: self.trusted_proxies,
            proxy_protocol: self.proxy_protocol,
            tls_certificate: self.tls_certificate,
            tls_key: self.tls_key,
            tls_client_ca: self.tls_client_ca,
            digest: self.digest,
            log: self.log,
            log_format: self.log_format,
            audit_log: self.audit_log,
            faces: self.face_listen.into_iter().map(|FaceAddress(face, listen)| (face, listen)).collect(),
        }
    }
}

/// The named file must be there; the default one may be.
fn config_file(named: Option<&Path>) -> Result<ConfigFile, Failure> {
    let default = Path::new(CONFIG_FILE_DEFAULT);
    match named {
        Some(path) => ConfigFile::read(path),
        None if default.is_file() => ConfigFile::read(default),
        None => Ok(ConfigFile::default()),
    }
    .map_err(Failure::failed)
}

/// Serves until SIGINT or SIGTERM.
pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let settings = arguments.settings()?;
    logging::start(&logging::with_audit(&settings.log), settings.log_format)?;
    // Before the start, which may take a while: whoever asks then is heard.
    let mut stop = Stop::on_signal()?;
    // Without somebody who heard it, SIGHUP would end the program, and log rotation sends it.
    drop(signal(SignalKind::hangup()).map_err(Failure::failed)?);
    let options = ServerOptions {
        listen: settings.listen,
        faces: settings.faces,
        data_dir: settings.data_dir,
        public_url: settings.public_url,
        allowed_origins: settings.allowed_origins,
        admin_password: std::env::var(ADMIN_PASSWORD).ok().filter(|password| !password.is_empty()),
        proxies: settings.proxies,
        tls: settings.tls,
        access: settings.access,
        audit: settings.audit,
        limits: settings.limits,
        furniture: Furniture {
            users: settings.users,
            extracts: settings.extracts,
            trails: settings.trails,
            streams: settings.streams,
        },
    };
    let server = tokio::select! {
        server = RunningServer::start(options) => server.map_err(Failure::failed)?,
        () = stop.asked() => return Ok(()),
    };
    if let Some(password) = server.generated_password() {
        say(format_args!("admin password: {password}"));
        say(format_args!(
            "    (made for the user admin on this first start and shown only now; {ADMIN_PASSWORD} sets one)"
        ));
    }
    for own in &server.own_listeners {
        say(format_args!("serving {} at {}://{}", own.face, scheme(own.tls), own.address));
    }
    // Last: whoever waits for it finds the others there too.
    say(listening(server.address, server.tls));
    let (service, jwt) = (server.service.clone(), settings.jwt);
    tokio::spawn(tasks::keep(Task::TokenKeys, move || token_keys::keep_fresh(service.clone(), jwt.clone())));
    stop.asked().await;
    server.stop().await;
    Ok(())
}

/// The line that scripts wait for.
pub(super) fn listening(address: SocketAddr, tls: bool) -> String {
    format!("listening on {}://{address}", scheme(tls))
}

fn scheme(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn settings(flags: &[&str]) -> Result<Settings, Failure> {
        let line = <Line as clap::Parser>::try_parse_from(std::iter::once("serve").chain(flags.iter().copied()));
        line.unwrap().arguments.settings()
    }

    #[test]
    fn plain_text_on_the_network_is_usage_unless_asked_for() {
        assert!(matches!(settings(&["--listen", "0.0.0.0:1"]), Err(Failure::Usage(_))));
        assert!(settings(&["--listen", "0.0.0.0:1", "--allow-plain-text"]).is_ok());
        assert!(matches!(settings(&["--listen", "0.0.0.0:1", "--allow-plain-text=false"]), Err(Failure::Usage(_))));
    }

    #[test]
    fn a_named_configuration_file_must_be_there() {
        let Err(Failure::Failed(what)) = settings(&["--config", "/nowhere/t.toml"]) else { panic!("taken") };
        assert!(what.contains("/nowhere/t.toml"), "{what}");
    }

    #[test]
    fn flags_win_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.toml");
        std::fs::write(&path, "listen = \"127.0.0.1:7\"\ndataDir = \"from-the-file\"").unwrap();
        let settings = settings(&["--config", path.to_str().unwrap(), "--listen", "127.0.0.1:8"]).unwrap();
        assert_eq!((settings.listen.port(), settings.data_dir), (8, PathBuf::from("from-the-file")));
    }

    #[test]
    fn the_line_that_scripts_wait_for_stays() {
        let address = "127.0.0.1:9002".parse().unwrap();
        assert_eq!(listening(address, false), "listening on http://127.0.0.1:9002");
        assert_eq!(listening(address, true), "listening on https://127.0.0.1:9002");
    }
}
