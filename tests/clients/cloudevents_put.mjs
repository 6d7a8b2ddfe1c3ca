// Sends events that the CloudEvents SDK makes to the address given: one in structured mode, then two in a batch, then the
// first in binary mode. Prints the status of each answer and its body. The SDK writes no batches, so the events that it writes
// are put between brackets.

import { CloudEvent, HTTP } from "cloudevents";

const event = (number) =>
  new CloudEvent({
    id: String(number),
    source: "/clients/javascript",
    type: "app.row",
    time: "2020-01-02T03:04:05.678901Z",
    datacontenttype: "application/json",
    subject: "javascript",
    partitionkey: "7",
    data: {
      operations: [
        { op: "INSERT", table: "app.javascript", key: ["id"], after: { id: number, note: "ü 😀" } },
      ],
    },
  });

async function send({ headers, body }) {
  headers = { ...headers, authorization: process.env.AUTHORIZATION };
  const answer = await fetch(process.argv[2], { method: "POST", headers, body });
  console.log(answer.status, await answer.text());
}

await send(HTTP.structured(event(1)));
const batch = [2, 3].map((number) => HTTP.structured(event(number)).body);
await send({ headers: { "content-type": "application/cloudevents-batch+json" }, body: `[${batch.join(",")}]` });
await send(HTTP.binary(event(1)));
