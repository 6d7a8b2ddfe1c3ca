//! What a command that looked for a stream or a trail in vain tells of how they are made: a line to paste.

use crate::client::{ClientError, ServerAddress};

/// How the stream is made that the server does not have; nothing where something else is the matter. Over which trail is the
/// reader's to know.
pub(super) fn stream(error: &ClientError, address: &ServerAddress, name: &str) -> String {
    let config = r#"{"source": {"trail": "a1"}, "encoding": {"json": {"includeJSONSchemaRecord": false}}}"#;
    let how = || {
        format!(
            "A stream is made over a trail (GET {address}{} lists them), for trail a1 by:\n  \
             curl -u {} -H 'Content-Type: application/json' -d '{config}' {address}{}",
            path(address, &["trails"]),
            user(address),
            path(address, &["stream", name])
        )
    };
    if is_missing(error) { format!("\n{}", how()) } else { String::new() }
}

/// The same of a trail that takes puts.
pub(super) fn trail(error: &ClientError, address: &ServerAddress, name: &str) -> String {
    let how = || {
        let path = path(address, &["trails", name]);
        format!("A trail that takes puts is made by:\n  curl -u {} -X POST {address}{path}", user(address))
    };
    if is_missing(error) { format!("\n{}", how()) } else { String::new() }
}

/// Whether a server of ours has said that what the path names is not there; another one may say 404 for any reason.
fn is_missing(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused(refusal) if refusal.status == 404 && !refusal.titles.is_empty())
}

/// Without the password: curl asks for it.
fn user(address: &ServerAddress) -> &str {
    address.user.as_deref().unwrap_or("USER")
}

/// Behind the address as it is shown, which has its prefix.
fn path(address: &ServerAddress, parts: &[&str]) -> String {
    let bare = ServerAddress { prefix: String::new(), ..address.clone() };
    bare.path(&[&["services", "v2"], parts].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Refusal;

    fn refused(status: u16, titles: &[&str]) -> ClientError {
        ClientError::Refused(Refusal { status, titles: titles.iter().map(|title| (*title).to_owned()).collect() })
    }

    #[test]
    fn what_is_not_there_is_made_by_the_line_that_is_shown() {
        let address = ServerAddress::parse("https://ann:hush@[::1]:9443/proxied", None, None).unwrap();
        let missing = refused(404, &["stream my stream does not exist."]);
        let shown = stream(&missing, &address, "my stream");
        assert!(shown.contains("\n  curl -u ann -H") && !shown.contains("hush"), "{shown}");
        assert!(shown.ends_with(" https://[::1]:9443/proxied/services/v2/stream/my%20stream"), "{shown}");
        assert!(
            trail(&missing, &address, "a1")
                .ends_with("curl -u ann -X POST https://[::1]:9443/proxied/services/v2/trails/a1")
        );
    }

    #[test]
    fn nothing_is_advised_where_something_else_is_the_matter() {
        let address = ServerAddress::parse("http://host", None, None).unwrap();
        for other in [refused(404, &[]), refused(401, &["no"]), ClientError::Unreachable("no".into())] {
            assert_eq!((stream(&other, &address, "s"), trail(&other, &address, "t")), (String::new(), String::new()));
        }
    }
}
