"""Answers that choose: a letter, several letters, yes or no.

The letter decides: "B", "(b)", "Option B is correct", "B. 12 cm", "选B" are one answer. A letter that is an initial
(B. Smith, J. K. Rowling, E. coli) or one of several labels (A: 5, B: 3) is no choice. Several letters are a set:
ABD = D, B, A.
"""

import re

from selfsight.language.folding import word_set

_SUBJECT = (
    r"(?:(?:the |my |so |thus |hence |therefore |it is |it's |its |i pick |i choose |i select |i "
    r"think |i'd say |i would say |i'd choose |"
    r"i would choose |i go with |i'd go with |i believe |pick |choose |select |is |that |in |and "
    r"|be |must be |would be |should be |"
    r"(?:final |correct |best |right |most likely |most appropriate |only valid |only )*+(?:answer"
    r"|option|choice|letter|alternative|one|response|statement|"
    r"opción|option|opção|antwort|réponse|respuesta|risposta|resposta|ответ|вариант)s?(?: number"
    r"| letter)?(?: is| are| would be| must be| should be| is:|:|\.)?+ ?)*+)"
)
_HAN_SUBJECT = (
    r"(?:我|应该|應該|所以|因此|正确|正確|最终|最終|最佳|本题|本題|答案|选项|選項|选择|選擇|选|選|故|"
    r"为|為|是|应|的|:|正解|解答|正しい|答え|は|정답|답|선택|은|는|\s)*+"
)
_LABELLED = (
    r"(?:point|line|figure|picture|image|panel|graph|diagram|label|node|vertex|statement|shape|object"
    r"|box|item|location|region|position|arrow|photo|option|choice|answer|letter) "
)
_TAIL = (
    r"(?:[ ,.:;!-]*(?:is|was|are|seems|being|appears)?(?: the)?(?: (?:correct|right|best|true|answer"
    r"|option|choice|one|most|likely|appropriate|valid|only|to be))+"
    r"|[ ,.;-]+(?:because|since|as it|as the|due to|for the|which|that is)\b.*"
    r"|(?: ?(?:正确|正確|是正确的|项|項|です|だ|입니다|번))*)?"
)
_LETTER = (
    r"(?:\(([A-Za-z])\)|\[([A-Za-z])\]|\{([A-Za-z])\}|([A-Za-z])(?=$|[^A-Za-z0-9_'+\-#°]|[\u3040-\u9fff\uac00-\ud7a3]))"
)
_BARE = re.compile(rf"^{_SUBJECT}{_LETTER}[)\].:]?{_TAIL}[.!]?$", re.IGNORECASE)
_HAN = re.compile(rf"^{_HAN_SUBJECT}{_LETTER}[)\].:]?{_TAIL}[.!]?$", re.IGNORECASE)
_LABEL_ONLY = re.compile(rf"^(?:the )?{_LABELLED}{_LETTER}$", re.IGNORECASE)
_WITH_TEXT = re.compile(
    rf"^(?:{_SUBJECT}|{_HAN_SUBJECT})(?:\(([A-J])\)|\[([A-J])\]|([A-J])\)|([A-J]) ?([.:]|,(?= ?[\d\u4e00-\u9fff])"
    rf"| -)(?=\s*\S)(?!\s?[A-Z]\s?[=:]))",
    re.IGNORECASE,
)
_MARKERS = re.compile(r"(?:^|(?<=[\s,;.)\]]))(?:\(([A-Ja-j])\)|\[([A-Ja-j])\]|([A-Ja-j])[):])(?=[\s\d.,;]|$|[^\s])")
# "X. Surname", "E. coli", "J. K. Rowling"
_INITIALS = re.compile(r"^(?:[A-Z]\. ?){2,}[A-Z][a-z]+|^[A-Z]\. [A-Z][a-z'-]+(?: (?:Jr|Sr|I{2,3}|[A-Z][a-z'-]+)\.?)?$")
_EPITHET = re.compile(
    r"^[A-Z]\. (?:[a-z]+(?:us|is|um|ae|ii|ans|ens|ile|oli|rex|aster|osa|ica|alis|eri|ensis|iae|oides"
    r"|ale|vora|gaster)|coli|sapiens|rex)\b(?! (?:and|or|of)\b)"
)
_DOTTED = re.compile(r"^(?:[A-Za-z]\.){2,}(?=$|[\s,;:)])|^(?:[A-Za-z]\.)+[A-Za-z]$")
# Words that start with a capital in the text of an option and are nobody's surname.
_OPTION_WORDS = word_set(
    "red blue green yellow black white gray grey orange purple pink brown gold silver cyan magenta "
    "violet one two three four five six "
    "seven eight nine ten zero none all both neither yes no true false left right top bottom above "
    "below up down north south east "
    "west circle square triangle rectangle star pentagon hexagon cube sphere cylinder cone line "
    "point cat dog horse cow sheep bird "
    "bear elephant zebra giraffe lion tiger fish car bus truck train boat bicycle motorcycle airplane "
    "plane person man woman boy girl "
    "child people table chair sofa bed book cup bottle apple banana pizza cake sandwich tree flower "
    "grass house building road street "
    "window door monday tuesday wednesday thursday friday saturday sunday january february march "
    "april may june july august september "
    "october november december spring summer autumn fall winter morning noon afternoon evening night "
    "metal rubber wood plastic glass "
    "small large big medium tall short long wide narrow increase increases decrease decreases increasing "
    "decreasing same equal "
    "different constant unchanged higher lower more less greater smaller heart lung lungs liver "
    "kidney brain mri ct xray ultrasound "
    "water air oxygen nitrogen carbon hydrogen iron copper sun moon earth mars venus jupiter saturn "
    "asia africa europe america "
    "australia antarctica france germany italy spain england china japan india russia canada mexico "
    "brazil egypt paris london berlin "
    "rome madrid tokyo beijing moscow new york delhi cairo sydney baseball football soccer tennis "
    "basketball hockey swimming running "
    "walking sitting standing eating sleeping playing jumping kitchen bedroom bathroom beach park "
    "school office hospital store "
    "restaurant sunny cloudy rainy snowy happy sad angry surprised ice snow rain fire dry wet hot "
    "cold fast slow old young english "
    "french spanish german chinese metallic wooden round oval flat gas solid liquid acid base salt "
    "sugar milk coffee tea bread rice"
)
_SET = re.compile(
    r"^[(\[{]?[A-Za-z][)\]}.]?(?:(?: ?[,;/&+] ?"
    r"|,? (?:and|or|und|et|y|e|和|及|与) | )(?:and )?[(\[{]?[A-Za-z][)\]}.]?)+$"
)
_SET_HAN = re.compile(r"^[A-Za-z](?: ?[,和及与跟] ?[A-Za-z])+$")
_RUN = re.compile(r"^[A-Ha-h]{2,6}$")
_NO_RUN = word_set(
    "ace ad add age aged bad badge bade bag be bead bed bedhead beef beg cab cafe cage cad dab dad "
    "dead deaf deb decaf ebb ed egg fab face "
    "faced fad fade faded fed fee feed gab gad had hade hag he head heed ha ah hedge cage ebbed "
    "each beach bach beg fag gaf caged chafe "
    "ache ached hag bah gage edge aha deface behead ghee ac/dc eh fe dh ha head bace dace aged chad"
)

