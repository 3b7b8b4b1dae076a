#!/usr/bin/env python3
"""Make .venv with the pinned packages and this checkout in it. Standard library only; a second call is instant."""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
LOCK = ROOT / "requirements.lock"
STAMP = VENV / "installed"
NO_VENV = """{python} -m venv failed (the reason stands above). What helps:
  Debian, Ubuntu: apt-get install python3-venv
  elsewhere: a Python from python.org, conda or pyenv; name another one with `make PYTHON=/path/to/python`"""


def wanted() -> str:
    """What the environment is made from, as one hash."""
    files = LOCK.read_bytes() + (ROOT / "pyproject.toml").read_bytes()
    return hashlib.sha256(files + str(VENV).encode()).hexdigest()


def make_venv() -> None:
    if subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)]).returncode:
        shutil.rmtree(VENV, ignore_errors=True)
        sys.exit(NO_VENV.format(python=sys.executable))


def pip(*arguments: str) -> None:
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    if subprocess.run(command, cwd=ROOT).returncode:
        sys.exit(f"pip install {' '.join(arguments)} failed (the reason stands above); run the same command again")


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 (an old Python has to read this)
        sys.exit(f"mmviz needs Python 3.11 or newer, {sys.executable} is {sys.version.split()[0]}")
    if STAMP.exists() and STAMP.read_text() == wanted():
        return
    if not PYTHON.exists():
        print("making .venv (once, about a minute)", flush=True)
        make_venv()
    pip("--requirement", str(LOCK))
    pip("--no-deps", "--editable", ".")
    STAMP.write_text(wanted())


if __name__ == "__main__":
    main()
