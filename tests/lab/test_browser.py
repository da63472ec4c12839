"""The lab in a real browser: what a person does in JupyterLab, with Debian's chromium."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import ROOT, changes, fault, running

from lib.chain import params, values
from lib.cloud import Cloud
from lib.lab import index, prepare, server

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not CHROMIUM, reason="needs chromium, as Debian has it"),
]
HARMLESS = ("favicon", "ResizeObserver")  # in what the browser's console calls an error
TOKEN = "t0ken"
STAGE = "10-create-volume.ipynb"


class Lab:
    """A page of JupyterLab, driven by its own commands, and what its console called errors."""

    def __init__(self, page, url: str):
        self.page, self.url, self.errors = page, url, []
        page.on("console", lambda message: message.type == "error" and self._heard(message.text))
        page.on("pageerror", lambda error: self._heard(str(error)))
        page.set_default_timeout(60_000)

    def _heard(self, text: str) -> None:
        if not any(word in text for word in HARMLESS):
            self.errors.append(text)

    def do(self, command: str, **args: object) -> None:
        """Run a command of JupyterLab to its end."""
        code = "async ([c, a]) => { await window.jupyterapp.commands.execute(c, a) }"
        self.page.evaluate(code, [command, args])

    def load(self) -> None:
        """Load the page, or load it anew, until JupyterLab has put everything back."""
        if self.page.url == "about:blank":
            self.page.goto(f"{self.url}lab/tree/index.ipynb?token={TOKEN}")
        else:
            self.page.reload()
        self.page.wait_for_function("window.jupyterapp")
        self.page.evaluate("async () => { await window.jupyterapp.restored }")

    def open(self, name: str) -> None:
        """Show a notebook, once its kernel has answered."""
        self.do("docmanager:open", path=name, factory="Notebook")
        self.page.wait_for_function(
            "name => { const w = window.jupyterapp.shell.currentWidget;"
            " return w?.context?.path === name && w.context.isReady &&"
            " w.sessionContext.session?.kernel?.status === 'idle' }",
            arg=name,
        )

    def set(self, cell: str, old: str, new: str) -> None:
        """Replace a text in the cell of that id."""
        self.page.evaluate(
            "([id, old, now]) => { for (const c of window.jupyterapp.shell.currentWidget.content"
            ".widgets) if (c.model.id === id) c.model.sharedModel.setSource("
            "c.model.sharedModel.source.replace(old, now)) }",
            [cell, old, new],
        )

    def type_into(self, cell: str, text: str) -> None:
        """Make a text all there is in a cell, and leave the cursor at its end."""
        self.page.evaluate(
            "([id, text]) => { const book = window.jupyterapp.shell.currentWidget.content;"
            " book.activeCellIndex = book.widgets.findIndex(c => c.model.id === id);"
            " const cell = book.activeCell; cell.model.sharedModel.setSource(text);"
            " book.mode = 'edit'; cell.editor.focus();"
            " cell.editor.setCursorPosition({line: 0, column: text.length}) }",
            [cell, text],
        )

    def run_all(self) -> None:
        """Begin to run all cells of the notebook."""
        self.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }")

    def text(self) -> str:
        """Return what the outputs of the notebook show."""
        return "\n".join(self.page.locator(".jp-Notebook:visible .jp-OutputArea").all_inner_texts())

    def wait_for(self, text: str) -> None:
        """Wait until an output of the notebook shows a text."""
        self.page.locator(".jp-Notebook:visible .jp-OutputArea", has_text=text).first.wait_for()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def url(cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of JupyterLab in a prepared folder, started as `runbook lab` does."""
    place = tmp_path_factory.mktemp("lab")
    own = {
        "HOME": str(place), "JUPYTER_PLATFORM_DIRS": "1", "TMPDIR": str(place),
        "JUPYTER_CONFIG_PATH": str(server.SETTINGS), "RUNBOOK_RUN": str(place / "runs/interactive"),
        "CLOUDSTACK_ENDPOINT": cloud.profile.endpoint, "CLOUDSTACK_KEY": cloud.profile.key,
        "CLOUDSTACK_SECRET": cloud.profile.secret,
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own.items():
            patch.setenv(name, value)
        table = params.gather(ROOT / "notebooks")
        given = values.load(table, [ROOT / "params/local.yaml"], ["profile=env"])
        folders = place / "folder", ROOT / "notebooks", place / "runs"
        plan = prepare.Plan(*folders, table, given, reason="T-1")
        prepare.write(plan)
        index.write(plan)
        more = [f"--IdentityProvider.token={TOKEN}", "--LabApp.expose_app_in_browser=True"]
        command = [*server.arguments(plan.folder, browser=False), *more, "--port=0"]
        with (place / "log").open("w") as log:
            lab = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield _url(place, lab)
    finally:
        lab.terminate()
        lab.wait(20)


def _url(place: Path, lab: subprocess.Popen) -> str:
    while lab.poll() is None:
        for found in place.rglob("jpserver-*.json"):
            if facts := json.loads(found.read_text() or "{}"):
                return facts["url"]
        time.sleep(0.05)
    raise AssertionError((place / "log").read_text())


@pytest.fixture(scope="module")
def page(url) -> Iterator[Lab]:
    """Yield JupyterLab in a page that all tests share, loaded."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        lab = Lab(browser.new_page(viewport={"width": 1280, "height": 1600}), url)
        lab.load()
        yield lab
        browser.close()


@pytest.fixture
def lab(page, tmp_path) -> Iterator[Lab]:
    """Yield the page; its picture stays in the folder of a test that fails, as folders do."""
    yield page
    page.page.screenshot(path=tmp_path / "page.png")
    assert page.errors == []


def test_the_index_shows_the_procedure_with_links(lab):
    lab.wait_for("the cloud answers")
    links = lab.page.locator(".jp-Notebook:visible .jp-OutputArea a")
    assert links.first.inner_text().startswith("00 Check access")


def test_run_all_of_a_stage_plans_and_shows_tables_for_people(lab, cloud):
    lab.open(STAGE)
    lab.run_all()
    lab.wait_for("Plan mode: 1 step, none applied.")
    lab.wait_for("nothing changed")
    assert changes(cloud) == []
    heads = lab.page.locator(".jp-Notebook:visible .jp-OutputArea table").first.locator("th")
    assert heads.all_inner_texts()[:4] == ["name", "state", "size GiB", "attached to"]


def test_after_a_reload_in_a_wait_the_cell_joins_it(lab, cloud):
    fault(cloud, "time", "scale:3")
    lab.set("parameters", 'mode: str = "plan"', 'mode: str = "apply"')
    lab.run_all()
    lab.page.locator("progress").wait_for()
    lab.do("docmanager:save")
    lab.load()
    lab.open(STAGE)
    lab.run_all()
    lab.wait_for("left to do: nothing")
    assert changes(cloud).count("createVolume") == 1
    fault(cloud, "time", "scale:0")


def test_an_error_is_a_box_with_its_traceback_behind_a_fold(lab):
    lab.set("parameters", "Custom Disk", "Custom Disc")
    lab.run_all()
    lab.wait_for("✗ CheckFailed")
    fold = lab.page.locator("details:visible")
    fold.wait_for()
    assert "Again?" in lab.text() and not fold.locator("pre").is_visible()
    fold.locator("summary").click()
    assert "Traceback" in fold.inner_text()


def test_tab_completes_commands(lab):
    lab.open("explore.ipynb")
    lab.run_all()
    lab.wait_for("diskofferingid")
    lab.type_into("commands", 'cloud.call("attach')
    lab.do("completer:invoke-notebook")
    shown = lab.page.locator(".jp-Completer:visible")
    shown.wait_for()
    assert "attachVolume" in shown.inner_text()