_YES = re.compile(r"^(yes|yeah|yep|yup)(?:$|(?P<mark>[,;:.!]| ?-(?= )|\b)\s*(?P<rest>.*))", re.DOTALL)
_NO = re.compile(
    r"^(no|nope)(?:$|(?P<mark>[,;:!]| -|\.(?! ?\d)) ?(?P<rest>.*)| (?P<clause>(?:it|there|they|this"
    r"|that|the|he|she|we|you|i|its|his|her|their|these|those|a|an|because|since|as)\b.*))",
    re.DOTALL,
)
_WORD_WITH_REASON = re.compile(r"^([^\W\d_]+) ?[,.;:!] ?(?P<rest>\S.*)$", re.DOTALL)
_SHORT_DENIAL = re.compile(
    r"^(?:(?:it|there|they|this|that|he|she|we|you|i) (?:\w+ )?(?:not|\w+n't)|not?|nope|not really)$"
)
_TAKEN_BACK = re.compile(r"^(?:and |or |but )?no(?:$|[,.;!])")
_NO_THING = re.compile(
    r"^there (?:is|are|was|were) (?:no|not an?|not any|isn't an?|aren't any|none) ?.*$|^there (?:isn't"
    r"|aren't) .*$"
)
_WORDS = {
    "是": "yes", "是的": "yes",
    "对": "yes", "對": "yes", "有": "yes", "はい": "yes", "ええ": "yes", "네": "yes", "예": "yes",
    "sí": "yes", "oui": "yes",
    "ja": "yes", "sim": "yes", "да": "yes", "نعم": "yes", "हाँ": "yes", "हां": "yes", "evet": "yes",
    "tak": "yes", "ya": "yes",
    "否": "no", "不": "no", "不是": "no", "没有": "no", "沒有": "no", "不对": "no", "いいえ": "no",
    "아니요": "no", "아니오": "no",
    "non": "no", "nein": "no", "não": "no", "нет": "no", "لا": "no", "नहीं": "no", "hayır": "no",
    "nie": "no", "tidak": "no", "affirmative": "yes",
}  # fmt: skip


