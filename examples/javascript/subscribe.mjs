// Subscribe to a data stream and never lose a record: save each position, resume after it.
//
//     npm install ws
//     node subscribe.mjs ws://USER:PASSWORD@localhost:9002/services/v2/stream/demo position.txt
//
// Delivery is at least once. The position is saved after a record was worked on, so whoever is stopped in between sees
// that record again. Two ways to live with it: make the work harmless to repeat (an upsert by key), or store `pos` in
// the same transaction as the result and skip a record whose `pos` is stored already.

import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import WebSocket from "ws";

// Refusals and endings that trying again does not cure; everything else is worth another try.
const FINAL_STATUSES = new Set([400, 401, 403, 404, 409]);
const FINAL_CLOSE_CODES = new Set([4001, 4013, 4014, 4020]);

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

/** Your code goes here. JSON.parse rounds numbers beyond 2^53; keep the text where every digit counts. */
function workOn(record) {
  const row = record.after ?? record.before ?? record.ddl;
  console.log(record.op_ts, record.op_type, record.qual_table, JSON.stringify(row));
}

/** Works on records until the connection ends; resolves to whether any came. */
function follow(url, path) {
  return new Promise((resolve, reject) => {
    let position = load(path);
    let anyCame = false;
    const socket = new WebSocket(`${url}?begin=${encodeURIComponent(position)}`);
    socket.on("message", (message) => {
      for (const record of JSON.parse(message)) {
        // Schema and metadata records describe what follows; only records with a position are data.
        if (record.pos === undefined || record.pos === position) continue;
        workOn(record);
        position = record.pos;
        anyCame = true;
      }
      // Once a message is enough: what is not saved yet comes again.
      if (anyCame) save(path, position);
    });
    socket.on("unexpected-response", (_request, answer) => {
      let text = "";
      answer.on("data", (part) => (text += part));
      answer.on("end", () => {
        if (FINAL_STATUSES.has(answer.statusCode)) reject(new Error(`refused: ${answer.statusCode} ${text}`));
        else resolve(anyCame);
      });
    });
    socket.on("error", (error) => console.error(`no connection: ${error.message}`));
    socket.on("close", (code, reason) => {
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
  await new Promise((resolve) => setTimeout(resolve, wait * (0.5 + Math.random() / 2)));
  wait = Math.min(wait * 2, 10_000);
}
