"""The commands on config versions: what they list, compare and put back, and that no secret is kept or shown."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from command_line import app
from pointsman.cli.compare import changes
from pointsman.cli.redact import HIDDEN, is_secret, redacted
from pointsman.config.document import parse
from pointsman.config.schema import json_schema
from pointsman.stores import versions as stored
from pointsman.stores.versions import Entry, Versions, replace

ONE = """# the first
providers:
  up: {dialect: openai, base_url: "http://127.0.0.1:9/v1"}
deployments:
  fast: {provider: up, model: fast-1, context: 8000, price: {input: 1, output: 10}}
routes:
  main: {candidates: [fast]}
limits: {attempts: 3}
keys:
  - {name: dev, key: "${DEV_KEY}"}
"""
TWO = ONE.replace("[fast]", "[fast, slow]").replace("attempts: 3", "attempts: 2").replace("# the first", "# the second")
TWO = TWO.replace("routes:", "  slow: {provider: up, model: slow-1}\nroutes:").replace("input: 1,", "input: 2,")
SECRET = "sk-canary-0123456789"


def run(*arguments: str | Path, **env: str) -> Result:
    return CliRunner().invoke(app, ["config", *map(str, arguments)], env={"DEV_KEY": SECRET, **env})


def entry(version: str, text: str | None, n: int = 0, **more: Any) -> Entry:
    digest = "" if text is None else hashlib.sha256(text.encode()).hexdigest()
    plain: dict[str, Any] = {"author": "alice", "trigger": "file", "source": "router.yaml", "redacted": False}
    return Entry(version=version, at_ms=1_790_000_000_000 + n, sha256=digest, **{**plain, **more})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with two versions, one made from the environment and one whose text had a secret."""
    kept = Versions(tmp_path / "data")
    secret = ONE.replace("${DEV_KEY}", SECRET)
    for n, (version, text) in enumerate((("aaaa11112222", ONE), ("aabb11112222", TWO), ("cccc11112222", None))):
        kept.append(entry(version, text, n))
        if text is not None:
            kept.keep_text(version, text)
    kept.append(entry("dddd11112222", secret, 3, redacted=True, author="admin API"))
    kept.keep_text("dddd11112222", redacted(secret)[0])
    (tmp_path / "data" / "run").mkdir()
    replace(tmp_path / "data" / "run" / "reload.json", json.dumps({"version": "aabb11112222"}).encode())
    return tmp_path / "data"


def test_history_lists_the_newest_first(data: Path) -> None:
    result = run("history", "--data", data)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert [line.split()[0] for line in lines] == ["dddd11112222", "cccc11112222", "aabb11112222", "aaaa11112222"]
    assert "(redacted)" in lines[0] and "admin API" in lines[0] and "(no text)" in lines[1] and "(running)" in lines[2]
    rows = json.loads(run("history", "--json", "--data", data).output)
    assert rows[2] == {**entry("aabb11112222", TWO, 1), "running": True, "text": True}


def test_show_prints_a_text(data: Path) -> None:
    assert run("show", "aaa", "--data", data).output == ONE
    assert run("show", "--data", data).output == TWO  # what is running
    shown = run("show", "dd", "--data", data)
    assert HIDDEN in shown.stdout and "shown as ***" in shown.stderr and "canary" not in shown.output
    for wrong, said in (("aa", "several versions"), ("ff", "no such version"), ("cccc", "from the environment")):
        result = run("show", wrong, "--data", data)
        assert result.exit_code == 1 and said in result.output
    assert run("show", "--data", data / "none").exit_code == 2


def test_diff_says_what_changes_in_meaning_and_in_text(data: Path, tmp_path: Path) -> None:
    result = run("diff", "aaaa", "aabb", "--data", data)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[: lines.index("")] == [
        "~ deployments.fast.price.input: 1 -> 2",
        '+ deployments.slow: {"provider": "up", "model": "slow-1"}',
        '~ routes.main.candidates: ["fast"] -> ["fast", "slow"]',
        "~ limits.attempts: 3 -> 2",
    ]
    assert "-# the first" in lines and "+# the second" in lines
    made = json.loads(run("diff", "aaaa", "running", "--json", "--data", data).output)
    assert (made["a"], made["b"]) == ("aaaa11112222", "aabb11112222") and made["changes"][3][
        "path"
    ] == "limits.attempts"
    file = tmp_path / "router.yaml"
    file.write_text(TWO)
    same = run("diff", "running", file, "--data", data)
    assert same.exit_code == 0 and same.output == ""
    for wrong in ("ffff", tmp_path / "none.yaml", "cccc"):
        assert run("diff", "running", wrong, "--data", data).exit_code == 2
    file.write_text("a: [")
    assert run("diff", "running", file, "--data", data).exit_code == 2


