//! A trail's bytes in a log of messages: for tests so far, and so that nothing above the store leans on files.
//!
//! Behind [`MessageLog`] stands whatever stores messages one behind the other and numbers them. It removes no single message
//! and writes none anew, and its answers come late and in any order. So what a trail takes back is said by one message more,
//! and a segment goes when everything before the next one's head does.
//!
//! ```text
//! head data* | data … | void fence* | data … | head data* | …
//! ```
//!
//! * `head` starts a segment; the frames that the segment repeats follow in the same batch.
//! * `data` holds the next bytes of the segment. A frame that is larger than a message goes on in the next one.
//! * `void` says at which byte the trail goes on: what lay behind it never was, and its places are given anew.
//! * `fence` says nothing. As many stand behind a void as publishes may have been under way before it: each of them expects
//!   a number that is taken now, so that none can be stored behind the void.
//!
//! `store` sends and reads, `stored` holds which messages are which bytes of a segment.

mod log;
pub(super) mod store;
pub(super) mod stored;

pub use log::{Answer, Kind, Message, MessageLog};
