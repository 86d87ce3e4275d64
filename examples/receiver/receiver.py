"""Receives Darkroom's webhooks: verifies the raw body and acts once per `webhook-id`, also across restarts."""

import os
import sqlite3

from fastapi import FastAPI, Request, Response
from standardwebhooks import Webhook, WebhookVerificationError

app = FastAPI()
webhook = Webhook(os.environ["DARKROOM_WEBHOOK_SECRET"])
seen = sqlite3.connect("seen.sqlite3")
seen.execute("CREATE TABLE IF NOT EXISTS events (id TEXT PRIMARY KEY)")


def act(event: dict) -> None:
    """Do your part, within seconds; where it raises, the event comes again."""
    print(event["type"], event["data"]["id"], flush=True)


@app.post("/")
async def receive(request: Request) -> Response:
    body = await request.body()  # as it came: JSON that was parsed and written anew has another signature
    try:
        event = webhook.verify(body, dict(request.headers))
    except (WebhookVerificationError, ValueError):  # ValueError: a signature that is no signature at all
        return Response(status_code=401)
    with seen:  # one transaction: acted upon and remembered, or neither
        if seen.execute("INSERT OR IGNORE INTO events VALUES (?)", (request.headers["webhook-id"],)).rowcount:
            act(event)
    return Response(status_code=204)
