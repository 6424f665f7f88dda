"""Tiny real models that speak: random vision-language models whose next chunk of text follows from the last one.

The models of tiny_models.py say random bytes, so a loop around them never sees a valid question. Here embedding
and head of such a model are set to the bigrams of some sentences, and everything between them is turned down to
a whisper: what is sampled is nearly always a question or a boxed answer, which one depends a little on the image
and on every weight, and all of it goes through the real sampler and the real learner.

The chat template ends a prompt with `Q` (ask) or, after a question mark, with `A` (answer), and for games with `C`
(give a clue) or `V` (vote): the only way a bigram can know its role.
"""

import json
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from transformers import AutoModelForImageTextToText, AutoTokenizer
from transformers.utils import logging

# In chunks, each of which becomes a token. "How many red squares than yellow stars?" can be said too: a question
# that is valid and ill-posed.
QUESTIONS = (
    "How many| red squares| are there?",
    "How many| red squares| can you see?",
    "How many| yellow circles| are there?",
    "How many| yellow circles| can you see?",
    "How many| blue stars| are there?",
    "Is there| a red circle|?",
    "Is there| a yellow star|?",
    "Is there| an object|?",
    "Can you see| a blue square|?",
    "Can you see| a yellow star|?",
    "Are there more| red squares| than| yellow circles|?",
    "What is the number of| blue stars|?",
    "What is the number of| red squares|?",
    "How many| objects",  # no question mark: invalid
)
ANSWERS = (
    *("\\boxed{|yes|}",) * 5, *("\\boxed{|no|}",) * 4, *("\\boxed{|2|}",) * 3, *("\\boxed{|3|}",) * 2,
    "yes",  # no box: an abstention
)  # fmt: skip
CLUES = (
    *(f"I look. \\boxed{{I see |{thing}|{end}" for thing in ("a cube", "a bar", "a ball") for end in (".}", " here.}")),
    "I look. \\boxed{I see |nothing",  # no box: a refused clue
)
VOTES = (
    *("I vote \\boxed{|1|}",) * 3, *("I vote \\boxed{|2|}",) * 3, *("I vote \\boxed{|3|}",) * 3,
    "I vote \\boxed{|n/a|}", "I vote \\boxed{|nobody",
)  # fmt: skip
_IMPOSSIBLE = -9.0  # log-odds of two chunks that follow each other in no sentence
_WHISPER = 0.2


def build_speaking(
    folder: Path, build: Callable[[Path], Path], *, pack: str | None = "compact", games: bool = False
) -> Path:
    """A model of the family that `build` makes, taught to ask and to answer in the words of a prompt pack.

    `pack` None is the compact one too, but the model does not say so. With `games` it also gives clues and votes.
    """
    logging.disable_progress_bar()
    build(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder)
    questions = tuple(f"<question>|{text}|</question>" for text in QUESTIONS) if pack == "full" else QUESTIONS
    speech = [("Q", questions), ("A", ANSWERS), *([("C", CLUES), ("V", VOTES)] if games else [])]
    tokenizer.add_tokens(sorted({chunk for _, texts in speech for text in texts for chunk in text.split("|")}))
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    ids = {chunk: tokenizer.convert_tokens_to_ids(chunk) for chunk in tokenizer.get_added_vocab()}
    pairs: Counter[tuple[int, int]] = Counter()
    for role, sentences in speech:
        start = tokenizer.convert_tokens_to_ids(role)
        for sentence in sentences:
            said = [start, *(ids[chunk] for chunk in sentence.split("|")), tokenizer.eos_token_id]
            pairs.update(pairwise(said))
    spoken = sorted({first for first, _ in pairs})
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")) and "vis" not in name:
                weight.mul_(_WHISPER)
        embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        hidden = embedding.shape[1]
        assert len(spoken) <= hidden, f"{len(spoken)} chunks need an axis each, there are {hidden}"
        # A state after the last norm has the length sqrt(hidden); each spoken chunk has an axis of its own.
        head.fill_(0.0)
        head[:, : len(spoken)] = _IMPOSSIBLE / hidden**0.5
        for axis, token in enumerate(spoken):
            embedding[token] = 0.0
            embedding[token, axis] = hidden**0.5
        for (first, second), count in pairs.items():
            head[second, spoken.index(first)] = torch.tensor(float(count)).log() / hidden**0.5
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if pack is not None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"selfsight_prompt_pack": pack}))
    template = (folder / "chat_template.jinja").read_text()
    ending = "{{ '<|im_start|>assistant\n' }}"
    assert ending in template
    role = "{{ 'A' if '?' in (messages[-1]['content'] | string) else 'Q' }}"
    if games:
        role = (
            "{%- set said = messages[-1]['content'] | string %}{{ 'V' if 'Who is the spy?' in said else "
            "'C' if 'Give a clue.' in said else 'A' if '?' in said else 'Q' }}"
        )
    (folder / "chat_template.jinja").write_text(template.replace(ending, ending + role))
    return folder
