//! The hall of faces, and its rooms: each translates one protocol into calls of the service, and holds no state.
//!
//! The hall owns what is the same for every protocol: what a handler has at hand ([`Hall`]), who calls and what for
//! ([`Call`]), how a body is read ([`Content`]), and what is done around each route ([`layers`]). A room says how it words a
//! refusal ([`Face`]), and has its routes.

mod accept;
mod address;
mod audit;
mod call;
mod content;
mod count;
pub mod goldengate;
mod hall;
pub mod layers;
mod listeners;
pub mod operation;
mod origin_guard;
mod path;
mod pieces;
pub mod query;
mod refusal;
pub mod requests;
mod unread;

pub use accept::Accepted;
pub use address::Address;
pub use audit::auth_of;
pub use call::{Call, Caller};
pub use content::{Content, MediaTypes};
pub use hall::{ACCESS_TOKEN, Face, Hall, Refused};
pub use listeners::{FaceName, UnknownFace, on_main_listener};
pub use operation::Operations;
pub use path::{FromPath, PathNames};
pub use pieces::Pieces;
pub use refusal::Refusal;
