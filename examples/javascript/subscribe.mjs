// Subscribe to a data stream and never lose a record: save each position, resume after it.
//
//     npm install ws
//     node subscribe.mjs ws://USER:PASSWORD@localhost:9002/services/v2/stream/demo position.txt
//
// Delivery is at least once. The position is saved after a record was worked on, so whoever is stopped in between sees
// that record again. Two ways to live with it: make the work harmless to repeat (an upsert by key), or store the
// position in the same transaction as the result and skip a record whose position is stored already.

import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import WebSocket from "ws";

// Refusals and endings that trying again does not cure; everything else is worth another try.
const FINAL_STATUSES = new Set([400, 401, 403, 404, 409]);
const FINAL_CLOSE_CODES = new Set([4001, 4013, 4014, 4020]);
// What metadata is called where a stream sends no schema records, beside a column of that name too.
const USUAL_NAMES = { op_ts: "opTs", op_type: "opType", qual_table: "qualifiedTable", pos: "pos" };
const USUAL_FIELDS = new Map(
  Object.entries(USUAL_NAMES).flatMap(([name, field]) => [[name, field], [`_${name}`, field]]),
);

/** The position saved last, or `earliest` on the first start. */
function load(path) {
  try {
    return readFileSync(path, "ascii").trim() || "earliest";
  } catch (error) {
    if (error.code === "ENOENT") return "earliest";
    throw error;
  }
}

/** Replaces the file in one step: after a crash it holds the old position or the new one, never half of one. */
function save(path, position) {
  const file = openSync(`${path}.new`, "w");
  writeSync(file, position);
  fsyncSync(file);
  closeSync(file);
  renameSync(`${path}.new`, path);
}

/**
 * Reads the messages of one connection: which members of a record are metadata, and where it stands.
 *
 * A stream may rename its metadata (`metaFields`), and in the row model a column of the same name pushes it aside
 * (`_pos`). The schema record that comes before the first record of a kind says what is called how; without schema
 * records, the usual names are taken. Metadata stands before the columns, so of two members the first is meant.
 */
class Reader {
  constructor(url) {
    this.source = `/services/v2/stream/${new URL(url).pathname.replace(/\/+$/, "").split("/").pop()}`;
  }

  /** The changes of a message: position, metadata by field, and the rest (images, statement or columns). */
  *read(message) {
    // A stream may be made to send one record a message (`framing`).
    for (const sent of [JSON.parse(message)].flat()) {
      // Records come as CloudEvents, or none does: the first one tells it of all, whatever columns a table may have.
      this.events ??= sent.specversion === "1.0" && sent.source === this.source;
      const record = this.events ? sent.data : sent;
      if (Object.keys(record)[0] === "id" && "$schema" in record && "properties" in record) {
        this.learn(record);
        continue;
      }
      const { metadata, rest } = this.split(record);
      // Of an event the position is the id, if it has a place in the sequence.
      const position = !this.events ? metadata.pos : "sequence" in sent ? sent.id : undefined;
      if (!["STREAM_METADATA", "OBJECT_METADATA"].includes(metadata.opType)) yield { position, metadata, rest };
    }
  }

  learn(schema) {
    this.fields ??= new Map();
    for (const [name, member] of Object.entries(schema.properties)) {
      const [kind, field] = (member.description ?? "").split(".");
      if (kind === "metaFields") this.fields.set(name, field);
    }
  }

  split(record) {
    const metadata = {};
    const rest = {};
    for (const [name, value] of Object.entries(record)) {
      const field = (this.fields ?? USUAL_FIELDS).get(name);
      if (field && !(field in metadata)) metadata[field] = value;
      else rest[name] = value;
    }
    return { metadata, rest };
  }
}

/** What the server says: the titles of the messages in its answer, else the answer as it is. */
function words(text) {
  try {
    return JSON.parse(text).messages.map((message) => message.title).join(" ");
  } catch {
    return text.trim();
  }
}

/**
 * Your code goes here. JSON.parse rounds numbers beyond 2^53, and those beyond 1.8e308 become Infinity, which is printed as
 * null; where every digit counts, make the stream with `"trailcast": {"decimals": "string"}`.
 */
function workOn(metadata, rest) {
  console.log(metadata.opTs, metadata.opType, metadata.qualifiedTable, JSON.stringify(rest));
}

/** After how many milliseconds to connect again, where the server said so last. */
let comeBackAfter;

/** Works on records until the connection ends; resolves to whether any came. */
function follow(url, path) {
  return new Promise((resolve, reject) => {
    let position = load(path);
    let anyCame = false;
    comeBackAfter = undefined;
    const reader = new Reader(url);
    const socket = new WebSocket(`${url}?begin=${encodeURIComponent(position)}`);
    // A connection that died without a word: the server says how often it pings one that lives.
    let silence = 65_000;
    let timer;
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => socket.terminate(), silence);
    };
    socket.on("upgrade", (answer) => {
      silence = (3 * Number(answer.headers["trailcast-ping-seconds"] ?? 20) + 5) * 1000;
      heard();
    });
    socket.on("ping", heard);
    socket.on("message", (message) => {
      heard();
      for (const change of reader.read(message)) {
        // Of a stream with trailcast.drain: the server stops, and says when to come back.
        if (change.metadata.opType === "DRAIN") {
          comeBackAfter = change.rest.retry_after_ms;
          continue;
        }
        if (change.position === undefined) {
          socket.terminate();
          return reject(new Error("this stream sends no positions: metaFields.pos is off"));
        }
        // These only move the position.
        if (!["HEARTBEAT", "CAUGHT_UP"].includes(change.metadata.opType)) workOn(change.metadata, change.rest);
        position = change.position;
        anyCame = true;
      }
      // Once a message is enough: what is not saved yet comes again.
      if (anyCame) save(path, position);
    });
    socket.on("unexpected-response", (_request, answer) => {
      let text = "";
      answer.on("data", (part) => (text += part));
      answer.on("end", () => {
        if (FINAL_STATUSES.has(answer.statusCode)) return reject(new Error(`refused: ${answer.statusCode} ${words(text)}`));
        console.error(`not now: ${answer.statusCode}`);
        resolve(anyCame);
      });
    });
    socket.on("error", (error) => console.error(`no connection: ${error.message}`));
    socket.on("close", (code, reason) => {
      clearTimeout(timer);
      if (FINAL_CLOSE_CODES.has(code)) reject(new Error(`closed by the server: ${code} ${reason}`));
      else resolve(anyCame);
    });
  });
}

const [url, path] = process.argv.slice(2);
if (!url || !path) {
  console.error("usage: node subscribe.mjs ws://USER:PASSWORD@HOST:PORT/services/v2/stream/NAME POSITION-FILE");
  process.exit(2);
}
let wait = 250;
for (;;) {
  try {
    if (await follow(url, path)) wait = 250;
  } catch (error) {
    console.error(error.message);
    process.exit(1);
  }
  // Longer from try to try, and never in step with other clients.
  const pause = comeBackAfter ?? wait * (0.5 + Math.random() / 2);
  await new Promise((resolve) => setTimeout(resolve, pause));
  wait = Math.min(wait * 2, 10_000);
}
