"""Ask the admin listener's application without a socket."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from pointsman.control import keystore
from pointsman.stores.callers import AdminKey, Role
from pointsman.stores.choose import Stores

TOKEN = "a-token-of-enough-characters"


class Answer:
    def __init__(self, messages: list[dict[str, Any]]) -> None:
        self.status: int = messages[0]["status"]
        self.headers = {k.decode().lower(): v.decode() for k, v in messages[0]["headers"]}
        self.text = b"".join(m.get("body", b"") for m in messages[1:]).decode()

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])


def ask(app: Any, path: str, method: str = "GET", body: Any = None, key: str = "", **headers: str) -> Answer:
    """Send one request to an ASGI application; `key` as bearer token. A `body` that is not bytes goes as JSON."""
    given = {"host": "127.0.0.1:8081"} | ({"authorization": f"Bearer {key}"} if key else {})
    sent_body = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    if body is not None:
        given["content-type"] = "application/json"
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    client = given.pop("client", "127.0.0.1")
    plain, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": plain,
        "raw_path": plain.encode(),
        "query_string": query.encode(),
        "headers": [(k.encode(), v.encode()) for k, v in given.items()],
        "server": ("127.0.0.1", 8081),
        "client": (client, 1),
        "scheme": "http",
        "root_path": "",
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": sent_body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return Answer(sent)


def admin_key(data: Path, name: str, role: Role, organisation: str = "") -> tuple[AdminKey, str]:
    """Make an admin key; return it and its text."""
    with keystore.acting(Stores(data), "test") as acting:
        return acting.add_admin_key(name, role, organisation)
