"""The browser benches use the JupyterLab and the Chromium of the browser tests."""

import importlib.util
import pathlib

PATH = pathlib.Path(__file__).resolve().parent.parent / "browser" / "conftest.py"


def fixtures():
    spec = importlib.util.spec_from_file_location("browser_conftest", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: getattr(module, name) for name in
            ("browser", "lab", "lessons", "new_page", "notebook", "unrun", "pytest_runtest_makereport")}


globals().update(fixtures())
