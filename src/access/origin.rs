//! Which web pages may talk to this server, and under which names a loopback listener answers.
//!
//! A browser that once logged in sends its credentials along with requests from other sites' pages; the `Origin` header
//! tells. A page that makes its own name resolve to 127.0.0.1 becomes visible by its `Host`.

use std::net::{IpAddr, SocketAddr};

/// A request comes from a page, or to a name, that is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// The `Origin` is neither our own nor on the allow-list.
    #[error("the Origin is neither this server's own public address nor on the allow-list")]
    Origin,
    /// The `Host` is neither a loopback name nor the public one although the listener is a loopback one.
    #[error("a loopback listener answers only to a Host of 127.0.0.0/8, [::1], localhost or what publicUrl names")]
    Host,
    /// The `Host` is none.
    #[error("Host is no name or address with perhaps a port")]
    MalformedHost,
    /// An address of the configuration is no origin.
    #[error("an origin is http:// or https:// with a host and perhaps a port, nothing behind it")]
    Malformed,
}

/// A scheme, a host and a port, as `Origin` has them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct WebOrigin {
    secure: bool,
    authority: Authority,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Authority {
    host: String,
    port: Option<u16>,
}

/// The rules of one listener.
#[derive(Debug, Clone)]
pub struct OriginRules {
    loopback: bool,
    public: Option<WebOrigin>,
    allowed: Vec<WebOrigin>,
}

impl OriginRules {
    /// Rules for a listener at `listener`, known to the world as `public` (such as `https://streams.example.com`), open
    /// to pages of the `allowed` origins.
    pub fn new(listener: SocketAddr, public: Option<&str>, allowed: &[String]) -> Result<Self, OriginError> {
        let read = |text: &str| WebOrigin::parse(text).ok_or(OriginError::Malformed);
        Ok(Self {
            loopback: listener.ip().to_canonical().is_loopback(),
            public: public.map(|text| read(text.trim_end_matches('/'))).transpose()?,
            allowed: allowed.iter().map(|text| read(text)).collect::<Result<_, _>>()?,
        })
    }

    /// Checks a request by its `Host` and `Origin`; for every route.
    pub fn check(&self, host: Option<&str>, origin: Option<&str>) -> Result<(), OriginError> {
        let host = host.map(|text| Authority::parse(text).ok_or(OriginError::MalformedHost)).transpose()?;
        if self.loopback && !host.as_ref().is_some_and(|host| host.is_loopback() || self.is_public_name(host)) {
            return Err(OriginError::Host);
        }
        let Some(origin) = origin else { return Ok(()) };
        let origin = WebOrigin::parse(origin).ok_or(OriginError::Origin)?;
        let own = match &self.public {
            Some(public) if *public == origin => true,
            // Only a name that nobody else can make resolve to us may vouch for itself: an address, or localhost.
            _ => host.is_some_and(|host| host.is_its_own_proof() && origin.is_at(&host)),
        };
        if own || self.allowed.contains(&origin) { Ok(()) } else { Err(OriginError::Origin) }
    }

    /// Whether a proxy before us passed on the name that it was asked by. Proxies may leave out the port.
    fn is_public_name(&self, host: &Authority) -> bool {
        self.public.as_ref().is_some_and(|public| public.authority.host == host.host)
    }
}

impl WebOrigin {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let secure = if scheme.eq_ignore_ascii_case("https") {
            true
        } else if scheme.eq_ignore_ascii_case("http") {
            false
        } else {
            return None;
        };
        let mut authority = Authority::parse(authority)?;
        authority.port.get_or_insert(default_port(secure));
        Some(Self { secure, authority })
    }

    fn is_at(&self, host: &Authority) -> bool {
        let port = host.port.unwrap_or_else(|| default_port(self.secure));
        self.authority.host == host.host && self.authority.port == Some(port)
    }
}

fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

