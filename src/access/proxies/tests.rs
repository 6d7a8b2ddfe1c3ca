//! Goal: one address is taken from what proxies say, never one that a client can choose. Method: headers as proxies and
//! liars write them.

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn proxies(networks: &[&str]) -> TrustedProxies {
    TrustedProxies::new(networks.iter().map(|network| network.parse().unwrap()).collect(), false)
}

fn told(from: &str, forwarded: &[&str], x_forwarded_for: &[&str]) -> (String, Option<UnclearClient>) {
    let sender = ClientAddr::from(SocketAddr::new(ip(from), 4711));
    let bytes = |lines: &'_ [&'_ str]| lines.iter().map(|line| line.as_bytes().to_vec()).collect::<Vec<_>>();
    let (forwarded, x_forwarded_for) = (bytes(forwarded), bytes(x_forwarded_for));
    let ours = proxies(&["10.0.0.0/8", "fd00::/8"]);
    let (client, unclear) =
        ours.client(sender, forwarded.iter().map(Vec::as_slice), x_forwarded_for.iter().map(Vec::as_slice));
    (client.to_string(), unclear)
}

#[test]
fn a_network_is_an_address_or_the_bits_that_its_addresses_begin_with() {
    let network = |text: &str| text.parse::<Network>();
    for (text, inside, outside) in [
        ("10.0.0.7", "10.0.0.7", "10.0.0.8"),
        ("10.1.0.0/16", "10.1.255.1", "10.2.0.0"),
        ("128.0.0.0/1", "255.0.0.1", "127.255.255.255"),
        ("fd00::/8", "fdff::1", "fe00::1"),
        ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
        ("::ffff:10.1.0.0/112", "10.1.2.3", "10.2.0.0"),
        ("10.1.0.0/16", "::ffff:10.1.2.3", "fd00::1"),
    ] {
        let network = network(text).unwrap();
        assert!(network.contains(ip(inside)) && !network.contains(ip(outside)), "{text}");
        assert_eq!(network, network.to_string().parse().unwrap());
    }
    for (text, error) in [
        ("", InvalidNetwork::Malformed),
        ("proxy.example.com", InvalidNetwork::Malformed),
        ("10.0.0.0/33", InvalidNetwork::Malformed),
        ("10.0.0.0/", InvalidNetwork::Malformed),
        ("10.0.0.0/+8", InvalidNetwork::Malformed),
        ("10.0.0.0/8/8", InvalidNetwork::Malformed),
        ("10.0.0.1:80", InvalidNetwork::Malformed),
        ("10.1.0.0/8", InvalidNetwork::BitsBeyondLength),
        ("fd00::1/64", InvalidNetwork::BitsBeyondLength),
        ("0.0.0.0/0", InvalidNetwork::Everybody),
        ("::/0", InvalidNetwork::Everybody),
    ] {
        assert_eq!(network(text), Err(error), "{text}");
    }
}

#[test]
fn the_right_most_address_that_is_no_proxy_of_ours_counts() {
    let sure = |text: &str| (text.to_owned(), None);
    assert_eq!(told("10.0.0.1", &[], &["192.0.2.7"]), sure("192.0.2.7"));
    assert_eq!(
        told("10.0.0.1", &[], &["6.6.6.6, 192.0.2.7"]),
        sure("192.0.2.7"),
        "the left one is the client's own word"
    );
    assert_eq!(told("10.0.0.1", &[], &["6.6.6.6", "192.0.2.7, 10.0.0.9"]), sure("192.0.2.7"), "over a second proxy");
    assert_eq!(told("10.0.0.1", &[], &["garbage, 192.0.2.7"]), sure("192.0.2.7"));
    assert_eq!(told("10.0.0.1", &[], &["192.0.2.7:1234"]), sure("192.0.2.7:1234"));
    assert_eq!(told("10.0.0.1", &[], &["[2001:db8::7]:1234"]), sure("[2001:db8::7]:1234"));
    assert_eq!(told("10.0.0.1", &[], &["2001:db8::7"]), sure("2001:db8::7"));
    assert_eq!(told("fd00::1", &["for=192.0.2.7;proto=https;by=203.0.113.43"], &[]), sure("192.0.2.7"));
    assert_eq!(told("10.0.0.1", &["for=6.6.6.6, For=\"[2001:db8::7]:4711\""], &[]), sure("[2001:db8::7]:4711"));
    assert_eq!(told("10.0.0.1", &["for=\"192.0.2.7:_p7\""], &[]), sure("192.0.2.7"));
    assert_eq!(told("10.0.0.1", &["for=\"a,b\";by=x, for=192.0.2.7"], &[]), sure("192.0.2.7"), "a comma in quotes");
    assert_eq!(told("10.0.0.1", &["for=192.0.2.7"], &["9.9.9.9, 192.0.2.7"]), sure("192.0.2.7"), "both agree");
    assert_eq!(told("10.0.0.1", &[], &["10.0.0.3, 10.0.0.2"]), sure("10.0.0.3"), "a proxy of ours asks by itself");
    assert_eq!(told("10.0.0.1", &[], &[]), sure("10.0.0.1:4711"));
    assert_eq!(told("10.0.0.1", &[], &[" , "]), sure("10.0.0.1:4711"));
    assert_eq!(told("::ffff:10.0.0.1", &[], &["192.0.2.7"]), sure("192.0.2.7"));
}

#[test]
fn a_peer_that_is_no_proxy_of_ours_speaks_for_itself() {
    assert_eq!(told("192.0.2.9", &["for=127.0.0.1"], &["127.0.0.1"]), ("192.0.2.9:4711".to_owned(), None));
}

#[test]
fn where_a_proxys_word_is_unclear_the_last_sure_address_counts() {
    let proxy = |why| ("10.0.0.1:4711".to_owned(), Some(why));
    for unreadable in ["unknown", "localhost", "192.0.2.7.1", "192.0.2.7:x", "[::1", "192.0.2.256", "\u{fc}"] {
        assert_eq!(told("10.0.0.1", &[], &[&format!("6.6.6.6, {unreadable}")]), proxy(UnclearClient::Unreadable));
    }
    for unreadable in [
        "for=unknown",
        "for=_hidden",
        "by=192.0.2.7",
        "for=192.0.2.7;for=6.6.6.6",
        "for=\"a, for=192.0.2.7",
        "for=192.0.2.7;x",
        "192.0.2.7",
        "for=",
    ] {
        assert_eq!(told("10.0.0.1", &[unreadable], &[]), proxy(UnclearClient::Unreadable), "{unreadable}");
    }
    let second = told("10.0.0.1", &[], &["6.6.6.6, unknown, 10.0.0.9"]);
    assert_eq!(second, ("10.0.0.9".to_owned(), Some(UnclearClient::Unreadable)));
    assert_eq!(told("10.0.0.1", &["for=6.6.6.6"], &["192.0.2.7"]), proxy(UnclearClient::Disagree));
}

proptest::proptest! {
    #[test]
    fn no_header_makes_it_panic_or_lets_a_client_choose(
        lie in "[a-z0-9=\",;\\\\\\[\\]:._ ü]{0,60}",
    ) {
        let (client, _) = told("10.0.0.1", &[], &[&lie, "192.0.2.7"]);
        proptest::prop_assert_eq!(client, "192.0.2.7");
        let (client, _) = told("10.0.0.1", &[&lie, "for=192.0.2.7"], &[]);
        let known = client == "192.0.2.7" || client == "10.0.0.1:4711";
        proptest::prop_assert!(known, "{}", client);
        let _ = told("10.0.0.1", &[&lie], &[&lie]);
    }
}
