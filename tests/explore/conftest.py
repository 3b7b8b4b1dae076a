"""The toy recording, for tests of the player."""

import importlib.util
import pathlib

import pytest


def load_toy():
    path = pathlib.Path(__file__).with_name("toyrecording.py")
    spec = importlib.util.spec_from_file_location("toyrecording", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def toy():
    return load_toy()
