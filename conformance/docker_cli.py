"""Docker's command line."""

from __future__ import annotations

import os
import subprocess

# An image that is here already: a test asks no registry.
BASE = os.environ.get("LONGSHORE_IMAGE_BASE", "longshore-test/debian")


def docker(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs `docker`, and fails with what it says unless told otherwise."""
    ended = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0 or not check, f"docker {' '.join(arguments)}: {ended.stdout}{ended.stderr}"
    return ended


def why_no_containers() -> str | None:
    """Why no container can be made here; nothing if it can."""
    try:
        version = docker("version", check=False)
    except FileNotFoundError:
        return "there is no docker program"
    if version.returncode != 0:
        return f"no Docker engine can be reached: {version.stderr.strip()}"
    if docker("image", "inspect", BASE, check=False).returncode != 0:
        return f"the image {BASE} is not here"
    return None
