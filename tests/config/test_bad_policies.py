"""Every faulty route and the exact words about it: nothing dead, unknown, circular or impossible is served."""

# ruff: noqa: E501 - one row a config

from __future__ import annotations

from datetime import date

import pytest

from pointsman.config.load import Options, load_text
from pointsman.config.problem import ConfigError

ENV = {"OPENAI_API_KEY": "sk-canary-1", "WHEN": 'caller.tem == "sk-canary"', "NAME": "sk-canary-name"}
D = """deployments:
  a: {provider: openai, price: {input: 1, output: 2}, context: 9, quality: 0.5, modalities: [text]}
  b: {provider: openai, price: {input: 1, output: 2}, context: 9, quality: {code: 0.9}, tools: false}
  dark: {provider: openai, model: x, context: 9}
routes:
"""
WINDOW = "deployments: {a: {provider: openai, price: {input: 1, output: 1, windows: ["
ONE = "deployments: {a: {provider: openai}}\n"

# (text of `routes`, what is said of it, each line after `p.yaml:`). The first route stands on line 6.
ROUTES: list[tuple[str, list[str]]] = [
    # strategies and objectives
    (
        "  r: {candidates: [a], objective: {}}",
        ["6:35: routes.r.objective: has no weight above 0. Write some of quality, latency and cost."],
    ),
    (
        "  r: {candidates: [a], objective: {quality: 1}, strategy: cheapest}",
        ['6:59: routes.r.strategy: "cheapest" does not use an objective. Leave `strategy` or `objective` out.'],
    ),
    ("  r: {candidates: [a], strategy: objective}", ["6:34: routes.r.strategy: needs `objective` with its weights."]),
    (
        "  r: {candidates: [{a: 1}], objective: {cost: 1}}",
        ['6:40: routes.r.objective: the candidates have weights, which "objective" does not use.'],
    ),
    (
        "  r: {candidates: [a], objective: {cost: -1, half_usd: 0}}",
        [
            "6:42: routes.r.objective.cost: must be at least 0.",
            "6:56: routes.r.objective.half_usd: must be more than 0.",
        ],
    ),
    (
        "  r: {candidates: [a], objective: {cost: 1, half_usd: 0.00000000001}}",
        ["6:55: routes.r.objective.half_usd: is finer than a billionth of a dollar."],
    ),
    # quality
    (
        "  r: {candidates: [a, b, dark], quality_floor: 0.6}",
        [
            '6:20: routes.r.candidates[0]: "a" can never answer: its quality is 0.5, and quality_floor is 0.6.',
            '6:23: routes.r.candidates[1]: quality_floor needs the quality of "b", which is unknown for chat, tools, extraction. Add a `default` to it.',
            '6:26: routes.r.candidates[2]: quality_floor needs the quality of "dark", which is unknown. Set `quality` of "dark".',
        ],
    ),
    (
        "  r: {candidates: [dark], objective: {quality: 1}}",
        [
            '6:20: routes.r.candidates[0]: the objective needs the quality of "dark", which is unknown. Set `quality` of "dark".'
        ],
    ),
    (
        "  r: {candidates: [dark], strategy: best}",
        ['6:20: routes.r.candidates[0]: best needs the quality of "dark", which is unknown. Set `quality` of "dark".'],
    ),
    ("  r: {candidates: [a], quality_floor: 1.5}", ["6:39: routes.r.quality_floor: must be at most 1."]),
    # limits
    (
        "  r: {candidates: [a, dark], limits: {usd_per_request: 0.1}}",
        [
            '6:23: routes.r.candidates[1]: usd_per_request needs the price of "dark", which is unknown. Set `price` of "dark".'
        ],
    ),
    (
        "  r: {candidates: [a], limits: {usd_per_day: 1}, degrade: [{candidates: [dark]}]}",
        [
            '6:74: routes.r.degrade[0].candidates[0]: usd_per_day needs the price of "dark", which is unknown. Set `price` of "dark".'
        ],
    ),
    (
        "  r: {candidates: [a], limits: {ttft_ms_p95: 800}, relax: [usd_per_day, ttft_ms_p95, ttft_ms_p95]}",
        [
            '6:60: routes.r.relax[0]: there is no "usd_per_day" to give up. Write the demand, or leave it out here.',
            '6:86: routes.r.relax[2]: "ttft_ms_p95" is listed twice.',
        ],
    ),
    (
        "  r: {candidates: [a], relax: [speed]}",
        [
            "6:32: routes.r.relax[0]: expected 'ttft_ms_p95', 'usd_per_request', 'quality_floor' or 'usd_per_day'.",
        ],
    ),
    (
        "  r: {candidates: [a], limits: {ttft: 800}}",
        ['6:33: routes.r.limits: unknown setting "ttft". Valid: ttft_ms_p95, usd_per_day, usd_per_request.'],
    ),
    ("  r: {candidates: [a], explore: 0.8}", ["6:33: routes.r.explore: must be at most 0.5."]),
    # stickiness and durations
    ("  r: {candidates: [a], sticky: user}", ["6:32: routes.r.sticky: expected 'session' or 'conversation'."]),
    (
        "  r: {candidates: [a], sticky: {ttl: '30'}}",
        ['6:38: routes.r.sticky.ttl: expected a duration: "30s", "15m", "24h", "7d", or a number of seconds.'],
    ),
    ("  r: {candidates: [a], sticky: {ttl: 90d}}", ["6:38: routes.r.sticky.ttl: must be 1 second to 30 days."]),
    # what is sent
    (
        "  r: {candidates: [a], params: {model: x, messages: [], temperature: .nan}}",
        [
            "6:33: routes.r.params.model: is written by the router itself.",
            "6:43: routes.r.params.messages: is written by the router itself.",
            "6:70: routes.r.params.temperature: is no JSON value.",
        ],
    ),
    # the ladder
    (
        "  r: {candidates: [a], degrade: [{}, {reply: x, refuse: {}}]}",
        [
            "6:34: routes.r.degrade[0]: expected one of candidates, max_output, cached, reply or refuse.",
            "6:38: routes.r.degrade[1]: expected one of candidates, max_output, cached, reply or refuse.",
        ],
    ),
    (
        "  r: {candidates: [a], degrade: [{candidates: [a]}]}",
        [
            "6:34: routes.r.degrade[0]: is a dead rung: all its candidates were tried above it. Write a smaller `max_output`."
        ],
    ),
    (
        "  r: {candidates: [a], degrade: [{candidates: [b]}, {max_output: 100}, {max_output: 200}]}",
        [
            "6:72: routes.r.degrade[2]: is a dead rung: all its candidates were tried above it. Write a smaller `max_output`."
        ],
    ),
    (
        "  r: {candidates: [a], degrade: [{cached: {max_age: 1h}}, {candidates: [b]}]}",
        ['6:59: routes.r.degrade[1]: candidates must stand above "cached".'],
    ),
    (
        "  r: {candidates: [a], degrade: [{reply: x}, {refuse: {}}]}",
        ['6:46: routes.r.degrade[1]: is a dead rung: "reply" above it is asked first.'],
    ),
    (
        "  r: {candidates: [a], degrade: [{refuse: {}}, {cached: {max_age: 1h}}]}",
        ['6:48: routes.r.degrade[1]: is a dead rung: "refuse" above it ends the ladder. Put `cached` before it.'],
    ),
    (
        "  r: {candidates: [a], degrade: [{reply: x, max_output: 3}]}",
        ['6:45: routes.r.degrade[0].max_output: goes with candidates, not with "reply".'],
    ),
    (
        "  r: {candidates: [a], degrade: [{candidates: [c, b, b]}]}",
        [
            '6:48: routes.r.degrade[0].candidates[0]: unknown deployment "c". Valid: a, b, dark.',
            '6:54: routes.r.degrade[0].candidates[2]: "b" is listed twice.',
        ],
    ),
    ("  r: {candidates: [a], degrade: [{cached: {}}]}", ["6:43: routes.r.degrade[0].cached.max_age: is missing."]),
    # rules
    ("  r: {rules: []}", ["6:14: routes.r.rules: is empty."]),
    (
        "  r: {rules: [{when: features.code, use: a}]}",
        [
            "6:6: routes.r.candidates: is missing: there may be no rule that holds. Write them, or a last rule without `when`."
        ],
    ),
    (
        "  r: {rules: [{use: x}]}",
        [
            '6:21: routes.r.rules[0].use: unknown route "x". Valid: a, b, dark, openai/a, openai/b, openai/dark, openai/x, r.'
        ],
    ),
    ("  r: {rules: [{use: r}]}", ["6:21: routes.r.rules[0].use: leads back to where it came from: r -> r."]),
    (
        "  r: {rules: [{use: s}]}\n  s: {split: {arms: {one: {weight: 1, use: t}, two: {weight: 1, use: a}}}}\n  t: {candidates: [a], rules: [{when: features.code, use: r}]}",
        ["8:59: routes.t.rules[0].use: leads back to where it came from: r -> s -> t -> r."],
    ),
    (
        "  r: {rules: [{when: features.code}, {use: a}]}",
        ["6:15: routes.r.rules[0]: does nothing. Write `use`, or settings like candidates or strategy."],
    ),
    (
        "  r: {rules: [{when: features.code, use: a, strategy: fastest, tags: [x]}, {use: a}]}",
        [
            "6:42: routes.r.rules[0].use: goes to another route, so strategy, tags here would not count. Write one of them."
        ],
    ),
    (
        "  r: {rules: [{when: features.code, strategy: fastest}, {use: a}]}",
        ["6:15: routes.r.rules[0]: has no candidates, and the route has none either. Write them here or there."],
    ),
    (
        "  r: {candidates: [a], rules: [{when: features.code, candidates: [c], strategy: chepest}]}",
        [
            '6:67: routes.r.rules[0].candidates[0]: unknown deployment "c". Valid: a, b, dark.',
            '6:81: routes.r.rules[0].strategy: unknown strategy "chepest". Did you mean "cheapest"?',
        ],
    ),
    (
        "  r: {rules: [{use: a}, {when: features.code, use: b}]}",
        ["6:32: routes.r.rules[1].when: is a dead rule: rule 1 above it holds always."],
    ),
    (
        "  r: {rules: [{when: features.code, use: a}, {when: 'features.code ', use: b}, {use: b}]}",
        ["6:53: routes.r.rules[1].when: is a dead rule: rule 1 above it has the same condition."],
    ),
    (
        "  r: {rules: [{when: 'false', use: a}, {when: 'true', use: b}]}",
        [
            "6:22: routes.r.rules[0].when: is a dead rule: it never holds.",
            "6:47: routes.r.rules[1].when: holds always. Leave `when` out.",
        ],
    ),
    (
        "  r: {rules: [{when: '', use: a}]}",
        ["6:22: routes.r.rules[0].when: is empty. Leave it out for a rule that holds always."],
    ),
    (
        "  r: {rules: [{when: 'caller.tem == \"x\"', use: a}, {use: b}]}",
        ['6:22: routes.r.rules[0].when: unknown fact "caller.tem" at character 1. Did you mean "caller.team"?'],
    ),
    (
        "  r: {rules: [{when: '\"x-team\" in request.headers', use: a}, {use: b}]}",
        [
            '6:22: routes.r.rules[0].when: the header "x-team" at character 1 is not among server.rule_headers. Add it there.'
        ],
    ),
    (
        "  r: {rules: [{when: '${WHEN}', use: a}, {use: b}]}",
        ["6:22: routes.r.rules[0].when: is not a condition that can be used (from the environment)."],
    ),
    ("  r: {rules: [{use: '${NAME}'}]}", ["6:21: routes.r.rules[0].use: unknown route (from the environment)."]),
    (
        "  r: {rules: [{when: features.images, use: a}, {when: 'features.tools && features.code', candidates: [b]}, {use: b}]}",
        [
            '6:22: routes.r.rules[0].when: demands features.images, but no candidate of "a" reads images.',
            "6:55: routes.r.rules[1].when: demands features.tools, but no candidate of this rule takes tools.",
        ],
    ),
    (
        "  r: {candidates: [a], rules: [{wen: x, use: a}]}",
        ['6:33: routes.r.rules[0]: unknown setting "wen". Did you mean "when"?'],
    ),
    # splits
    (
        "  r: {rules: [{use: a}], split: {arms: {one: {weight: 1, use: a}, two: {weight: 1, use: b}}}}",
        ["6:26: routes.r.split: is dead: rule 1 above it holds always."],
    ),
    ("  r: {split: {arms: {one: {weight: 1, use: a}}}}", ["6:21: routes.r.split.arms: needs two arms or more."]),
    (
        "  r: {split: {arms: {one: {weight: 0, use: a}, 'a b': {weight: -1, use: b}}}}",
        [
            "6:36: routes.r.split.arms.one.weight: a weight must be more than 0.",
            "6:48: routes.r.split.arms.a b: a name is 1 to 128 of the characters A-Z a-z 0-9 . _ : / @ -",
            "6:64: routes.r.split.arms.a b.weight: a weight must be more than 0.",
        ],
    ),
    (
        "  r: {split: {arms: {one: {weight: 1}, two: {use: b}}}}",
        ["6:45: routes.r.split.arms.two.weight: is missing."],
    ),
    (
        "  r: {split: {arms: {one: {weight: 1}, two: {weight: 1, use: b}}}}",
        ["6:27: routes.r.split.arms.one: has no candidates, and the route has none either. Write them here or there."],
    ),
    (
        "  r: {split: {by: team, arms: {one: {weight: 1, use: a}, two: {weight: 1, use: b}}}}",
        ["6:19: routes.r.split.by: expected 'request', 'session', 'user' or 'key'."],
    ),
    (
        "  r: {candidates: [a], split: {arms: {one: {weight: 1}, two: {weight: 1, use: b}}}}\n  r@one: {candidates: [a]}",
        ['6:44: routes.r.split.arms.one: its own name "r@one" is that of a route. Name one of them otherwise.'],
    ),
]

