"""A JupyterLab of our own and a real Chromium that reaches nothing but it."""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import nbconvert
import nbformat
import pytest
from playwright import sync_api

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TOKEN = "test"
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
LOCAL = ("http://127.0.0.1:", "ws://127.0.0.1:", "file:", "data:", "blob:")
OPENED = "() => window.jupyterapp?.shell.currentWidget?.sessionContext"
# "Run all" before the kernel is ready is silently ignored, so wait for its first words.
RUN_ALL = """async () => {
    const widget = jupyterapp.shell.currentWidget;
    await jupyterapp.restored; await widget.context.ready; await widget.sessionContext.ready;
    await widget.sessionContext.session.kernel.info;
    await jupyterapp.commands.execute('notebook:run-all-cells');
    const failed = cell => cell.execution_count === null || (cell.outputs.some(o => o.output_type === 'error')
        && !cell.metadata.tags?.includes('raises-exception'));
    return widget.context.model.toJSON().cells.filter(c => c.cell_type === 'code' && c.source.length && failed(c));
}"""  # the cells that did not run to their end


@pytest.fixture(scope="session")
def lessons(tmp_path_factory):
    """A folder with a copy of the notebooks and of data/ beside them, as in a checkout."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("notebooks", "data"):
        shutil.copytree(ROOT / name, root / name)
    return root / "notebooks"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def private_folders(folder):
    """Environment variables that keep JupyterLab away from the user's settings, and without its question about news."""
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")
    names += ("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
    settings = folder / "JUPYTERLAB_SETTINGS_DIR" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    quiet = '{"fetchNews": "false", "checkForUpdates": false}'
    (settings / "notification.jupyterlab-settings").write_text(quiet)
    return {name: str(folder / name) for name in names}


def start_lab(root, port, folder):
    options = ["--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}"]
    options += ["--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={root}"]
    command = [sys.executable, "-m", "jupyterlab", *options, "--LabApp.expose_app_in_browser=True"]
    with open(folder / "log", "w") as log:
        return subprocess.Popen(command, env=os.environ | private_folders(folder), stdout=log, stderr=subprocess.STDOUT)


def wait_until_up(server, url, log):
    for _ in range(600):
        assert server.poll() is None, f"JupyterLab ended:\n{log.read_text()}"
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"{url}/api/status?token={TOKEN}", timeout=2)
        time.sleep(0.1)
    raise TimeoutError(f"JupyterLab did not come up:\n{log.read_text()}")


@pytest.fixture(scope="session")
def lab(lessons, tmp_path_factory):
    """The address of a JupyterLab over a copy of the lessons; it ends with the tests."""
    folder, port = tmp_path_factory.mktemp("lab"), free_port()
    server, url = start_lab(lessons.parent, port, folder), f"http://127.0.0.1:{port}"
    try:
        wait_until_up(server, url, folder / "log")
        yield url
    finally:
        server.terminate()  # ends its kernels, too
        server.wait(30)


@pytest.fixture(scope="session")
def browser():
    """The system's Chromium, or the one that Playwright installed. CI must have one."""
    with sync_api.sync_playwright() as playwright:
        found = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), playwright.chromium.executable_path)
        if not pathlib.Path(found).exists():
            stop = pytest.fail if os.environ.get("CI") else pytest.skip
            stop("no Chromium: install your system's, or run `.venv/bin/python -m playwright install chromium`")
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Let a fixture know, as `request.node.failed`, that its test failed."""
    report = yield
    item.failed = getattr(item, "failed", False) or report.failed
    return report


@pytest.fixture
def new_page(browser, request, tmp_path):
    """new_page(**context options): a page that reaches this machine only; what goes wrong in it fails the test."""
    pages, errors = [], []

    def open_page(**options):
        page = browser.new_context(**{"viewport": {"width": 1300, "height": 1000}} | options).new_page()
        page.context.route("**/*", lambda route: route.continue_() if is_local(route) else route.abort())
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if is_error(message) else None)
        pages.append(page)
        return page

    yield open_page
    for number, page in enumerate(pages):
        if errors or getattr(request.node, "failed", False):
            page.screenshot(path=(shot := tmp_path / f"page{number}.png"), full_page=True)
            print(f"screenshot: {shot}")
        page.context.close()
    assert errors == []


def is_local(route):
    """No CDN, ever: what a lesson needs comes with it."""
    return route.request.url.startswith(LOCAL)


def is_error(message):
    """An error that a page reports; that a request was kept from the network is what we wanted."""
    return message.type == "error" and not message.text.startswith("Failed to load resource")


@pytest.fixture
def notebook(lab, new_page):
    """notebook(name): the notebook in JupyterLab after all its cells ran; with run=False as a fresh clone shows it."""

    def open_notebook(name, run=True, view="lab", **options):
        page = new_page(**options)
        page.goto(f"{lab}/{view}/tree/notebooks/{name}?token={TOKEN}&reset")
        page.wait_for_function(OPENED)
        if run:
            assert page.evaluate(RUN_ALL) == []
        return page

    return open_notebook


@pytest.fixture(scope="module")
def unrun(lessons, request):
    """The name of a small notebook among the lessons: the CELLS of the test module, not run."""
    cells = [nbformat.v4.new_code_cell(source) for source in request.module.CELLS]
    name = f"{request.module.__name__.split('.')[-1]}.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNELSPEC}), lessons / name)
    return name


@pytest.fixture(scope="module")
def trial(unrun, lessons):
    """The same notebook, with its outputs saved as the lessons save theirs."""
    subprocess.run([sys.executable, lessons / "_run.py", lessons / unrun], check=True)
    return unrun


@pytest.fixture
def page(trial, notebook):
    """The small notebook in JupyterLab, after all its cells ran."""
    return notebook(trial)


def code_cell(page, number):
    """A code cell, scrolled into view: JupyterLab builds only those."""
    page.evaluate("number => jupyterapp.shell.currentWidget.content.scrollToItem(number, 'start')", number)
    return page.locator(".jp-CodeCell").nth(number)


def export(source, folder):
    """The notebook as one HTML file without anything from elsewhere."""
    exporter = nbconvert.HTMLExporter(require_js_url="", jquery_url="", mathjax_url="", widget_renderer_url="")
    html, _ = exporter.from_filename(str(source))
    page = folder / f"{source.stem}.html"
    page.write_text(html, encoding="utf-8")
    return page


@pytest.fixture
def static_page(lessons, new_page, tmp_path):
    """static_page(name): the notebook as a saved page, from its file, with no network; scripts=False: no JavaScript."""

    def open_static(name, scripts=True):
        page = new_page(offline=True, java_script_enabled=scripts)
        page.goto(export(lessons / name, tmp_path).as_uri())
        return page

    return open_static
