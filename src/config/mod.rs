//! How a server is set up: the configuration file, and what the environment and flags put over it.
//!
//! Owns the file's members, their order of strength (file < environment < flags) and how an error in it is worded.
//! What an extract or a stream is made of is checked by `catalog`.

mod face_listeners;
mod file;
mod limit_members;
mod members;
mod problem;
mod resources;
mod section;
mod security;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

pub use face_listeners::{FaceAddress, FaceListener};
pub use file::{ConfigFile, ConfigFileError};
pub use limit_members::LimitMembers;
pub use problem::{Problem, located};
pub use resources::{FileUser, PasswordSource};
pub use security::{AuditSizes, JwksUrl, JwtMembers, KeyStamp};

use crate::access::{AccessOptions, Network, TrustedProxies};
use crate::catalog::extract::ExtractConfig;
use crate::catalog::stream::StreamConfig;
use crate::catalog::trail::TrailSettings;
use crate::catalog::{AuditFileOptions, TlsFiles};
use crate::face::FaceName;
use crate::record::{ResourceName, TrailName};

/// Where a server listens unless told otherwise.
pub const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9002);
/// The data folder of `serve` unless told otherwise.
pub const DATA_DIR_DEFAULT: &str = "./trailcast-data";
/// The configuration file that is read, if it is there, when none is named.
pub const CONFIG_FILE_DEFAULT: &str = "trailcast.toml";

/// An address to listen on: `127.0.0.1:9002`, `[::1]:9002`, `localhost:9002`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenAddress(pub SocketAddr);

/// The text is no address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an address and a port, such as 127.0.0.1:9002")]
pub struct InvalidListenAddress;

impl FromStr for ListenAddress {
    type Err = InvalidListenAddress;

    fn from_str(text: &str) -> Result<Self, InvalidListenAddress> {
        let address = match text.strip_prefix("localhost:") {
            Some(port) => port.parse().ok().map(|port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)),
            None => text.parse().ok(),
        };
        address.map(Self).ok_or(InvalidListenAddress)
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The text names no format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be \"text\" or \"json\"")]
pub struct InvalidLogFormat;

impl LogFormat {
    /// What it is called in the file and in flags.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

impl FromStr for LogFormat {
    type Err = InvalidLogFormat;

    fn from_str(text: &str) -> Result<Self, InvalidLogFormat> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(InvalidLogFormat),
        }
    }
}

/// What environment and flags say; `None` where they say nothing.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Where to listen.
    pub listen: Option<SocketAddr>,
    /// The data folder.
    pub data_dir: Option<PathBuf>,
    /// The address that clients use.
    pub public_url: Option<String>,
    /// Origins beside the server's own; empty: nothing said.
    pub allowed_origins: Vec<String>,
    /// Whether plain text is allowed on other addresses than loopback.
    pub allow_plain_text: Option<bool>,
    /// Trusted proxies; empty: nothing said.
    pub trusted_proxies: Vec<Network>,
    /// Whether their connections begin with a PROXY header.
    pub proxy_protocol: Option<bool>,
    /// The TLS certificate.
    pub tls_certificate: Option<PathBuf>,
    /// Its key.
    pub tls_key: Option<PathBuf>,
    /// The authorities of client certificates.
    pub tls_client_ca: Option<PathBuf>,
    /// Whether Digest authentication is on.
    pub digest: Option<bool>,
    /// What is logged.
    pub log: Option<String>,
    /// How it is logged.
    pub log_format: Option<LogFormat>,
    /// The file of audit lines.
    pub audit_log: Option<PathBuf>,
    /// Where faces have listeners of their own.
    pub faces: Vec<(FaceName, SocketAddr)>,
}

/// Where audit lines go, when not to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditTarget {
    /// Standard output (`-`).
    StandardOutput,
    /// A file.
    File(AuditFileOptions),
}

