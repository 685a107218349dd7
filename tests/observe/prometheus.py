"""Prometheus as Debian packages it: a server of the tests' own, and promtool."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml
from observed_world import dead_port
from serving import until

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = sorted((DEPLOY / "prometheus").glob("*.yml"))


def program(name: str) -> str:
    found = shutil.which(name)
    assert found, f"{name} is not installed: scripts/check.sh does it as root; else apt-get install prometheus"
    return found


def promtool(*words: str | Path) -> None:
    """Run promtool. Raise AssertionError with what it says when it objects."""
    done = subprocess.run([program("promtool"), *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


class Prometheus:
    """Scrape a router and evaluate the shipped rules, each every second. Use as a context."""

    def __init__(self, folder: Path, target: str) -> None:
        self._port = dead_port()
        files = []
        for path in RULES:
            text = yaml.safe_load(path.read_text())
            for group in text["groups"]:
                group["interval"] = "1s"
            (folder / path.name).write_text(yaml.safe_dump(text))
            files.append(path.name)
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "scrape_configs": [{"job_name": "pointsman", "static_configs": [{"targets": [target]}]}],
            "rule_files": files,
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        command = [program("prometheus"), f"--config.file={folder / 'prometheus.yml'}"]
        command += [f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address=127.0.0.1:{self._port}"]
        with (folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self._log = folder / "prometheus.log"

    def __enter__(self) -> Prometheus:
        until(self._is_ready, 20)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an expression now. Raise AssertionError when it is none."""
        query = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api/v1/query?{query}", timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/-/ready", timeout=1):
                return True
        except OSError:
            return False