OTHERS: list[tuple[str, list[str]]] = [
    ("deployments: {a: {provider: openai, quality: 1.5}}", ["1:46: deployments.a.quality: must be at most 1."]),
    (
        "deployments: {a: {provider: openai, quality: {poetry: 0.5}}}",
        ["1:47: deployments.a.quality.poetry: expected 'chat', 'code', 'tools', 'extraction' or 'default'."],
    ),
    ("deployments: {a: {provider: openai, quality: {}}}", ["1:46: deployments.a.quality: is empty."]),
    (
        WINDOW + "{from: 12:30, until: '13:00', input: 1, output: 1}]}}}",
        ['1:83: deployments.a.price.windows[0].from: expected a time of day in quotes, "HH:MM".'],
    ),
    (
        WINDOW + "{from: '12:30', until: '12:30', input: 1, output: 1}]}}}",
        ["1:76: deployments.a.price.windows[0]: begins when it ends."],
    ),
    (
        WINDOW + "{from: '22:00', until: '06:00', input: 1, output: 1}, "
        "{from: '23:00', until: '01:00', input: 1, output: 1}]}}}",
        ["1:130: deployments.a.price.windows[1]: is dead: the windows above it hold at all its times."],
    ),
    (
        WINDOW + "{from: '22:00', until: '24:00', input: 1}]}}}",
        [
            "1:76: deployments.a.price.windows[0].output: is missing.",
            '1:99: deployments.a.price.windows[0].until: expected a time of day in quotes, "HH:MM".',
        ],
    ),
    (
        ONE + "server: {time_zone: Europe/Berln}",
        ['2:21: server.time_zone: unknown time zone "Europe/Berln". Did you mean "Europe/Berlin"?'],
    ),
    (
        ONE + "server: {rule_headers: [x-team, X-Team, Cookie]}",
        [
            "2:33: server.rule_headers[1]: is no name of a header in lower case.",
            "2:41: server.rule_headers[2]: holds a credential, which no rule may look at.",
        ],
    ),
]
BAD = [*((D + text + "\n", said) for text, said in ROUTES), *OTHERS]


