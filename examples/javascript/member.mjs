// Share the work on a data stream: a member of a consumer group, whose position the server keeps.
//
//     npm install ws
//     node member.mjs ws://USER:PASSWORD@localhost:9002/services/v2/stream/demo billing
//
// Start it as often as there is work for: members share the partitions of the trail, and one of them takes over when another
// one goes. Delivery is at least once: what was not acknowledged comes again, so make the work harmless to repeat.

import WebSocket from "ws";

// Refusals and endings that trying again does not cure; everything else is worth another try.
const FINAL_STATUSES = new Set([400, 401, 403, 404, 409]);
const FINAL_CLOSE_CODES = new Set([4001, 4013, 4014, 4015, 4017, 4020]);

/** Your code goes here. Here the record is printed. */
function workOn(record) {
  console.log(record.op_type, record.qual_table, JSON.stringify(record));
}

/** Works on records until the connection ends; resolves to whether any came. */
function follow(url, group) {
  return new Promise((resolve, reject) => {
    let anyCame = false;
    const socket = new WebSocket(`${url}?group=${encodeURIComponent(group)}`);
    socket.on("message", (message) => {
      let position;
      for (const record of [JSON.parse(message)].flat()) {
        if (record.op_type === "GROUP_ASSIGNMENT") console.error("partitions:", record.partitions.join(" "));
        // Schemas, metadata and the server's farewell (DRAIN) have no position.
        else if (record.pos !== undefined) {
          // These have nothing else.
          if (!["HEARTBEAT", "CAUGHT_UP"].includes(record.op_type)) workOn(record);
          position = record.pos;
        }
      }
      // Once a message is enough: it covers everything that came before.
      if (position !== undefined) {
        socket.send(JSON.stringify({ ack: position }));
        anyCame = true;
      }
    });
    socket.on("unexpected-response", (_request, answer) => {
      answer.resume();
      if (FINAL_STATUSES.has(answer.statusCode)) return reject(new Error(`refused: ${answer.statusCode}`));
      resolve(anyCame);
    });
    socket.on("error", (error) => console.error(`no connection: ${error.message}`));
    socket.on("close", (code, reason) => {
      if (FINAL_CLOSE_CODES.has(code)) reject(new Error(`closed by the server: ${code} ${reason}`));
      else resolve(anyCame);
    });
  });
}

const [url, group] = process.argv.slice(2);
if (!url || !group) {
  console.error("usage: node member.mjs ws://USER:PASSWORD@HOST:PORT/services/v2/stream/NAME GROUP");
  process.exit(2);
}
let wait = 250;
for (;;) {
  try {
    if (await follow(url, group)) wait = 250;
  } catch (error) {
    console.error(error.message);
    process.exit(1);
  }
  // Longer from try to try, and never in step with other clients.
  await new Promise((resolve) => setTimeout(resolve, wait * (0.5 + Math.random() / 2)));
  wait = Math.min(wait * 2, 10_000);
}