impl Authority {
    fn parse(text: &str) -> Option<Self> {
        let (host, rest) = match text.strip_prefix('[') {
            Some(bracketed) => {
                let (inside, rest) = bracketed.split_once(']')?;
                inside.parse::<std::net::Ipv6Addr>().ok()?;
                (format!("[{}]", inside.to_ascii_lowercase()), rest)
            }
            None => {
                let end = text.find(':').unwrap_or(text.len());
                (text[..end].to_ascii_lowercase(), &text[end..])
            }
        };
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'[' | b']' | b':');
        if host.is_empty() || !host.bytes().all(legal) {
            return None;
        }
        let port = match rest.strip_prefix(':') {
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(port.parse().ok()?),
            Some(_) => return None,
            None if rest.is_empty() => None,
            None => return None,
        };
        Some(Self { host, port })
    }

    fn address(&self) -> Option<IpAddr> {
        self.host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.address().is_some_and(|address| address.to_canonical().is_loopback())
    }

    fn is_its_own_proof(&self) -> bool {
        self.host == "localhost" || self.address().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(listener: &str, public: Option<&str>) -> OriginRules {
        OriginRules::new(listener.parse().unwrap(), public, &["https://console.example.com".into()]).unwrap()
    }

    #[test]
    fn a_loopback_listener_answers_to_loopback_names_only() {
        let rules = rules("127.0.0.1:9002", None);
        for good in ["127.0.0.1:9002", "127.8.9.1", "localhost", "LocalHost:1", "[::1]:9002", "[::1]"] {
            assert_eq!(rules.check(Some(good), None), Ok(()), "{good}");
        }
        for bad in ["evil.example", "localhost.evil.example", "10.0.0.1:9002", "127.0.0.1.evil.example"] {
            assert_eq!(rules.check(Some(bad), None), Err(OriginError::Host), "{bad}");
        }
        for bad in ["", "a b", "localhost:x", "localhost/x", "a@localhost"] {
            assert_eq!(rules.check(Some(bad), None), Err(OriginError::MalformedHost), "{bad}");
        }
        assert_eq!(rules.check(None, None), Err(OriginError::Host));
    }

    #[test]
    fn a_loopback_listener_behind_a_proxy_answers_to_its_public_name_too() {
        let rules = rules("127.0.0.1:9002", Some("https://streams.example.com:8443"));
        for good in ["streams.example.com:8443", "Streams.example.com", "127.0.0.1:9002"] {
            assert_eq!(rules.check(Some(good), None), Ok(()), "{good}");
        }
        for bad in ["example.com", "streams.example.com.evil.example", "xstreams.example.com"] {
            assert_eq!(rules.check(Some(bad), None), Err(OriginError::Host), "{bad}");
        }
        let host = Some("streams.example.com");
        assert_eq!(rules.check(host, Some("https://streams.example.com:8443")), Ok(()));
        for bad in ["https://streams.example.com", "http://streams.example.com:8443", "https://evil.example"] {
            assert_eq!(rules.check(host, Some(bad)), Err(OriginError::Origin), "{bad}");
        }
    }

    #[test]
    fn an_origin_must_be_the_servers_own_or_allowed() {
        let rules = rules("127.0.0.1:9002", None);
        let host = Some("127.0.0.1:9002");
        for good in [
            "http://127.0.0.1:9002",
            "https://127.0.0.1:9002",
            "https://console.example.com",
            "https://Console.example.com:443",
        ] {
            assert_eq!(rules.check(host, Some(good)), Ok(()), "{good}");
        }
        for bad in [
            "null",
            "",
            "http://127.0.0.1:9003",
            "http://localhost:9002",
            "http://127.0.0.1",
            "http://127.0.0.1:9002/path",
            "http://evil.example",
            "http://console.example.com",
            "https://console.example.com.evil.example",
            "https://user@console.example.com",
            "file://",
        ] {
            assert_eq!(rules.check(host, Some(bad)), Err(OriginError::Origin), "{bad}");
        }
    }

    #[test]
    fn a_public_listener_does_not_trust_a_name_because_host_and_origin_agree() {
        let rules = rules("0.0.0.0:9002", Some("https://streams.example.com/"));
        assert_eq!(rules.check(Some("streams.example.com"), Some("https://streams.example.com")), Ok(()));
        assert_eq!(rules.check(Some("10.1.2.3:9002"), Some("http://10.1.2.3:9002")), Ok(()));
        assert_eq!(rules.check(Some("rebound.example:9002"), None), Ok(()));
        assert_eq!(
            rules.check(Some("rebound.example:9002"), Some("http://rebound.example:9002")),
            Err(OriginError::Origin)
        );
    }

    #[test]
    fn an_allow_list_entry_with_a_path_is_refused_at_start() {
        let listener = "127.0.0.1:0".parse().unwrap();
        for bad in ["*", "console.example.com", "https://a/b", "ws://a"] {
            assert!(OriginRules::new(listener, None, &[bad.into()]).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_header_makes_it_panic(host in "\\PC{0,40}", origin in "(https?://)?\\PC{0,40}") {
            let _ = rules("127.0.0.1:1", None).check(Some(&host), Some(&origin));
            let _ = rules("0.0.0.0:1", None).check(Some(&host), Some(&origin));
        }
    }
}
