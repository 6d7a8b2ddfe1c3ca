//! Every cap of the program, with its unit in the name and the reason beside it.
//!
//! Owns the numbers only; whoever hits one reports it by an error or a metric. A cap that a user may change has its
//! default here and its allowed range beside it.

mod bench;
mod check;
mod client;
mod group;
mod load;
mod masking;
mod partitions;
mod records;
mod spill;

pub use bench::*;
pub use check::*;
pub use client::*;
pub use group::*;
pub use load::*;
pub use masking::*;
pub use partitions::*;
pub use records::*;
pub use spill::*;

// --- names ---------------------------------------------------------------------------------------------------------

/// Longest name of a stream or an extract, in characters (GoldenGate Data Streams: 1 to 32).
pub const RESOURCE_NAME_CHARS_MAX: usize = 32;
/// Shortest name of a trail, in characters.
pub const TRAIL_NAME_CHARS_MIN: usize = 2;
/// Longest name of a trail that we make, in characters; it is also a folder name.
pub const TRAIL_NAME_CHARS_MAX: usize = 64;
/// Longest name of a trail that a stream may wait for, in characters (GoldenGate Data Streams: 2 to 512).
pub const TRAIL_REFERENCE_CHARS_MAX: usize = 512;
/// Longest part of a table name or name of a column, in bytes: twice what PostgreSQL and MySQL allow.
pub const IDENTIFIER_BYTES_MAX: usize = 512;
/// Parts of a qualified table name: catalog, schema, table.
pub const TABLE_NAME_PARTS_MAX: usize = 3;

// --- trail ---------------------------------------------------------------------------------------------------------

/// Size at which a segment is closed, in bytes, unless the trail says otherwise; what it repeats in its head does not count,
/// unless that is more. Large enough that heads cost nothing, small enough that retention is fine-grained.
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;
/// Smallest segment size that a trail may choose, in bytes; tests roll often with it.
pub const SEGMENT_BYTES_MIN: u64 = 4 << 10;
/// Smallest segment size that a user may choose, in bytes: each segment costs a file and a place in memory.
pub const SEGMENT_BYTES_CONFIGURED_MIN: u64 = 1 << 20;
/// Largest segment size that a trail may choose, in bytes.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Largest frame, header included, in bytes: one record with both images. PostgreSQL's own row limit is 1 GiB a field,
/// but nothing that large can be sent in one WebSocket message that clients accept.
pub const FRAME_BYTES_MAX: usize = 256 << 20;
/// Bytes between two entries of a segment's sparse index: what a seek reads beyond the look-up itself.
pub const INDEX_BLOCK_BYTES: u64 = 64 << 10;
/// Bytes an appender collects before it hands them to the writer, so that small transactions share one hand-over.
pub const APPEND_CHUNK_BYTES: usize = 256 << 10;
/// Chunks that may wait for a trail's writer; beyond it appenders wait, which is the backpressure on capture.
pub const APPEND_QUEUE_CHUNKS: usize = 16;
/// Bytes the writer gathers into one flush group.
pub const FLUSH_GROUP_BYTES_MAX: usize = 4 << 20;
/// Most zeros that a writer keeps behind the data of the segment it writes, in bytes; no more than it has written itself.
/// The flush that writes them takes the longer the more there are (0.4 ms of these, a millisecond of four times as many, 20
/// ms now and then of 4 MiB), and fewer would have to be written often: every fourth flush of 64 KiB writes these.
pub const FILL_AHEAD_BYTES_MAX: u64 = 256 << 10;
/// Room that the disk must have for zeros to be written ahead, in bytes: what is left is for data, also that of others.
pub const FILL_AHEAD_FREE_BYTES_MIN: u64 = 64 << 20;
/// Segment files that a process holds open beyond those that are written and those that a reader stands in: a quarter of
/// the descriptors that Linux gives a process unless told otherwise.
pub const SEGMENT_FILES_OPEN_MAX: usize = 256;
/// Memory for the indexes of closed segments lately used, of all trails, in bytes: with segments of 64 MiB, those of 28 GiB.
pub const INDEX_MEMORY_BYTES_MAX: usize = 16 << 20;
/// Bytes a reader takes from a segment at once.
pub const READ_BLOCK_BYTES: usize = 256 << 10;
/// Newest bytes of a trail that stay in memory for readers at the tail.
pub const RECENT_BYTES_MAX: usize = 2 << 20;
/// Transaction ids of puts that a trail remembers at least, to refuse a second append of the same one; it remembers twice as
/// many at most. Ids that the server made for transactions without one are not among them. They take 52 MB at most: two tables
/// of 2^19 places, and the list of a segment that holds nothing but small transactions.
pub const REMEMBERED_XIDS: usize = 450_000;
/// How far ahead of the server's clock a put's commit time may be, in seconds; a time index with dates of the far future
/// would send every seek by time to the wrong place.
pub const COMMIT_TIME_AHEAD_SECONDS_MAX: i64 = 300;
/// Tables whose shapes one trail holds at once.
pub const TRAIL_TABLES_MAX: usize = 20_000;
/// Columns of one table; PostgreSQL allows 1,600, MySQL 4,096.
pub const TABLE_COLUMNS_MAX: usize = 4_096;
/// Tables that one gap frame names; a gap of more is written as several. At their longest names that is 6 MB.
pub const GAP_TABLES_MAX: usize = 4_096;
/// What the shapes of one trail's tables take together, in bytes: names and types of columns, 64 for each column and table
/// besides. Each segment's head repeats them. 20,000 tables of 18 columns fit, or 4,000 of 90.
pub const TRAIL_SCHEMA_BYTES_MAX: usize = 32 << 20;
/// Age at which segments go unless the trail says otherwise, in seconds: a week.
pub const RETENTION_SECONDS_DEFAULT: u64 = 7 * 86_400;
/// Longest age that a trail may choose, in seconds: a hundred years.
pub const RETENTION_SECONDS_MAX: u64 = 100 * 365 * 86_400;
/// Smallest size that a trail may choose, in bytes.
pub const RETENTION_BYTES_MIN: u64 = 1 << 20;
/// Share of the disk that all trails together may take, in percent; beyond it the oldest segments go.
pub const RETENTION_DISK_PERCENT: u64 = 50;
/// Time between two looks at what retention may remove, in seconds.
pub const RETENTION_EVERY_SECONDS: u64 = 10;
/// By how much the wall clock may be set between two of these looks, in seconds: an hour. Beyond it nothing is removed for
/// its age.
pub const CLOCK_STEP_SECONDS_MAX: u64 = 3_600;
/// How long the clock must then run without being set before segments are removed for their age again, in seconds: a day.
pub const CLOCK_STEADY_SECONDS: u64 = 86_400;
/// What a server remembers of itself, by name: far more than there is.
pub const SERVER_NOTES_MAX: usize = 100;
/// Trails that one server opens.
pub const TRAILS_MAX: usize = 1_000;

