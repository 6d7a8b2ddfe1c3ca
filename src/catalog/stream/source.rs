//! `source`: which trail a stream reads. The name may be of a trail that does not exist yet.

use crate::codec::member::{ConfigError, Members};
use crate::limits;
use crate::record::TrailName;

/// A stream's source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceConfig {
    /// The trail's name as given; may be longer or hold a `/`, and then names no trail that we make.
    pub trail: String,
}

impl SourceConfig {
    pub(super) fn parse(members: &Members<'_>) -> Result<Self, ConfigError> {
        let value = members.get("source").ok_or_else(|| members.error("source", "is required"))?;
        let source = Members::of("source", value, &["trail", "path"])?;
        if source.get("path").is_some() {
            return Err(source.error("path", "not supported"));
        }
        let (min, max) = (limits::TRAIL_NAME_CHARS_MIN, limits::TRAIL_REFERENCE_CHARS_MAX);
        let trail = source.text("trail", min, max)?.ok_or_else(|| source.error("trail", "is required"))?;
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'#' | b'$' | b'/' | b'-');
        if !trail.bytes().all(legal) {
            return Err(source.error("trail", format!("must have {min} to {max} characters of A-Z a-z 0-9 _ # $ / -")));
        }
        Ok(Self { trail: trail.to_owned() })
    }

    /// The trail, if its name is one that a trail of ours can have; otherwise the stream only waits.
    pub fn trail_name(&self) -> Option<TrailName> {
        TrailName::new(&self.trail).ok()
    }
}
