"""`notify`, through the front door: a quota that runs out, and a price that changes, at a real router reach a real webhook."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from serving import Serving, Upstream, until
from typer.testing import CliRunner

from command_line import app


class _Posted(BaseHTTPRequestHandler):
    posted: list[dict[str, Any]]

    def do_POST(self) -> None:
        self.posted.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def test_a_webhook_hears_of_quotas_and_prices(tmp_path: Path, upstream: Upstream) -> None:
    posted: list[dict[str, Any]] = []
    hook = ThreadingHTTPServer(("127.0.0.1", 0), type("Hook", (_Posted,), {"posted": posted}))
    threading.Thread(target=hook.serve_forever, args=(0.02,), daemon=True).start()
    config = tmp_path / "router.yaml"
    text = (
        upstream.config()
        + f"""
quotas:
  - {{name: daily, requests: 3/d}}
notify:
  - {{name: chat, url: "http://127.0.0.1:{hook.server_port}/canary-path"}}
"""
    )
    config.write_text(text)
    router = Serving(tmp_path, str(config))
    try:
        until(lambda: "metrics-1.msgpack" in {one.name for one in (router.data / "run").iterdir()}, 10)
        router.ask("/livez")
        assert [router.chat("main")[0] for _ in range(4)] == [200, 200, 200, 429]

        def heard() -> set[tuple[str, str]]:
            return {(one["kind"], one["what"]) for message in posted for one in message["notices"]}

        until(lambda: {("quota", "near"), ("quota", "refused")} <= heard(), 15)
        config.write_text(text.replace("{input: 1, output: 10}", "{input: 2, output: 10}"))
        until(lambda: any(kind == "price" for kind, _ in heard()), 15)
        said = [one["text"] for message in posted for one in message["notices"] if one["kind"] == "price"]
        assert any("deployment fast (fast-1) is 2 / 10 USD" in one for one in said)
        assert "canary-path" not in router.said

        def kept() -> list[Any]:
            done = CliRunner().invoke(app, ["notices", "--json", "--data", str(router.data)])
            found: list[Any] = json.loads(done.stdout)
            return found

        wanted = {("quota", "delivered"), ("price", "delivered")}
        until(lambda: wanted <= {(one["kind"], one["channels"][0]["state"]) for one in kept()}, 15)
        router.kill()  # what was written outlives every process
        texts = [one["text"] for one in kept()]
        assert any("deployment fast (fast-1) is 2 / 10 USD" in text for text in texts)
        assert len(texts) == len({*texts}) and "canary-path" not in str(kept())
    finally:
        router.kill()
        hook.shutdown()
        hook.server_close()
