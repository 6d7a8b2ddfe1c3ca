//! The tables `[face.NAME]` of the configuration file: listeners of their own for faces.

use std::net::SocketAddr;
use std::str::FromStr;

use super::section::Section;
use super::{InvalidListenAddress, ListenAddress};
use crate::catalog::TlsFiles;
use crate::face::{FaceName, UnknownFace};
use crate::limits;

/// `[face.NAME]`: a listener that serves this face and no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaceListener {
    /// Which face.
    pub face: FaceName,
    /// `listen`.
    pub listen: SocketAddr,
    /// `publicUrl`: the address that its clients use, if not the one they ask at.
    pub public_url: Option<String>,
    /// `tls`; of the file, and once the settings are made those of the main listener where the file has none.
    pub tls: Option<TlsFiles>,
    /// `connections`: at most so many of the server's on this listener.
    pub connections_max: Option<usize>,
}

impl FaceListener {
    /// One of which only the address is said.
    pub fn at(face: FaceName, listen: SocketAddr) -> Self {
        Self { face, listen, public_url: None, tls: None, connections_max: None }
    }

    /// The path of one of its members, such as `face.goldengate.listen`.
    pub fn member(&self, member: &str) -> String {
        format!("face.{}.{member}", self.face)
    }
}

/// A face and where it listens: `goldengate=127.0.0.1:9100`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaceAddress(pub FaceName, pub SocketAddr);

