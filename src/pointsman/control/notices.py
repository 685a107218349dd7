"""Notices: tells the operator's channels what has happened: webhooks, chats that read Slack's JSON, mail.

A thread of the control process, so that a channel that hangs holds nothing up; each has its own bounded queue and is tried
again. What cannot be told is counted and said on standard error, once for each reason; what became of each notice is kept
(`control/notice_book.py`). No redirect is followed, and no URL or password is ever said: webhooks have a secret in their path.
"""

from __future__ import annotations

import contextlib
import http.client
import smtplib
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

import msgspec

from pointsman.config.addresses import is_loopback
from pointsman.control.billing.outbox import taken
from pointsman.control.measures import gather
from pointsman.control.notice_book import NoticeBook
from pointsman.core.notice import Channel, Noted, Notice, Quiet, Seen, changes, news, retiring
from pointsman.core.policy import Policy
from pointsman.observe.log import LOG
from pointsman.stores.choose import Stores

LOOK_S = 2.0
SEND_S = 10.0  # for one step of sending
TRIES = 4
AGAIN_S = 5.0  # after the first failure; twice as long after each further one
MOST_WAITING = 200  # notices of one channel; the oldest are given up
MOST_TOLD = 30  # in one message
DAY_S = 86_400.0
GONE = "the config has this channel no more, or another one of its name"
TOO_MANY = f"more than {MOST_WAITING} waited"


class SendError(Exception):
    """Say why a channel did not take a message, without its address."""


class Sending:
    """Hold one channel and what waits for it."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.quiet = Quiet(channel.quiet_s)
        self.waiting: deque[Noted] = deque()
        self.tries = 0
        self.due_s = 0.0
        self.said = ""


class Notices:
    """Look, and tell. `policy` gives the present one, `ledger_up` whether the last look at the ledger was good; `failed` is
    called for every message that was not taken. `clock` gives seconds that never go back."""

    def __init__(
        self,
        stores: Stores,
        policy: Callable[[], Policy],
        ledger_up: Callable[[], bool],
        failed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._data, self._policy, self._ledger_up, self._failed, self._clock = (
            stores.data, policy, ledger_up, failed, clock
        )  # fmt: skip
        self._book = NoticeBook(stores, clock)
        self._seen: Seen | None = None
        self._known: Policy | None = None
        self._day = -DAY_S
        self._sendings: dict[str, Sending] = {}
        self._given: deque[Notice] = deque(maxlen=MOST_WAITING)

    def tell(self, notice: Notice) -> None:
        """Have the channels told of something that another thread has found."""
        self._given.append(notice)

    def step(self) -> None:
        """Look once, and send what is due. Never raises."""
        policy = self._policy()
        self._adopt(policy.listener.channels)
        self._look(policy)
        if self._ledger_up():  # else nobody waits for it with word that it is away
            self._book.write()
        for sending in self._sendings.values():
            if sending.waiting and self._clock() >= sending.due_s:
                self._send(sending)
        self._book.write()

    def _adopt(self, channels: tuple[Channel, ...]) -> None:
        kept = self._sendings
        self._sendings = {
            one.name: known if (known := kept.get(one.name)) and known.channel == one else Sending(one)
            for one in channels
        }
        for name, sending in kept.items():
            if self._sendings.get(name) is not sending:
                self._book.told(sending.waiting, name, "failed", sending.tries, GONE)

    def _look(self, policy: Policy) -> None:
        metrics, _ = gather(self._data)
        now = Seen(
            dict(metrics.alerts),
            dict(metrics.quotas),
            dict(metrics.unpriced),
            metrics.counters_local,
            metrics.journal_errors,
            bool(self._ledger_up()),
        )
        found = news(self._seen, now) if self._seen is not None else []
        if self._known is not None and self._known is not policy:
            found += changes(self._known, policy)
        if self._known is not policy or self._clock() - self._day >= DAY_S:
            self._day = self._clock()
            found += retiring(policy, datetime.now(UTC).date())
        found += taken(self._data)
        while self._given:
            found.append(self._given.popleft())
        self._seen, self._known = now, policy
        for one in found:
            self._take(one)

    def _take(self, notice: Notice) -> None:
        """Have the channels told that want it and were not told the same lately."""
        wanting = [one for one in self._sendings.values() if notice.kind in one.channel.kinds]
        takers = [one for one in wanting if one.quiet.passing([notice], self._clock())]
        quiet = [one.channel.name for one in wanting if one not in takers]
        noted = self._book.add(notice, [one.channel.name for one in takers], quiet)
        for sending in takers:
            sending.waiting.append(noted)
            while len(sending.waiting) > MOST_WAITING:
                self._book.told([sending.waiting.popleft()], sending.channel.name, "failed", 0, TOO_MANY)
                self._failed()

    def _send(self, sending: Sending) -> None:
        batch = [sending.waiting[n] for n in range(min(MOST_TOLD, len(sending.waiting)))]
        try:
            SENDERS[sending.channel.format](sending.channel, [one.notice for one in batch])
        except SendError as error:
            self._not_sent(sending, str(error), batch)
            return
        for _ in batch:
            sending.waiting.popleft()
        self._book.told(batch, sending.channel.name, "delivered", sending.tries + 1)
        sending.tries, sending.said = 0, ""

    def _not_sent(self, sending: Sending, why: str, batch: list[Noted]) -> None:
        self._failed()
        sending.tries += 1
        sending.due_s = self._clock() + AGAIN_S * 2 ** (sending.tries - 1)
        given_up = sending.tries >= TRIES
        self._book.told(batch, sending.channel.name, "failed" if given_up else "waiting", sending.tries, why)
        if given_up:
            sending.tries = 0
            for _ in batch:
                sending.waiting.popleft()
            why += f"; {len(batch)} notices are given up"
        if why != sending.said:
            sending.said = why
            LOG.warning("notify_failed", f"notify {sending.channel.name}: {why}", channel=sending.channel.name)


class NoticesThread(threading.Thread):
    """Look and tell as long as this process lives; nobody waits for it."""

    def __init__(self, notices: Notices) -> None:
        super().__init__(name="notices", daemon=True)
        self._notices = notices

    def run(self) -> None:
        while True:
            self._notices.step()
            time.sleep(LOOK_S)


def _json(channel: Channel, notices: list[Notice]) -> None:
    told = {"source": "pointsman", "at": datetime.now(UTC).isoformat(timespec="seconds"), "notices": notices}
    _post(channel.url.reveal(), msgspec.json.encode(told))


def _slack(channel: Channel, notices: list[Notice]) -> None:
    lines = "\n".join(f"• {_escaped(one.text)}" for one in notices)
    _post(channel.url.reveal(), msgspec.json.encode({"text": f"pointsman\n{lines}"}))


def _escaped(text: str) -> str:
    """Return text that Slack shows as it is (Slack, "Formatting text for app surfaces": escaping)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _post(url: str, body: bytes) -> None:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=SEND_S)
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", path, body, {"content-type": "application/json", "user-agent": "pointsman"})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise SendError(f"cannot be reached: {_reason(error)}") from None
    finally:
        connection.close()
    if not 200 <= status < 300:
        raise SendError(f"answers with status {status}")