def yes_or_no(text: str) -> str | None:
    """ "yes" or "no" when that is the whole answer or opens it and the rest does not take it back.

    Args:
        text: folded and in lower case.
    """
    if text in _WORDS:
        return _WORDS[text]
    if (reasoned := _WORD_WITH_REASON.match(text)) is not None and (word := _WORDS.get(reasoned[1])) is not None:
        # 是的, 有一只狗; "ja, nein" and "对, 错" take it back.
        said = re.split(r"[\s,.;:!?]+", reasoned["rest"])
        back = any(_WORDS.get(part, word) != word or part in ("no", "yes", "错", "錯") for part in said)
        return None if back else word
    if text.startswith("y") and (found := _YES.match(text)) is not None:
        rest = (found["rest"] or "").strip(" .!,;:")
        if rest.startswith(("and no", "or no", "/", "&")) or (found["mark"] == "" and rest[:1] in ("'", "-", "/")):
            return None
        if _SHORT_DENIAL.match(rest) or _TAKEN_BACK.match(rest):
            return None
        return "yes"
    if text.startswith("no") and (found := _NO.match(text)) is not None:
        rest = found["rest"] or found["clause"] or ""
        return None if re.search(r"\byes\b", rest) else "no"
    if text.startswith("there ") and _NO_THING.match(text):
        return "no"
    return None


def _letter(groups: tuple[str | None, ...]) -> str:
    return next(letter for letter in groups if letter).upper()


def choice_key(text: str, *, options: frozenset[str] = frozenset()) -> str | None:
    """The key of a folded answer that chooses by letter, or None.

    Args:
        text: folded, in its own case.
        options: the letters of the options that the question lists; an initial is then read as a choice.
    """
    if len(text) == 1:
        return f"choice:{text.upper()}" if text.isascii() and text.isalpha() else None
    if (several := _several(text, bool(options))) is not None:
        return several
    if _DOTTED.match(text) is not None and not options:
        return None  # D.C., p.m., e.g. red
    if _LEADING.match(text) is None:
        return None
    markers = {_letter(found.groups()) for found in _MARKERS.finditer(text)}
    if len(markers) > 1:
        return None  # (a) 3 (b) 4: one answer with two parts
    for pattern in (_BARE, _HAN, _LABEL_ONLY):
        if (match := pattern.match(text)) is not None:
            return f"choice:{_letter(match.groups())}"
    match = _WITH_TEXT.match(text)
    if match is None:
        return None
    letter = _letter(match.groups()[:4])
    if not options and _RATIO_OF_NAMES.match(text):
        return None
    if not options and match[4] and match[5] == "." and _is_name(text):
        return None
    return f"choice:{letter}"


_RATIO_OF_NAMES = re.compile(r"^[A-Z]{1,3} ?: ?[A-Z]{1,3}$")  # A:B, AB:CD

# Nearly every answer stops here: what leads to a letter is a bracket, a letter, or one of the words above.
_LEADING = re.compile(
    rf"^(?:{_SUBJECT}|{_HAN_SUBJECT}|(?:the )?{_LABELLED})[(\[{{]?[A-Za-z](?![A-Za-z0-9_'])", re.IGNORECASE
)


def _is_name(text: str) -> bool:
    if _EPITHET.match(text):
        return True
    if _INITIALS.match(text) is None:
        return False
    words = re.findall(r"[A-Za-z]{2,}", text)
    return not words or words[0].casefold() not in _OPTION_WORDS


def _several(text: str, listed: bool) -> str | None:
    if len(text) > 60:
        return None
    if _RUN.match(text) is not None:
        run = text.upper()
        if len(set(run)) < len(run) or (text.casefold() in _NO_RUN and not listed):
            return None
        # DC and CA are names as often as choices; AC and ABD, BDA are choices.
        if len(run) == 2 and run[0] > run[1] and not listed:
            return None
        return "choices:" + ",".join(sorted(run))
    if "+" in text and text.upper() != text:
        return None  # a+b is a sum; A + B may be two choices
    if _SET.match(text) is None and _SET_HAN.match(text) is None:
        return None
    letters = [found.upper() for found in re.findall(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z])", text)]
    if (
        re.fullmatch(r"[A-Za-z] [A-Za-z]|[a-z] ?/ ?[a-z]", text)
        or any(letter > "J" for letter in letters)
        or len(set(letters)) != len(letters)
    ):
        return None
    if re.fullmatch(r"[A-Z]\. ?[A-Z]\.?", text):
        return None  # D.C., and "A. B" is option A
    return "choices:" + ",".join(sorted(letters))