/// The text names no face with an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFaceAddress {
    /// There is no sign between the two.
    #[error("must be the name of a face, = and an address, such as goldengate=127.0.0.1:9100")]
    Form,
    /// The name is none.
    #[error(transparent)]
    Face(#[from] UnknownFace),
    /// The address is none.
    #[error(transparent)]
    Address(#[from] InvalidListenAddress),
}

impl FromStr for FaceAddress {
    type Err = InvalidFaceAddress;

    fn from_str(text: &str) -> Result<Self, InvalidFaceAddress> {
        let (face, listen) = text.split_once('=').ok_or(InvalidFaceAddress::Form)?;
        let ListenAddress(listen) = listen.parse()?;
        Ok(Self(face.parse()?, listen))
    }
}

/// Every `[face.NAME]`, in the order of the faces.
pub(super) fn read(file: &Section<'_>) -> Vec<FaceListener> {
    let Some(faces) = file.inner("face") else { return Vec::new() };
    let mut listeners: Vec<_> = faces.table().keys().filter_map(|name| listener(&faces, name)).collect();
    listeners.sort_by_key(|listener| listener.face);
    listeners
}

fn listener(faces: &Section<'_>, name: &str) -> Option<FaceListener> {
    let face = faces.noted(name, name.parse::<FaceName>())?;
    let given = faces.inner(name)?;
    given.need("listen");
    let listen = given.parsed("listen").map(|ListenAddress(address)| address);
    let connections = given.number("connections", 1, limits::CONNECTIONS_CONFIGURED_MAX as u64);
    Some(FaceListener {
        face,
        listen: listen?,
        public_url: given.text("publicUrl").map(str::to_owned),
        tls: given.inner("tls").and_then(|tls| files(&tls)),
        connections_max: connections.map(|number| number as usize),
    })
}

fn files(tls: &Section<'_>) -> Option<TlsFiles> {
    let (certificate, key) = (tls.need("certificate"), tls.need("key"));
    let client_ca = tls.text("clientCa").map(Into::into);
    Some(TlsFiles { certificate: certificate?.into(), key: key?.into(), client_ca })
}

#[cfg(test)]
mod tests {
    use crate::config::{ConfigFile, Overrides, Settings, SettingsError};
    use crate::face::FaceName;

    fn error(text: &str) -> String {
        ConfigFile::parse(text).unwrap_err().to_string()
    }

    fn settings(text: &str, overrides: Overrides) -> Result<Settings, SettingsError> {
        Settings::new(ConfigFile::parse(text).unwrap(), overrides)
    }

    #[test]
    fn a_face_may_have_a_listener_of_its_own() {
        let text = "[face.goldengate]\nlisten = \"127.0.0.1:9100\"\npublicUrl = \"https://streams.example.com\"\n\
                    connections = 7\n[face.goldengate.tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"";
        let [listener] = &settings(text, Overrides::default()).unwrap().faces[..] else { panic!() };
        assert_eq!((listener.face, listener.listen.port()), (FaceName::GoldenGate, 9100));
        assert_eq!(listener.public_url.as_deref(), Some("https://streams.example.com"));
        assert_eq!(listener.connections_max, Some(7));
        assert_eq!(listener.tls.as_ref().unwrap().key.to_str(), Some("k.pem"));
        assert!(settings("", Overrides::default()).unwrap().faces.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named_with_what_there_is() {
        assert_eq!(
            error("[face.kinesis]\nlisten = \"127.0.0.1:1\""),
            "line 1: face.kinesis: there is no face of this name; there is goldengate"
        );
        assert_eq!(error("[face.goldengate]"), "line 1: face.goldengate.listen: is missing");
        assert!(error("face.goldengate = 1").contains("is written as a table [face.goldengate]"));
        assert!(error("[face.goldengate]\nlisten = \"x\"").contains("face.goldengate.listen: must be an address"));
        assert!(error("[face.goldengate]\nlisten = \"127.0.0.1:1\"\nlisen = 1").contains("did you mean \"listen\"?"));
        let half = "[face.goldengate]\nlisten = \"127.0.0.1:1\"\n[face.goldengate.tls]\ncertificate = \"c\"";
        assert!(error(half).contains("face.goldengate.tls.key: is missing"), "{}", error(half));
        let none = error("[face.goldengate]\nlisten = \"127.0.0.1:1\"\nconnections = 0");
        assert!(none.contains("face.goldengate.connections: must be a whole number from 1"), "{none}");
    }

    #[test]
    fn it_takes_the_servers_certificate_unless_it_has_its_own() {
        let text = "[tls]\ncertificate = \"c\"\nkey = \"k\"\n[face.goldengate]\nlisten = \"0.0.0.0:1\"";
        assert_eq!(
            settings(text, Overrides::default()).unwrap().faces[0].tls.as_ref().unwrap().key.to_str(),
            Some("k")
        );
    }

    #[test]
    fn a_flag_is_stronger_than_the_file_and_may_stand_without_it() {
        let given = || Overrides {
            faces: vec![(FaceName::GoldenGate, "127.0.0.1:7".parse().unwrap())],
            ..Overrides::default()
        };
        let text = "[face.goldengate]\nlisten = \"127.0.0.1:1\"\nconnections = 3";
        let listeners = settings(text, given()).unwrap().faces;
        assert_eq!((listeners.len(), listeners[0].listen.port(), listeners[0].connections_max), (1, 7, Some(3)));
        assert_eq!(settings("", given()).unwrap().faces[0].listen.port(), 7);
    }

    #[test]
    fn a_flag_names_a_face_and_an_address() {
        use super::FaceAddress;
        let read = |text: &str| text.parse::<FaceAddress>();
        assert_eq!(
            read("goldengate=localhost:7"),
            Ok(FaceAddress(FaceName::GoldenGate, "127.0.0.1:7".parse().unwrap()))
        );
        for bad in ["", "goldengate", "127.0.0.1:7", "kinesis=127.0.0.1:7", "goldengate=7"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn plain_text_to_the_network_and_an_address_twice_are_refused() {
        let plain = settings("[face.goldengate]\nlisten = \"0.0.0.0:1\"", Overrides::default()).unwrap_err();
        assert!(matches!(&plain, SettingsError::PlainText { member, .. } if member == "face.goldengate.listen"));
        let twice = "listen = \"127.0.0.1:9\"\n[face.goldengate]\nlisten = \"127.0.0.1:9\"";
        let twice = settings(twice, Overrides::default()).unwrap_err().to_string();
        assert!(twice.contains("127.0.0.1:9") && twice.contains("face.goldengate.listen"), "{twice}");
        let free = "listen = \"127.0.0.1:0\"\n[face.goldengate]\nlisten = \"127.0.0.1:0\"";
        assert!(settings(free, Overrides::default()).is_ok());
    }
}
