"""An OpenID Connect provider on loopback: discovery, a key set that rotates, tokens of any kind, faults."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa


@cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return an RSA key; the same one for the same name, as making one takes long."""
    return rsa.generate_private_key(65537, bits)


@cache
def ec_key(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@cache
def ed_key(name: str) -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwk(key: Any, kid: str, **more: str) -> dict[str, Any]:
    """Return the public JSON Web Key of a private key."""
    kinds = ((rsa.RSAPrivateKey, "RS256"), (ec.EllipticCurvePrivateKey, "ES256"), (ed25519.Ed25519PrivateKey, "EdDSA"))
    algorithm = next(name for kind, name in kinds if isinstance(key, kind))
    made = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
    made.pop("key_ops", None)
    return {**made, "kid": kid, "use": "sig", **more}


class _Handler(BaseHTTPRequestHandler):
    server: LocalIssuer

    def do_GET(self) -> None:
        issuer = self.server
        issuer.asked.append(self.path)
        if issuer.status != 200:
            self.send_response(issuer.status)
            self.send_header("location", f"{issuer.url}/keys")
            self.end_headers()
            return
        if self.path == "/.well-known/openid-configuration":
            body = json.dumps(
                {"issuer": issuer.says or issuer.url, "jwks_uri": issuer.jwks_uri or f"{issuer.url}/keys"}
            )
        else:
            body = issuer.body or json.dumps({"keys": issuer.keys})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


class LocalIssuer(ThreadingHTTPServer):
    """Answer for one issuer. `keys` are those it publishes; `status`, `body`, `says` and `jwks_uri` make it faulty."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.keys: list[dict[str, Any]] = [jwk(rsa_key("one"), "one"), jwk(ec_key("two"), "two")]
        self.asked: list[str] = []
        self.status, self.body, self.says, self.jwks_uri = 200, "", "", ""

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def claims(self, **more: Any) -> dict[str, Any]:
        """Return the claims of a token that is good for an hour; None takes one away."""
        now_s = int(time.time())
        made = {"iss": self.url, "aud": "pointsman", "sub": "alice", "exp": now_s + 3600, "jti": "t1"}
        return {name: value for name, value in (made | more).items() if value is not None}

    def token(self, key: Any = None, algorithm: str = "RS256", kid: str | None = "one", **claims: Any) -> str:
        """Return a token signed with a key, by default the one that is published as `one`."""
        headers = {} if kid is None else {"kid": kid}
        return jwt.encode(self.claims(**claims), key or rsa_key("one"), algorithm, headers=headers)

    def forged(self, header: dict[str, Any], secret: bytes | None = None, **claims: Any) -> str:
        """Return a token with any header: unsigned, or signed with HMAC under a secret."""
        signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(self.claims(**claims)).encode())}"
        mac = b"" if secret is None else hmac.digest(secret, signed.encode(), hashlib.sha256)
        return f"{signed}.{b64(mac)}"
