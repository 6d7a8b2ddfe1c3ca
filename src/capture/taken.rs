//! How far a trail has taken its source: read when a session begins, and written first of all into a new trail.
//!
//! Owns that reading and that first writing; leaves to the product whether its source still goes with it.

use super::confirmation::wait_durable;
use super::coordinate::Coordinate;
use super::error::{CaptureError, Fault};
use super::overlap::Mark;
use crate::record::SourceParts;
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

    /// Whether this source is the one that the trail was written from, as far as their names say. Where only its history has
    /// another name, gives the one that the trail knows: whether the one goes on from the other is for the product to find out.
    pub(super) fn check_identity(&self, source: &SourceParts<'_>) -> Result<Option<&str>, CaptureError> {
        let Some(known) = &self.identity else { return Ok(None) };
        match SourceParts::of(known) {
            Some(parts) if parts == *source => Ok(None),
            Some(parts) if (SourceParts { history: source.history, ..parts }) == *source => Ok(Some(parts.history)),
            _ => Err(CaptureError::OtherSource { trail: known.clone(), source_identity: source.text() }),
        }
    }

    /// Puts the source's name and the starting point into a trail that has none, durably, before anything is streamed; and
    /// another name of its history in front of whatever that history brings. If that name is lost in a crash, so is
    /// everything that came behind it, and the next session asks the same question again.
    pub(super) async fn begin(
        &self,
        appender: &mut Appender,
        identity: &str,
        start: &C,
        selection: u8,
    ) -> Result<(), Fault> {
        if self.identity.as_deref() != Some(identity) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::toy::EventNumber;

    const SOURCE: SourceParts<'_> =
        SourceParts { product: "toy", system: "7", history: "2", database: "a/b", reader: "e1" };

    fn written_from(identity: Option<String>) -> Taken<EventNumber> {
        Taken { identity, position: None, mark: None }
    }

    #[test]
    fn only_another_history_of_the_same_source_is_left_to_the_product() {
        for same in [None, Some(SOURCE.text())] {
            assert_eq!(written_from(same).check_identity(&SOURCE).unwrap(), None);
        }
        let earlier = SourceParts { history: "1", ..SOURCE };
        assert_eq!(written_from(Some(earlier.text())).check_identity(&SOURCE).unwrap(), Some("1"));
        for other in [
            SourceParts { product: "other", ..SOURCE },
            SourceParts { system: "8", ..SOURCE },
            SourceParts { database: "a", ..earlier },
            SourceParts { reader: "e2", ..SOURCE },
        ] {
            let error = written_from(Some(other.text())).check_identity(&SOURCE).unwrap_err();
            assert_eq!(error.reason(), "other_source", "{error}");
        }
        assert!(written_from(Some("unreadable".into())).check_identity(&SOURCE).is_err());
    }
}
