"""TLS towards providers is verified, always; and the listener can serve https (S5, S22, fault 5)."""

from __future__ import annotations

import datetime
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from gateway_lab import Lab, deployment, mock_values, small_config
from gateway_raw import Wire, ask, chat_body, fetch, post
from gateway_router import KEY, Router
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

StartRouter = Callable[..., Router]
LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


class Papers:
    """A local authority, and server certificates good and bad, as files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = trustme.CA()
        self.other = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.ca_file))

    def server(self, name: str, cert: trustme.LeafCert) -> dict[str, str]:
        files = {"cert": str(self.folder / f"{name}.pem"), "key": str(self.folder / f"{name}.key")}
        for i, blob in enumerate(cert.cert_chain_pems):
            blob.write_to_path(files["cert"], append=i > 0)
        cert.private_key_pem.write_to_path(files["key"])
        return files

    def by_name(self, name: str) -> dict[str, str]:
        made = {
            "good": lambda: self.ca.issue_cert("127.0.0.1", "localhost"),
            "expired": lambda: self.ca.issue_cert("127.0.0.1", not_after=LONG_AGO),
            "wrong_host": lambda: self.ca.issue_cert("example.org"),
            "unknown_authority": lambda: self.other.issue_cert("127.0.0.1"),
        }
        return self.server(name, made[name]())


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture
def secure_lab(papers: Papers) -> Iterator[Callable[[str], Lab]]:
    """Return a call that starts mock providers with a certificate of this name."""
    running: list[Lab] = []

    def start(name: str) -> Lab:
        found = Lab(mock_values() | {"tls": papers.by_name(name)})
        running.append(found.__enter__())
        return found

    yield start
    for found in running:
        found.__exit__()


def setup(secure: Lab, plain: Lab, papers: Papers, **more: Any) -> dict[str, Any]:
    tls = {"dialect": "openai", "base_url": secure.base_url("openai"), "api_key": "sk-upstream-canary-0123456789"}
    return small_config(
        plain,
        {"safe": {"provider": "tls", "model": "m"}, "plain": deployment("openai", "m")},
        {"alone": {"candidates": ["safe"], "attempts": 1}, "both": {"candidates": ["safe", "plain"]}},
        providers={"tls": tls | {"ca_file": str(papers.ca_file)} | more},
    )


def test_a_good_certificate_of_the_providers_own_authority_passes(
    lab: Lab, papers: Papers, secure_lab: Callable[[str], Lab], start_router: StartRouter
) -> None:
    router = start_router(setup(secure_lab("good"), lab, papers))
    for stream in (False, True):
        answer = ask(router, "alone", stream=stream)
        assert answer.status == 200 and answer.text


@pytest.mark.parametrize("name", ["expired", "wrong_host", "unknown_authority"])
def test_f05_a_certificate_that_does_not_hold_gets_no_request(
    lab: Lab, papers: Papers, secure_lab: Callable[[str], Lab], start_router: StartRouter, name: str
) -> None:
    secure = secure_lab(name)
    router = start_router(setup(secure, lab, papers))
    answer = ask(router, "both")
    assert answer.status == 200
    assert [a.outcome for a in router.settled(answer.id).attempts] == ["untrusted", "ok"]
    assert fetch(router, "/health").json["deployments"]["safe"] == "open"  # not tried again and again
    assert secure.served() == []  # no credential went out


@pytest.mark.parametrize("name", ["expired", "unknown_authority"])
def test_f05_alone_it_is_a_503_that_says_so(
    lab: Lab, papers: Papers, secure_lab: Callable[[str], Lab], start_router: StartRouter, name: str
) -> None:
    router = start_router(setup(secure_lab(name), lab, papers))
    answer = ask(router, "alone")
    assert answer.status == 503
    assert (answer.error["code"], answer.error["origin"]) == ("provider_untrusted", "provider")


def test_f05_an_authority_that_was_not_named_is_not_trusted(
    lab: Lab, papers: Papers, secure_lab: Callable[[str], Lab], start_router: StartRouter
) -> None:
    config = setup(secure_lab("good"), lab, papers)
    del config["providers"]["tls"]["ca_file"]
    assert ask(start_router(config), "alone").error["code"] == "provider_untrusted"


def test_f06_a_handshake_that_stalls_is_bounded(lab: Lab, papers: Papers, start_router: StartRouter) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = setup(lab, lab, papers, base_url=f"https://127.0.0.1:{silent.getsockname()[1]}/v1")
        router = start_router(config | {"limits": {"connect_ms": 300}})
        start = time.monotonic()
        answer = ask(router, "both")
        assert answer.status == 200 and time.monotonic() - start < 1.0
        assert router.settled(answer.id).attempts[0].outcome == "unreachable"


def test_a_plain_server_behind_an_https_address_is_passed_over(
    lab: Lab, papers: Papers, start_router: StartRouter
) -> None:
    router = start_router(setup(lab, lab, papers, base_url=lab.base_url("openai").replace("http:", "https:")))
    answer = ask(router, "both")
    assert answer.status == 200
    assert router.settled(answer.id).attempts[0].outcome in ("unreachable", "untrusted")


async def test_the_listener_serves_https_to_the_official_client(
    lab: Lab, papers: Papers, start_router: StartRouter
) -> None:
    config = small_config(lab, {"a": deployment("openai", "m")}, {}, server={"tls": papers.by_name("good")})
    router = start_router(config)
    context = ssl.create_default_context(cafile=str(papers.ca_file))
    http = DefaultAsyncHttpxClient(verify=context)
    async with AsyncOpenAI(base_url=f"{router.url}/v1", api_key=KEY, max_retries=0, http_client=http) as client:
        for stream in (False, True):
            answer: Any = await client.chat.completions.create(
                model="a", messages=[{"role": "user", "content": "hi"}], stream=stream
            )
            if stream:
                assert [chunk async for chunk in answer]
            else:
                assert answer.choices[0].message.content


def test_the_listener_speaks_nothing_older_than_tls_1_2(lab: Lab, papers: Papers, start_router: StartRouter) -> None:
    config = small_config(lab, {"a": deployment("openai", "m")}, {}, server={"tls": papers.by_name("good")})
    router = start_router(config)
    context = ssl.create_default_context(cafile=str(papers.ca_file))
    with Wire(router.port, tls=context) as wire:
        wire.send(post(chat_body("a")))
        assert wire.response().status == 200
        assert wire.sock.version() in ("TLSv1.2", "TLSv1.3")  # type: ignore[attr-defined]
    with Wire(router.port) as wire:  # plain http to the https port
        wire.send(post(chat_body("a")))
        assert wire.ended(3)
    assert router.alive and ask_tls(router, context) == 200


def ask_tls(router: Router, context: ssl.SSLContext) -> int:
    with Wire(router.port, tls=context) as wire:
        wire.send(post(chat_body("a")))
        return wire.response().status
