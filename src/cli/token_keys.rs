//! Keeps the keys of another issuer's tokens fresh while the server runs: from a file that changes, or from the issuer.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, interval, sleep_until};

use crate::client::fetch::{FetchLimits, fetch};
use crate::client::{ClientError, ServerAddress, Trust};
use crate::config::{JwksUrl, JwtMembers, KeyStamp};
use crate::limits;
use crate::repeats::warn_rarely;
use crate::service::Service;
use crate::tasks::{self, Task};

/// Runs until the program ends.
pub(super) async fn keep_fresh(service: Arc<Service>, jwt: Option<JwtMembers>) {
    // There is one already, so that this one does not fail.
    let Ok(hangup) = signal(SignalKind::hangup()) else { return };
    match jwt.as_ref().and_then(JwtMembers::url).cloned().zip(jwt.clone()) {
        Some((url, jwt)) => fetch_now_and_then(&service, &url, &jwt, hangup).await,
        None => look_at_file(&service, jwt, hangup).await,
    }
}

/// Fetches the keys at once, then every few minutes, when a token names an unknown one, and on SIGHUP. What cannot be
/// fetched or used is logged, and the last good ones stay.
async fn fetch_now_and_then(service: &Service, url: &JwksUrl, jwt: &JwtMembers, mut hangup: Signal) {
    let authenticator = service.authenticator();
    let refresh = authenticator.key_refresh();
    refresh.turn_on();
    let mut next = Instant::now();
    let mut last = None;
    loop {
        tokio::select! {
            () = sleep_until(next) => {}
            () = refresh.asked() => {}
            _ = hangup.recv() => {}
        }
        refresh.begins();
        tasks::may_panic(Task::TokenKeys);
        let taken = match fetched(url).await {
            Ok(text) => jwt.rules_of(&text).map(|rules| (text, rules)),
            Err(error) => Err(error.to_string()),
        };
        let pause = match taken {
            Ok((text, rules)) => {
                authenticator.replace_jwt(rules);
                if last.as_ref() != Some(&text) {
                    tracing::info!(issuer = url.authority(), "new keys of tokens in use");
                }
                last = Some(text);
                refresh.ends(Ok(service.clock().now()));
                limits::JWKS_REFRESH_SECONDS
            }
            Err(error) => {
                let kept = if last.is_some() { "the last ones stay in use" } else { "no token is taken before" };
                warn_rarely!(
                    &error,
                    issuer = url.authority(),
                    error,
                    kept,
                    "the keys of tokens cannot be fetched from their issuer"
                );
                refresh.ends(Err(error));
                limits::JWKS_RETRY_SECONDS
            }
        };
        next = Instant::now() + Duration::from_secs(pause);
    }
}

async fn fetched(url: &JwksUrl) -> Result<String, ClientError> {
    let address = ServerAddress {
        tls: true,
        host: url.host().to_owned(),
        port: url.port(),
        prefix: String::new(),
        user: None,
        credentials: None,
        trust: Trust::default(),
    };
    let limits =
        FetchLimits { time: Duration::from_secs(limits::JWKS_FETCH_SECONDS_MAX), bytes: limits::JWKS_BYTES_MAX };
    let document = fetch(&address, url.target(), "application/jwk-set+json, application/json", limits).await?;
    String::from_utf8(document.into()).map_err(|_| ClientError::Garbled("the key set is not UTF-8".into()))
}

/// Looks for changed keys every few seconds and on SIGHUP, as the listener does for its certificate. What cannot be used is
/// logged, and the old keys stay.
async fn look_at_file(service: &Service, jwt: Option<JwtMembers>, mut hangup: Signal) {
    let mut looks = interval(Duration::from_secs(limits::TLS_FILES_LOOK_SECONDS));
    // The keys that the server started with were read a moment ago; a change since then is seen as one.
    let mut last: Option<KeyStamp> = jwt.as_ref().map(JwtMembers::loaded_stamp);
    loop {
        let asked = tokio::select! {
            _ = looks.tick() => false,
            _ = hangup.recv() => true,
        };
        tasks::may_panic(Task::TokenKeys);
        let Some(jwt) = jwt.clone() else { continue };
        let before = last.clone();
        let look = move || {
            // Taken before the file is read: a change while it is read is seen by the next look.
            let stamp = jwt.stamp();
            let changed = before.is_some_and(|before| before != stamp) || asked;
            (stamp, changed.then(|| jwt.load()))
        };
        let Ok((stamp, loaded)) = tokio::task::spawn_blocking(look).await else { continue };
        last = Some(stamp);
        match loaded {
            None => {}
            Some(Ok(rules)) => {
                service.authenticator().replace_jwt(rules);
                tracing::info!("new keys of tokens in use");
            }
            Some(Err(error)) => tracing::error!(error, "new keys of tokens refused; the old ones stay in use"),
        }
    }
}
