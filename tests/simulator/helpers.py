"""The vendor's calls as a test makes them."""

from __future__ import annotations

import io
from typing import Any

import httpx
from PIL import Image

from simulator.testing import MODEL_PATH, RunningSimulator


class Client:
    """Plain HTTP with a key, no cleverness."""

    def __init__(self, sim: RunningSimulator, key: str = "test-key") -> None:
        self.sim = sim
        self.http = httpx.Client(base_url=sim.url, headers={"Authorization": f"Bearer {key}"}, timeout=10)

    def submit(self, prompt: str = "a fox", *, webhook: str | None = None, **fields: Any) -> httpx.Response:
        """POST a submit and return whatever comes."""
        return self.http.post(
            MODEL_PATH, json={"prompt": prompt, **fields}, params={"webhook": webhook} if webhook else None
        )

    def created(self, prompt: str = "a fox", **fields: Any) -> str:
        """Submit, expect success, return the id."""
        answer = self.submit(prompt, **fields)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["data"]["id"])

    def look(self, prediction_id: str) -> dict[str, Any]:
        """Return the data of a result call."""
        data: dict[str, Any] = self.http.get(f"/api/v3/predictions/{prediction_id}/result").raise_for_status().json()
        return dict(data["data"])

    def done(self, prediction_id: str) -> dict[str, Any]:
        """Wait until a prediction is terminal and return it."""
        terminal = {"completed", "failed", "cancelled", "timeout", "deleted"}
        self.sim.wait_until(lambda: self.look(prediction_id)["status"] in terminal)
        return self.look(prediction_id)

    def list(self, **query: Any) -> dict[str, Any]:
        """Return the data of a list call."""
        answer = self.http.post("/api/v3/predictions", json={"page": 1, "page_size": 100, **query}).raise_for_status()
        return dict(answer.json()["data"])

    def balance(self) -> float:
        """Return the account's balance."""
        return float(self.http.get("/api/v3/balance").raise_for_status().json()["data"]["balance"])

    def picture(self, url: str) -> Image.Image:
        """Download and fully decode a picture."""
        image = Image.open(io.BytesIO(self.http.get(url).raise_for_status().content))
        image.load()
        return image
