//! Initial loads beside the stream.

use super::Stream;
use crate::capture::error::Fault;
use crate::limits;

impl Stream<'_> {
    /// Goes on with initial loads, without waiting for them: a piece a turn, so that neither they nor the stream wait for long.
    /// Says whether there are any.
    pub(super) async fn load(&mut self) -> Result<bool, Fault> {
        if !self.loader.is_wanted(&self.transactions.intake) {
            return Ok(false);
        }
        self.loader.step(&mut self.transactions.intake)?;
        // A stream that always has something to say would keep the loader from its own socket.
        let event = tokio::select! {
            biased;
            event = self.loader.event() => Some(event),
            () = std::future::ready(()) => None,
        };
        if let Some(event) = event {
            self.loader.happened(event)?;
        }
        if self.loader.append(&mut self.transactions).await?
            && self.transactions.intake.appender.pending_bytes() >= limits::APPEND_CHUNK_BYTES
        {
            self.hand_over().await?;
        }
        Ok(self.transactions.intake.loading.is_active())
    }
}
