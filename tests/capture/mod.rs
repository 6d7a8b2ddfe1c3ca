//! Capture from a real PostgreSQL of each major that is here into a real trail: what is in the database is in the trail,
//! once, in commit order, and every sign of loss stops loudly.

mod applied;
mod begin;
mod connecting;
mod coverage;
mod ddl;
mod encodings;
mod failover;
mod gone_types;
mod heartbeat;
mod identity;
mod keys;
mod large;
mod ledger;
mod limits;
mod load;
mod load_ddl;
mod load_killed;
mod load_masked;
mod masked_everywhere;
mod masks;
mod masks_in_blocks;
mod masks_over_rest;
mod masks_while_loading;
mod messages;
mod messages_in_blocks;
mod prepared;
mod resuming;
mod rewound;
mod rig;
mod row_filters;
mod rows;
mod settings;
mod waiting;
mod xids;
