//! Where a server is and who asks: `http[s]://[user:password@]host[:port][/prefix]`, `ws` and `wss` meaning the same.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::trust::Trust;

/// What stays as it is in one part of a path; the rest is percent-encoded.
const PATH_PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A user and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user's name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Credentials {
    /// The value of `Authorization`.
    pub(crate) fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.user, self.password)))
    }
}

/// The text is no address of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidAddress(&'static str);

/// The address of a server.
#[derive(Debug, Clone)]
pub struct ServerAddress {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Name or address; an IPv6 address without its brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// What stands before `/services` in each path: empty, or `/…` without a slash at the end.
    pub prefix: String,
    /// The user of the address.
    pub user: Option<String>,
    /// Who asks, when user and password are both known.
    pub credentials: Option<Credentials>,
    /// Which certificates are taken, where TLS is spoken.
    pub trust: Trust,
}

impl ServerAddress {
    /// Reads an address. What user or password it does not have is taken from `user` and `password`; certificates are those
    /// of the system.
    pub fn parse(text: &str, user: Option<&str>, password: Option<&str>) -> Result<Self, InvalidAddress> {
        let (scheme, rest) =
            text.split_once("://").ok_or(InvalidAddress("an address begins with http:// or https://"))?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => return Err(InvalidAddress("an address begins with http:// or https://")),
        };
        if rest.contains(['?', '#']) {
            return Err(InvalidAddress("an address has no query and no fragment"));
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        // The last @: a password may hold one that was not percent-encoded.
        let (who, place) = authority.rsplit_once('@').map_or((None, authority), |(who, place)| (Some(who), place));
        let (own_user, own_password) = who.map_or(Ok((None, None)), user_and_password)?;
        let user = own_user.or(user.map(str::to_owned));
        let password = own_password.or(password.map(str::to_owned));
        let (host, port) = host_and_port(place, if tls { 443 } else { 80 })?;
        let credentials = user.clone().zip(password).map(|(user, password)| Credentials { user, password });
        Ok(Self { tls, host, port, prefix: path_prefix(path)?, user, credentials, trust: Trust::default() })
    }

    /// The `Host` that requests name.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.tls { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }

    /// A path under the prefix; each part is percent-encoded.
    pub fn path(&self, parts: &[&str]) -> String {
        let mut path = self.prefix.clone();
        for part in parts {
            path.push('/');
            path.extend(utf8_percent_encode(part, PATH_PART));
        }
        path
    }
}

impl fmt::Display for ServerAddress {
    /// Without user and password, to be shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.tls { "https" } else { "http" }, self.authority(), self.prefix)
    }
}

fn user_and_password(who: &str) -> Result<(Option<String>, Option<String>), InvalidAddress> {
    let decode = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8();
        decoded.map(Into::into).map_err(|_| InvalidAddress("user and password are percent-encoded UTF-8"))
    };
    let (user, password) = who.split_once(':').map_or((who, None), |(user, password)| (user, Some(password)));
    let user = if user.is_empty() { None } else { Some(decode(user)?) };
    Ok((user, password.map(decode).transpose()?))
}

fn host_and_port(place: &str, usual: u16) -> Result<(String, u16), InvalidAddress> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or(InvalidAddress("an IPv6 address ends with ]"))?;
            (host, after.strip_prefix(':'))
        }
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let legal = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.' | ':' | '%');
    if host.is_empty() || !host.chars().all(legal) {
        return Err(InvalidAddress("an address has a host name, such as http://127.0.0.1:9002"));
    }
    let port = match port {
        None | Some("") => usual,
        Some(port) => match port.parse() {
            Ok(port) if port > 0 => port,
            _ => return Err(InvalidAddress("a port is a number from 1 to 65535")),
        },
    };
    Ok((host.to_owned(), port))
}

fn path_prefix(path: &str) -> Result<String, InvalidAddress> {
    let path = path.trim_end_matches('/');
    if path.contains("/services/") || path.ends_with("/services") {
        return Err(InvalidAddress("the address is the server's alone, without /services and what follows"));
    }
    if path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(path.to_owned());
    }
    Err(InvalidAddress("a path in an address is percent-encoded"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ServerAddress {
        ServerAddress::parse(text, None, None).unwrap()
    }

    #[test]
    fn an_address_has_scheme_host_and_port() {
        let plain = parse("http://127.0.0.1:9002");
        assert_eq!((plain.tls, plain.host.as_str(), plain.port, plain.credentials), (false, "127.0.0.1", 9002, None));
        let secure = parse("wss://example.com/");
        assert_eq!((secure.tls, secure.port, secure.prefix.as_str()), (true, 443, ""));
        let six = parse("http://[::1]:81/behind/a/proxy/");
        assert_eq!((six.host.as_str(), six.authority().as_str()), ("::1", "[::1]:81"));
        assert_eq!(six.path(&["services", "v2", "stream", "a b"]), "/behind/a/proxy/services/v2/stream/a%20b");
    }

    #[test]
    fn user_and_password_are_percent_decoded_and_may_hold_an_at_sign() {
        let address = parse("http://ann%40x:p%3Aw@d@h");
        let credentials = address.credentials.clone().unwrap();
        assert_eq!((credentials.user.as_str(), credentials.password.as_str()), ("ann@x", "p:w@d"));
        assert_eq!(address.to_string(), "http://h", "what is shown has no password");
        assert!(!format!("{address:?}").contains("p:w"));
    }

    #[test]
    fn what_the_address_lacks_comes_from_elsewhere() {
        let both = ServerAddress::parse("http://h", Some("ann"), Some("secret")).unwrap();
        assert_eq!(both.credentials.unwrap().user, "ann");
        let own = ServerAddress::parse("http://bob@h", Some("ann"), Some("secret")).unwrap();
        assert_eq!(own.credentials.unwrap(), Credentials { user: "bob".into(), password: "secret".into() });
        let no_password = ServerAddress::parse("http://h", Some("ann"), None).unwrap();
        assert_eq!((no_password.credentials, no_password.user.as_deref()), (None, Some("ann")));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in [
            "",
            "localhost:9002",
            "ftp://h",
            "http://",
            "http://h:0",
            "http://h:70000",
            "http://h:x",
            "http://[::1",
            "http://h?a=b",
            "http://h/services/v2/stream/s",
            "http://a b",
            "http://%ff%fe:x@h",
        ] {
            assert!(ServerAddress::parse(bad, None, None).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(http://)?\\PC{0,40}") {
            let _ = ServerAddress::parse(&text, None, None);
        }
    }
}