// --- put -----------------------------------------------------------------------------------------------------------

/// Largest body of a put, in bytes.
pub const PUT_BODY_BYTES_MAX: usize = 64 << 20;
/// Largest body of a put that is read on the thread that serves sessions too, in bytes.
pub const PUT_INLINE_BYTES: usize = 256 << 10;
/// Forms of a put's operations (table and columns) of which it is remembered how they lie in their table's schema.
pub const PUT_COLUMN_MAPS_KEPT: usize = 32;
/// Operations in one transaction of a put.
pub const PUT_OPERATIONS_MAX: usize = 1_000_000;
/// Levels of arrays and objects inside one another in a value that is put: readers stop at a depth of their own (serde_json
/// at 128, others at some hundreds to 1,000), and a record adds some levels around the value.
pub const NESTING_MAX: usize = 100;
/// Longest transaction id, in bytes.
pub const XID_BYTES_MAX: usize = 256;

// --- streams -------------------------------------------------------------------------------------------------------

/// Room that the disk must have for a change of the catalog, in bytes: a change that fails half-way is undone, but costs
/// the catalog a new opening.
pub const CATALOG_ROOM_BYTES: u64 = 1 << 20;
/// Stream resources in the catalog.
pub const STREAMS_MAX: usize = 10_000;
/// Largest `maxLobSize` that a configuration may name, in bytes: what GoldenGate Data Streams documents, which is more than
/// 64 bits hold. Values end at the trail's own limit long before.
pub const LOB_BYTES_CONFIGURED_MAX: u128 = 18_446_744_073_709_552_000;
/// Smallest and largest `bufferSize`, in bytes (GoldenGate Data Streams).
pub const BUFFER_BYTES_MIN: u64 = 131_072;
/// See [`BUFFER_BYTES_MIN`].
pub const BUFFER_BYTES_MAX: u64 = 10_485_760;
/// `bufferSize` when the configuration has none, in bytes.
pub const BUFFER_BYTES_DEFAULT: u64 = 1_048_576;
/// Largest message that holds more than one record, in bytes: Python's `websockets` refuses more than 1 MiB by default.
pub const MESSAGE_BYTES_MAX: usize = 1_048_576;
/// Rules of one stream (GoldenGate Data Streams: 1 to 1024).
pub const RULES_MAX: usize = 1_024;
/// Longest renamed field, in characters: names stand in every record.
pub const FIELD_NAME_CHARS_MAX: usize = 64;
/// Longest name of an image, in characters (GoldenGate Data Streams: 1 to 32), and of a flatten delimiter.
pub const IMAGE_NAME_CHARS_MAX: usize = 32;
/// Static fields of one stream; they are repeated in every record.
pub const STATIC_FIELDS_MAX: usize = 64;
/// Longest value of a static field, in bytes.
pub const STATIC_VALUE_BYTES_MAX: usize = 1_024;
/// Values in one list of a rule's filter.
pub const RULE_VALUES_MAX: usize = 1_024;
/// Longest value, pattern or name in a rule, in characters.
pub const RULE_TEXT_CHARS_MAX: usize = 4_096;
/// Values in the lists of all filters of one stream together: a record may have to be held against each of them.
pub const RULES_VALUES_MAX: usize = 20_000;
/// Patterns in all REGEX and LIKE conditions of one stream together, in bytes of their text: compiling the most expensive ones
/// takes some 0.1 ms a byte. A thousand of 60 characters fit.
pub const RULES_REGEX_BYTES_MAX: usize = 64 << 10;
/// Memory that one compiled pattern may take, in bytes.
pub const PATTERN_BYTES_MAX: usize = 1 << 20;
/// Memory that the compiled patterns of one stream may take together, in bytes: 500 that look for a word (`\w+`), or some
/// thousands of plain ones.
pub const RULES_COMPILED_BYTES_MAX: usize = 32 << 20;
/// Memory that the compiled rules of all streams may take together, in bytes, before a stream with further ones is refused.
pub const RULES_COMPILED_BYTES_SERVER_MAX: usize = 256 << 20;
/// What the patterns of one stream may remember of texts that they were held against, in bytes, on each thread that encodes.
pub const PATTERN_CACHES_BYTES: usize = 16 << 20;
/// Least of these bytes for one pattern, whatever their number; with less it finds what it looks for more slowly.
pub const PATTERN_CACHE_BYTES_MIN: usize = 32 << 10;
/// Conditions and names with wildcards up to which rules are compiled where they are needed; more are on a thread of their
/// own. They take some 0.02 ms each, patterns for the `regex` engine aside, of which none is compiled on a thread that serves.
pub const RULES_INLINE_VALUES: usize = 64;
/// Sets of rules that are compiled at the same time: a set may take a processor for some seconds.
pub const RULES_COMPILED_AT_ONCE: usize = 1;
/// New or changed streams that may wait for their rules to be compiled; further ones are refused with 503.
pub const RULES_WAITING_MAX: usize = 16;
/// Conditions on values of one stream beyond which no block is encoded on a thread that serves, however short it is.
pub const INLINE_CONDITIONS_MAX: usize = 64;
/// Names with wildcards of one stream beyond which the same holds: each new table is held against all of them.
pub const INLINE_WILDCARDS_MAX: usize = 1_024;
/// Names and conditions of all rules, times tables of the trail, up to which is looked for rules that match no table: a second.
pub const RULE_COMPARISONS_MAX: usize = 10_000_000;
/// Rules that one message names as matching no table; of the others the number is said.
pub const RULES_NAMED_MAX: usize = 20;
/// Tables of a stream that are counted by name; what is sent of the others is counted together.
pub const STREAM_TABLES_COUNTED: usize = 200;
/// Tables whose verdict one compiled set of rules remembers.
pub const RULE_TABLES_REMEMBERED: usize = 20_000;
/// Longest description of a stream, in characters.
pub const DESCRIPTION_CHARS_MAX: usize = 4_096;
/// Longest heartbeat interval of a stream, in seconds.
pub const HEARTBEAT_SECONDS_MAX: u64 = 86_400;
/// Longest `tcpKeepAliveTimeout`, in seconds (GoldenGate Data Streams: 1 to 10800).
pub const TCP_KEEP_ALIVE_SECONDS_MAX: u64 = 10_800;
/// `tcpKeepAliveTimeout` when the configuration has none, in seconds.
pub const TCP_KEEP_ALIVE_SECONDS_DEFAULT: u64 = 120;
/// Tables that one AsyncAPI document describes; beyond it generators take minutes.
pub const ASYNCAPI_TABLES_MAX: usize = 200;
/// Columns of all tables that one AsyncAPI document describes: each takes about 500 bytes of it, and much more while it is
/// built.
pub const ASYNCAPI_COLUMNS_MAX: usize = 50_000;
/// AsyncAPI documents that are built at the same time: one takes a processor for a second at worst.
pub const DOCUMENTS_BUILT_AT_ONCE: usize = 1;
/// AsyncAPI documents that may wait to be built; further ones are refused with 503.
pub const DOCUMENTS_WAITING_MAX: usize = 16;
/// Built AsyncAPI documents that are kept, in bytes. Of the largest there are some 30 MB.
pub const DOCUMENTS_KEPT_BYTES: usize = 64 << 20;
/// By how much the priority of a thread that builds documents or compiles rules is lowered: beside one that serves, and wants
/// the same processor, it gets a tenth of it.
pub const OFF_THREAD_NICE: i32 = 10;
/// Time after which a client may ask again for what was refused because too many documents or rules wait, in seconds.
pub const OFF_THREAD_RETRY_SECONDS: u64 = 2;
/// Time after which a place or memory for a session, or a trail that has stopped, may be there again, in seconds.
pub const PLACE_RETRY_SECONDS: u64 = 5;
/// Time after which somebody may have made room on a disk that is full, in seconds.
pub const DISK_RETRY_SECONDS: u64 = 10;
/// Live sessions of one server.
pub const SESSIONS_MAX: usize = 20_000;
/// Errors that a stream remembers for `info/errors`.
pub const STREAM_ERRORS_KEPT: usize = 32;

