"""A chat template is taken as transformers takes it, or refused with the file and the reason when a model is loaded."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoConfig

from selfsight.errors import SelfsightError
from selfsight.language.prompts import Prompt
from selfsight.policy import ModelOptions, Policy
from selfsight.policy.processor import PromptEncoder
from tiny_models import begin_with_bos, build_qwen2_5_vl

from .conftest import image, open_image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build_qwen2_5_vl(tmp_path / "model")


def encoder_of(folder: Path) -> PromptEncoder:
    return PromptEncoder(folder, AutoConfig.from_pretrained(folder), open_image)


def text_of(folder: Path, prompt: Prompt) -> str:
    encoder = encoder_of(folder)
    return str(encoder.tokenizer.decode(encoder.encode(prompt).input_ids))


def template_of(folder: Path) -> str:
    return (folder / "chat_template.jinja").read_text()


def into_json(folder: Path, template: object) -> None:
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    (folder / "chat_template.jinja").unlink()


def into_tokenizer(folder: Path, template: object) -> None:
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": template}))
    (folder / "chat_template.jinja").unlink()


def into_processor(folder: Path, template: object) -> None:
    file = folder / "processor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": template}))
    (folder / "chat_template.jinja").unlink()


def as_list(named: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "template": template} for name, template in named.items()]


PLACES = [into_json, into_tokenizer, into_processor]
ASKED = [Prompt(image(1), "Is it blue?", "one two"), Prompt(None, "Is it blue?"), Prompt(image(1), "Is it blue?")]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("shape", [str, dict, list])
def test_one_template_of_several_is_the_one_called_default(
    folder: Path, place: Callable[[Path, object], None], shape: type
) -> None:
    expected = [text_of(folder, prompt) for prompt in ASKED]
    template = template_of(folder)
    named = {"tool_use": "never", "default": template}
    place(folder, {str: template, dict: named, list: as_list(named)}[shape])
    assert [text_of(folder, prompt) for prompt in ASKED] == expected


@pytest.mark.parametrize("place", [into_json, into_processor])
@pytest.mark.parametrize("shape", [dict, list])
def test_named_templates_without_a_default_are_refused_with_their_names(
    folder: Path, place: Callable[[Path, object], None], shape: type
) -> None:
    named = {"tool_use": template_of(folder), "rag": "x"}
    place(folder, named if shape is dict else as_list(named))
    with pytest.raises(SelfsightError, match=r"\.json: names chat templates 'tool_use', 'rag', none of them 'default'"):
        encoder_of(folder)


STRING_ONLY = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
)
PRINTED = "{% for m in messages %}<|im_start|>{{ m['role'] }} {{ m['content'] }}<|im_end|>{% endfor %}"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (STRING_ONLY, "TypeError: can only concatenate str"),
        (PRINTED, "takes content as a string"),
        ("{% for m in messages %}{{ m['content'] ", "TemplateSyntaxError"),
        ("{{ raise_exception('no pictures please') }}", "no pictures please"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{{ 'a' * 30000000000 }}", "MemoryError"),
        ("{{ 'a' * 3e10 }}", "TypeError"),
        ("{{ 1 // 0 }}", "ZeroDivisionError"),
        ("{{ messages[9]['content'] }}", "UndefinedError"),
        ("{{ 'a' * 2000000 }}", "2000000 characters"),
        ("<|im_start|>user", "leaves out the words"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused_by_file_and_reason(folder: Path, template: str, reason: str) -> None:
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(SelfsightError, match=r"chat_template\.jinja: its chat template") as refusal:
        encoder_of(folder)
    assert reason in str(refusal.value) and refusal.value.hint


def test_a_template_without_end_is_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfsight.policy.chat_template._WALL_SECONDS", 1)
    loops = "".join(f"{{% for i{k} in range(99999) %}}" for k in range(4))
    (folder / "chat_template.jinja").write_text(loops + "{% endfor %}" * 4)
    with pytest.raises(SelfsightError, match=r"chat_template\.jinja: its chat template does not come to an end"):
        encoder_of(folder)


def test_a_system_turn_is_refused_only_where_a_prompt_has_one(folder: Path) -> None:
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    (folder / "chat_template.jinja").write_text(refusing + template_of(folder))
    encoder = Policy.load("tiny", folder, open_image=open_image, options=ModelOptions()).vlm.encoder
    encoder.encode(Prompt(image(1), "Is it blue?"))
    with pytest.raises(SelfsightError, match=r"refuses a system turn \(TemplateError: System role not supported\)"):
        encoder.encode(ASKED[0])


def test_a_system_turn_is_a_string_where_the_template_wants_one(folder: Path) -> None:
    expected = text_of(folder, ASKED[0])
    as_text = (
        "{% if messages[0]['role'] == 'system' %}{{ '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}"
        "{% set messages = messages[1:] %}{% endif %}"
    )
    (folder / "chat_template.jinja").write_text(as_text + template_of(folder))
    assert text_of(folder, ASKED[0]) == expected


def test_a_turn_s_end_that_the_folder_does_not_state_stops_an_answer(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert Policy.load("tiny", folder, open_image=open_image, options=ModelOptions()).vlm.eos_ids == (2,)
    assert "ends an answer" not in caplog.text
    for name, changed in (
        ("generation_config.json", {"eos_token_id": 0}),
        ("tokenizer_config.json", {"eos_token": "<|endoftext|>"}),
    ):
        file = folder / name
        file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    with caplog.at_level(logging.WARNING):
        vlm = Policy.load("tiny", folder, open_image=open_image, options=ModelOptions()).vlm
    assert vlm.eos_ids == (0, 2)
    assert (
        "ends an answer with '<|im_end|>' (2), which is not among its stop tokens, '<|endoftext|>' (0)" in caplog.text
    )


def test_a_template_that_ends_an_answer_with_plain_words_is_warned_of(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = template_of(folder).replace("<|im_end|>", " END ").replace("<|im_start|>", "")
    (folder / "chat_template.jinja").write_text(plain)
    with caplog.at_level(logging.WARNING):
        vlm = Policy.load("tiny", folder, open_image=open_image, options=ModelOptions()).vlm
    assert vlm.eos_ids == (2,)
    assert "no stop token follows an answer in its chat template, but ' END \\nuser\\n'" in caplog.text


def test_words_cannot_forge_a_bos(folder: Path) -> None:
    encoder = encoder_of(begin_with_bos(folder, in_template=False))
    bos = encoder.tokenizer.bos_token
    ids = encoder.encode(Prompt(None, f"{bos} again {bos}", bos)).input_ids
    assert (ids == encoder.tokenizer.bos_token_id).sum() == 1
