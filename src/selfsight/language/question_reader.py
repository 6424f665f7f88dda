"""Readers of a questioner's completion: the one question that it holds, or the reason why it holds none.

Two dialects. The compact pack (the starter's) asks for a bare question: the completion is the question and nothing
else. The full pack asks for one <question> element. Untrained VLMs wrap that element in what chat models write: a
greeting, thinking without tags, a code fence, a `<type>` or `<answer>` block as in the authors' programs (VisPlay,
R-Zero). All of that is outside the element and is dropped. Inside the element, writing is normalised (bold, quotes,
line breaks, a "Question:" label), because it changes nothing about what is asked.

What is never done: choosing among several questions, closing an open element, or taking a sentence that no element
holds. A completion that needs one of these is refused, with the reason.

Every script is read: its own question marks (？ ؟ and the Greek ;), or none where a language writes none (Thai), and
words are counted by script, since Chinese and Thai put no spaces between words.
"""

import math
import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from selfsight.language.parse import (
    MAX_COMPLETION_CHARS,
    TAG,
    Reading,
    after_thinking,
    forged_role,
    hidden_character,
    refused,
    without_formatting,
    without_invisible,
)


@dataclass(frozen=True)
class QuestionLimits:
    """How long a question may be, and whether it may be an instruction ("Calculate ...") instead of a question."""

    max_chars: int
    max_words: int
    instructions: bool


# The compact pack asks for a short question; the full pack lets a model write a problem of several sentences.
BARE: Final = QuestionLimits(max_chars=300, max_words=40, instructions=False)
TAGGED: Final = QuestionLimits(max_chars=800, max_words=120, instructions=True)
MIN_WORDS: Final = 2

_OPEN = re.compile(r"<\s{0,4}question(?:\s[^<>]{0,100})?>", re.IGNORECASE)
_CLOSE = re.compile(r"<\s{0,4}/\s{0,4}question\s{0,4}>", re.IGNORECASE)

