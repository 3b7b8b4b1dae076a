"""Helpers of the capture tests, as fixtures: test files cannot import each other."""
import gzip
import json
from pathlib import Path

import pytest

from mmviz.__main__ import main

CAPTURES = Path(__file__).resolve().parents[2] / "data" / "captures"


@pytest.fixture
def capture_path():
    """capture_path("m512_W2b_small.json.gz"): a file of data/captures."""
    return lambda name: CAPTURES / name


@pytest.fixture
def altered(tmp_path):
    """altered("m512_W2b_small.json.gz", change): a copy of a golden file that `change` has altered; its path."""

    def alter(name, change):
        data = json.loads(gzip.decompress((CAPTURES / name).read_bytes()))
        change(data)
        path = tmp_path / name
        path.write_bytes(gzip.compress(json.dumps(data).encode(), mtime=0))
        return path

    return alter


@pytest.fixture
def raw_copy(tmp_path):
    """raw_copy("m512/W1_shell", trace=change, snaps=change): a copy of a raw capture with altered texts; its path."""

    def copy(stem, trace=str, snaps=str):
        for kind, change in (("trace", trace), ("snaps", snaps)):
            source = CAPTURES / f"{stem}.{kind}.gz"
            text = change(gzip.decompress(source.read_bytes()).decode())
            (tmp_path / source.name).write_bytes(gzip.compress(text.encode(), mtime=0))
        return tmp_path / f"{Path(stem).name}.snaps.gz"

    return copy


@pytest.fixture
def command(capsys):
    """command("replay", path): exit status, standard output, standard error of `python -m mmviz`."""

    def run(*arguments):
        status = main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return run