// --- delivery ------------------------------------------------------------------------------------------------------

/// Memory that encoded messages may take, over all streams, in bytes, unless the configuration says otherwise.
pub const DELIVERY_BYTES_DEFAULT: usize = 512 << 20;
/// Least memory for encoded messages that the configuration may give, in bytes: some blocks.
pub const DELIVERY_BYTES_MIN: u64 = 1 << 20;
/// Most memory for encoded messages that the configuration may give, in bytes.
pub const DELIVERY_BYTES_MAX: u64 = 1 << 40;
/// Bytes of a trail that one encoded block covers at most, behind the tail: large enough that a block's costs are
/// small beside its records', small enough to stay in a processor's cache until it is written.
pub const BLOCK_TRAIL_BYTES: u64 = 256 << 10;
/// Largest record for which room is kept ready in every block, in bytes.
pub const EXPECTED_RECORD_BYTES_MAX: usize = 64 << 10;
/// Bytes of a trail for which a block is worth making while memory for a whole one is missing.
pub const SHORT_BLOCK_TRAIL_BYTES: usize = 32 << 10;
/// Bytes of a trail that are encoded at once where a session asks for them, in bytes; more goes to a thread of its own.
pub const INLINE_BLOCK_BYTES: u64 = 64 << 10;
/// Encoded bytes that one contract keeps for sessions that are still to come.
pub const FANOUT_KEPT_BYTES: usize = 8 << 20;
/// Makers of blocks that one contract keeps at the ends of blocks, ready to go on.
pub const BLOCK_MAKERS_KEPT: usize = 4;
/// Blocks that are made ahead of the session that reads them: the thread that makes them need not be woken for each.
pub const BLOCKS_AHEAD: u32 = 2;
/// Messages handed over as one piece, in bytes; pings go between pieces.
pub const PIECE_BYTES_MAX: usize = 1 << 20;
/// Bytes that a session hands to its socket at once, when that many are ready.
pub const HANDOVER_BYTES: usize = 512 << 10;
/// Pieces that a session hands to its socket at once.
pub const HANDOVER_PIECES: usize = 64;
/// Wait for memory for messages before it is asked for again although nobody said that some is free, in milliseconds.
pub const BUDGET_RETRY_MILLIS: u64 = 500;

