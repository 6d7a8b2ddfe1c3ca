//! Trailcast: change-data streams that anyone can subscribe to.
//!
//! # Bird's-eye view
//!
//! One program captures committed changes from a database, or takes them over HTTP, into a durable append-only
//! **trail**, and serves them as **data streams**: resources made over REST, each with an AsyncAPI document of its own,
//! pushed over WebSocket and resumable at any record. It speaks GoldenGate Data Streams.
//!
//! ```text
//! database log -> capture -> trail.append -> fdatasync -> durable mark -> readers wake
//! socket <- pump <- session <- finished messages <- encode <- rules <- reader
//! ```
//!
//! Data goes forward in one direction; three numbers come back: the *durable mark* (capture confirms to the source, puts
//! are acknowledged and readers see only what lies below it), the *credit* of a client (a socket that takes nothing
//! stops its own session and nobody else's), and the *retention floor*.
//!
//! # Code map
//!
//! Floors, lowest first. A module uses itself and lower floors, never a higher one and never a sibling; the test
//! `tests/architecture.rs` reads the source and keeps it so.
//!
//! | floor | module | what it owns |
//! |---|---|---|
//! | 0 | [`limits`], [`clock`], [`process`] | every cap with its unit and reason; the only reader of the wall clock; what the kernel says of the process |
//! | 1 | [`record`], [`tasks`], [`log_output`], [`repeats`] | plain values: names, times, positions, operations, schemas of tables, messages; what is seen of panics; the log on its way out; log lines that come once a minute |
//! | 2 | [`codec`] | bytes to records and back, sans-IO: frames, row images, JSON records, their schemas, CloudEvents, AsyncAPI, tokens, WebSocket and event stream framing, close codes |
//! | 3 | [`trail`] | the durable truth: segments, group commit, recovery, readers, seeks |
//! | 4 | [`catalog`] | small durable state: streams, extracts, users and their grants, sealed secrets, the positions of consumer groups, the data folder's lock, the audit's file |
//! | 5 | [`access`] | users, roles, what grants allow, passwords, tokens, throttling, origins |
//! | 6 | [`capture`], [`delivery`] | two wings over the trail that do not know each other: sources in; rules, encoding and sessions out |
//! | 7 | [`service`] | one front door for every face: a registry for each noun (trails, puts, streams, sessions, consumer groups, records on request, extracts, credentials, documents), what is refused as a fact, who may do what; health, figures, audit |
//! | 8 | [`listen`] | sockets: accept, deadlines, caps, drain, the WebSocket pump |
//! | 9 | [`face`] | the hall (who calls, guard, count, audit, bodies, listeners of a face's own) and its rooms: each translates one protocol into calls of the service and holds no state |
//! | 10 | [`client`], [`config`] | what the command line uses to talk to a server; file, environment, flags |
//! | 11 | [`cli`] | the commands |
//!
//! Good places to start reading: [`trail`] for what is on disk, [`delivery::session`] for one session's way through it,
//! [`capture`] for the way in.
//!
//! # Invariants
//!
//! * Nothing is acknowledged, shown to a reader or confirmed to a source before it is flushed.
//! * A trail has one writer for its whole life; one process owns a data folder.
//! * A partition that was closed holds nothing behind the commit that closed it, whatever crashes.
//! * A reader sees whole transactions in commit order; a transaction without its commit frame never was.
//! * Recovery never skips damage: below the last promise the trail stops and says where, and the others serve on.
//! * A slot ahead of the trail is loss, and stops capture loudly; the larger of two positions is never taken.
//! * Nothing is confirmed to a source beyond what the session at hand has received from it; a source that no longer has what
//!   the trail took last has gone back, and stops capture loudly.
//! * A loaded row is never older than what stands before it in the trail: what a chunk's own snapshot shows decides, and no place in
//!   the log.
//! * Row images are ready-made JSON from capture on: numbers never pass through a float, "unchanged" and "absent" are
//!   not values.
//! * Outside input is checked whole before anything changes, and never panics.
//! * What a caller may do with a trail or a stream is asked by the service, the same for every face, before anything is looked up.
//! * No log line holds row values, passwords, tokens or query strings.
//! * Every queue, wait and buffer has its cap in [`limits`].
//!
//! # Deliberately absent
//!
//! No callback from a lower floor to a higher one: a lower floor publishes a value, a higher one waits for it. No
//! acknowledgement on the socket but that of a member of a group: a client saves the `pos` it has processed and resumes after it. No linger timer before
//! a message. No memory-mapped files: one that fails would take every trail with it. No second copy of the truth: where
//! a source stands is in the trail itself.

pub mod access;
pub mod capture;
pub mod catalog;
pub mod cli;
pub mod client;
pub mod clock;
pub mod codec;
pub mod config;
pub mod delivery;
pub mod face;
pub mod limits;
pub mod listen;
pub mod log_output;
pub mod process;
pub mod record;
pub mod repeats;
pub mod service;
pub mod tasks;
pub mod trail;
