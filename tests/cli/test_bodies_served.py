"""Stored bodies, through the front door: what a real router stored is read and deleted by its admin API, and both are noted."""

from __future__ import annotations

import json
from pathlib import Path

from serving import Serving, Upstream, until


def test_what_is_stored_is_read_and_deleted_by_the_admin_api(tmp_path: Path, upstream: Upstream) -> None:
    config = tmp_path / "router.yaml"
    stored = "main: {candidates: [fast], store_bodies: {ttl: 1h}}"
    config.write_text(upstream.config().replace("main: {candidates: [fast]}", stored))
    router = Serving(tmp_path, str(config))
    try:
        assert router.chat("main")[0] == router.chat("lazy")[0] == 200
        ids = {row["route"]: row["id"] for row in router.rows(2)}
        path = f"/v1/requests/{ids['main']}/bodies"
        until(lambda: router.ask(path, admin=True)[0] == 200, 10)
        found = json.loads(router.ask(path, admin=True)[1])
        assert json.loads(found["request"])["messages"][0]["content"] == "hi" and "hello" in found["answer"]
        assert router.ask(path, admin=True, authorization="Bearer wrong")[0] == 401
        assert router.ask(f"/v1/requests/{ids['lazy']}/bodies", admin=True)[0] == 404
        assert router.ask(path, "DELETE", admin=True)[0] == 204 and router.ask(path, admin=True)[0] == 404
        rows = json.loads(router.ask("/v1/audit", admin=True)[1])["data"]
        noted = [(row["actor"], row["action"]) for row in rows if row["target"] == ids["main"]]
        assert noted[-1] == ("token", "bodies.delete") and ("token", "bodies.show") in noted
        assert "hello" not in json.dumps(rows) and "hello" not in router.said
    finally:
        router.kill()
