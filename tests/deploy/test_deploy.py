"""What stands in deploy/ holds together: configs that load, an image without root and secrets, a proxy that does not buffer or
repeat, a chart that renders to what a cluster takes. Neither a container engine nor Helm is needed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pointsman.config.load import load_text
from pointsman.core.policy import Policy

DEPLOY = Path(__file__).parents[2] / "deploy"
CHART = DEPLOY / "helm" / "pointsman"
FLUSH_S = 75  # cli/supervisor.py: to book the last rows
USER = 10001
URLS = {
    "POINTSMAN_LEDGER": "postgresql://u:p0123456789@postgres:5432/pointsman",
    "POINTSMAN_CALLERS": "postgresql://u:p0123456789@postgres:5432/pointsman",
    "POINTSMAN_COUNTERS": "redis://:p0123456789@counters:6379/0",
    "POINTSMAN_ANSWERS": "redis://:p0123456789@answers:6379/0",
    "OPENAI_API_KEY": "sk-0123456789abcdef",
    "POINTSMAN_REPLICAS": "3",
}


def policy(text: str, env: dict[str, str] = URLS) -> Policy:
    return load_text(text, "router.yaml", env).policy


# --- the image
def instructions(text: str) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile, continued lines joined."""
    lines = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    return [(line.split()[0].upper(), line.split(None, 1)[1]) for line in lines if line.strip()]


def faults(text: str) -> list[str]:
    """Lint a Dockerfile by our own rules."""
    found, steps = [], instructions(text)
    users = [rest for name, rest in steps if name == "USER"]
    if not users or users[-1].split(":")[0] in ("root", "0"):
        found.append("runs as root")
    for name, rest in steps:
        image = rest.split()[0]
        if name == "FROM" and (":" not in image or image.endswith(":latest") or "alpine" in image):
            found.append(f"FROM {image}: pin a tag of a glibc image")
        if name == "ADD":
            found.append("ADD: use COPY")
        if name == "COPY" and rest.split()[0] in (".", "./", "/"):
            found.append("COPY takes everything")
        if name in ("ENV", "ARG") and re.search(r"key|token|password|secret|pepper", rest, re.IGNORECASE):
            found.append(f"{name} holds a secret")
        if name == "RUN" and re.search(r"curl|wget|sudo|chmod 777", rest):
            found.append(f"RUN {rest}")
        if name in ("ENTRYPOINT", "CMD") and not rest.startswith("["):
            found.append(f"{name} needs a shell, which would keep signals from the router")
    return found + [f"no {name}" for name in ("HEALTHCHECK", "USER", "ENTRYPOINT") if name not in dict(steps)]


def test_s25_the_image_runs_as_nobody_and_has_what_it_needs() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert faults(text) == []
    steps = dict(instructions(text))
    assert steps["USER"] == f"{USER}:{USER}" and "VOLUME" in steps
    allowed = [line for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = {
        word
        for name, rest in instructions(text)
        if name == "COPY" and "--from" not in rest
        for word in rest.split()[:-1]
    }
    assert {line[1:] for line in allowed} == copied  # nothing else reaches a layer
    assert all((DEPLOY.parent / name).exists() for name in copied)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("USER root", "runs as root"),
        ("ADD https://example.com/x /x", "ADD"),
        ("FROM python:latest", "pin a tag"),
        ("FROM python", "pin a tag"),
        ("ENV API_KEY=sk-1", "secret"),
        ("COPY . .", "everything"),
        ("CMD pointsman serve", "shell"),
    ],
)
def test_the_rules_for_images_find_what_is_wrong(line: str, said: str) -> None:
    assert any(said in fault for fault in faults((DEPLOY / "Dockerfile").read_text() + line + "\n"))


# --- compose
def compose() -> dict[str, Any]:
    made: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return made


def routers() -> dict[str, dict[str, Any]]:
    return {name: one for name, one in compose()["services"].items() if name.startswith("router")}


def test_the_config_of_compose_loads_and_fits_it() -> None:
    made = policy((DEPLOY / "router.yaml").read_text())
    assert made.listener.replicas == len(routers()) == 3 and not made.listener.insecure_open
    for one in routers().values():
        grace_s = int(one["stop_grace_period"].removesuffix("s"))
        assert grace_s >= made.limits.drain_ms / 1000 + FLUSH_S
        assert one["read_only"] and one["cap_drop"] == ["ALL"] and one["security_opt"] == ["no-new-privileges:true"]
        assert {name for name in URLS if name != "POINTSMAN_REPLICAS"} <= set(one["environment"])
    data = [
        volume.split(":")[0] for one in routers().values() for volume in one["volumes"] if volume.endswith(":/data")
    ]
    assert len(set(data)) == 3 and set(data) <= set(compose()["volumes"])


def test_compose_holds_no_secret_pins_images_and_opens_loopback_only() -> None:
    given = (DEPLOY / "example.env").read_text()
    names = {line.split("=")[0] for line in given.splitlines() if "=" in line}
    text = (DEPLOY / "compose.yaml").read_text()
    assert set(re.findall(r"\$\{(\w+):\?\}", text)) == names and not re.findall(r"(?<!\$)\$\{\w+\}", text)
    assert all(line.endswith("=") for line in given.splitlines() if "=" in line)
    for name, one in compose()["services"].items():
        assert re.search(r":\d+\.", one["image"]) or re.search(r":\d+-", one["image"]), name
        assert all(port.startswith("127.0.0.1:") for port in one.get("ports", ())), name
    counters, answers = (str(compose()["services"][name]["command"]) for name in ("counters", "answers"))
    assert "noeviction" in counters and "allkeys-lru" in answers


