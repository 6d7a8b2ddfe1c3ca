//! The name in a client certificate: its subject's common name.
//!
//! Reads just as much DER as that takes, from certificates that the TLS handshake has verified already.

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
const VERSION: u8 = 0xa0;
/// UTF8String, PrintableString, IA5String.
const TEXTS: [u8; 3] = [0x0c, 0x13, 0x16];
/// 2.5.4.3
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];

/// The common name of a certificate's subject, if there is exactly one, not empty, in UTF-8.
pub fn common_name(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = expect(certificate, SEQUENCE)?;
    let (_, mut body) = expect(certificate, SEQUENCE)?;
    if body.first() == Some(&VERSION) {
        body = element(body)?.rest;
    }
    // Serial number, signature algorithm, issuer, validity.
    for _ in 0..4 {
        body = element(body)?.rest;
    }
    let (_, mut subject) = expect(body, SEQUENCE)?;
    let mut found = None;
    while !subject.is_empty() {
        let (rest, mut names) = expect(subject, SET)?;
        subject = rest;
        while !names.is_empty() {
            let (rest, name) = expect(names, SEQUENCE)?;
            names = rest;
            let (value, kind) = expect(name, OBJECT_IDENTIFIER)?;
            // Two common names: whose certificate it is cannot be said.
            if kind == COMMON_NAME && found.replace(text(value)?).is_some() {
                return None;
            }
        }
    }
    found
}

fn text(der: &[u8]) -> Option<String> {
    let value = element(der)?;
    if !TEXTS.contains(&value.tag) || value.content.is_empty() {
        return None;
    }
    String::from_utf8(value.content.to_vec()).ok()
}

struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    rest: &'a [u8],
}

/// The first element: its tag, its content, what follows it.
fn element(der: &[u8]) -> Option<Element<'_>> {
    let (&[tag, first], mut der) = der.split_first_chunk::<2>()?;
    let length = match first {
        0..=0x7f => usize::from(first),
        0x81..=0x84 => {
            let (bytes, rest) = der.split_at_checked(usize::from(first & 0x7f))?;
            der = rest;
            bytes.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte))
        }
        _ => return None,
    };
    let (content, rest) = der.split_at_checked(length)?;
    Some(Element { tag, content, rest })
}

/// What follows the first element, and its content, if it has that tag.
fn expect(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    element(der).filter(|element| element.tag == tag).map(|element| (element.rest, element.content))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn certificate(name: Option<&str>) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["host.example".into()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        if let Some(name) = name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_common_name_is_found_among_other_names() {
        assert_eq!(common_name(&certificate(Some("ann@example.com"))).as_deref(), Some("ann@example.com"));
        assert_eq!(common_name(&certificate(Some("Jürgen Ä"))).as_deref(), Some("Jürgen Ä"));
        assert_eq!(common_name(&certificate(None)), None);
    }

    #[test]
    fn no_cut_certificate_makes_it_panic_or_gives_a_name() {
        let whole = certificate(Some("ann"));
        for end in 0..whole.len() {
            assert_eq!(common_name(&whole[..end]), None, "{end}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(0u8.., 0..200)) {
            let _ = common_name(&bytes);
        }
    }
}
