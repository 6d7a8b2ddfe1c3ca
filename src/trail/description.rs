//! What a trail is, for its whole life: its name, who writes it, its epochs; and the text that says so.
//!
//! Where that text lies is each store's own: a folder has it in `trail.json`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::codec::segment_head::SEGMENT_VERSION;
use crate::limits::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, TRAIL_PARTITIONS_OPEN_MAX};
use crate::record::{Epoch, Timestamp, TrailName};
use crate::trail::partitions::{Partition, PartitionMap};
use crate::trail::{OpenError, Writer};

/// What a trail may be told beyond its name.
#[derive(Debug, Clone)]
pub struct TrailOptions {
    /// Size at which a segment is closed, in bytes.
    pub segment_bytes: u64,
    /// How many partitions it begins with.
    pub partitions: u16,
}

impl Default for TrailOptions {
    fn default() -> Self {
        Self { segment_bytes: crate::limits::SEGMENT_BYTES_DEFAULT, partitions: 1 }
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
    /// Its partitions, as they were when it was opened: see [`Trail::partitions`](crate::trail::Trail::partitions).
    pub partitions: Arc<PartitionMap>,
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
        let open_max = u16::try_from(TRAIL_PARTITIONS_OPEN_MAX).unwrap_or(u16::MAX);
        Ok(Self {
            name,
            epoch: Epoch(epoch),
            writer,
            partitions: Arc::new(PartitionMap::new(options.partitions.min(open_max))),
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
        let map = StoredPartition::all_of(&self.partitions);
        let format = if map.is_empty() { self.format } else { self.format.max(FORMAT_WITH_MAP) };
        let stored = Stored {
            format: (format > FORMAT_UNSAID).then_some(format),
            name: self.name.clone(),
            epoch: format!("{:016x}", self.epoch.0),
            writer: self.writer.clone(),
            partitions: u16::try_from(self.partitions.all().len()).unwrap_or(u16::MAX),
            partition_map: map,
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
        if of.format > u64::from(FORMAT_KNOWN) {
            return Err(Undecoded::Newer(of.format));
        }
        Self::decode_known(text).map_err(Undecoded::Unreadable)
    }

    fn decode_known(text: &[u8]) -> Result<Self, String> {
        let stored: Stored = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let epoch = |text: &str| u64::from_str_radix(text, 16).map(Epoch).map_err(|error| error.to_string());
        let partitions = StoredPartition::map_of(stored.partitions, &stored.partition_map)?;
        let earlier = stored.earlier.iter().map(|earlier| {
            Ok(EarlierEpoch { epoch: epoch(&earlier.epoch)?, through_segment: earlier.through_segment })
        });
        Ok(Self {
            name: stored.name,
            epoch: epoch(&stored.epoch)?,
            writer: stored.writer,
            partitions: Arc::new(partitions),
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
                OpenError::Newer { trail, file: file.to_owned(), found, known: u64::from(FORMAT_KNOWN) }
            }
        }
    }
}

/// The format of a trail whose description does not say one. A program that knew no formats refuses a description that says
/// one, and so does not take for damage what it does not know.
const FORMAT_UNSAID: u16 = 1;

/// The format of a description that says more of its partitions than how many the trail was made with: a program that did not
/// know it would append to closed ones.
const FORMAT_WITH_MAP: u16 = 4;

/// The newest format of a description that this program knows.
const FORMAT_KNOWN: u16 = if SEGMENT_VERSION > FORMAT_WITH_MAP { SEGMENT_VERSION } else { FORMAT_WITH_MAP };

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
    /// Left out as long as they are those that the trail was made with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    partition_map: Vec<StoredPartition>,
    segment_bytes: u64,
    created: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    earlier: Vec<StoredEpoch>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backup_taken: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredPartition {
    /// First and last hash, in hexadecimal digits.
    hashes: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parents: Vec<u16>,
    #[serde(default)]
    opened: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    closed: Option<u64>,
}

impl StoredPartition {
    /// All of a map, unless it is what a trail with that many is made with.
    fn all_of(map: &PartitionMap) -> Vec<Self> {
        let as_made = u16::try_from(map.all().len()).is_ok_and(|partitions| *map == PartitionMap::new(partitions));
        let stored = |partition: &Partition| Self {
            hashes: format!("{:032x}-{:032x}", partition.hashes.start(), partition.hashes.end()),
            parents: partition.parents.clone(),
            opened: partition.opened,
            closed: partition.closed,
        };
        if as_made { Vec::new() } else { map.all().iter().map(stored).collect() }
    }

    fn map_of(partitions: u16, stored: &[Self]) -> Result<PartitionMap, String> {
        if stored.is_empty() {
            let within = (1..=TRAIL_PARTITIONS_OPEN_MAX).contains(&usize::from(partitions));
            let whole = || PartitionMap::new(partitions);
            return within.then(whole).ok_or_else(|| format!("a trail cannot have {partitions} partitions"));
        }
        let of_one = |(number, stored): (u16, &Self)| {
            let (start, end) = stored.hashes.split_once('-')?;
            let hash = |digits: &str| u128::from_str_radix(digits, 16).ok();
            let hashes = hash(start)?..=hash(end)?;
            let Self { parents, opened, closed, .. } = stored;
            Some(Partition { number, hashes, parents: parents.clone(), opened: *opened, closed: *closed })
        };
        let all: Option<Vec<Partition>> = (0..partitions).zip(stored).map(of_one).collect();
        let all = all.filter(|all| all.len() == stored.len() && stored.len() == usize::from(partitions));
        all.and_then(PartitionMap::of).ok_or_else(|| "its partitions do not have each hash once".to_owned())
    }
}

/// A random number, for epochs and file ids.
pub(in crate::trail) fn random_number() -> std::io::Result<u64> {
    getrandom::u64().map_err(|error| std::io::Error::other(error.to_string()))
}