def ids(value: object) -> str:
    return str(value).removeprefix(D).strip()[:60] if isinstance(value, str) else ""


@pytest.mark.parametrize(("text", "said"), BAD, ids=ids)
def test_a_faulty_policy_is_told_with_place_and_remedy(text: str, said: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(text, "p.yaml", ENV, Options(today=date(2026, 11, 22)))
    assert [str(problem) for problem in caught.value.problems] == [f"p.yaml:{line}" for line in said]
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("names", [range(31), range(30, -1, -1), range(2000)], ids=["down", "up", "far"])
def test_a_way_through_too_many_routes_is_refused(names: range) -> None:
    last = max(names)
    lines = [f"  r{i}: {{rules: [{{use: {'a' if i == last else f'r{i + 1}'}}}]}}" for i in names]
    with pytest.raises(ConfigError) as caught:
        load_text(D + "\n".join(lines), "p.yaml", ENV, Options(today=date(2026, 11, 22)))
    said = {problem.message for problem in caught.value.problems}
    assert said == {"a request may go through more than 30 routes from here."}


def test_a_fault_of_a_route_is_told_once_though_its_rules_inherit_it() -> None:
    text = D + "  r: {candidates: [a], strategy: chepest, rules: [{when: features.code, tags: [x]}, {tags: [y]}]}\n"
    with pytest.raises(ConfigError) as caught:
        load_text(text, "p.yaml", ENV, Options(today=date(2026, 11, 22)))
    assert [problem.path for problem in caught.value.problems] == ["routes.r.strategy"]
