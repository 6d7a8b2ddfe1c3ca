//! Capture from a real PostgreSQL of each major that is here into a real trail: what is in the database is in the trail,
//! once, in commit order, and every sign of loss stops loudly.

mod applied;
mod connecting;
mod coverage;
mod encodings;
mod gone_types;
mod identity;
mod keys;
mod ledger;
mod limits;
mod load;
mod load_ddl;
mod resuming;
mod rewound;
mod rig;
mod rows;
mod settings;
mod waiting;