// --- sockets and HTTP ----------------------------------------------------------------------------------------------

/// Connections that one server accepts at once, over all listeners.
pub const CONNECTIONS_MAX: usize = 25_000;
/// Connections at once of one address (of one /64 network of IPv6): half of all, so that no single address takes every
/// place. Behind a reverse proxy, where all clients have one address, it is set to the whole.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = CONNECTIONS_MAX / 2;
/// Most connections that a configuration may ask for.
pub const CONNECTIONS_CONFIGURED_MAX: usize = 1_000_000;
/// Longest deadline or interval of a connection that a configuration may ask for, in seconds.
pub const DEADLINE_SECONDS_CONFIGURED_MAX: u64 = 3_600;
/// File descriptors beside those of connections: segments, listeners, the catalog, sources.
pub const OTHER_FILES: u64 = 4_096;
/// Time for a client's TLS handshake, in seconds.
pub const HANDSHAKE_SECONDS_MAX: u64 = 10;
/// Time between two looks at the files of the TLS certificate, in seconds.
pub const TLS_FILES_LOOK_SECONDS: u64 = 5;
/// Days before a certificate's end from which on that is said: a month to renew it by hand.
pub const CERTIFICATE_SOON_DAYS: i64 = 30;
/// Time between two log lines that say so, in seconds: once a day.
pub const CERTIFICATE_WARN_SECONDS: u64 = 86_400;
/// Largest file of certificates or keys, in bytes; a bundle of all public authorities has a fifth of it.
pub const PEM_FILE_BYTES_MAX: u64 = 1 << 20;
/// Longest header of the PROXY protocol behind its fixed part, in bytes: addresses take 216 of them at most, the rest is what
/// a proxy tells besides, such as the name in a client certificate.
pub const PROXY_HEADER_BYTES_MAX: usize = 4 << 10;
/// Trusted proxies, or networks of them, in one configuration: each is compared with each new connection. The largest
/// providers of such networks publish some hundred.
pub const TRUSTED_PROXIES_MAX: usize = 1_024;
/// Time for a request's header to arrive, in seconds.
pub const HEADER_SECONDS_MAX: u64 = 10;
/// Time for a request's body to arrive, in seconds.
pub const BODY_SECONDS_MAX: u64 = 60;
/// Time in which a client must take [`SLOW_CLIENT_BYTES_MIN`] of an answer that waits for it, in seconds.
pub const ANSWER_SECONDS_MAX: u64 = 60;
/// Bytes of answers that all clients together may leave unread, unless the configuration says otherwise: ten large documents.
pub const ANSWER_BYTES_DEFAULT: usize = 64 << 20;
/// Fewest bytes of unread answers that the configuration may allow.
pub const ANSWER_BYTES_MIN: u64 = 1 << 20;
/// Most bytes of unread answers that the configuration may allow.
pub const ANSWER_BYTES_MAX: u64 = 1 << 40;
/// Largest answer that counts as part of what its connection costs anyway, in bytes.
pub const ANSWER_BYTES_FREE: usize = 4 << 10;
/// Time after which an answer that is still not read in whole is given up once the room for answers is short, in seconds: who
/// reads slowly, or not at all, would else keep the room from all others.
pub const ANSWER_CROWDED_SECONDS: u64 = 10;
/// When to ask again for an answer that found no room, in seconds.
pub const ANSWER_RETRY_SECONDS: u64 = 5;
/// Time for which a browser may remember what a page of another origin may ask, in seconds; browsers remember it for two hours
/// at most.
pub const CROSS_ORIGIN_SECONDS: u64 = 7_200;
/// Time for which what still comes of a request's body that nobody wants is read and thrown away, in seconds, so that its
/// sender gets to see the answer.
pub const LINGER_SECONDS_MAX: u64 = 2;
/// Bytes that are thrown away so at most: a body twice as large as the largest that is taken.
pub const LINGER_BYTES_MAX: usize = 2 * PUT_BODY_BYTES_MAX;
/// Bytes that are thrown away so at once; they lie on the stack.
pub const LINGER_READ_BYTES: usize = 8 << 10;
/// Bytes of a long answer after which others have their turn on the thread that sends it: a copy of them takes some 0.02 ms.
pub const ANSWER_PIECE_BYTES: usize = 64 << 10;
/// Bytes that one connection buffers of requests, and so the longest header of a request; pipelined requests beyond it
/// wait in the client's own buffers.
pub const HTTP_BUFFER_BYTES_MAX: usize = 64 << 10;
/// Largest JSON body of a control request, in bytes.
pub const CONTROL_BODY_BYTES_MAX: usize = 1 << 20;
/// Bytes that a document sent in YAML may have once each of its aliases is written out: a few times what a body can say
/// without any, so that aliases are of use and a short text cannot fill the memory.
pub const DOCUMENT_BYTES_MAX: usize = 4 << 20;
/// Documents in YAML that are read at a time, because reading one may take seconds: the library's time grows with the square
/// of how deep its brackets stand in one another.
pub const DOCUMENTS_READ_AT_ONCE: usize = 1;
/// Largest of these that is read on the thread that serves others too, in bytes.
pub const CONTROL_INLINE_BYTES: usize = 16 << 10;
/// Time between two pings of a stream's socket, in seconds.
pub const PING_SECONDS: u64 = 20;
/// Pings without any answer after which an idle socket is closed with 4004.
pub const PINGS_MISSED_MAX: u32 = 2;
/// Time after which a session whose client takes nothing of what it was given is shown as blocked, in seconds.
pub const BLOCKED_SECONDS: u64 = 1;
/// Time in which a socket with output pending must take [`SLOW_CLIENT_BYTES_MIN`], in seconds.
pub const SLOW_CLIENT_SECONDS: u64 = 300;
/// See [`SLOW_CLIENT_SECONDS`].
pub const SLOW_CLIENT_BYTES_MIN: u64 = 64 << 10;
/// The same as [`SLOW_CLIENT_SECONDS`] while memory for messages is short: whoever holds it and takes nothing then makes
/// all others wait. With the closing handshake that follows, well below the 30 seconds in which progress must resume.
pub const SLOW_CLIENT_CROWDED_SECONDS: u64 = 10;
/// Times [`SLOW_CLIENT_CROWDED_SECONDS`] in which a client must take everything that it was given while memory for messages
/// is short: whoever takes just enough to count as awake would else hold a megabyte for minutes, and hundreds all of it.
pub const CROWDED_HANDOVER_FACTOR: u32 = 3;
/// Largest message that a client may send on a stream's socket, in bytes; such messages are ignored.
pub const CLIENT_MESSAGE_BYTES_MAX: usize = 64 << 10;
/// What the unfinished messages of all clients of streams may take together, in bytes as they are sent; in memory it may be
/// twice that. Room for 128 of the longest: clients have nothing to say there, and each session could hold one for ever.
pub const UNFINISHED_MESSAGES_BYTES_MAX: u64 = 8 << 20;
/// Control frames waiting to be written to one socket, in bytes; beyond it the client floods us and is closed.
pub const CONTROL_OUTBOX_BYTES_MAX: usize = 16 << 10;
/// Bytes taken from a stream's socket at once; clients send little but pongs.
pub const CLIENT_READ_BYTES: usize = 4_096;
/// Bytes that an idle stream's socket keeps ready for what the client sends: a pong with some payload.
pub const CLIENT_FRAME_BYTES: usize = 128;
/// Bytes in the kernel's hands that count as nothing to a client that does not answer: some pings and pongs of ours, with
/// what TLS adds to them.
pub const KERNEL_REST_BYTES: u32 = 512;
/// Pieces of output handed to the kernel in one write.
pub const WRITE_PIECES_MAX: usize = 16;
/// Wait after the operating system refused to accept a connection (out of file descriptors), in milliseconds.
pub const ACCEPT_RETRY_MILLIS: u64 = 100;
/// Time that a closing handshake may take, in seconds.
pub const CLOSE_SECONDS_MAX: u64 = 5;
/// Time from SIGTERM to exit, in seconds.
pub const SHUTDOWN_SECONDS_MAX: u64 = 10;
/// Share of [`SHUTDOWN_SECONDS_MAX`] in which requests and sockets may end by themselves, in seconds; the rest is for flushing
/// trails and for extracts to let go of their sources.
pub const DRAIN_SECONDS_MAX: u64 = 6;

