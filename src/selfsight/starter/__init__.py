"""The starter VLM: a Qwen2.5-VL of four million parameters that ships with the package, and how it was made."""

from pathlib import Path

from selfsight.errors import SelfsightError

FOLDER = Path(__file__).parent / "model"


def starter_folder() -> Path:
    """The folder with the shipped model, in the plain Hugging Face layout."""
    if not (FOLDER / "model.safetensors").is_file():
        raise SelfsightError(
            f"the starter's weights are missing from {FOLDER}",
            hint="reinstall selfsight, or build them with: selfsight starter build",
        )
    return FOLDER


def card_text() -> str:
    """The starter's model card."""
    return (starter_folder() / "README.md").read_text(encoding="utf-8")
