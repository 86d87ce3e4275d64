// Receives Darkroom's webhooks: verifies the raw body and acts once per `webhook-id`, also across restarts.
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { buffer } from "node:stream/consumers";
import { Webhook } from "standardwebhooks";

const webhook = new Webhook(process.env.DARKROOM_WEBHOOK_SECRET);
const seen = new Set(existsSync("seen.txt") ? readFileSync("seen.txt", "utf8").split("\n") : []);

// Do your part, within seconds; where it throws, the event comes again. Not async: two at once with one id would both act.
function act(event) {
  console.log(event.type, event.data.id);
}

async function receive(request) {
  const body = await buffer(request); // as it came: JSON that was parsed and written anew has another signature
  const id = request.headers["webhook-id"];
  let event;
  try {
    event = webhook.verify(body, request.headers);
  } catch {
    return 401;
  }
  if (!seen.has(id)) {
    act(event);
    appendFileSync("seen.txt", `\n${id}`, { flush: true }); // on the disk before it is answered
    seen.add(id);
  }
  return 204;
}

const server = createServer((request, response) =>
  receive(request)
    .catch((error) => (console.error(error), 500))
    .then((status) => response.writeHead(status).end()),
);
server.listen(process.env.PORT ?? 8787, "127.0.0.1", () => console.error(`listening on ${server.address().port}`));