# Question marks of all scripts; the Greek one (;) counts only in a text with Greek letters.
_MARKS: Final = "?？؟﹖⁇⁈⁉❓❔՞፧⸮︖꘏꛷𑅃"
_GREEK_MARKS: Final = ";\u037e"
_GREEK = re.compile(r"[Ͱ-Ͻ\u0380-Ͽἀ-῾]")
_MARK = re.compile(f"[{_MARKS}]")
# A quotation is not a question of its own: What does the sign "Why not?" advertise?
_QUOTED = re.compile(
    r'"[^"]{0,200}"|“[^”]{0,200}”|«[^»]{0,200}»|「[^」]{0,200}」|『[^』]{0,200}』|`[^`]{0,200}`'
    r"|(?<!\w)'[^']{0,200}'(?!\w)|(?<!\w)‘[^’]{0,200}’(?!\w)"
)
_WRAPPERS: Final = (
    ("***", "***"), ("**", "**"), ("__", "__"), ("```", "```"), ("``", "''"), ("*", "*"), ("_", "_"), ("`", "`"),
    ('"', '"'), ("'", "'"), ("“", "”"), ("‘", "’"), ("«", "»"), ("„", "“"), ("「", "」"), ("『", "』"), ("$", "$"),
)  # fmt: skip
_FENCE = re.compile(r"^```[A-Za-z]{0,12} +|^#{1,6} +|^[>•-] +")
_LABEL = re.compile(
    r"^[*_]{0,3}(?:question|q|problem|frage|pregunta|pergunta|domanda|вопрос|问题|問題|질문|質問)"
    r"(?: ?\d{1,3})?[*_]{0,3} ?[:：][*_]{0,3} ?",
    re.IGNORECASE,
)
# After the mark: answer options ("A. red B. blue"), or how to answer ("Round to one decimal.").
_OPTIONS = re.compile(
    r"^(?:(?:options?|choices?|选项)\s{0,2}[:：]?\s{0,4})?[(\[]?(?:[A-Ja-j]|1|①)[)\].:、：．]\s{0,4}\S", re.IGNORECASE
)
_HOW_TO_ANSWER = re.compile(
    r"^[(\[]?(?:please |then )?(?:answer|respond|reply|choose|select|pick|give|provide|round|express|write|state|use|"
    r"assume|note that|hint|explain|show|consider|ignore|include|enter|options|choices|请|選|选择|antworte|réponds|"
    r"répondez|responda|responde|rispondi|ответьте)\b",
    re.IGNORECASE,
)
# The first word of a sentence or clause that asks or instructs without a question mark.
_START_WORDS: Final = """
    what which who whom whose where when why how is are was were do does did can could will would should has
    have calculate compute find determine count name identify describe state list estimate solve evaluate give
    tell measure express prove simplify write read report specify select choose pick point locate compare
    explain classify translate convert rank order sort summarize summarise sum add subtract multiply derive
    show draw fill complete predict infer deduce consider look wie wer wo wann warum welche welcher welches
    wieviel wieviele berechne bestimme nenne zähle finde ermittle combien quel quelle quels quelles qui que où
    quand pourquoi comment calculez calcule calculer trouvez trouve déterminez déterminer comptez nommez
    donnez cuántos cuántas cuánto cuál cuáles qué quién dónde cuándo cómo por calcula calcular encuentra
    determina cuenta nombra quantos quantas quanto qual quais quem onde quando como encontre conte quanti
    quante quale quali chi dove perché calcolare trova conta сколько какой какая какое какие кто что где когда
    почему как найдите вычислите определите назовите hoeveel welk waar wanneer waarom bereken bepaal ile kaç
    hangi nerede ne kim hesaplayın berapa apa siapa
"""
_STARTS: Final = frozenset(_START_WORDS.split())
_INSTRUCTION_MARKS = re.compile(
    r"多少|什么|什麼|哪|几|幾|谁|誰|吗|嗎|呢|为何|為何|为什么|如何|怎么|请|請|计算|計算|求|判断|判斷|指出|写出|"
    r"ですか|ますか|何|いくつ|どの|どれ|どこ|いつ|なぜ|求め|計算|答え|"
    r"무엇|몇|어느|어디|누구|언제|왜|얼마|입니까|인가요|나요|까요|구하|계산|"
    r"เท่าไร|เท่าไหร่|กี่|อะไร|ใคร|ที่ไหน|ไหม|หรือไม่|อย่างไร|ทำไม|"
    r"كم|ما|ماذا|من|أين|متى|لماذا|كيف|هل|احسب|أوجد|"
    r"क्या|कितन|कौन|कहाँ|कब|क्यों|कैसे|ज्ञात|"
    r"\bbao nhiêu\b|\bmấy\b|\bgì\b|\bở đâu\b|\bnào\b"
)
_CLAUSE_START = re.compile(r"(?:^|[.,;:，。；：]\s{0,2})[¿¡(\[]{0,2}(?:please |then |now |and )?([^\W\d_]+)")
# Scripts that put no spaces between words: about two characters make a word.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f]")
_CHARACTERS_A_WORD: Final = 2


def read_bare_question(text: str) -> Reading:
    """The compact pack: the completion is one short question and nothing else.

    Args:
        text: a questioner's completion.

    Returns:
        The question on one line, or a refusal with its reason.

    Example:
        >>> read_bare_question("How many red circles are there?").text
        'How many red circles are there?'
    """
    if len(text) > MAX_COMPLETION_CHARS:
        return refused(f"longer than {MAX_COMPLETION_CHARS} characters")
    return check_question(text, BARE)


def read_tagged_question(text: str) -> Reading:
    """The full pack: exactly one <question> element after any thinking; what stands around it is dropped.

    Args:
        text: a questioner's completion.

    Returns:
        The question on one line, or a refusal with its reason.

    Example:
        >>> read_tagged_question("Sure!\\n<question>**How many cars are there?**</question>").text
        'How many cars are there?'
    """
    rest = after_thinking(text)
    if isinstance(rest, Reading):
        return rest
    opened, closed = list(_OPEN.finditer(rest)), list(_CLOSE.finditer(rest))
    if len(opened) != 1 or len(closed) != 1 or closed[0].start() < opened[0].end():
        return refused(f"not exactly one <question> element ({len(opened)} opened, {len(closed)} closed)")
    return check_question(_normal(rest[opened[0].end() : closed[0].start()]), TAGGED)