# --- nginx
def test_nginx_takes_its_config_and_neither_buffers_nor_repeats(tmp_path: Path) -> None:
    program = shutil.which("nginx")
    assert program, "nginx is not installed: scripts/check.sh does it as root; else apt-get install nginx-light"
    text = (DEPLOY / "nginx.conf").read_text()
    upstreams = re.findall(r"server (router\d):8080", text)
    assert upstreams == list(routers())
    for line in ("proxy_buffering off;", 'proxy_set_header Connection "";', "proxy_next_upstream error timeout;"):
        assert line in text
    settings = re.sub(r"#.*", "", text)
    assert "non_idempotent" not in settings and "http_5" not in settings
    for name in upstreams:
        text = text.replace(f"server {name}:8080", "server 127.0.0.1:1")
    text = text.replace("/tmp/nginx.pid", str(tmp_path / "pid"))
    (tmp_path / "nginx.conf").write_text(
        text.replace("access_log off;", f"access_log off; error_log {tmp_path}/error;")
    )
    done = subprocess.run(
        [program, "-t", "-p", str(tmp_path), "-e", str(tmp_path / "error"), "-c", str(tmp_path / "nginx.conf")],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 0, done.stderr


# --- the chart
def values(**more: Any) -> dict[str, Any]:
    made: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
    return made | more


def render(text: str, given: dict[str, Any]) -> str:
    """Render the small part of the language of templates that the chart keeps to; anything else is an error."""

    def value(path: str) -> Any:
        if path == ".Release.Name":
            return "demo"
        assert path.startswith(".Values."), path
        found: Any = given
        for part in path.removeprefix(".Values.").split("."):
            found = found[part]
        return found

    def conditional(match: re.Match[str]) -> str:
        return match[2] if value(match[1]) else ""

    def put(match: re.Match[str]) -> str:
        made = str(value(match[1]))
        pad = " " * int(match[2] or 0)
        return pad + made.replace("\n", "\n" + pad)

    text = re.sub(r"^{{ if ([\w.]+) }}\n(.*?)^{{ end }}\n", conditional, text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"{{ ([\w.]+)(?: \| indent (\d+))? }}", put, text)
    assert "{{" not in text, text
    return text


def objects(**more: Any) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what the chart renders to, by kind and name."""

    def all_of() -> Iterator[dict[str, Any]]:
        for file in sorted((CHART / "templates").glob("*.yaml")):
            yield from (one for one in yaml.safe_load_all(render(file.read_text(), values(**more))) if one)

    made = {(one["kind"], one["metadata"]["name"]): one for one in all_of()}
    assert all(one["apiVersion"] for one in made.values())
    return made


def test_the_chart_renders_to_what_it_says() -> None:
    made = objects()
    assert sorted(made) == [
        ("ConfigMap", "demo"), ("NetworkPolicy", "demo"), ("PodDisruptionBudget", "demo"), ("Service", "demo"),
        ("Service", "demo-pods"), ("StatefulSet", "demo"),
    ]  # fmt: skip
    scaled = objects(autoscaling=values()["autoscaling"] | {"enabled": True})
    assert ("HorizontalPodAutoscaler", "demo") in scaled
    labels = made["StatefulSet", "demo"]["spec"]["template"]["metadata"]["labels"]
    for kind, name in (("Service", "demo"), ("Service", "demo-pods")):
        assert made[kind, name]["spec"]["selector"] == labels
    for kind in ("PodDisruptionBudget", "StatefulSet"):
        assert made[kind, "demo"]["spec"]["selector"]["matchLabels"] == labels
    assert made["NetworkPolicy", "demo"]["spec"]["podSelector"]["matchLabels"] == labels
    assert "demo" in render((CHART / "templates" / "NOTES.txt").read_text(), values())
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["apiVersion"] == "v2"


def test_the_config_of_the_chart_loads_and_fits_it() -> None:
    made = objects()
    config = policy(made["ConfigMap", "demo"]["data"]["router.yaml"])
    pod = made["StatefulSet", "demo"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (replicas,) = container["env"]
    assert replicas == {"name": "POINTSMAN_REPLICAS", "value": str(made["StatefulSet", "demo"]["spec"]["replicas"])}
    assert config.listener.port == container["ports"][0]["containerPort"] and config.listener.host == "0.0.0.0"
    least_s = config.limits.drain_ms / 1000 + FLUSH_S + values()["preStopSeconds"]
    assert pod["terminationGracePeriodSeconds"] >= least_s
    named = set(re.findall(r"\$\{(\w+)\}", values()["config"])) - {"POINTSMAN_REPLICAS", "OPENAI_API_KEY"}
    assert all(name in (CHART / "values.yaml").read_text().split("secret: ")[0] for name in named)


def test_s25_pods_run_as_nobody_with_a_journal_that_outlives_them() -> None:
    spec = objects()["StatefulSet", "demo"]["spec"]
    pod, (container,) = spec["template"]["spec"], spec["template"]["spec"]["containers"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == USER
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    probes = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert probes == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    (claim,) = spec["volumeClaimTemplates"]
    assert mounts[claim["metadata"]["name"]] == "/data" and not pod["automountServiceAccountToken"]
    assert set(mounts) == {"data"} | {volume["name"] for volume in pod["volumes"]}
