//! How the tasks of a listener learn that the server stops.

use tokio::sync::watch;

/// Waits until the server stops, or whoever could say so is gone.
pub(super) async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // The guard in the result is dropped here: it must not be held across an await.
    drop(shutdown.wait_for(|stopping| *stopping).await);
}