/// How a server is set up, everything decided.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The data folder.
    pub data_dir: PathBuf,
    /// The address that clients use, if not the one they ask at.
    pub public_url: Option<String>,
    /// Origins beside the server's own.
    pub allowed_origins: Vec<String>,
    /// Whether plain text may be spoken on an address other than loopback.
    pub allow_plain_text: bool,
    /// The proxies whose word on a client's address counts.
    pub proxies: TrustedProxies,
    /// The files of the TLS listener; plain text without.
    pub tls: Option<TlsFiles>,
    /// Ways to log in beside passwords and tokens of our own.
    pub access: AccessOptions,
    /// Caps and deadlines of connections and sessions.
    pub limits: LimitMembers,
    /// What is logged: a level, or directives such as `info,trailcast::capture=debug`.
    pub log: String,
    /// How it is logged.
    pub log_format: LogFormat,
    /// Where audit lines go; to the log without.
    pub audit: Option<AuditTarget>,
    /// Where the rules of tokens are read again from.
    pub jwt: Option<JwtMembers>,
    /// Listeners that serve one face each.
    pub faces: Vec<FaceListener>,
    /// Users of the file.
    pub users: Vec<FileUser>,
    /// Trails of the file.
    pub trails: Vec<(TrailName, TrailSettings)>,
    /// Extracts of the file.
    pub extracts: Vec<(ResourceName, ExtractConfig)>,
    /// Streams of the file.
    pub streams: Vec<(ResourceName, StreamConfig)>,
}

/// The file and what is over it contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Plain text would be spoken to the network, and nobody asked for it by name.
    #[error(
        "{listen} is not a loopback address, and this listener speaks plain text: passwords would cross the network \
         readable. Give it a certificate (--tls-certificate, --tls-key), put a TLS proxy in front of a loopback \
         address, or ask for it with --allow-plain-text"
    )]
    PlainText {
        /// The member that says where to listen.
        member: String,
        /// Where.
        listen: SocketAddr,
    },
    /// Two listeners cannot have one address.
    #[error("{listen} is the address of two listeners; give {face}.listen another port")]
    SameAddress {
        /// The face whose own listener is the second of them, as `face.NAME`.
        face: String,
        /// The address.
        listen: SocketAddr,
    },
    /// One of the two files is missing.
    #[error("TLS needs both a certificate and its key (tls.certificate and tls.key)")]
    HalfTls,
    /// A PROXY header of anybody would be believed.
    #[error(
        "the PROXY protocol is on and no proxy is trusted: name those that speak it (trustedProxies), or turn it off \
         (proxyProtocol)"
    )]
    ProxyProtocolOfNobody,
}

impl Settings {
    /// The file, with the overrides put over it.
    pub fn new(file: ConfigFile, overrides: Overrides) -> Result<Self, SettingsError> {
        let listen = overrides.listen.or(file.listen).unwrap_or(LISTEN_DEFAULT);
        let allow_plain_text = overrides.allow_plain_text.or(file.allow_plain_text).unwrap_or(false);
        let client_ca = overrides.tls_client_ca.or(file.tls.client_ca);
        let tls = match (overrides.tls_certificate.or(file.tls.certificate), overrides.tls_key.or(file.tls.key)) {
            (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key, client_ca }),
            (None, None) if client_ca.is_none() => None,
            _ => return Err(SettingsError::HalfTls),
        };
        let faces = own_listeners(file.faces, overrides.faces, tls.as_ref());
        let all_tls = || tls.iter().chain(faces.iter().filter_map(|face| face.tls.as_ref()));
        let takes_certificates = all_tls().any(|files| files.client_ca.is_some());
        let users_of_certificates = takes_certificates.then_some(file.tls.users);
        let (jwt, jwt_rules) = file.jwt.unzip();
        let access = AccessOptions {
            digest: overrides.digest.or(file.digest).unwrap_or(false),
            certificates: users_of_certificates,
            jwt: jwt_rules,
        };
        let mains = std::iter::once(("listen".to_owned(), listen, tls.is_some()));
        let own = faces.iter().map(|face| (face.member("listen"), face.listen, face.tls.is_some()));
        let mut listeners = mains.chain(own);
        let is_refused = |(_, listen, over_tls): &(_, SocketAddr, bool)| !over_tls && !listen.ip().is_loopback();
        if let Some((member, listen, _)) = listeners.find(|one| !allow_plain_text && is_refused(one)) {
            return Err(SettingsError::PlainText { member, listen });
        }
        let mut taken = vec![listen];
        for face in faces.iter().filter(|face| face.listen.port() != 0) {
            if taken.contains(&face.listen) {
                let listen = face.listen;
                return Err(SettingsError::SameAddress { face: format!("face.{}", face.face), listen });
            }
            taken.push(face.listen);
        }
        let given = overrides.trusted_proxies;
        let trusted = if given.is_empty() { file.trusted_proxies } else { given };
        let proxy_protocol = overrides.proxy_protocol.or(file.proxy_protocol).unwrap_or(false);
        if proxy_protocol && trusted.is_empty() {
            return Err(SettingsError::ProxyProtocolOfNobody);
        }
        let allowed_origins = match overrides.allowed_origins {
            none if none.is_empty() => file.allowed_origins,
            given => given,
        };
        Ok(Self {
            listen,
            data_dir: overrides.data_dir.or(file.data_dir).unwrap_or_else(|| DATA_DIR_DEFAULT.into()),
            public_url: overrides.public_url.or(file.public_url),
            allowed_origins,
            allow_plain_text,
            proxies: TrustedProxies::new(trusted, proxy_protocol),
            tls,
            access,
            limits: file.limits,
            log: overrides.log.or(file.log).unwrap_or_else(|| "info".into()),
            log_format: overrides.log_format.or(file.log_format).unwrap_or_default(),
            audit: overrides.audit_log.or(file.audit_file).map(|path| file.audit_sizes.target(path)),
            jwt,
            faces,
            users: file.users,
            trails: file.trails,
            extracts: file.extracts,
            streams: file.streams,
        })
    }
}

