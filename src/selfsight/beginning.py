"""What a run needs and what can be checked in a moment: before torch, which takes seconds to load.

The run checks the same things again when it begins; here they cost nothing, and the answer comes at once.
"""

import os
from pathlib import Path

from selfsight.config import EvolveConfig
from selfsight.errors import SelfsightError
from selfsight.evaluate.named import resolve_model
from selfsight.images import image_source
from selfsight.run.directory import check_free
from selfsight.trackers import require_trackers


def ready_to_begin(config: EvolveConfig) -> EvolveConfig:
    """The configuration with the model that it names as a run (RUN, RUN@K) replaced by that model's folder.

    Args:
        config: of a run that has not begun.

    Raises:
        SelfsightError: the model names something that is no model, the images do not exist, the output folder cannot be
            written, a run of that name exists, or a tracker is not installed.
    """
    require_trackers(config.report_to)
    named = resolve_model(config.model)
    _check_model(config.model)
    _check_images(config.images)
    _check_output(Path(config.output_dir))
    if config.run_name is not None:
        check_free(Path(config.output_dir) / config.run_name)
    if named.run is None:
        return config
    # `config.yaml` and the cards then name the folder, and with it the run and the round that it is from.
    revision = config.revision if config.revision is not None else named.revision
    return config.model_copy(update={"model": named.model, "revision": revision})


def _check_model(model: str) -> None:
    """What is plainly a path, and a path to nothing; a name may be an id of the hub."""
    if model.startswith(("/", "./", "../", "~")) and "@" not in model and not Path(model).expanduser().exists():
        raise SelfsightError(
            f"Model {model}: no such folder.",
            hint="Give a folder saved with save_pretrained, or a Hugging Face id such as owner/name.",
        )


def _check_images(spec: str) -> None:
    """What a single path that does not exist is refused with; anything that has to be listed is left to the run."""
    if spec.startswith(("worlds", "hub:")) or any(sign in spec for sign in "*?[,") or Path(spec).expanduser().exists():
        return
    image_source(spec, seed=0)


def _check_output(folder: Path) -> None:
    """Makes the folder of the runs; SelfsightError where it cannot be made or written into."""
    hint = "give a folder that you may write to: output_dir=/path/to/runs; nothing was started"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SelfsightError(f"output_dir={folder}: cannot be made ({error.strerror or error})", hint=hint) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SelfsightError(f"output_dir={folder}: cannot be written by this user", hint=hint)
