//! The wish that capture stops, as everything that may have to wait listens for it.

use tokio::sync::watch;

/// Returns once a stop is asked for.
pub(super) async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // The sender gone means that whoever could stop us is gone: stop.
    let _ = shutdown.wait_for(|stop| *stop).await;
}
