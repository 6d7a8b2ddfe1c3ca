//! What a trail is, for its whole life: its name, who writes it, its epochs; and the text that says so.
//!
//! Where that text lies is each store's own: a folder has it in `trail.json`.

use serde::{Deserialize, Serialize};

use crate::codec::segment_head::SEGMENT_VERSION;
use crate::limits::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use crate::record::{Epoch, Timestamp, TrailName};
use crate::trail::{OpenError, Writer};

/// What a trail may be told beyond its name.
#[derive(Debug, Clone)]
pub struct TrailOptions {
    /// Size at which a segment is closed, in bytes.
    pub segment_bytes: u64,
}

impl Default for TrailOptions {
    fn default() -> Self {
        Self { segment_bytes: crate::limits::SEGMENT_BYTES_DEFAULT }
    }
}

/// A trail's name, epoch, writer and layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailDescription {
    /// Its name.
    pub name: TrailName,
    /// Its epoch.
    pub epoch: Epoch,
    /// Who appends.
    pub writer: Writer,
    /// Number of partitions.
    pub partitions: u16,
    /// Size at which a segment is closed, in bytes.
    pub segment_bytes: u64,
    /// When it was made, RFC 3339.
    pub created: String,
    /// The epochs it had before: segments up to that number may carry them.
    pub earlier: Vec<EarlierEpoch>,
    /// The newest version of a segment's head that may be in the folder. A program that does not know it leaves the trail
    /// alone.
    pub format: u16,
    /// When the backup was taken that this is, RFC 3339; none for a trail that lives.
    pub backup_taken: Option<String>,
}

/// An epoch that a trail had before a repair or a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarlierEpoch {
    /// The epoch.
    pub epoch: Epoch,
    /// Number of the last segment that may have been made in it.
    pub through_segment: u64,
}

impl TrailDescription {
    /// The description of a new trail, with a random epoch.
    pub(super) fn new(
        name: TrailName,
        writer: Writer,
        options: &TrailOptions,
        now: Timestamp,
    ) -> Result<Self, OpenError> {
        let epoch = random_number().map_err(OpenError::while_at(&name, "choosing an epoch"))?;
        Ok(Self {
            name,
            epoch: Epoch(epoch),
            writer,
            partitions: 1,
            segment_bytes: options.segment_bytes.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX),
            created: now.to_rfc3339(),
            earlier: Vec::new(),
            format: SEGMENT_VERSION,
            backup_taken: None,
        })
    }

    /// Whether a segment of that number may carry that epoch.
    pub(in crate::trail) fn admits(&self, epoch: Epoch, segment: u64) -> bool {
        let earlier = |earlier: &EarlierEpoch| earlier.epoch == epoch && segment <= earlier.through_segment;
        epoch == self.epoch || self.earlier.iter().any(earlier)
    }

    /// The same trail in a new, random epoch, with the segments from `first_segment` to `last_segment`.
    pub(in crate::trail) fn in_new_epoch(&self, first_segment: u64, last_segment: u64) -> std::io::Result<Self> {
        let mut next = self.clone();
        next.earlier.retain(|earlier| earlier.through_segment >= first_segment);
        next.earlier.push(EarlierEpoch { epoch: self.epoch, through_segment: last_segment });
        next.epoch = Epoch(random_number()?);
        next.backup_taken = None;
        Ok(next)
    }
}

impl TrailDescription {
    /// Its text.
    pub(super) fn encode(&self) -> Vec<u8> {
        let earlier = |earlier: &EarlierEpoch| StoredEpoch {
            epoch: format!("{:016x}", earlier.epoch.0),
            through_segment: earlier.through_segment,
        };
        let stored = Stored {
            format: (self.format > FORMAT_UNSAID).then_some(self.format),
            name: self.name.clone(),
            epoch: format!("{:016x}", self.epoch.0),
            writer: self.writer.clone(),
            partitions: self.partitions,
            segment_bytes: self.segment_bytes,
            created: self.created.clone(),
            earlier: self.earlier.iter().map(earlier).collect(),
            backup_taken: self.backup_taken.clone(),
        };
        serde_json::to_vec_pretty(&stored).unwrap_or_default()
    }

    /// Reads the text.
    pub(super) fn decode(text: &[u8]) -> Result<Self, Undecoded> {
        let format = |error: serde_json::Error| Undecoded::Unreadable(error.to_string());
        let of: FormatOnly = serde_json::from_slice(text).map_err(format)?;
        if of.format > u64::from(SEGMENT_VERSION) {
            return Err(Undecoded::Newer(of.format));
        }
        Self::decode_known(text).map_err(Undecoded::Unreadable)
    }

    fn decode_known(text: &[u8]) -> Result<Self, String> {
        let stored: Stored = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let epoch = |text: &str| u64::from_str_radix(text, 16).map(Epoch).map_err(|error| error.to_string());
        let earlier = stored.earlier.iter().map(|earlier| {
            Ok(EarlierEpoch { epoch: epoch(&earlier.epoch)?, through_segment: earlier.through_segment })
        });
        Ok(Self {
            name: stored.name,
            epoch: epoch(&stored.epoch)?,
            writer: stored.writer,
            partitions: stored.partitions,
            segment_bytes: stored.segment_bytes,
            created: stored.created,
            earlier: earlier.collect::<Result<_, String>>()?,
            format: stored.format.unwrap_or(FORMAT_UNSAID),
            backup_taken: stored.backup_taken,
        })
    }
}

/// Why a description cannot be used.
pub(super) enum Undecoded {
    /// It is of this format, which is newer than ours.
    Newer(u64),
    /// Something else is wrong with it.
    Unreadable(String),
}

impl Undecoded {
    /// What that is to whoever opens the trail, whose description is in that file.
    pub(super) fn of(self, trail: String, file: &'static str) -> OpenError {
        match self {
            Self::Unreadable(what) => OpenError::Description { trail, file, what },
            Self::Newer(found) => {
                OpenError::Newer { trail, file: file.to_owned(), found, known: u64::from(SEGMENT_VERSION) }
            }
        }
    }
}

/// The format of a trail whose description does not say one. A program that knew no formats refuses a description that says
/// one, and so does not take for damage what it does not know.
const FORMAT_UNSAID: u16 = 1;

/// What is read first, of whatever version the rest is.
#[derive(Deserialize)]
struct FormatOnly {
    #[serde(default)]
    format: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredEpoch {
    epoch: String,
    through_segment: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Stored {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    format: Option<u16>,
    name: TrailName,
    epoch: String,
    writer: Writer,
    partitions: u16,
    segment_bytes: u64,
    created: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    earlier: Vec<StoredEpoch>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backup_taken: Option<String>,
}

/// A random number, for epochs and file ids.
pub(in crate::trail) fn random_number() -> std::io::Result<u64> {
    getrandom::u64().map_err(|error| std::io::Error::other(error.to_string()))
}