/// The listeners of faces: those of the file and those given over it, each with the files of the main listener unless it has
/// its own.
fn own_listeners(
    file: Vec<FaceListener>,
    given: Vec<(FaceName, SocketAddr)>,
    tls: Option<&TlsFiles>,
) -> Vec<FaceListener> {
    let mut listeners = file;
    for (face, listen) in given {
        match listeners.iter_mut().find(|listener| listener.face == face) {
            Some(listener) => listener.listen = listen,
            None => listeners.push(FaceListener::at(face, listen)),
        }
    }
    for listener in &mut listeners {
        listener.tls = listener.tls.take().or_else(|| tls.cloned());
    }
    listeners
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(text: &str) -> SocketAddr {
        text.parse::<ListenAddress>().unwrap().0
    }

    #[test]
    fn an_address_to_listen_on_has_a_port() {
        assert_eq!(listen("localhost:0"), listen("127.0.0.1:0"));
        assert_eq!(listen("[::1]:9002").port(), 9002);
        for bad in ["", "9002", "localhost", "127.0.0.1", "example.com:80", "localhost:x"] {
            assert!(bad.parse::<ListenAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_over_the_file_wins_and_what_is_not_said_is_the_files() {
        let file = ConfigFile::parse("listen = \"127.0.0.1:1\"\ndataDir = \"d\"\nlog = \"warn\"").unwrap();
        let overrides = Overrides { listen: Some(listen("127.0.0.1:2")), ..Overrides::default() };
        let settings = Settings::new(file, overrides).unwrap();
        assert_eq!((settings.listen.port(), settings.log.as_str()), (2, "warn"));
        assert_eq!(settings.data_dir, PathBuf::from("d"));
        let nothing = Settings::new(ConfigFile::default(), Overrides::default()).unwrap();
        assert_eq!((nothing.listen, nothing.log.as_str()), (LISTEN_DEFAULT, "info"));
    }

    #[test]
    fn plain_text_leaves_the_host_only_when_asked_for_by_name() {
        let open = || Overrides { listen: Some(listen("0.0.0.0:9002")), ..Overrides::default() };
        let refused = Settings::new(ConfigFile::default(), open()).unwrap_err();
        assert!(refused.to_string().contains("--allow-plain-text"), "{refused}");
        let asked = Overrides { allow_plain_text: Some(true), ..open() };
        assert!(Settings::new(ConfigFile::default(), asked).is_ok());
        let file = ConfigFile::parse("allowPlainText = true").unwrap();
        assert!(Settings::new(file.clone(), open()).is_ok());
        let taken_back = Overrides { allow_plain_text: Some(false), ..open() };
        assert!(Settings::new(file, taken_back).is_err());
        let six = Overrides { listen: Some(listen("[::1]:9002")), ..Overrides::default() };
        assert!(Settings::new(ConfigFile::default(), six).is_ok());
    }
}
