"""The words of the demo traffic, all written for this project; `traffic` makes requests of them."""

from __future__ import annotations

from typing import Any

QUESTIONS = (
    "Why does ice float on water?",
    "What is the difference between a fjord and a bay?",
    "How many minutes are there in a leap year?",
    "Name three birds that cannot fly.",
    "What does 'amortised cost' mean in one sentence?",
    "Which is larger, 7/12 or 4/7?",
    "Suggest a polite way to decline a meeting.",
    "What is the plural of 'octopus', and why do people argue about it?",
    "How do I remove candle wax from a wooden table?",
    "Is a tomato a fruit in botany?",
    "What time is it in Lisbon when it is noon in Helsinki?",
    "Give me a synonym for 'steadfast'.",
    "How long should rice rest after cooking?",
    "What is a good first plant for a dark room?",
    "Explain compound interest to a twelve-year-old.",
    "What is the boiling point of water at 2,000 metres?",
    "Who decides the order of the stops on a bus line?",
    "What makes a rainbow a bow and not a stripe?",
    "How do locks lift a ship up a hill?",
    "What is the shortest way to say 'I will be late' in an email?",
    "Does a heavier bicycle stop later?",
    "What is the job of a keystone in an arch?",
    "Why do cats purr?",
    "What should I check before buying a used piano?",
    "Convert 68 degrees Fahrenheit to Celsius.",
    "What is a palindrome? Give one that is not a word.",
    "How is salt made from sea water?",
    "Why are manhole covers round?",
    "What does a notary do?",
    "What is the safest way to store a kitchen knife?",
)

# language, then what its speakers ask
LANGUAGES: dict[str, tuple[str, ...]] = {
    "de": (
        "Wie lange muss ein Hefeteig gehen, wenn die Küche kühl ist?",
        "Fasse in zwei Sätzen zusammen, was ein Werkvertrag ist.",
        "Schreibe eine kurze Absage an einen Bewerber, freundlich und klar.",
    ),
    "fr": (
        "Comment accorder le participe passé avec l'auxiliaire avoir ?",
        "Propose trois titres pour un article sur les marais salants.",
        "Explique la différence entre une rente et un salaire.",
    ),
    "es": (
        "¿Qué diferencia hay entre un río y un arroyo?",
        "Escribe un aviso breve: el ascensor no funciona hasta el viernes.",
        "¿Cómo se calcula el área de un trapecio?",
    ),
    "pt": (
        "Que cuidados devo ter ao plantar um limoeiro num vaso?",
        "Resuma em uma frase o que é inflação.",
        "Sugira um roteiro de um dia para quem gosta de azulejos.",
    ),
    "it": (
        "Perché la pasta va scolata al dente?",
        "Scrivi un messaggio per chiedere il rimborso di un biglietto.",
        "Che cosa fa un liutaio?",
    ),
    "pl": (
        "Jak przygotować rower do zimy?",
        "Wyjaśnij krótko, czym jest umowa najmu.",
        "Napisz życzenia urodzinowe dla sąsiadki.",
    ),
    "ru": (
        "Почему зимой дни короче?",
        "Напиши короткое объявление о потерянном зонте.",
        "Чем отличается аванс от задатка?",
    ),
    "el": ("Πώς φυλάσσεται σωστά το ελαιόλαδο;", "Γράψε μια σύντομη πρόσκληση για δείπνο.", "Τι είναι η άμπωτη;"),
    "ar": ("كيف أعتني بنبات النعناع في المنزل؟", "اكتب رسالة قصيرة لتأجيل موعد.", "ما الفرق بين البحر والمحيط؟"),
    "hi": ("चाय में अदरक कब डालना चाहिए?", "छुट्टी के लिए एक छोटा आवेदन लिखो।", "नदी का उद्गम क्या होता है?"),
    "zh": ("为什么秋天树叶会变黄？", "写一条通知：周三停水，请提前储水。", "请用三句话介绍围棋。"),
    "ja": (
        "味噌汁を沸騰させないのはなぜですか？",
        "会議を来週に延期するメールを書いてください。",
        "川と運河の違いは何ですか？",
    ),
    "ko": (
        "김치는 왜 발효되나요?",
        "도서관 책 반납이 늦어진다고 알리는 문자를 써 주세요.",
        "조수 간만의 차이는 왜 생기나요?",
    ),
    "tr": (
        "Zeytin ağacı ne zaman budanır?",
        "Komşuya gürültü için nazik bir not yaz.",
        "Kira ile ipotek arasındaki fark nedir?",
    ),
}

