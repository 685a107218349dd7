"""Words that decide whether two questions may have the same answer, in English, German, French and Spanish. Pure tables.

A word that is missing here costs at most a hit where `words` are compared whole, and leaves the decision to the threshold
where they are not; docs/caching.md says which is when.
"""

from __future__ import annotations


def _all(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Short forms that are written out first, so that a negation in them is seen.
SHORT_FORMS = {
    "can't": "can not",
    "cannot": "can not",
    "won't": "will not",
    "shan't": "shall not",
    "ain't": "is not",
    "i'm": "i am",
    "what's": "what is",
    "where's": "where is",
    "who's": "who is",
    "when's": "when is",
    "how's": "how is",
    "it's": "it is",
    "that's": "that is",
    "there's": "there is",
    "let's": "let us",
    "i'd": "i would",
    "i'll": "i will",
    "i've": "i have",
    "you're": "you are",
    "we're": "we are",
    "they're": "they are",
    "you've": "you have",
    "we've": "we have",
    "e-mail": "email",
    "e-mails": "emails",
}

# Said out of politeness, or without any weight of their own: left out of the words that are compared.
POLITE = (
    *("could you please tell me", "can you please tell me", "could you tell me", "can you tell me", "please tell me"),
    *("i would like to know", "i want to know", "do you know", "tell me", "quick question", "good morning"),
    *("können sie mir bitte sagen", "können sie mir sagen", "kannst du mir sagen", "ich möchte wissen", "guten tag"),
    *("pouvez vous me dire", "peux tu me dire", "s il vous plaît", "s il te plaît", "je voudrais savoir"),
    *("puede decirme", "puedes decirme", "me puede decir", "por favor", "quisiera saber", "buenos días"),
)
LIGHT = _all(
    "a an the please kindly hi hello hey thanks thank bitte danke hallo bonjour merci salut hola gracias der die "
    "das den dem des ein eine einen einem einer eines le la les l un une el los las una unos unas"
)

# Ways to begin that ask the same.
OPENINGS = {
    **dict.fromkeys(("how do i", "how can i", "how could i", "how would i", "how should i", "how to"), "how"),
    **dict.fromkeys(("how do you", "how do we", "how can we", "how does one", "how can one"), "how"),
    **dict.fromkeys(("what is the way to", "what is the best way to"), "how best"),
    **dict.fromkeys(("is it possible to", "is it possible for me to", "am i able to", "may i", "can i"), "allowed"),
    **dict.fromkeys(("wie kann ich", "wie kann man", "wie könnte ich"), "wie"),
    **dict.fromkeys(("comment puis je", "comment est ce que je peux", "comment peut on"), "comment"),
    **dict.fromkeys(("cómo puedo", "cómo se puede"), "cómo"),
}

# Other words for the same thing, whatever it is about.
SAME = {
    "sign in": "log in",
    "log into": "log in",
    "login": "log in",
    "sign into": "log in",
    "sign out": "log out",
    "logout": "log out",
    "e mail": "email",
    "purchase": "buy",
    "begin": "start",
    "phone": "telephone",
    "photo": "picture",
    "photos": "pictures",
    "ok": "okay",
    "usa": "us",
    "whats": "what is",
    "pls": "please",
}

NEGATIONS = _all(
    "not no never none neither nor nothing nobody nowhere without hardly barely except unless instead cannot nicht "
    "kein keine keinen keinem keiner keines nie niemals nichts niemand ohne weder außer statt kaum ne n pas jamais "
    "rien personne aucun aucune sans ni sauf guère non nunca nada nadie ningún ninguna ninguno sin tampoco jamás "
    "excepto salvo"
)

# Words that turn the meaning when one stands for another. Those of one set between two bars are told apart from each other; a
# verb stands with its other forms made by `_forms`.
_VERBS = (
    "enable|disable|activate|deactivate|allow|forbid|prohibit|permit|deny|increase|decrease|raise|lower|reduce|extend|"
    "shorten|add|remove|delete|insert|create|destroy|start|stop|open|close|lock|unlock|accept|reject|refuse|approve|"
    "decline|include|exclude|import|export|upload|download|install|uninstall|connect|disconnect|subscribe|unsubscribe|"
    "join|leave|enter|exit|buy|sell|lend|borrow|send|receive|push|pull|encrypt|decrypt|encode|decode|compress|"
    "decompress|mount|unmount|show|hide|win|lose|pass|fail|love|hate|gain|follow|unfollow|block|unblock|merge|split|"
    "expand|collapse|attach|detach|pause|resume|cancel|renew|upgrade|downgrade|archive|restore|mute|unmute|gewinnen|"
    "verlieren|kaufen|verkaufen|öffnen|schließen|aktivieren|deaktivieren|hinzufügen|entfernen|starten|stoppen|"
    "erhöhen|senken|erlauben|verbieten|kündigen|verlängern|activer|désactiver|ouvrir|fermer|acheter|vendre|ajouter|"
    "supprimer|augmenter|diminuer|activar|desactivar|abrir|cerrar|comprar|vender|añadir|eliminar|aumentar|disminuir"
)
_OTHERS = (
    "on|off|in|out|up|down|over|under|above|below|before|after|to|from|into|with|without|for|against|until|since|inside|"
    "outside|first|last|next|previous|more|less|fewer|most|least|many|few|much|little|max|maximum|min|minimum|"
    "highest|lowest|high|low|higher|lower|larger|smaller|large|small|largest|smallest|big|bigger|biggest|longer|"
    "shorter|longest|shortest|long|short|better|worse|best|worst|good|bad|faster|slower|fast|slow|fastest|slowest|"
    "early|late|earlier|later|earliest|latest|old|new|older|newer|oldest|newest|hot|cold|warm|cool|left|right|top|"
    "bottom|north|south|east|west|true|false|yes|true|always|never|sometimes|all|some|any|every|each|both|either|only|"
    "also|too|again|still|already|public|private|internal|external|local|remote|free|paid|single|multiple|same|"
    "different|safe|unsafe|legal|illegal|possible|impossible|necessary|optional|required|valid|invalid|available|"
    "unavailable|active|inactive|enabled|disabled|visible|hidden|online|offline|male|female|man|woman|husband|wife|"
    "mother|father|son|daughter|brother|sister|adult|child|buyer|seller|sender|recipient|monthly|yearly|weekly|daily|"
    "annual|hourly|today|tomorrow|yesterday|morning|evening|night|weekday|weekdays|weekend|weekends|winter|summer|"
    "i|you|he|she|we|they|your|his|her|our|their|"
    "was|were|will|would|did|had|should|must|might|ascending|descending|positive|negative|gross|net|debit|credit|"
    "an|aus|auf|zu|vor|nach|über|unter|mit|für|gegen|von|bis|seit|mehr|weniger|größer|kleiner|höher|niedriger|immer|"
    "heute|morgen|gestern|links|rechts|oben|unten|alt|neu|erste|letzte|"
    "avant|après|avec|pour|contre|plus|moins|dessus|dessous|toujours|demain|hier|aujourd'hui|gauche|droite|premier|dernier|"
    "antes|después|con|para|más|menos|mayor|menor|siempre|hoy|mañana|ayer|izquierda|derecha|primero|último"
)


def _forms(verb: str) -> tuple[str, ...]:
    """Return an English verb with its endings; in other languages they hit nothing."""
    stem = verb.removesuffix("e")
    return verb, f"{verb}s", f"{stem}ed", f"{stem}ing", f"{verb}{verb[-1]}ed", f"{verb}{verb[-1]}ing", f"{stem}ation"


POLES: dict[str, str] = {form: verb for verb in _VERBS.split("|") for form in _forms(verb)}
POLES |= {word: word for word in _OTHERS.split("|")}

# What is asked for: the first of these in a question; two that ask for something else have other answers.
ASKS = {
    **{word: word for word in sorted(_all("who whom whose what which when where why how"))},
    "wer": "wer",
    "wen": "wen",
    "wem": "wem",
    "was": "was",
    "welche": "welch",
    "welcher": "welch",
    "welches": "welch",
    "wann": "wann",
    "wo": "wo",
    "wohin": "wohin",
    "woher": "woher",
    "warum": "warum",
    "wieso": "warum",
    "wie": "wie",
    "wieviel": "wieviel",
    "wozu": "wozu",
    "qui": "qui",
    "que": "que",
    "quoi": "quoi",
    "quel": "quel",
    "quelle": "quel",
    "quels": "quel",
    "quelles": "quel",
    "quand": "quand",
    "où": "où",
    "pourquoi": "pourquoi",
    "comment": "comment",
    "combien": "combien",
    "quién": "quién",
    "qué": "qué",
    "cuál": "cuál",
    "cuáles": "cuál",
    "cuándo": "cuándo",
    "dónde": "dónde",
    "cómo": "cómo",
    "cuánto": "cuánto",
    "cuánta": "cuánto",
    "cuántos": "cuánto",
    "cuántas": "cuánto",
}

_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
NUMBERS = {word: str(value) for value, word in enumerate(_UNITS.split())} | {
    "thirty": "30",
    "forty": "40",
    "fifty": "50",
    "sixty": "60",
    "seventy": "70",
    "eighty": "80",
    "ninety": "90",
    "hundred": "100",
    "thousand": "1000",
    "million": "1000000",
    "half": "0.5",
    "twice": "2",
    "once": "1",
    "dozen": "12",
    "second": "2nd",
    "third": "3rd",
    "fourth": "4th",
    "fifth": "5th",
    "double": "2",
    "triple": "3",
    "pair": "2",
    "zwei": "2",
    "drei": "3",
    "vier": "4",
    "fünf": "5",
    "sechs": "6",
    "sieben": "7",
    "acht": "8",
    "neun": "9",
    "zehn": "10",
    "elf": "11",
    "zwölf": "12",
    "zwanzig": "20",
    "dreißig": "30",
    "hundert": "100",
    "tausend": "1000",
    "deux": "2",
    "trois": "3",
    "quatre": "4",
    "cinq": "5",
    "sept": "7",
    "huit": "8",
    "neuf": "9",
    "dix": "10",
    "douze": "12",
    "vingt": "20",
    "trente": "30",
    "cent": "100",
    "mille": "1000",
    "dos": "2",
    "tres": "3",
    "cuatro": "4",
    "cinco": "5",
    "seis": "6",
    "siete": "7",
    "ocho": "8",
    "nueve": "9",
    "diez": "10",
    "doce": "12",
    "veinte": "20",
    "treinta": "30",
    "cien": "100",
    "mil": "1000",
}
# Measures and dates stand with the numbers: another one, another answer.
MEASURES = _all(
    "mm cm m km inch inches foot feet yard yards mile miles mg g kg lb lbs pound pounds ounce ounces oz ton tons ml "
    "l liter liters litre litres gallon gallons kb mb gb tb byte bytes bit bits ms s sec secs second seconds minute "
    "minutes min hour hours h day days week weeks month months quarter quarters year years decade century percent % "
    "celsius fahrenheit kelvin watt watts volt volts ampere hz mph kmh am pm euro euros eur usd dollar dollars gbp "
    "chf jpy yen yuan cny rupee inr cents january february march april may june july august september october "
    "november december monday tuesday wednesday thursday friday saturday sunday christmas easter januar februar "
    "märz mai juni juli oktober dezember montag dienstag mittwoch donnerstag freitag samstag sonntag tag tage tagen "
    "woche wochen monat monate monaten jahr jahre jahren stunde stunden minuten sekunden janvier février mars avril "
    "juin juillet août septembre octobre novembre décembre lundi mardi mercredi jeudi vendredi samedi dimanche jour "
    "jours semaine semaines mois an ans année années heure heures enero febrero marzo abril mayo junio julio agosto "
    "septiembre octubre noviembre diciembre lunes martes miércoles jueves viernes sábado domingo día días semana "
    "semanas mes meses año años hora horas"
)
# Begin a clause that may stand in front or behind: "in Berlin, when do you open" and the other way round.
LEADS = _all(
    "in on at for with if when as under within during after before wenn falls bei für mit im si quand pour avec en dans"
)
