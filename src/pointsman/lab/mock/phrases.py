"""The mock's prose: sentences per writing system, joined at random by a seeded draw. Written for this project."""

from __future__ import annotations

import random

_ENGLISH = (
    "The short answer is that it depends on how often the value changes.",
    "Start with the smallest case and write down what you expect to see.",
    "A rough estimate is usually good enough for the first decision.",
    "Three things matter here: order, size and who waits for whom.",
    "Heat moves from the warm side to the cold side until both agree.",
    "Keep the old version running while the new one proves itself.",
    "Most of the cost comes from the last ten percent of the work.",
    "If two sources disagree, prefer the one that can be checked.",
    "The harbour was quiet, and the ferry left four minutes late.",
    "Measure first; opinions about speed are wrong surprisingly often.",
    "You can split the task into reading, deciding and writing.",
    "In that case the invoice should name both the unit and the rate.",
    "Bread needs time more than it needs strength or sugar.",
    "A queue without a limit is a promise nobody can keep.",
    "The second paragraph contradicts the table on the next page.",
    "Nothing in the report says why the numbers fell in March.",
    "Ask the person who has to operate it before you choose.",
    "It rained on Tuesday, so the count for that day is low.",
    "A good name saves the reader a trip to another file.",
    "The river bends twice before it reaches the mill.",
    "Both answers are right, but they answer different questions.",
    "Write the test that would have caught it, then fix it.",
    "The list is sorted by date — newest first, oldest last.",
    "Small batches fail small, which is the point of them. ✅",
)
_CODE = (
    "```python\ndef mean(values: list[float]) -> float:\n    return sum(values) / len(values)\n```\n",
    '```sql\nSELECT team, SUM(cost) AS "total"\nFROM ledger\nGROUP BY team;\n```\n',
    '```json\n{"name": "sample", "path": "C:\\\\data", "ok": true}\n```\n',
)
_OTHER = {
    "cjk": ("答案取决于数据更新的频率。", "请先从最小的例子开始。", "把任务分成三步会更容易。", "测量之后再做决定。"),
    "kana": ("まず小さな例から始めましょう。", "答えは条件によって変わります。", "数字は三月に下がりました。"),
    "hangul": ("가장 작은 예부터 시작하세요.", "답은 조건에 따라 달라집니다.", "먼저 측정하고 결정하세요."),
    "cyrillic": ("Начните с самого простого примера.", "Сначала измерьте, потом решайте.", "Ответ зависит от условий."),
    "arabic": ("ابدأ بأصغر مثال ممكن.", "الجواب يعتمد على الظروف.", "قس أولاً ثم قرر."),
    "devanagari": ("सबसे छोटे उदाहरण से शुरू करें।", "पहले मापें, फिर निर्णय लें।", "उत्तर परिस्थिति पर निर्भर है।"),
    "greek": ("Ξεκινήστε από το μικρότερο παράδειγμα.", "Πρώτα μετρήστε και μετά αποφασίστε."),
    "hebrew": ("התחילו מהדוגמה הקטנה ביותר.", "קודם מודדים ואז מחליטים."),
    "thai": ("เริ่มจากตัวอย่างที่เล็กที่สุด ", "คำตอบขึ้นอยู่กับเงื่อนไข "),
}
_RANGES = (
    (0x3040, 0x30FF, "kana"),
    (0xAC00, 0xD7AF, "hangul"),
    (0x4E00, 0x9FFF, "cjk"),
    (0x0400, 0x04FF, "cyrillic"),
    (0x0600, 0x06FF, "arabic"),
    (0x0900, 0x097F, "devanagari"),
    (0x0370, 0x03FF, "greek"),
    (0x0590, 0x05FF, "hebrew"),
    (0x0E00, 0x0E7F, "thai"),
)


def script_of(text: str) -> str:
    """Return the writing system of the first 400 characters: a key of the sentence bank, or `latin`."""
    sample = text[:400]
    if sample.isascii():
        return "latin"
    seen = {name for char in sample for low, high, name in _RANGES if low <= ord(char) <= high}
    return next((name for _, _, name in _RANGES if name in seen), "latin")


def prose(rng: random.Random, min_bytes: int, prompt: str, *, code: bool = False) -> str:
    """Return sentences of at least `min_bytes` bytes in the prompt's writing system, drawn from `rng`."""
    script = script_of(prompt)
    bank = _OTHER.get(script, _ENGLISH)
    found, size = [], 0
    if code:
        found.append(bank[0] + "\n" + _CODE[int(rng.random() * len(_CODE))])
        size = len(found[0].encode("utf-8"))
    count = len(bank)
    while size < min_bytes:
        sentence = bank[int(rng.random() * count)]
        found.append(sentence)
        size += 1 + (len(sentence) if sentence.isascii() else len(sentence.encode("utf-8")))
    return " ".join(found)