def tagged_question_span(text: str) -> tuple[int, int]:
    """Where the <question> element begins and ends, tags included, in a completion that `read_tagged_question` accepts.

    Returns:
        (first, past the last), in characters; the whole text if there is no element.
    """
    # The element that counts is the last: an earlier one can only be thinking.
    start = max((match.start() for match in _OPEN.finditer(text)), default=0)
    end = max((match.end() for match in _CLOSE.finditer(text)), default=len(text))
    return start, end


def check_question(question: str, limits: QuestionLimits = BARE) -> Reading:
    """Whether a text is one question: one line, not too long, free of markup, hidden characters and forged roles.

    Args:
        question: the text.
        limits: how long it may be, and whether instructions count as questions.

    Returns:
        The question with single spaces, or a refusal with its reason.
    """
    question = without_invisible(question).strip(" \t\r\n")
    if not question:
        return refused("empty question")
    if len(question) > limits.max_chars:
        return refused(f"question longer than {limits.max_chars} characters")
    if "\n" in question or "\r" in question:
        return refused("question has more than one line")
    if (hidden := hidden_character(question)) is not None:
        return refused(f"question contains the hidden character {hidden}")
    if (reason := _not_one_question(question, limits)) is not None:
        return refused(reason)
    marker = TAG.search(question)
    found = marker.group().strip() if marker is not None else forged_role(question, _quotations(question))
    if found is not None:
        return refused(f"question contains the marker {found!r}")
    words = _count_words(question)
    if words < MIN_WORDS:
        return refused(f"fewer than {MIN_WORDS} words")
    if words > limits.max_words:
        return refused(f"more than {limits.max_words} words")
    return Reading(True, " ".join(question.split()), "")


def _not_one_question(question: str, limits: QuestionLimits) -> str | None:
    """The reason why a text is not exactly one question; None when it is."""
    greek = _GREEK.search(question) is not None
    ends = question.endswith((*_MARKS, *_GREEK_MARKS) if greek else tuple(_MARKS))
    # Blank out quotations, keeping every place: a mark inside one asks nothing of the reader.
    bare = _QUOTED.sub(lambda quoted: " " * len(quoted.group()), question) if limits.instructions else question
    marks = [match.start() for match in _MARK.finditer(bare)]
    if greek and bare.endswith(tuple(_GREEK_MARKS)):
        marks.append(len(bare) - 1)
    if len(marks) > 1:
        return "more than one '?'"
    if ends and marks:
        return None
    if not limits.instructions:
        return "question does not end in '?'"
    if marks:
        rest = question[marks[0] + 1 :].strip()
        if _OPTIONS.match(rest) or _HOW_TO_ANSWER.match(rest):
            return None
        return "question goes on after its '?'"
    lowered = question.casefold()
    asks = any(match.group(1) in _STARTS for match in _CLAUSE_START.finditer(lowered))
    if asks or _INSTRUCTION_MARKS.search(lowered) is not None:
        return None
    return "question does not end in '?', and is no instruction"


def _quotations(question: str) -> list[tuple[int, int]]:
    return [match.span() for match in _QUOTED.finditer(question)]


def _normal(content: str) -> str:
    """The content of a <question> element without writing that asks nothing: line breaks, bold, quotes, a label."""
    # Ordinary white space only: U+2028 and control characters stay, to be refused.
    text = re.sub(r"[ \t\r\n]+", " ", without_formatting(without_invisible(content))).strip(" ")
    while True:
        before = text
        text = _LABEL.sub("", _FENCE.sub("", text)).strip(" ")
        # "How many are there?." and "How many are there?!" end in their question mark.
        text = re.sub(rf"([{_MARKS}]) ?[.!。！]{{1,3}}$", r"\1", text)
        for opening, closing in _WRAPPERS:
            inner = text[len(opening) : len(text) - len(closing)]
            wrapped = text.startswith(opening) and text.endswith(closing) and len(text) > len(opening) + len(closing)
            # '"A" or "B"' is not one quotation.
            if wrapped and opening not in inner and closing not in inner:
                text = inner.strip(" ")
                break
        if text == before:
            return text


def _count_words(question: str) -> int:
    """Words with a letter or digit in them; in scripts without spaces, two characters are a word."""
    unspaced = len(_UNSPACED.findall(question))
    spaced = _UNSPACED.sub(" ", question).split()
    words = sum(any(unicodedata.category(character)[0] in "LN" for character in word) for word in spaced)
    return words + math.ceil(unspaced / _CHARACTERS_A_WORD)
