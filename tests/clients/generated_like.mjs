// A client that behaves on the wire as generated ones do, and prints each record as a line of JSON.
//
//     node generated_like.mjs goldengate basic|digest ws://HOST/PATH begin=POSITION USER PASSWORD
//     node generated_like.mjs asyncapi url ws://USER:PASSWORD@HOST/PATH begin=POSITION
//
// As GoldenGate's: with Digest it takes the challenge of the stream's URL without the query, computes the answer over
// that path and sends it when it opens the socket; the text of a message is evaluated as JavaScript. As AsyncAPI's: the
// user and the password stand in the URL.

import { createHash, randomBytes } from "node:crypto";
import http from "node:http";
import WebSocket from "ws";

const md5 = (text) => createHash("md5").update(text).digest("hex");

/** The challenge that the server answers a request without credentials with. */
function challengeOf(url) {
  return new Promise((resolve, reject) => {
    const request = http.get(url, (answer) => {
      answer.resume();
      resolve({ challenge: answer.headers["www-authenticate"], path: answer.req.path });
    });
    request.on("error", reject);
  });
}

/** Takes the challenge apart at its commas, as plain clients do: no quoted value may hold one. */
function digestHeader({ challenge, path }, user, password) {
  const pairs = challenge.split(",").map((part) => /(\w+)="?([^"]+)"?\s*$/.exec(part));
  const { realm, nonce, qop, opaque } = Object.fromEntries(pairs.filter(Boolean).map(([, name, value]) => [name, value]));
  const [count, own] = ["00000001", randomBytes(8).toString("hex")];
  const secret = md5(`${user}:${realm}:${password}`);
  const response = md5(`${secret}:${nonce}:${count}:${own}:${qop}:${md5(`GET:${path}`)}`);
  const header = `Digest username="${user}", realm="${realm}", nonce="${nonce}", uri="${path}", response="${response}"`;
  return `${header}${opaque ? `, opaque="${opaque}"` : ""}, qop=${qop}, nc=${count}, cnonce="${own}"`;
}

const [family, scheme, url, query, user, password] = process.argv.slice(2);
const headers = {};
if (family === "goldengate") {
  headers.Authorization =
    scheme === "digest"
      ? digestHeader(await challengeOf(url.replace(/^ws/, "http")), user, password)
      : `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
}
const socket = new WebSocket(`${url}?${query}`, { headers });
socket.on("message", (data) => {
  const text = data.toString();
  const records = family === "goldengate" ? (0, eval)(`(${text})`) : JSON.parse(text);
  for (const record of records) console.log(JSON.stringify(record));
});
socket.on("error", (error) => console.error(error.message));