/// Largest piece of memory that stays with the process for the next one when it is freed, in bytes: a group of a trail's writer,
/// a message and the block that it is made of fit, so that they do not cost a page fault for each 4 KiB every time.
pub const KEPT_PIECE_BYTES_MAX: usize = 8 << 20;

// --- access --------------------------------------------------------------------------------------------------------

/// Users in the catalog.
pub const USERS_MAX: usize = 10_000;
/// Grants of one user or token, and patterns in one list of a grant: enough for a team's names, and little to look through for each
/// item of a list.
pub const GRANTS_MAX: usize = 32;
/// See [`GRANTS_MAX`].
pub const GRANT_PATTERNS_MAX: usize = 32;
/// Longest pattern in a grant, in characters: as long as the longest name of what we make.
pub const GRANT_PATTERN_CHARS_MAX: usize = TRAIL_NAME_CHARS_MAX;
/// Largest grants of a token of ours, in bytes of their JSON: they stand in the token, and that in addresses.
pub const TOKEN_GRANTS_BYTES_MAX: usize = 4 << 10;
/// Longest user name and password, in bytes.
pub const CREDENTIAL_BYTES_MAX: usize = 256;
/// Time for which a verified credential is remembered under a keyed hash since it was last used, in seconds: argon2 on each request would make
/// authentication the slowest part of the server.
pub const VERIFIED_SECONDS: u64 = 60;
/// Time for which a credential that was right counts as recently right, in seconds since it was used: it is checked again,
/// and the failures of others at its address do not hold it up. Half a working day.
pub const RECENTLY_RIGHT_SECONDS: u64 = 4 * 3_600;
/// Verified credentials remembered at once.
pub const VERIFIED_MAX: usize = 10_000;
/// Failed log-ins of one address and user within [`THROTTLE_SECONDS`] before the answer is 429.
pub const FAILED_LOGINS_MAX: u32 = 10;
/// Window of [`FAILED_LOGINS_MAX`], in seconds.
pub const THROTTLE_SECONDS: u64 = 60;
/// Password hashes computed at once; each takes about 20 MiB and a core.
pub const PASSWORD_HASHES_AT_ONCE: usize = 2;
/// Log-ins that may wait for a password hash; at 20 milliseconds each the last one waits about ten seconds.
pub const PASSWORD_HASHES_WAITING_MAX: usize = 1_024;
/// Pairs of address and user whose failed log-ins are counted at once.
pub const THROTTLE_ENTRIES_MAX: usize = 10_000;
/// Failed log-ins of one address, over all users, within [`THROTTLE_SECONDS`] before the answer is 429.
pub const FAILED_LOGINS_PER_ADDRESS_MAX: u32 = 100;
/// Database passwords in the catalog.
pub const CREDENTIALS_MAX: usize = 10_000;

