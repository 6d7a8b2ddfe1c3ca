//! Where the records of a stream have their positions, by its configuration: what records are counted by.

use serde_json::Value;

use super::tally::Counting;
use crate::catalog::stream::StreamConfig;
use crate::cli::failure::Failure;
use crate::client::{ServerAddress, call};
use crate::codec::json::{MetaField, Model};

/// Where one stream's records have their positions.
#[derive(Debug, Clone)]
pub(super) struct Positions {
    pub(super) stream: String,
    /// The member.
    pub(super) member: String,
    /// Whether columns stand beside it, one of which may have its name.
    pub(super) beside_columns: bool,
}

impl Positions {
    /// Asks the server.
    pub(super) async fn of(address: &ServerAddress, stream: &str) -> Result<Self, Failure> {
        let answer = call(address, "GET", &["services", "v2", "stream", stream], None).await?;
        Self::by(stream, answer["response"].clone())
    }

    fn by(stream: &str, config: Value) -> Result<Self, Failure> {
        let config = StreamConfig::from_value(config)
            .map_err(|error| Failure::failed(format_args!("the configuration of stream {stream}: {error}")))?;
        let json = &config.json;
        if !json.meta.is_sent(MetaField::Pos) {
            let why = "sends no positions (metaFields.pos is off), by which records are counted";
            return Err(Failure::failed(format_args!("stream {stream} {why}")));
        }
        let beside_columns = json.model == Model::Row || json.flatten.is_some();
        Ok(Self { stream: stream.to_owned(), member: json.meta.name(MetaField::Pos).to_owned(), beside_columns })
    }

    /// How the records of this stream can be counted when that was asked for.
    pub(super) fn counting(&self, asked: Counting) -> Counting {
        match asked {
            Counting::Each | Counting::Sampled(_) if self.beside_columns => Counting::Read,
            asked => asked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn positions(json: Value) -> Result<Positions, Failure> {
        Positions::by("s1", json!({"source": {"trail": "t1"}, "encoding": {"json": json}}))
    }

    #[test]
    fn records_are_counted_by_the_member_that_the_stream_sends() {
        assert_eq!(positions(json!({})).unwrap().member, "pos");
        let renamed = positions(json!({"metaFields": {"pos": "position"}})).unwrap();
        assert_eq!((renamed.member.as_str(), renamed.counting(Counting::Each)), ("position", Counting::Each));
        assert!(positions(json!({"metaFields": {"pos": false}})).is_err());
    }

    #[test]
    fn where_columns_stand_beside_it_records_are_read() {
        for json in [json!({"model": "row"}), json!({"flatten": true})] {
            let positions = positions(json).unwrap();
            assert_eq!(positions.counting(Counting::Sampled(32)), Counting::Read);
            assert_eq!(positions.counting(Counting::Verify), Counting::Verify);
        }
    }
}
