// Reads the messages of a stream in CloudEvents mode, one JSON batch a line, with the CloudEvents SDK; prints `type id`
// of each event. The batches are split first; the SDK checks each event strictly.

import { createInterface } from "node:readline";
import { isDeepStrictEqual } from "node:util";
import { CloudEvent, HTTP } from "cloudevents";

for await (const line of createInterface({ input: process.stdin })) {
  for (const event of JSON.parse(line)) {
    const message = { headers: { "content-type": "application/cloudevents+json" }, body: JSON.stringify(event) };
    const parsed = HTTP.toEvent(message);
    if (!(parsed instanceof CloudEvent) || !parsed.validate()) throw new Error(`not an event: ${message.body}`);
    if (!isDeepStrictEqual(parsed.data, event.data)) throw new Error(`other data: ${message.body}`);
    console.log(parsed.type, parsed.id);
  }
}