def _email(channel: Channel, notices: list[Notice]) -> None:
    message = EmailMessage()
    message["From"], message["To"] = channel.sender, ", ".join(channel.to)
    more = f" and {len(notices) - 1} more" if len(notices) > 1 else ""
    message["Subject"] = f"pointsman: {' '.join(notices[0].text.split())[:120]}{more}"
    message["Date"] = datetime.now(UTC)
    message.set_content("".join(f"- {one.text} ({one.kind})\n" for one in notices))
    parts = urlsplit(channel.url.reveal())
    try:
        with _server(parts.scheme, parts.hostname or "", parts.port) as server:
            if parts.username:
                server.login(unquote(parts.username), unquote(parts.password or ""))
            server.send_message(message)
    except smtplib.SMTPResponseException as error:
        raise SendError(f"the mail server answers {error.smtp_code}") from None
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise SendError(f"the mail server cannot be used: {_reason(error)}") from None


def _server(scheme: str, host: str, port: int | None) -> smtplib.SMTP:
    """Return a connection to a mail server; without TLS only on this machine."""
    if scheme == "smtps":
        return smtplib.SMTP_SSL(host, port or 465, timeout=SEND_S, context=ssl.create_default_context())
    server = smtplib.SMTP(host, port or 587, timeout=SEND_S)
    with contextlib.ExitStack() as unless_ready:
        unless_ready.callback(server.close)
        server.ehlo()
        if server.has_extn("starttls"):
            server.starttls(context=ssl.create_default_context())
        elif not is_loopback(host):
            raise SendError("the mail server does not offer TLS")
        unless_ready.pop_all()
    return server


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


SENDERS: dict[str, Callable[[Channel, list[Notice]], None]] = {"json": _json, "slack": _slack, "email": _email}