/// Life of a Digest nonce, in seconds; within it a header may come again, which the generated clients do.
pub const DIGEST_NONCE_SECONDS: i64 = 300;
/// Members of one Digest header.
pub const DIGEST_MEMBERS_MAX: usize = 32;
/// Longest token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Life of a stream's token unless asked otherwise, in seconds.
pub const STREAM_TOKEN_SECONDS_DEFAULT: u64 = 3_600;
/// Longest life of a stream's token, in seconds.
pub const STREAM_TOKEN_SECONDS_MAX: u64 = 86_400;
/// Public keys of one issuer of tokens.
pub const JWT_KEYS_MAX: usize = 64;
/// Time between two fetches of an issuer's keys, in seconds.
pub const JWKS_REFRESH_SECONDS: u64 = 300;
/// Time before a fetch that failed is tried again, in seconds.
pub const JWKS_RETRY_SECONDS: u64 = 15;
/// Least time between two fetches that tokens with an unknown key ask for, in seconds: anybody can make such tokens.
pub const JWKS_ASKED_SECONDS_MIN: u64 = 10;
/// Time that a request with such a token waits for the fetch, in seconds.
pub const JWKS_WAIT_SECONDS_MAX: u64 = 5;
/// Requests that wait so at once; the others are refused at once.
pub const JWKS_WAITING_MAX: u64 = 1_000;
/// Time for one fetch, from the connection to the last byte, in seconds.
pub const JWKS_FETCH_SECONDS_MAX: u64 = 10;
/// Largest key set that is fetched, in bytes: 64 keys with their certificates take a quarter of it.
pub const JWKS_BYTES_MAX: usize = 1 << 20;
/// Longest URL of a key set, in bytes.
pub const JWKS_URL_BYTES_MAX: usize = 2_048;
/// How far the clock of an issuer of tokens may be ahead of ours, in seconds.
pub const JWT_CLOCK_SECONDS_MAX: i64 = 60;