def test_s07_diff_shows_no_secret(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "router.yaml"
    file.write_text(ONE.replace("${DEV_KEY}", SECRET + "-too"))
    result = run("diff", "aaaa", file, "--data", data)
    assert result.exit_code == 1 and "~ keys.dev.key: (secret) -> (secret)" in result.output
    assert "canary" not in result.output
    added = changes(ONE, ONE + f"  - {{name: new, key: {SECRET}}}\n")
    assert [str(change) for change in added] == ['+ keys.new: {"name": "new", "key": "(secret)"}']


def test_rollback_puts_a_text_back(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "router.yaml"
    file.write_text(TWO)
    file.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to(file)
    result = run("rollback", "aaaa", link, "--data", data)
    assert result.exit_code == 0 and "holds version aaaa11112222 again" in result.output
    assert file.read_text() == ONE and file.stat().st_mode & 0o777 == 0o640 and link.is_symlink()
    before = tmp_path / "router.yaml.before"
    assert before.read_text() == TWO and str(before) in result.output.replace("\n", "")
    assert Versions(data).intended(entry("a", ONE)["sha256"]).endswith(", rollback")
    assert Versions(data).intended(entry("a", TWO)["sha256"]) == ""


def test_what_cannot_be_served_is_not_put_back(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "router.yaml"
    file.write_text(TWO)
    for version, said in (("dddd", "without the secrets"), ("cccc", "no text"), ("ffff", "no such version")):
        result = run("rollback", version, file, "--data", data)
        assert result.exit_code == 1 and said in result.output
    invalid = run("rollback", "aaaa", file, "--data", data, DEV_KEY="short")
    assert invalid.exit_code == 1 and "shorter than 16" in invalid.output and "is not changed" in invalid.output
    assert run("rollback", "aaaa", tmp_path / "no" / "such.yaml", "--data", data).exit_code == 2
    assert file.read_text() == TWO and not (tmp_path / "router.yaml.before").exists()


# --- what is kept
LITERAL = {
    f"providers: {{up: {{api_key: {SECRET}}}}}  # not {SECRET}": True,
    f"providers:\n  up:\n    api_key: '{SECRET}'\nkeys:\n  - {{name: a, key: \"{SECRET}\"}}\n": True,
    f"# é\U0001f600\r\nproviders: {{é: {{api_key: {SECRET}}}}}\r\n": True,
    f"x: &a {SECRET}\nproviders: {{up: {{api_key: *a}}}}": True,
    f'providers: {{up: {{api_key: "${{KEY:-{SECRET}}}"}}}}': True,
    f'keys: [{{name: a, key: "x${{KEY}}{SECRET}"}}]': True,
    "providers: {up: {api_key: x}, x: {like: x}}": True,
    "providers: {up: {api_key: 1234567890123}}": True,
    'providers: {up: {api_key: "${KEY}"}, b: {api_key: {file: k}}, c: null, d: 1}\nkeys: [1, {name: a, key: "${K:-}"}]': False,
    "keys: 1\nproviders: []": False,
}


@pytest.mark.parametrize("text", LITERAL)
def test_s07_no_literal_secret_is_kept(text: str) -> None:
    kept, hidden = redacted(text)
    assert hidden is LITERAL[text] and SECRET not in kept and "1234567890123" not in kept
    assert kept if hidden else kept == text
    if hidden:
        assert HIDDEN in kept
    assert "{like: x}" in kept or "{like" not in text  # a short secret may be a word elsewhere


@pytest.mark.parametrize(
    "text",
    [
        'providers: {up: {api_key: "sk-can\\x61ry-0123456789"}}',
        "providers:\n  up:\n    api_key: >-\n      sk-canary\n      0123456789\n",
        "providers: {up: {api_key: &b x, like: *b}}",
        "keys: [",
    ],
)
def test_s07_a_text_whose_secret_cannot_be_cut_out_is_not_kept(text: str) -> None:
    assert redacted(text) == ("", True)


@given(secret=st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=30))
def test_s07_whatever_the_secret_is_it_does_not_stay(secret: str) -> None:
    text = f"# a\nproviders: {{up: {{api_key: {json.dumps(secret, ensure_ascii=False)}}}}}\n"
    kept, _ = redacted(text)
    if kept and not re.fullmatch(r"\$\{[A-Za-z_]\w*(:-)?\}", secret):
        left = parse(kept, "").data["providers"]["up"]["api_key"]
        assert left == HIDDEN and (len(secret) < 8 or secret not in kept)


def test_every_setting_of_a_secret_kind_is_known() -> None:
    schema = json_schema()
    found = set()
    for section, kind in (("providers", "Provider"), ("keys", "Key"), ("notify", "Notify")):
        for name, field in schema["$defs"][kind]["properties"].items():
            if "SecretFile" in json.dumps(field):
                found.add((section, name))
    server = schema["$defs"]["Server"]["properties"].items()
    of_server = [name for name, field in server if "SecretFile" in json.dumps(field)]
    everywhere = json.dumps(schema).count('"#/$defs/SecretFile"')
    assert found and all(is_secret((section, "x", name)) for section, name in found)
    assert of_server and all(is_secret(("server", name)) for name in of_server)
    assert is_secret(("server", "tracing", "headers", "x")) and is_secret(("prices", "from"))
    kinds = [schema["$defs"][kind] for kind in ("Provider", "Key", "Notify", "Server", "Tracing", "Prices")]
    assert everywhere == json.dumps(kinds).count('"#/$defs/SecretFile"')


def test_a_torn_last_line_costs_only_itself(tmp_path: Path) -> None:
    kept = Versions(tmp_path)
    kept.append(entry("a", ONE))
    lines = tmp_path / "configs" / "versions.jsonl"
    with lines.open("ab") as file:
        file.write(b'{"version": "b", "at_')
    assert [e["version"] for e in kept.entries()] == ["a"]
    kept.append(entry("c", ONE))
    assert [e["version"] for e in kept.entries()] == ["a", "c"]
    with lines.open("ab") as file:
        file.write(b'[]\n\xff\n{"version": 1}\n')
    assert [e["version"] for e in kept.entries()] == ["a", "c"]


def test_texts_and_lines_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "MOST_TEXTS", 3)
    monkeypatch.setattr(stored, "MOST_LINE_BYTES", 2000)
    kept = Versions(tmp_path)
    for n in range(30):
        kept.append(entry(f"v{n}", ONE))
        kept.keep_text(f"v{n}", f"{n}")
    assert [kept.text(f"v{n}") for n in range(26, 30)] == [None, "27", "28", "29"]
    assert kept.entries()[-1]["version"] == "v29" and (tmp_path / "configs" / "versions.jsonl").stat().st_size < 2500
