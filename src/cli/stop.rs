//! The wish to end: Ctrl-C (SIGINT) and SIGTERM.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::failure::Failure;

/// Tells whether and when the program was asked to end.
#[derive(Debug, Clone)]
pub(super) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Listens from now on. The second signal ends the program at once, should the orderly end be stuck.
    pub(super) fn on_signal() -> Result<Self, Failure> {
        let refused = |error| Failure::failed(format!("signals cannot be handled: {error}"));
        let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            for _ in 0..2 {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if sender.send_replace(true) {
                    std::process::exit(1);
                }
            }
        });
        Ok(Self(receiver))
    }

    /// Waits until the program is asked to end.
    pub(super) async fn asked(&mut self) {
        // The sender lives as long as the program does.
        let _ = self.0.wait_for(|asked| *asked).await;
    }
}
