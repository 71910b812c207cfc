"""Where numbers come from: the machine, and the state of the source."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def processor() -> str:
    """What the processor calls itself."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor() or platform.machine()


def machine() -> dict[str, str]:
    """Facts of the machine that times depend on; nothing that says whose it is."""
    import torch

    found = {
        "cpu": processor(),
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def commit() -> str | None:
    """The commit that this package is of, with ``+changes`` where its files differ from it; None outside of git."""
    here = Path(__file__).resolve().parents[2]
    found = _git(here, "rev-parse", "HEAD")
    if not found or not (here / ".git").exists():
        return None
    changed = _git(here, "status", "--porcelain", "--untracked-files=no", "--", "stg", "graphs", "decoders")
    return found + ("+changes" if changed else "")


def provenance() -> str:
    """The version of this package, and its commit if it is known."""
    try:
        name = f"stg-video {version('stg-video')}"
    except PackageNotFoundError:  # run from its source, not installed
        name = "stg-video"
    known = commit()
    return name + (f", commit {known}" if known else "")


def _git(folder: Path, *words: str) -> str | None:
    command = ["git", "-C", str(folder), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