/// Audit lines that may wait for their file; beyond it they go to the log. Ten thousand sessions that come back at once fit.
pub const AUDIT_QUEUE_LINES: usize = 16_384;
/// Time that a change waits for its audit line to be written, in seconds: a disk that hangs must not hang the server.
pub const AUDIT_WAIT_SECONDS_MAX: u64 = 2;
/// Audit lines that share one flush of their file.
pub const AUDIT_FLUSH_LINES_MAX: usize = 256;
/// Longest path in an audit line, in characters.
pub const AUDIT_TEXT_CHARS_MAX: usize = 512;
/// Refusals of one address within this time, in seconds, share one line of the audit beside the first one's.
pub const AUDIT_REFUSALS_SECONDS: u64 = 60;
/// Time between two looks whose minute of refusals is over, in seconds.
pub const AUDIT_REFUSALS_LOOK_SECONDS: u64 = 5;
/// Addresses (and users at them) whose refusals are counted apart within a minute; all others are counted together.
pub const AUDIT_REFUSED_MAX: usize = 10_000;
/// Users named by refused credentials that one such line names.
pub const AUDIT_CLAIMED_MAX: usize = 10;
/// Size at which an audit file is put aside, in bytes, unless the configuration says otherwise.
pub const AUDIT_FILE_BYTES_DEFAULT: u64 = 64 << 20;
/// Smallest size that the configuration may give, in bytes.
pub const AUDIT_FILE_BYTES_MIN: u64 = 64 << 10;
/// Largest size that the configuration may give, in bytes.
pub const AUDIT_FILE_BYTES_MAX: u64 = 1 << 40;
/// Audit files put aside that are kept unless the configuration says otherwise.
pub const AUDIT_FILES_KEPT_DEFAULT: u64 = 10;
/// Most audit files that the configuration may keep.
pub const AUDIT_FILES_KEPT_MAX: u64 = 1_000;

/// Time that whoever wants a trail's end waits for the writer before him to give it back, in milliseconds.
pub const TRAIL_END_MILLIS_MAX: u64 = 2_000;
/// Log lines that may wait to be written; a burst of sessions that all begin or end fits.
pub const LOG_QUEUE_LINES: usize = 16_384;
/// Bytes that these lines may take; beyond it a line is lost and counted.
pub const LOG_QUEUE_BYTES_MAX: usize = 8 << 20;
/// Time that the end of the program waits for its last log lines to be written, in milliseconds.
pub const LOG_FLUSH_MILLIS_MAX: u64 = 500;
/// Tries to write a log line where writing does not wait, and the time between two of them, in milliseconds: a second in all.
pub const LOG_TRIES_MAX: u32 = 100;
/// See [`LOG_TRIES_MAX`].
pub const LOG_TRY_MILLIS: u64 = 10;
/// Time between two log lines of the same trouble that is met again and again, in seconds: a full disk must not fill the log.
pub const REPEATED_LINE_SECONDS: u64 = 60;
/// Troubles of one kind that are told apart (by trail, extract and the like); beyond it the first of them is forgotten.
pub const REPEATED_LINE_KEYS_MAX: usize = 1_000;
/// Tables that one warning of `/readyz` names.
pub const READINESS_TABLES_MAX: usize = 20;
/// Shortest wait before a task that panicked is started again, in milliseconds.
pub const TASK_WAIT_MILLIS_MIN: u64 = 100;
/// Longest such wait, in milliseconds: what always panics must not keep a core busy, nor fill the log.
pub const TASK_WAIT_MILLIS_MAX: u64 = 30_000;

// --- capture -------------------------------------------------------------------------------------------------------

