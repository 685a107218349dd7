"""nginx as deploy/ configures it, in front of four routers: streams pass as they come, a router that dies is not noticed."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign_world import WORKER, kill
from gateway_router import free_port
from replica_world import KEYS, Replicas
from serving import until

pytestmark = pytest.mark.serial
CONFIG = Path(__file__).parents[2] / "deploy" / "nginx.conf"


@pytest.fixture
def front(world: Replicas, tmp_path: Path) -> Iterator[int]:
    """The port of a running nginx."""
    program = shutil.which("nginx")
    assert program, "nginx is not installed: scripts/check.sh does it as root; else apt-get install nginx-light"
    port, keeper = free_port()
    keeper.close()
    servers = "\n".join(f"server {one.host}:{one.port} max_fails=1 fail_timeout=2s;" for one in world.routers)
    text = re.sub(r"( +server router\d:8080 [^\n]+\n)+", servers + "\n", CONFIG.read_text())
    text = text.replace("listen 8080;", f"listen 127.0.0.1:{port};").replace("/tmp/nginx.pid", f"{tmp_path}/pid")
    text = text.replace("worker_processes auto;", f"worker_processes 1; daemon off; error_log {tmp_path}/error;")
    (tmp_path / "nginx.conf").write_text(text)
    running = subprocess.Popen(
        [program, "-p", str(tmp_path), "-e", str(tmp_path / "error"), "-c", str(tmp_path / "nginx.conf")]
    )
    until(lambda: _status(port, "/livez") == 200, 10)
    yield port
    running.terminate()
    running.wait(10)


def _status(port: int, path: str) -> int:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0


def chat(port: int, model: str, *, stream: bool = False) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"authorization": f"Bearer {KEYS['load']}"})
    return connection.getresponse()


def test_streams_pass_event_by_event_and_metrics_stay_inside(world: Replicas, front: int) -> None:
    answer = chat(front, "a", stream=True)
    first = answer.readline()
    began_s = time.monotonic()
    rest = answer.read()
    assert first.startswith(b"data: ") and rest.endswith(b"data: [DONE]\n\n")
    assert time.monotonic() - began_s > 0.1  # its provider takes a third of a second from the first event to the last
    assert _status(front, "/metrics") == 404


def test_a_router_that_dies_is_not_noticed_and_no_post_is_sent_twice(world: Replicas, front: int) -> None:
    before = len(world.served("quick"))
    kill(world.routers[0].children(WORKER), signal.SIGKILL)
    answers = [chat(front, "quick") for _ in range(40)]
    assert [one.status for one in answers] == [200] * 40 and all(one.read() for one in answers)
    until(lambda: world.whole(0), 15)
    assert len(world.served("quick")) == before + 40
