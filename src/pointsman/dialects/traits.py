"""Traits: what the messages of a request are like: code or prose, which language, how many turns. Bounded and pure.

Read only where a route's rules or objective ask for them. A guess from the surface: good enough to route, never to bill.
"""

from __future__ import annotations

import re

import msgspec

from pointsman.core.request import Features

MOST_CHARACTERS = 8_000  # of the last user message that are looked at


class _Part(msgspec.Struct, frozen=True):
    text: str = ""


class _Message(msgspec.Struct, frozen=True):
    role: str = ""
    content: list[_Part] | str | None = None


class Traits(msgspec.Struct, frozen=True, gc=False):
    """Hold the traits. `language` is ISO 639-1, "" when not recognised; `turns` counts the user's messages."""

    code: bool = False
    language: str = ""
    turns: int = 1


_messages = msgspec.json.Decoder(list[_Message], strict=False).decode

# Words of source code and of asking for it; two different ones, or one block of it, make it code.
_FENCE = re.compile(
    r"```|^[ \t]*(?:def|class|import|from|func|fn|public|private|static|package|#include|SELECT)\b.*[:{;(]", re.M
)
_CODE_WORDS = re.compile(
    r"\b(python|javascript|typescript|java|golang|rust|c\+\+|sql|regex|bash|kotlin|swift|php|html|css|json|yaml|dockerfile"
    r"|function|refactor|unit tests?|stack ?trace|traceback|segfault|compil(?:e|er|ation)|debug|api|endpoint|git|async"
    r"|null pointer|exception|codebase|pull request|linter|algorithm)\b",
    re.I,
)
_CODE_MARKS = re.compile(r"[{};]\s*$|=>|->|::|\w\(\w*\)|</\w+>|==|!=|\+=", re.M)
MOST_PROSE_MARKS = 3

# First code point -> language, for scripts that one language mostly writes.
_SCRIPTS = (
    (re.compile("[぀-ヿ]"), "ja"),
    (re.compile("[가-힯]"), "ko"),
    (re.compile("[一-鿿]"), "zh"),
    (re.compile("[іїєґІЇЄҐ]"), "uk"),
    (re.compile("[Ѐ-ӿ]"), "ru"),
    (re.compile("[؀-ۿ]"), "ar"),
    (re.compile("[֐-׿]"), "he"),
    (re.compile("[Ͱ-Ͽ]"), "el"),
    (re.compile("[ऀ-ॿ]"), "hi"),
    (re.compile("[฀-๿]"), "th"),
)
# Commonest short words of languages in Latin script.
_WORDS = {
    "en": "the of and to is that it for you with this what how are be on please can my in",
    "de": "der die das und ist nicht ein eine ich mit zu den wie für auf bitte kann sie wir im",
    "fr": "le la les des et est une un pas pour que qui dans vous je sur avec comment du en",
    "es": "el la los las de y es una un que por para con no como en del se qué su",
    "it": "il la che di e un una per non con sono come del nel questo gli è mi le",
    "pt": "o a os as de e é uma um que para com não como em do da por você no",
    "nl": "de het een en van is dat niet op te voor met zijn ik hoe wat je aan er die",
    "pl": "i w nie na jest się z do to że jak co proszę dla czy od po ale mi jestem",
    "sv": "och att det som är en på för inte med jag av till den hur vad kan ett du har",
    "tr": "bir ve bu için ne nasıl ile da de mı çok ben var gibi olarak en daha sen mi",
}
_BY_WORD: dict[str, tuple[str, ...]] = {}
for _language, _words in _WORDS.items():
    for _word in _words.split():
        _BY_WORD[_word] = (*_BY_WORD.get(_word, ()), _language)
_WORD = re.compile(r"[^\W\d_]+")


def with_traits(features: Features, messages: bytes) -> Features:
    """Return the features with the traits of the raw `messages`."""
    traits = read_traits(messages)
    return msgspec.structs.replace(features, code=traits.code, language=traits.language, turns=traits.turns)


def read_traits(messages: bytes) -> Traits:
    """Return the traits of the raw `messages` of a chat request; those of nothing when they have an unknown shape."""
    try:
        decoded = _messages(messages)
    except msgspec.MsgspecError:
        return Traits()
    users = [message for message in decoded if message.role == "user"]
    if not users:
        return Traits(turns=0)
    text = _text(users[-1])[:MOST_CHARACTERS]
    return Traits(looks_like_code(text), language_of(text), len(users))


def looks_like_code(text: str) -> bool:
    """Tell whether a text is source code, has a block of it, or is about it."""
    if _FENCE.search(text):
        return True
    if len({word.lower() for word in _CODE_WORDS.findall(text)}) >= 2:
        return True
    return len(_CODE_MARKS.findall(text)) > MOST_PROSE_MARKS


def language_of(text: str) -> str:
    """Return the language of a text by its script and its commonest words; "" when it does not show."""
    for script, language in _SCRIPTS:
        if len(script.findall(text[:500])) > 1:
            return language
    scores: dict[str, float] = {}
    for word in _WORD.findall(text[:2_000].lower()):
        languages = _BY_WORD.get(word, ())
        for language in languages:
            scores[language] = scores.get(language, 0.0) + 1.0 / len(languages)
    best = max(scores, key=lambda language: scores[language], default="")
    return best if best and scores[best] >= 1.5 else ""


def _text(message: _Message) -> str:
    content = message.content
    if isinstance(content, list):
        return "\n".join(part.text for part in content)
    return content or ""