CODE_TASKS = (
    "Write a Python function that merges two sorted lists without using sort.",
    "Explain what this does and rename it well:\n```python\ndef f(a):\n    return {k: v for v, k in enumerate(a)}\n```",
    "Find the mistake:\n```python\ndef total(rows=[]):\n    rows.append(1)\n    return sum(rows)\n```",
    "Turn this loop into SQL:\n```python\nfor row in orders:\n    if row.open:\n        by_city[row.city] += row.value\n```",
    "Write a Go function that reads lines from standard input and prints every third.",
    'Why does this never end?\n```c\nfor (unsigned i = 10; i >= 0; i--) printf("%u\\n", i);\n```',
    "Write a bash script that keeps the five newest files of a folder and deletes the rest.",
    "Give me a regular expression for a 24-hour time such as 07:45, and test cases.",
    "Write a TypeScript type for a tree whose leaves are numbers.",
    "Refactor into one expression:\n```js\nlet out = [];\nfor (const x of xs) { if (x.ok) { out.push(x.id); } }\n```",
    "Write the SQL that lists customers without an order in the last 90 days.",
    "What is the complexity of this function?\n```python\ndef g(n):\n    return 1 if n < 2 else g(n // 2) + g(n // 2)\n```",
    "Write a unit test for a function slug(title) that makes URL slugs.",
    "Implement a ring buffer of fixed size as a Python class.",
    "Explain the difference between a mutex and a semaphore with a code example.",
    "Write a Rust function that counts words in a &str without allocating for each word.",
    "Port to Python: `awk -F, '$3 > 10 {n++} END {print n}'`",
    "Review this function for security:\n```python\ndef page(name):\n    return open('/srv/pages/' + name).read()\n```",
)

SYSTEMS = (
    "You are the information desk of a small museum. Answer in at most two sentences.",
    "You write for pilots. Use short sentences, metric units and no adjectives.",
    "You are a patient maths teacher. Never give the result before the method.",
    "You answer as a table of two columns whenever that is possible.",
    "You are the help desk of a water company. Never promise a date.",
    "You only correct grammar. Return the corrected text and nothing else.",
    "You translate menus for guests. Keep the name of the dish in the original.",
    "You are an editor who cuts every text to half its length.",
)
SYSTEM_ASKS = (
    "The lift is broken and my father uses a wheelchair. What can we do?",
    "There is a brown stain on the ceiling since last night's rain.",
    "Solve 3x + 7 = 2x + 19.",
    "Their going to there house because they're late.",
    "Compare train and night bus for a trip of 600 kilometres.",
    "Soupe à l'oignon, tarte fine aux pommes, fromage du pays.",
    "My bill is twice as high as last month although I was away.",
)

TURNS = (
    ("I want to learn to sail.", "Good choice. Do you have a lake or the sea near you?", "A lake, rather small."),
    (
        "Plan my Saturday in a harbour town.",
        "Museum, fish market, or a walk on the pier?",
        "The market, but not too early.",
    ),
    ("Help me name a bakery.", "Should it sound old or new?", "Old, but not pretended."),
    ("My sourdough is flat.", "How warm is your kitchen, and how old is the starter?", "17 degrees, five days."),
    ("Is this lease fair?", "Which clause worries you?", "Rent goes up by the index plus two percent."),
    ("I need a birthday present.", "For whom, and what do they like?", "My aunt. Maps, tea, crime novels."),
    ("Explain tides.", "The moon pulls the near side more than the far side.", "Then why are there two a day?"),
    (
        "Write a haiku on rust.",
        "Gate that no one oils / orange dust on autumn hands / hinge still remembers",
        "Now on moss.",
    ),
    ("Quiz me on capitals.", "What is the capital of Mongolia?", "Ulaanbaatar. Next."),
    ("How do I season a pan?", "Is it cast iron or carbon steel?", "Carbon steel, brand new."),
)

SCHEMAS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    (
        "ticket",
        "Classify: 'The app logs me out each time I rotate the phone.'",
        {
            "type": "object",
            "properties": {
                "team": {"type": "string", "enum": ["mobile", "billing", "accounts"]},
                "severity": {"type": "integer", "minimum": 1, "maximum": 5},
                "summary": {"type": "string"},
            },
            "required": ["team", "severity", "summary"],
            "additionalProperties": False,
        },
    ),
    (
        "invoice",
        "Read: 'Invoice 2210 of 3 May: 12 chairs at 49.50, delivery 30.00, due in 14 days.'",
        {
            "type": "object",
            "properties": {
                "number": {"type": "string"},
                "date": {"type": "string", "format": "date"},
                "lines": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"what": {"type": "string"}, "amount": {"type": "number", "minimum": 0}},
                        "required": ["what", "amount"],
                        "additionalProperties": False,
                    },
                },
            },
            "required": ["number", "date", "lines"],
            "additionalProperties": False,
        },
    ),
    (
        "people",
        "List the people: 'Mira met Jonas and his sister Edda at the ferry.'",
        {
            "type": "object",
            "properties": {"people": {"type": "array", "items": {"type": "string"}, "minItems": 1}},
            "required": ["people"],
            "additionalProperties": False,
        },
    ),
    (
        "route",
        "Plan a walk from the mill to the lighthouse with two stops.",
        {
            "type": "object",
            "properties": {
                "stops": {"type": "array", "items": {"$ref": "#/$defs/stop"}, "minItems": 2, "maxItems": 4},
                "round_trip": {"type": "boolean"},
            },
            "required": ["stops", "round_trip"],
            "additionalProperties": False,
            "$defs": {
                "stop": {
                    "type": "object",
                    "properties": {"place": {"type": "string"}, "minutes": {"type": "integer", "minimum": 1}},
                    "required": ["place", "minutes"],
                    "additionalProperties": False,
                }
            },
        },
    ),
)

