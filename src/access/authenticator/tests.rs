//! Passwords, their throttle, and Digest, against a catalog.

use super::*;
use crate::limits;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const AWAY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

async fn authenticator() -> (tempfile::TempDir, Authenticator) {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(folder.path()).unwrap();
    let authenticator = Authenticator::new(catalog.clone()).unwrap();
    let password_hash = authenticator.passwords().hash("right").await.unwrap();
    catalog
        .put(
            Shelf::Users,
            "ann",
            &User { name: "ann".into(), role: Role::Operator, password_hash, digest: None, grants: None },
        )
        .unwrap();
    (folder, authenticator)
}

fn header(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

#[tokio::test]
async fn the_right_password_gives_name_and_role() {
    let (_folder, authenticator) = authenticator().await;
    let ann = authenticator.authenticate(Some(&header("ann", "right")), HOME).await.unwrap();
    assert_eq!(ann, Identity { password: ann.password, ..Identity::of_user("ann", Role::Operator, None) });
    assert!(ann.require(Role::User).is_ok() && ann.require(Role::Operator).is_ok());
    assert!(matches!(ann.require(Role::Administrator), Err(AccessError::Forbidden { .. })));
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_look_the_same() {
    let (_folder, authenticator) = authenticator().await;
    let wrong = authenticator.authenticate(Some(&header("ann", "wrong")), HOME).await.unwrap_err();
    let unknown = authenticator.authenticate(Some(&header("nobody", "decoy")), HOME).await.unwrap_err();
    assert_eq!(wrong.to_string(), unknown.to_string());
    assert!(matches!(authenticator.authenticate(None, HOME).await, Err(AccessError::Missing)));
    assert!(matches!(authenticator.authenticate(Some("Basic %"), HOME).await, Err(AccessError::Malformed(_))));
}

#[tokio::test]
async fn guesses_are_throttled_but_a_remembered_user_is_not_locked_out() {
    let (_folder, authenticator) = authenticator().await;
    let right = header("ann", "right");
    authenticator.authenticate(Some(&right), AWAY).await.unwrap();
    for _ in 0..limits::FAILED_LOGINS_MAX {
        let refused = authenticator.authenticate(Some(&header("ann", "guess")), HOME).await;
        assert!(matches!(refused, Err(AccessError::Wrong)));
    }
    let refused = authenticator.authenticate(Some(&header("ann", "guess")), HOME).await;
    assert!(matches!(refused, Err(AccessError::Throttled(_))));
    authenticator.authenticate(Some(&right), AWAY).await.unwrap();
    authenticator.authenticate(Some(&right), HOME).await.unwrap();
    authenticator.user_changed("ann");
    authenticator.authenticate(Some(&right), AWAY).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn whoever_was_right_lately_is_checked_and_not_locked_out_once_the_remembered_log_in_has_ended() {
    let (_folder, authenticator) = authenticator().await;
    let right = header("ann", "right");
    authenticator.authenticate(Some(&right), HOME).await.unwrap();
    tokio::time::advance(tokio::time::Duration::from_secs(limits::VERIFIED_SECONDS + 1)).await;
    for _ in 0..limits::FAILED_LOGINS_MAX {
        authenticator.authenticate(Some(&header("ann", "guess")), HOME).await.unwrap_err();
    }
    let guess = authenticator.authenticate(Some(&header("ann", "guess")), HOME).await;
    assert!(matches!(guess, Err(AccessError::Throttled(_))));
    authenticator.authenticate(Some(&right), HOME).await.unwrap();
}

/// The answer that a client computes to a fresh challenge.
fn digest_answer(authenticator: &Authenticator, password: &str) -> String {
    let challenge = authenticator.challenges(false).remove(0);
    let nonce = challenge.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    digest_answer_to(&nonce, password)
}

fn digest_answer_to(nonce: &str, password: &str) -> String {
    let hash = |text: String| -> String { Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect() };
    let (ha1, ha2) = (digest::hashes("ann", password).sha256, hash("GET:/s".into()));
    let response = hash(format!("{ha1}:{nonce}:00000001:c:auth:{ha2}"));
    format!(
        "Digest username=\"ann\", realm=\"trailcast\", nonce=\"{nonce}\", uri=\"/s\", response=\"{response}\", \
         algorithm=SHA-256, cnonce=\"c\", qop=auth, nc=00000001"
    )
}

async fn with_digest() -> (tempfile::TempDir, Arc<Authenticator>) {
    let (folder, authenticator) = authenticator().await;
    let mut ann: User = authenticator.catalog.get(Shelf::Users, "ann").unwrap().unwrap();
    ann.digest = Some(digest::hashes("ann", "right"));
    authenticator.catalog.put(Shelf::Users, "ann", &ann).unwrap();
    let options = AccessOptions { digest: true, ..AccessOptions::default() };
    (folder, Arc::new(authenticator.with(Arc::new(SystemClock), options, [1; 32])))
}

async fn asks(authenticator: &Authenticator, header: &str) -> Result<Identity, AccessError> {
    let presented =
        Presented { header: Some(header), access_token: None, certificate: None, method: "GET", path: "/s" };
    authenticator.identify(presented, HOME).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_digest_guesses_at_once_pass_no_more_often_than_one_after_the_other() {
    let (_folder, authenticator) = with_digest().await;
    let guess = digest_answer(&authenticator, "guess");
    let guesses: Vec<_> = (0..200)
        .map(|_| {
            let (authenticator, guess) = (authenticator.clone(), guess.clone());
            tokio::spawn(async move { asks(&authenticator, &guess).await })
        })
        .collect();
    let mut wrong = 0;
    for guess in guesses {
        match guess.await.unwrap() {
            Err(AccessError::Wrong) => wrong += 1,
            Err(AccessError::Throttled(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(wrong, limits::FAILED_LOGINS_MAX);
}

#[tokio::test]
async fn a_digest_client_that_goes_on_with_its_nonce_is_not_locked_out() {
    let (_folder, authenticator) = with_digest().await;
    let right = digest_answer(&authenticator, "right");
    asks(&authenticator, &right).await.unwrap();
    let guess = digest_answer(&authenticator, "guess");
    while !matches!(asks(&authenticator, &guess).await, Err(AccessError::Throttled(_))) {}
    asks(&authenticator, &right).await.unwrap();
    let anew = digest_answer(&authenticator, "right");
    assert!(matches!(asks(&authenticator, &anew).await, Err(AccessError::Throttled(_))), "a new nonce is no proof");
    // One wrong answer to the known nonce ends what it was good for.
    let nonce = right.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(matches!(asks(&authenticator, &digest_answer_to(nonce, "guess")).await, Err(AccessError::Wrong)));
    assert!(matches!(asks(&authenticator, &right).await, Err(AccessError::Throttled(_))));
}

#[tokio::test]
async fn a_changed_password_counts_at_once() {
    let (_folder, authenticator) = authenticator().await;
    authenticator.authenticate(Some(&header("ann", "right")), HOME).await.unwrap();
    let password_hash = authenticator.passwords().hash("new").await.unwrap();
    let changed = User { name: "ann".into(), role: Role::User, password_hash, digest: None, grants: None };
    authenticator.catalog.put(Shelf::Users, "ann", &changed).unwrap();
    authenticator.user_changed("ann");
    assert!(authenticator.authenticate(Some(&header("ann", "right")), HOME).await.is_err());
    let ann = authenticator.authenticate(Some(&header("ann", "new")), HOME).await.unwrap();
    assert_eq!(ann.role, Role::User);
}
