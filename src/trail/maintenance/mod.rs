//! What is done to a trail in a folder besides serving it: looking inside, copying, repairing.
//!
//! A look (`inspect`) and a `backup` come beside a running server and change nothing; `repair` is for trails that no server has
//! open.

pub mod backup;
mod inspect;
pub mod repair;
