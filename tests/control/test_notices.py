"""Notices on their way: webhooks, Slack's JSON, mail; channels that refuse, hang or are gone; nothing secret is said."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from notice_office import SECRET_PATH, Hook, Office, webhook

from pointsman.control import notices as module
from pointsman.control.billing import outbox
from pointsman.control.notices import AGAIN_S, MOST_WAITING, TRIES
from pointsman.core.notice import Channel
from pointsman.core.policy import Listener
from pointsman.core.secret import Secret


class Mail(socketserver.ThreadingTCPServer):
    """A mail server that speaks as much SMTP as it takes (RFC 5321)."""

    allow_reuse_address = daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.got: list[str] = []
        self.logins: list[str] = []
        self.refuses = False
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()


class _Session(socketserver.StreamRequestHandler):
    server: Mail

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            word = line[:4].upper()
            if word == b"EHLO":
                self.wfile.write(b"250-here\r\n250 AUTH PLAIN\r\n")
            elif word == b"AUTH":
                self.server.logins.append(line.decode().split()[2])
                self.wfile.write(b"235 good\r\n")
            elif word == b"RCPT" and self.server.refuses:
                self.wfile.write(b"550 canary-mailbox unavailable\r\n")
            elif word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                data = b""
                while not data.endswith(b"\r\n.\r\n"):
                    data += self.rfile.readline()
                self.server.got.append(data.decode())
                self.wfile.write(b"250 taken\r\n")
            elif word == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            else:
                self.wfile.write(b"250 fine\r\n")


@pytest.fixture
def mail() -> Iterator[Mail]:
    made = Mail()
    yield made
    made.shutdown()
    made.server_close()


def test_a_webhook_gets_what_happened_and_nothing_twice(hook: Hook, office: Callable[..., Office]) -> None:
    here = office(webhook(hook.url))
    assert hook.posted == []  # what was there at the start is no news
    here.happens("budget")
    [(path, told)] = hook.posted
    assert path == SECRET_PATH and told["source"] == "pointsman"
    assert told["notices"] == [
        {"kind": "quota", "subject": "budget", "what": "near", "text": "quota `budget` is near its limit"}
    ]
    here.happens("budget")
    assert len(hook.posted) == 1
    here.happens("budget", seconds=1_000.0)
    assert len(hook.posted) == 2
    here.up = False
    here.step()
    assert hook.posted[-1][1]["notices"][0]["what"] == "away"


def test_slack_gets_its_shape_and_its_escapes_and_only_its_kinds(hook: Hook, office: Callable[..., Office]) -> None:
    here = office(webhook(hook.url, format="slack", kinds=("quota",)))
    here.up = False
    here.happens("<!channel> & co", "two")
    [(_, told)] = hook.posted
    assert told == {
        "text": "pointsman\n• quota `&lt;!channel&gt; &amp; co` is near its limit\n• quota `two` is near its limit"
    }


def test_mail_is_sent_with_a_login_and_a_subject(mail: Mail, office: Callable[..., Office]) -> None:
    url = f"smtp://us%40er:canary-password@127.0.0.1:{mail.server_address[1]}"
    here = office(
        Channel(
            name="mail",
            format="email",
            url=Secret(url),
            to=("ops@example.com", "b@example.com"),
            sender="p@example.com",
        )
    )
    here.happens("one\r\nBcc: all@example.com", "two")
    [text] = mail.got
    head, _, body = text.partition("\r\n\r\n")
    head = head.replace("\r\n ", " ")  # folded lines
    assert "From: p@example.com" in head and "To: ops@example.com, b@example.com" in head
    assert "Subject: pointsman: quota" in head and "and 1 more" in head
    assert "\r\nBcc:" not in head and "quota `two` is near its limit (quota)" in body
    assert mail.logins and "canary" not in text


def test_what_is_not_taken_is_tried_again_and_then_given_up(
    hook: Hook, office: Callable[..., Office], capfd: pytest.CaptureFixture[str]
) -> None:
    here = office(webhook(hook.url))
    hook.status = 500
    here.happens("budget")
    assert here.failed == len(hook.posted) == 1
    here.step(AGAIN_S / 2)
    assert len(hook.posted) == 1  # not yet
    hook.status = 200
    here.step(AGAIN_S)
    assert len(hook.posted) == 2 and hook.posted[0][1]["notices"] == hook.posted[1][1]["notices"]
    hook.status = 404
    here.happens("other")
    for _ in range(TRIES):
        here.step(1_000.0)
    assert len(hook.posted) == 2 + TRIES
    said = capfd.readouterr().err
    assert "notify ops: answers with status 500" in said and "1 notices are given up" in said
    assert "canary" not in said


@pytest.mark.parametrize("status", [301, 302, 307])
def test_no_redirect_is_followed(status: int, hook: Hook, office: Callable[..., Office]) -> None:
    elsewhere = Hook()
    hook.status, hook.headers = status, {"location": elsewhere.url}
    here = office(webhook(hook.url))
    here.happens("budget")
    assert here.failed == 1 and elsewhere.posted == []
    elsewhere.shutdown()
    elsewhere.server_close()


def test_channels_that_are_gone_or_hang_hold_nobody_up(
    hook: Hook,
    mail: Mail,
    office: Callable[..., Office],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(module, "SEND_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as closed:
        gone = closed.getsockname()[1]
        closed.close()
        mail.refuses = True
        smtp = f"smtp://127.0.0.1:{mail.server_address[1]}"
        here = office(
            webhook(f"http://127.0.0.1:{silent.getsockname()[1]}/canary", name="silent"),
            webhook(f"http://127.0.0.1:{gone}/canary", name="gone"),
            Channel(name="mail", format="email", url=Secret(smtp), to=("a@example.com",), sender="a@example.com"),
            webhook(hook.url, name="well"),
        )
        here.happens("budget")
        assert len(hook.posted) == 1 and here.failed == 3
    said = capfd.readouterr().err
    assert "notify silent: cannot be reached" in said and "notify gone: cannot be reached" in said
    assert "notify mail: the mail server" in said and "canary" not in said


def test_what_waits_is_bounded(office: Callable[..., Office], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(channel: Channel, notices: list[Any]) -> None:
        raise module.SendError("no")

    monkeypatch.setitem(module.SENDERS, "json", refuse)
    here = office(webhook("http://127.0.0.1:1/"))
    here.happens(*(f"q{n}" for n in range(MOST_WAITING + 50)))
    (sending,) = here.notices._sendings.values()
    assert len(sending.waiting) == MOST_WAITING and here.failed == 51


def test_a_channel_that_a_reload_changes_is_another(hook: Hook, office: Callable[..., Office]) -> None:
    here = office()
    here.happens("early")
    here.policy = msgspec.structs.replace(here.policy, listener=Listener(channels=(webhook(hook.url),)))
    here.happens("late")
    assert [told["notices"][0]["subject"] for _, told in hook.posted] == ["late"]


def test_a_webhook_is_told_of_invoices_whoever_issued_them(hook: Hook, office: Callable[..., Office]) -> None:
    desk = office(webhook(hook.url, kinds=("invoice_issued",)))
    desk.step()
    for seq, credit in ((1, False), (2, True), (3, False)):
        told = {"number": f"N-{seq}", "credit": credit, "text": f"N-{seq} of $1.00"}
        folder = desk.data / outbox.FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{seq:012d}.json").write_text(json.dumps(told))
    desk.step()
    [(_, body)] = hook.posted
    assert body["notices"] == [
        {"kind": "invoice_issued", "subject": f"N-{seq}", "what": "issued", "text": f"N-{seq} of $1.00"}
        for seq in (1, 3)
    ]
    desk.step()
    assert len(hook.posted) == 1 and not list((desk.data / outbox.FOLDER).iterdir())
