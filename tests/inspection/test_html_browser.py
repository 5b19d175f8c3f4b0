"""The page in a browser: its script runs without a complaint, headings sort, the filter narrows, figures are saved."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adjoint as aj

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WAIT = 120.0  # seconds, far more than any machine takes
# The browser reads commands from pipe 3 and answers to pipe 4.
PLACED = """
import fcntl, os, sys
pipes = [fcntl.fcntl(int(x), fcntl.F_DUPFD, 10) for x in sys.argv[1:3]]
os.dup2(pipes[0], 3)
os.dup2(pipes[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt-get install chromium"),
    pytest.mark.skipif(os.name == "nt", reason="the browser is spoken to by pipes with numbers, as POSIX has them"),
]


class Browser:
    """Chromium without a window, by its DevTools protocol over two pipes."""

    def __init__(self, folder: Path) -> None:
        theirs, self._out = os.pipe()
        self._in, back = os.pipe()
        words = [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            f"--user-data-dir={folder / 'profile'}", "--remote-debugging-pipe", "about:blank",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-c", PLACED, str(theirs), str(back), *words], pass_fds=(theirs, back),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs)
        os.close(back)
        os.set_blocking(self._in, False)
        self._rest, self._last, self.events = b"", 0, list[dict[str, Any]]()

    def begin(self, folder: Path) -> None:
        """Open a page whose downloads go to a folder."""
        target = self.tell("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.tell("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for part in ("Runtime", "Log", "Page", "Network"):
            self.tell(f"{part}.enable")
        self.tell("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    _session = ""

    def tell(self, method: str, **params: Any) -> Any:
        """The answer to a command."""
        self._last += 1
        told: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if self._session:
            told["sessionId"] = self._session
        os.write(self._out, json.dumps(told).encode() + b"\0")
        end = time.monotonic() + WAIT
        while time.monotonic() < end:
            for message in self._heard():
                if message.get("id") == self._last:
                    assert "error" not in message, message
                    return message["result"]
                self.events.append(message)
            time.sleep(0.01)
        raise TimeoutError(method)

    def _heard(self) -> Iterator[dict[str, Any]]:
        try:
            part = os.read(self._in, 1 << 20)
        except BlockingIOError:
            return
        assert part, "the browser has ended"
        self._rest += part
        while b"\0" in self._rest:
            one, self._rest = self._rest.split(b"\0", 1)
            yield json.loads(one)

    def open(self, address: str) -> None:
        """A page, when its script has come to its end."""
        self.events.clear()
        self.tell("Page.navigate", url=address)
        self.until("document.documentElement.dataset.ready === 'yes'")

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        told = self.tell("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def until(self, script: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + WAIT
        told = None
        while told is not True:
            assert time.monotonic() < end, script
            with contextlib.suppress(AssertionError):  # a page that is just going away has no context
                told = self.run(script)
            time.sleep(0.02)

    def key(self, key: str, text: str = "") -> None:
        """A key pressed and let go."""
        code = {"Tab": 9, "Enter": 13}.get(key, 0)
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            self.tell("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more)

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(WAIT)
        os.close(self._out)
        os.close(self._in)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    rng = np.random.default_rng(0)
    net = {f"h.{i}.fc.weight": (i % 3 + 1) * rng.standard_normal((40, 60), dtype=np.float32) for i in range(12)}
    net["h.3.fc.weight"][7] = 0.0
    net["bad.weight"] = np.full((3, 4), np.nan, np.float32)
    aj.inspect(net | {"<script>document.title='no'</script>.weight": np.eye(6)}, cache=False).to_html(folder / "r.html")
    (folder / "saved").mkdir()
    return folder


@pytest.fixture(scope="module")
def browser(folder: Path) -> Iterator[Browser]:
    browser = Browser(folder)
    try:
        browser.begin(folder / "saved")
        yield browser
    finally:
        browser.close()


@pytest.fixture
def page(browser: Browser, folder: Path) -> Browser:
    browser.open((folder / "r.html").as_uri())
    return browser


def shown(page: Browser, key: str) -> list[str]:
    """What stands in a column of the rows that are shown."""
    place = f"[...document.querySelectorAll('#rows thead th')].findIndex(th => th.dataset.key === '{key}')"
    return page.run(
        f"[...document.querySelectorAll('#rows tbody tr:not([hidden])')].map(r => r.cells[{place}].textContent)"
    )


def click(page: Browser, key: str) -> str:
    """The heading of a column, and how it says that it sorts."""
    page.run(f"document.querySelector('#rows th[data-key={key}] button').click()")
    return page.run(f"document.querySelector('#rows th[data-key={key}]').getAttribute('aria-sort')")


def test_it_runs_without_a_complaint_or_a_request(page: Browser, folder: Path) -> None:
    methods = [event["method"] for event in page.events if "method" in event]
    assert "Runtime.exceptionThrown" not in methods
    assert "Log.entryAdded" not in methods, page.events
    asked = [e["params"]["request"]["url"] for e in page.events if e.get("method") == "Network.requestWillBeSent"]
    assert {address.split(":")[0] for address in asked} <= {"file"}
    assert len(asked) <= 1
    assert page.run("document.title") == "arrays · adjoint inspect"


def test_a_heading_sorts_both_ways_and_back(page: Browser) -> None:
    model = shown(page, "name")
    assert click(page, "sigma_max") == "descending"
    values = shown(page, "sigma_max")
    assert values[-1] == "–"
    numbers = [float(x) for x in values[:-1]]
    assert numbers == sorted(numbers, reverse=True)
    assert click(page, "sigma_max") == "ascending"
    assert shown(page, "sigma_max")[-1] == "–"
    numbers = [float(x) for x in shown(page, "sigma_max")[:-1]]
    assert numbers == sorted(numbers)
    assert click(page, "sigma_max") == "none"
    assert shown(page, "name") == model
    click(page, "cond")
    assert shown(page, "cond")[0] == "∞"
    assert click(page, "name") == "ascending"
    assert page.run("document.querySelectorAll('#rows th:not([aria-sort=none])[aria-sort]').length") == 1
    names = shown(page, "name")
    assert names.index("h.2.fc.weight") < names.index("h.10.fc.weight")


def test_the_keyboard_sorts(page: Browser) -> None:
    page.run("document.querySelector('#rows th[data-key=rank] button').focus()")
    page.key("Enter", "\r")
    assert page.run("document.querySelector('#rows th[data-key=rank]').getAttribute('aria-sort')") == "descending"
    page.key("Tab")
    assert page.run("document.activeElement.parentElement.dataset.key") == "nullity"


def test_the_filter_narrows_table_and_spectra(page: Browser) -> None:
    figures = "document.querySelectorAll('[data-of]:not([hidden])').length"
    assert page.run(figures) == 13
    page.run(
        "filter.value = 'h.1'; filter.dispatchEvent(new Event('input'))".replace(
            "filter", "document.getElementById('filter')"
        )
    )
    assert shown(page, "name") == ["h.1.fc.weight", "h.10.fc.weight", "h.11.fc.weight"]
    assert page.run(figures) == 3
    assert page.run("document.getElementById('count').textContent") == "3 of 14 weights"
    page.run("document.getElementById('filter').value = ''; document.getElementById('faulty').click()")
    assert shown(page, "name") == ["h.3.fc.weight", "bad.weight"]


def test_all_columns_are_shown_on_wish(page: Browser) -> None:
    seen = "document.querySelector('#rows th[data-key=tolerance]').offsetWidth > 0"
    assert not page.run(seen)
    page.run("document.getElementById('all').click()")
    assert page.run(seen)


def test_the_address_tells_the_order(browser: Browser, folder: Path) -> None:
    browser.open((folder / "r.html").as_uri() + "?sort=lost&filter=h.&theme=dark")
    assert shown(browser, "name")[0] == "h.3.fc.weight"
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(19, 19, 23)"


def test_the_switch_changes_light_and_dark(page: Browser) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    before = page.run(colour)
    page.run("document.getElementById('theme').click()")
    after = page.run(colour)
    assert {before, after} == {"rgb(252, 251, 248)", "rgb(19, 19, 23)"}
    page.run("document.getElementById('theme').click()")
    page.run("localStorage.clear()")


def test_figures_are_saved(page: Browser, folder: Path) -> None:
    saved = folder / "saved"
    for form in ("SVG", "PNG", "CSV"):
        page.run(f'document.querySelector(\'[data-of="0"] [aria-label$=" {form}"]\').click()')
        path = saved / f"spectrum-0.{form.lower()}"
        end = time.monotonic() + WAIT
        while not path.exists():
            assert time.monotonic() < end, f"{form} was not saved: {page.events[-3:]}"
            time.sleep(0.05)
    told = (saved / "spectrum-0.svg").read_text(encoding="utf-8")
    assert 'xmlns="http://www.w3.org/2000/svg"' in told
    assert "var(" not in told
    assert (saved / "spectrum-0.png").read_bytes().startswith(b"\x89PNG")
    assert (saved / "spectrum-0.csv").read_text(encoding="utf-8").startswith("k,sigma\n1,")
