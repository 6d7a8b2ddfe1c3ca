//! How far a trail has taken its source: read when a session begins, and written first of all into a new trail.
//!
//! Owns that reading and that first writing; leaves to the product whether its source still goes with it.

use super::confirmation::wait_durable;
use super::coordinate::Coordinate;
use super::error::{CaptureError, Fault};
use super::overlap::Mark;
use crate::trail::Appender;

/// What a trail says of its source.
#[derive(Debug, Clone)]
pub(super) struct Taken<C> {
    /// Which source it is.
    pub(super) identity: Option<String>,
    /// Where the trail stands; none in a new one.
    pub(super) position: Option<C>,
    /// The last transaction that came.
    pub(super) mark: Option<Mark<C>>,
}

impl<C: Coordinate> Taken<C> {
    /// Of that trail.
    pub(super) fn of(appender: &Appender) -> Result<Self, CaptureError> {
        // Named, but cut off before its first position was written: as if new.
        let position = match appender.source_position().filter(|position| !position.0.is_empty()) {
            None => None,
            Some(position) => match C::of_position(position) {
                Some(place) => Some(place),
                None => {
                    let message = format!("the trail's source position {position} is no {}", C::NAME);
                    return Err(CaptureError::Malformed(message));
                }
            },
        };
        let mark = appender.source_mark().and_then(Mark::of_trail);
        Ok(Self { identity: appender.source_identity().map(str::to_owned), position, mark })
    }

    /// Whether this source is the one that the trail was written from, as far as their names say.
    pub(super) fn check_identity(&self, identity: &str) -> Result<(), CaptureError> {
        match &self.identity {
            Some(known) if known != identity => {
                let (trail, source_identity) = (known.clone(), identity.to_owned());
                Err(CaptureError::OtherSource { trail, source_identity })
            }
            _ => Ok(()),
        }
    }

    /// Puts the source's name and the starting point into a trail that has none, durably, before anything is streamed.
    pub(super) async fn begin(
        &self,
        appender: &mut Appender,
        identity: &str,
        start: &C,
        selection: u8,
    ) -> Result<(), Fault> {
        if self.identity.is_none() {
            appender.identify(identity)?;
        }
        if self.position.is_none() {
            let nothing_yet = Mark::none_since(start.clone(), selection);
            appender.progress_after(&nothing_yet.to_trail(), &start.to_position())?;
        }
        if appender.pending_bytes() > 0 {
            appender.hand_over().await?;
        }
        if self.position.is_none() {
            wait_durable(appender, start).await?;
        }
        Ok(())
    }
}
