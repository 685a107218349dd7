"""Every bad config and the exact words about it."""

# ruff: noqa: E501 - one row a config

from __future__ import annotations

from datetime import date

import pytest

from pointsman.config.load import Options, load_text
from pointsman.config.problem import ConfigError

ENV = {"OPENAI_API_KEY": "sk-canary-1", "WORD": "sk-canary-2"}
D = "deployments: {a: {provider: openai}}\n"
R = D + "routes:\n  r:\n    "

# (text, what is said of it, each line after the file's name)
BAD: list[tuple[str, list[str]]] = [
    ("", [":1:1: empty: there is nothing to route."]),
    ("# nothing\n", [":1:1: empty: there is nothing to route."]),
    ("- a\n- b\n", [":1:1: expected a mapping with `deployments:` and `routes:`."]),
    ("deployments: {a: {provider: openai}\n", [":2:1: not valid YAML: did not find expected ',' or '}'."]),
    (
        "deployments:\n\ta: {provider: openai}\n",
        [":2:1: not valid YAML: found character that cannot start any token. YAML is indented with spaces, not tabs."],
    ),
    ("a: *nope\n", [":1:4: not valid YAML: unknown alias *nope."]),
    ("a: &a [*a]\n", [":1:8: not valid YAML: *a holds itself."]),
    ("a: !python/object:os.system x\n", [":1:4: not valid YAML: the tag !python/object:os.system is not supported."]),
    ("--- {}\n--- {}\n", [":2:1: not valid YAML: more than one document."]),
    ("a: " + "[" * 70 + "]" * 70 + "\n", [":1:67: not valid YAML: nested too deeply."]),
    (
        "deployments:\n  a: {provider: openai}\n  a: {provider: groq}\n",
        [':3:3: deployments.a: "a" is set twice, first on line 2.'],
    ),
    (D + "deployments: {}\n", [':2:1: deployments: "deployments" is set twice, first on line 1.']),
    ("a: \x01\n", [":1:1: not valid YAML: it has a control character."]),
    ("? [a]\n: b\n", [":1:3: not valid YAML: a key must be text."]),
    (D + "rotues: {}\n", [':2:1: unknown setting "rotues". Did you mean "routes"?']),
    (
        "deployments: {a: {provder: openai}}\n",
        [
            ":1:18: deployments.a.provider: is missing.",
            ':1:19: deployments.a: unknown setting "provder". Did you mean "provider"?',
        ],
    ),
    (
        "providers: {openai: {apikey: x}}\n" + D,
        [':1:22: providers.openai: unknown setting "apikey". Did you mean "api_key"?'],
    ),
    ("routes: {}\n", [":1:1: deployments: is missing."]),
    ("deployments: {}\n", [":1:14: deployments: is empty: there is nothing to route to."]),
    ("deployments: [a]\n", [":1:14: deployments: expected a mapping."]),
    ("deployments: {a: 3}\n", [":1:18: deployments.a: expected a mapping."]),
    (R + "cache: {}\n    candidates: [a]\n", [":4:12: routes.r.cache.ttl: is missing."]),
    (
        R + "cache: soon\n    candidates: [a]\n",
        [':4:12: routes.r.cache: expected a duration: "30s", "15m", "24h", "7d", or a number of seconds.'],
    ),
    (
        R + "cache: {ttl: 1h, scope: world}\n    candidates: [a]\n",
        [":4:29: routes.r.cache.scope: expected 'key', 'project', 'team' or 'organisation'."],
    ),
    (
        R + "cache: {ttl: 1h, max_bytes: 1}\n    candidates: [a]\n",
        [":4:33: routes.r.cache.max_bytes: must be at least 65536."],
    ),
    (
        "deployments: {a: {provider: opnai}}\n",
        [':1:29: deployments.a.provider: unknown provider "opnai". Did you mean "openai"?'],
    ),
    ("deployments: {a: {provider: zzzzzz}}\n", [':1:29: deployments.a.provider: unknown provider "zzzzzz".']),
    (R + "candidates: [b]\n", [':4:18: routes.r.candidates[0]: unknown deployment "b". Valid: a.']),
    (
        R + "candidates: [aa, a]\n    strategy: cheapst\n",
        [
            ':4:18: routes.r.candidates[0]: unknown deployment "aa". Did you mean "a"?',
            ':5:15: routes.r.strategy: unknown strategy "cheapst". Did you mean "cheapest"?',
        ],
    ),
    (R + "strategy: priority\n", [":4:5: routes.r.candidates: is missing."]),
    (R + "candidates: []\n", [":4:17: routes.r.candidates: is empty: a route needs a candidate."]),
    (R + "candidates: [a, a]\n", [':4:21: routes.r.candidates[1]: "a" is listed twice.']),
    (R + "candidates: [{a: 0}]\n", [":4:22: routes.r.candidates[0].a: a weight must be more than 0."]),
    (R + "candidates: [{a: .nan}]\n", [":4:22: routes.r.candidates[0].a: expected a finite number."]),
    (R + "candidates: [{a: -1.5}]\n", [":4:22: routes.r.candidates[0].a: a weight must be more than 0."]),
    (
        R + "candidates: [{a: 1}]\n    strategy: cheapest\n",
        [':5:15: routes.r.strategy: the candidates have weights, which "cheapest" does not use.'],
    ),
    (R + "candidates: [3]\n", [":4:18: routes.r.candidates[0]: expected text. Put it in quotes."]),
    (R + "candidates: [{a: 1, b: 2}]\n", [":4:18: routes.r.candidates[0]: has more entries than 1."]),
    (
        'deployments: {"a b": {provider: openai}}\n',
        [":1:15: deployments.a b: a name is 1 to 128 of the characters A-Z a-z 0-9 . _ : / @ -"],
    ),
    (
        "deployments: {a: {provider: openai}, b: {provider: openai}}\nroutes: {a: {candidates: [b]}}\n",
        [
            ":2:10: routes.a: a deployment has this name, so the route must hold it among its candidates: a. Or name the route otherwise."
        ],
    ),
    (
        "deployments: {a: {provider: openai, model: 4.1}}\n",
        [":1:44: deployments.a.model: expected text. Put it in quotes."],
    ),
    ("deployments: {a: {provider: openai, context: 0}}\n", [":1:46: deployments.a.context: must be at least 1."]),
    (
        "deployments: {a: {provider: openai, context: 1.5}}\n",
        [":1:46: deployments.a.context: expected a whole number."],
    ),
    ("deployments: {a: {provider: openai, tools: 1}}\n", [":1:44: deployments.a.tools: expected true or false."]),
    (
        "deployments: {a: {provider: openai, modalities: [text, smell]}}\n",
        [":1:56: deployments.a.modalities[1]: expected 'text', 'image', 'audio', 'file' or 'video'."],
    ),
    (
        "deployments: {a: {provider: openai, retires: soon}}\n",
        [":1:46: deployments.a.retires: expected a date, YYYY-MM-DD."],
    ),
    (
        "deployments: {a: {provider: openai, price: {input: -1, output: 1}}}\n",
        [":1:52: deployments.a.price.input: must be at least 0."],
    ),
    (
        "deployments: {a: {provider: openai, price: {input: .inf, output: 1}}}\n",
        [":1:52: deployments.a.price.input: expected a finite number."],
    ),
    ("deployments: {a: {provider: openai, price: {input: 1}}}\n", [":1:44: deployments.a.price.output: is missing."]),
    (
        "deployments: {a: {provider: openai, price: {input: 0.0000000001, output: 1}}}\n",
        [":1:44: deployments.a.price: has a figure finer than a billionth of a dollar."],
    ),
    (R + "candidates: [a]\n    attempts: 9\n", [":5:15: routes.r.attempts: must be at most 5."]),
    (R + "candidates: [a]\n    timeouts: {ttft_ms: 0}\n", [":5:25: routes.r.timeouts.ttft_ms: must be at least 1."]),
    (D + "limits: {attempts: many}\n", [":2:20: limits.attempts: expected a whole number."]),
    (
        'providers: {lab: {base_url: "http://127.0.0.1:1"}}\n' + D,
        [
            ':1:13: providers.lab: "lab" is not a known provider, so it needs dialect. Or take a known one\'s settings with `like`.'
        ],
    ),
    (
        'providers: {lab: {dialect: opnai, base_url: "http://127.0.0.1:1"}}\n' + D,
        [':1:28: providers.lab.dialect: unknown dialect "opnai". Did you mean "openai"?'],
    ),
    (
        "providers: {lab: {}}\n" + D,
        [
            ':1:13: providers.lab: "lab" is not a known provider, so it needs dialect and base_url. Or take a known one\'s settings with `like`.'
        ],
    ),
    (
        "providers: {mine: {like: opena}}\n" + D,
        [':1:26: providers.mine.like: unknown provider "opena". Did you mean "openai"?'],
    ),
    (
        'providers: {openai: {api_key: x, base_url: "http://example.com"}}\n' + D,
        [
            ":1:44: providers.openai.base_url: is http:// to an address that is not loopback or private. Use https://, or set insecure: true."
        ],
    ),
    (
        'providers: {openai: {api_key: x, base_url: "ftp://example.com"}}\n' + D,
        [":1:44: providers.openai.base_url: expected a URL that starts with https:// or http://."],
    ),
    (
        'providers: {openai: {api_key: x, base_url: "https://u:sk-canary@example.com"}}\n' + D,
        [":1:44: providers.openai.base_url: must not hold a credential. Use api_key."],
    ),
    (
        'providers: {openai: {api_key: x, base_url: "https://example.com?key=sk-canary"}}\n' + D,
        [":1:44: providers.openai.base_url: must not have a query or a fragment."],
    ),
    (
        'providers: {openai: {api_key: x, base_url: "http://169.254.169.254"}}\n' + D,
        [
            ":1:44: providers.openai.base_url: is http:// to an address that is not loopback or private. Use https://, or set insecure: true."
        ],
    ),
    (
        "providers: {openai: {auth: basic}}\n" + D,
        [":1:28: providers.openai.auth: expected 'bearer', 'x-api-key', 'api-key', 'x-goog-api-key' or 'none'."],
    ),
    (
        "providers: {openai: {headers: {Authorization: sk-canary}}}\n" + D,
        [":1:32: providers.openai.headers.Authorization: a credential does not belong here. Use api_key and auth."],
    ),
    (
        "providers: {openai: {headers: {Host: x}}}\n" + D,
        [":1:32: providers.openai.headers.Host: the router writes this header itself."],
    ),
    (
        'providers: {openai: {headers: {X-A: "a\\nb"}}}\n' + D,
        [":1:37: providers.openai.headers.X-A: has a character that no header has."],
    ),
    ("providers: {openai: {path: chat}}\n" + D, [":1:28: providers.openai.path: must start with /."]),
    ("providers: {openai: {ca_file: nope.pem}}\n" + D, [':1:31: providers.openai.ca_file: no such file: "nope.pem".']),
    (
        "deployments: {a: {provider: groq}}\n",
        [':1:19: deployments.a.provider: no key for "groq". Set GROQ_API_KEY, or write api_key.'],
    ),
    ("providers: {groq: {}}\n" + D, [':1:13: providers.groq: no key for "groq". Set GROQ_API_KEY, or write api_key.']),
    (
        'providers: {openai: {api_key: "${NOPE}"}}\n' + D,
        [
            ':1:31: providers.openai.api_key: the environment variable NOPE is not set. Set it, or write "${NOPE:-default}".'
        ],
    ),
    (
        'providers: {openai: {api_key: "${NOPE"}}\n' + D,
        [":1:31: providers.openai.api_key: `${` without a variable name and `}`. Write `$${` for a plain `${`."],
    ),
    (
        "providers: {openai: {api_key: {file: nope.key}}}\n" + D,
        [':1:31: providers.openai.api_key: the file "nope.key": no such file.'],
    ),
    (
        "providers: {openai: {api_key: 12345}}\n" + D,
        [":1:31: providers.openai.api_key: expected text. Put it in quotes."],
    ),
    ('providers: {openai: {api_key: ""}}\n' + D, [":1:31: providers.openai.api_key: is empty."]),
    (
        "providers: {openai: {api_key: {fil: x}}}\n" + D,
        [
            ":1:31: providers.openai.api_key.file: is missing.",
            ':1:32: providers.openai.api_key: unknown setting "fil". Did you mean "file"?',
        ],
    ),
    (
        'providers: {openai: {base_url: "https://eu.example.com"}}\n' + D,
        [
            ':1:13: providers.openai: no key for "openai". Write api_key: "${OPENAI_API_KEY}", for its address is not the known one.'
        ],
    ),
    (
        "providers: {azure: {api_key: x}}\n" + D,
        [
            ":1:13: providers.azure: its address has a part of your own, in https://{resource}.openai.azure.com/openai/v1. Write parameters: {resource: ...}, or base_url."
        ],
    ),
    (
        "providers: {azure: {api_key: x, parameters: {resorce: y}}}\n" + D,
        [
            ":1:13: providers.azure: its address has a part of your own, in https://{resource}.openai.azure.com/openai/v1. Write parameters: {resource: ...}, or base_url.",
            ':1:55: providers.azure.parameters.resorce: unknown parameter "resorce". Did you mean "resource"?',
        ],
    ),
    (
        'providers: {azure: {api_key: x, parameters: {resource: "a/b"}}}\n' + D,
        [
            ":1:13: providers.azure: its address has a part of your own, in https://{resource}.openai.azure.com/openai/v1. Write parameters: {resource: ...}, or base_url."
        ],
    ),
    (D + "keys: {a: b}\n", [":2:7: keys: expected a list."]),
    (D + "routes: [r]\n", [":2:9: routes: expected a mapping."]),
    (D + "keys: [{name: dev, key: short-canary}]\n", [":2:25: keys[0].key: is shorter than 16 characters."]),
    (
        D + "keys:\n  - {name: dev, key: canary-canary-canary}\n  - {name: dev, key: canary-canary-canary}\n",
        [
            ':4:12: keys[1].name: "dev" is the name of two keys.',
            ':4:22: keys[1].key: is the same key as that of "dev".',
        ],
    ),
    (
        D + "keys: [{name: dev, key: canary-canary-canary, routes: [aa]}]\n",
        [':2:56: keys[0].routes[0]: unknown route "aa". Did you mean "a"?'],
    ),
    (D + "keys: [{key: canary-canary-canary}]\n", [":2:8: keys[0].name: is missing."]),
    (
        D + "server: {host: 0.0.0.0}\n",
        [
            ":2:16: server.host: would let anyone who reaches it spend your money: there are no keys. Add `keys`, listen on 127.0.0.1, or set server.allow_unauthenticated: true."
        ],
    ),
    (D + "server: {port: 70000}\n", [":2:16: server.port: must be at most 65535."]),
    (D + "server: {port: 9000, admin_port: 9000}\n", [":2:34: server.admin_port: is the same as port."]),
    (
        D + "server: {tls: {cert: no.pem, key: no.key}}\n",
        [':2:22: server.tls.cert: no such file: "no.pem".', ':2:35: server.tls.key: no such file: "no.key".'],
    ),
    (D + "server: {workers: 0}\n", [":2:19: server.workers: must be at least 1."]),
    (D + 'server: {port: "${WORD}"}\n', [":2:16: server.port: expected a whole number."]),
]


@pytest.mark.parametrize(("text", "said"), BAD)
def test_a_bad_config_is_told_with_place_and_remedy(text: str, said: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(text, "p.yaml", ENV, Options(today=date(2026, 11, 22)))
    assert [str(problem) for problem in caught.value.problems] == [f"p.yaml{line}" for line in said]
    assert caught.value.kind == "invalid"


def test_no_problem_shows_a_secret() -> None:
    for text, said in BAD:
        assert "canary" not in "".join(said), text


def test_all_problems_are_told_at_once() -> None:
    text = (
        "deployments:\n  a: {provider: opnai, contxt: 3}\n  b: {provider: openai, context: 0}\n"
        "routes:\n  r: {candidates: [c], strategy: cheapst, cahce: 1h}\nkeys: [{name: k, key: short}]\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_text(text, "p.yaml", ENV)
    assert [problem.path for problem in caught.value.problems] == [
        "deployments.a.provider",
        "deployments.a",
        "deployments.b.context",
        "routes.r.candidates[0]",
        "routes.r.strategy",
        "routes.r",
        "keys[0].key",
    ]