TOOLS: tuple[dict[str, Any], ...] = (
    {
        "name": "get_tide",
        "description": "Return the next high and low tide of a harbour.",
        "parameters": {
            "type": "object",
            "properties": {"harbour": {"type": "string"}, "day": {"type": "string", "format": "date"}},
            "required": ["harbour"],
        },
    },
    {
        "name": "search_orders",
        "description": "Find orders of a customer.",
        "parameters": {
            "type": "object",
            "properties": {
                "customer": {"type": "string"},
                "status": {"type": "string", "enum": ["open", "sent", "returned"]},
                "limit": {"type": "integer", "minimum": 1, "maximum": 50},
            },
            "required": ["customer", "status"],
        },
    },
    {
        "name": "convert_units",
        "description": "Convert a value from one unit to another.",
        "parameters": {
            "type": "object",
            "properties": {"value": {"type": "number"}, "from": {"type": "string"}, "to": {"type": "string"}},
            "required": ["value", "from", "to"],
        },
    },
)
TOOL_ASKS = (
    "Use get_tide for the harbour of Husum tomorrow.",
    "Call search_orders for customer Brandt, open ones only.",
    "With convert_units: how many nautical miles are 340 kilometres?",
    "Use get_tide for Saint-Malo and convert_units from metres to feet.",
    "Which orders did Ms Okafor return? Use the search_orders tool.",
    "Just say hello; no lookup is needed.",
)

LONG_TASKS = (
    "Summarise the minutes above in five points.",
    "Which decisions above contradict each other?",
    "List every date in the document above with one word on what happens then.",
    "Write a friendly letter to the members that explains the document above.",
)
LONG_SUBJECTS = ("The harbour board", "The choir", "The housing co-operative", "The lab safety group", "The library")
LONG_VERBS = (
    "discussed",
    "postponed",
    "approved",
    "rejected after a long debate",
    "took note of",
    "asked for details on",
)
LONG_OBJECTS = (
    "the repair of the northern roof",
    "the budget for the coming spring",
    "a request from the neighbours about noise after ten",
    "the purchase of two used boats",
    "the new rules for borrowing tools",
    "the report on water damage in the cellar",
    "the offer of a second printing house",
    "the change of the opening hours in winter",
)
LONG_ENDINGS = (
    "with seven votes in favour and two against.",
    "because the figures of the last quarter were incomplete.",
    "and set the next meeting for the second Tuesday.",
    "although the treasurer had warned of the cost.",
    "so that work can begin before the first frost.",
    "and asked the secretary to write to the insurer.",
)

PICTURE_ASKS = (
    "What colour dominates this picture?",
    "Describe the picture in one sentence for someone who cannot see it.",
    "Is the upper left corner lighter than the lower right one?",
    "Suggest a file name for this picture.",
)
WRITING = (
    "Write the opening paragraph of a story set in a signal box.",
    "Draft a press release: a ferry line starts running at night.",
    "Write a limerick about a forgetful gardener.",
    "Compose a farewell speech for a colleague of thirty years, warm and short.",
    "Describe the smell of rain without using the word 'fresh'.",
    "Write a product text for a wooden ruler.",
    "Rewrite as a headline: the bridge will be closed for three weeks.",
    "Give me ten names for a grey cat with a crooked tail.",
    "Write a fable in which the tortoise loses, and what it learns.",
    "Write a recipe for lentil soup as if it were a weather report.",
)
THINKING = (
    "Three boxes are labelled wrongly. What is the least number of draws to fix the labels?",
    "A train leaves at 9:10 at 80 km/h, another at 9:40 at 110 km/h. When does the second catch up?",
    "Is it cheaper to heat water on gas or electricity if gas costs a third per kWh but wastes half?",
    "Five people share a debt unevenly. Propose a fair scheme and show why nobody gains by leaving.",
    "Prove that the sum of two odd numbers is even, twice, with different ideas.",
    "How would you estimate the number of piano tuners in a city of two million?",
)