/// Extracts of one server.
pub const EXTRACTS_MAX: usize = 1_000;
/// Time for a source to accept a connection and authenticate, in seconds.
pub const SOURCE_CONNECT_SECONDS_MAX: u64 = 15;
/// Milliseconds between looks at what is published: every row that a table loses in silence is at most that old, and a
/// look may take a second of the 10 s that are promised.
pub const COVERAGE_LOOK_MILLIS: u64 = 8_000;
/// Milliseconds between a look and one that a table's change asks for: DDL comes in bursts.
pub const COVERAGE_ASKED_LOOK_MILLIS: u64 = 500;
/// Milliseconds that a look waits for transactions which wrote to a table before it was covered again; a gap that they
/// hold open is closed by a later look.
pub const COVERAGE_WRITERS_MILLIS: u64 = 1_000;
/// Milliseconds between two questions whether they have ended.
pub const COVERAGE_WRITERS_PAUSE_MILLIS: u64 = 50;
/// Milliseconds that putting a table back waits for whoever alters it, or reading its size: the next look tries again.
pub const COVERAGE_LOCK_MILLIS: u64 = 3_000;
/// Seconds for which a stream goes on without a look that succeeds: then it ends, and begins again with one.
pub const COVERAGE_BLIND_SECONDS_MAX: u64 = 30;
/// Earlier looks remembered while a transaction stays open over all of them: two hours' worth.
pub const COVERAGE_MOMENTS_MAX: usize = 900;
/// Names of dropped tables that are remembered, in case they are made again: applications that make and drop tables all
/// day must not fill the catalog.
pub const COVERAGE_NAMES_GONE_MAX: usize = 10_000;
/// Gaps that an extract shows: what is older stands in the trail.
pub const COVERAGE_GAPS_SHOWN_MAX: usize = 20;
/// Tables that an error or a log line names: what has more is read in `info`.
pub const COVERAGE_TABLES_NAMED_MAX: usize = 20;
/// Seconds between two writes of where coverage was last in order, when nothing else changed: after a restart a gap may
/// begin that much earlier than it had to.
pub const COVERAGE_SAVE_SECONDS: u64 = 60;
/// First wait before a source is tried again, in milliseconds; it doubles up to [`SOURCE_BACKOFF_MILLIS_MAX`].
pub const SOURCE_BACKOFF_MILLIS_MIN: u64 = 250;
/// See [`SOURCE_BACKOFF_MILLIS_MIN`].
pub const SOURCE_BACKOFF_MILLIS_MAX: u64 = 10_000;
/// Time between two status updates to the source while nothing asks for one, in seconds.
pub const SOURCE_STATUS_SECONDS: u64 = 5;
/// Longest time between two heartbeats into a source's log, in seconds.
pub const SOURCE_HEARTBEAT_SECONDS_MAX: u32 = 3_600;
/// Silence from the source after which the connection counts as dead, in seconds.
pub const SOURCE_SILENCE_SECONDS_MAX: u64 = 60;
/// Time for which bytes may wait in a trail, while nothing is written, before the server is not ready, in seconds.
pub const TRAIL_STALL_SECONDS: u64 = 30;
/// Time for which a trail may stand still while its source's log goes on before the server is not ready, in seconds: a
/// quiet source gives a sign of life every 35 seconds at least.
pub const SOURCE_STALL_SECONDS: u64 = 120;
/// Time between two looks at what a source keeps for us and publishes, in seconds: each opens a connection.
pub const SOURCE_LOOK_SECONDS: u64 = 10;
/// Time between two progress frames of an idle source, in seconds.
pub const PROGRESS_SECONDS: u64 = 10;
/// Largest message from a source, in bytes.
pub const SOURCE_MESSAGE_BYTES_MAX: usize = 1 << 30;
/// Patterns of tables of one extract.
pub const EXTRACT_TABLES_MAX: usize = 1_024;
/// Tables of one extract that one text names, such as those that cannot be published.
pub const EXTRACT_NAMED_TABLES_MAX: usize = 50;
/// Data streams that the answer to a trail's deletion names; the rest is counted.
pub const ANSWER_NAMED_STREAMS_MAX: usize = 20;
/// Time between two looks at what a slot that is being made waits for, in seconds.
pub const SOURCE_WAIT_LOOK_SECONDS: u64 = 1;
/// Time between two warnings of the same wait, in seconds.
pub const SOURCE_WAIT_WARN_SECONDS: u64 = 60;
/// Longest host name of a source, in bytes (DNS: 253).
pub const SOURCE_HOST_BYTES_MAX: usize = 253;
/// Longest name of a database, user, slot or publication, in bytes (PostgreSQL: 63).
pub const SOURCE_IDENTIFIER_BYTES_MAX: usize = 63;
/// Longest password of a source, in bytes.
pub const SOURCE_PASSWORD_BYTES_MAX: usize = 1_024;
/// Bytes read from a source at once; a larger message grows the buffer while its bytes come.
pub const SOURCE_READ_BYTES: usize = 256 << 10;
/// How far a stream is behind its source, by the source's own clock, from which on its reader lets rows gather, in
/// milliseconds. A walsender sends each row by itself; being woken for each costs more than the row does.
pub const SOURCE_BEHIND_MILLIS_MIN: u64 = 50;
/// Time for which rows then gather, in milliseconds: what comes meanwhile waits in the sockets' buffers, the sender's too, as
/// whoever sends 100,000 rows a second has 100 of them there by then.
pub const SOURCE_REST_MILLIS: u64 = 1;
/// Time from one flush to the next that is asked for while a stream is that far behind, in milliseconds: flushes cost the
/// processor more than rows do, and nobody who waits for a row so old notices.
pub const SOURCE_BEHIND_FLUSH_MILLIS: u64 = 5;
/// Time for one query of the source's catalogue, in seconds.
pub const SOURCE_QUERY_SECONDS_MAX: u64 = 15;
/// Rows of one answer from the source's catalogue.
pub const SOURCE_QUERY_ROWS_MAX: usize = 1_000_000;
/// Time for which a table's description waits until the source's catalogue shows what a transaction did that was sent, in
/// seconds. No longer: a source that waits for a synchronous standby may be waiting for us.
pub const SOURCE_UNSEEN_SECONDS_MAX: u64 = 5;
/// Time between two looks whether it does, in milliseconds.
pub const SOURCE_UNSEEN_RETRY_MILLIS: u64 = 50;
/// Length from which on a source's message is judged before it is wholly there, in bytes.
pub const SOURCE_LARGE_MESSAGE_BYTES: usize = 1 << 20;
/// Length from which on it is found out what a value becomes before it is converted, in bytes: a text may take six times as much.
pub const SOURCE_LARGE_VALUE_BYTES: usize = 1 << 20;
/// Layers of a source's type (domains over arrays over domains …) that are followed.
pub const SOURCE_TYPE_DEPTH_MAX: usize = 16;
