"""The demo's files and figures, against numbers computed here from the weights it saved."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load_file
from scipy.special import erf, log_softmax

import adjoint as aj
from adjoint.cli import demo as module
from adjoint.cli import report
from adjoint.cli.experiment import BATCH, DECAY, cross_validated, network, rates, trained
from tests.patience import HANGS

EPOCHS, SEED = 10, 3
EPS = float(np.finfo(np.float32).eps)
Weights = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a run in a process of its own has left, with what it said in `told`."""
    folder = tmp_path_factory.mktemp("demo") / "new" / "folder"
    code = (
        "import sys\nfrom adjoint.cli import main\n"
        f"sys.argv = ['adjoint', 'demo', '--out', 'new/folder', '--epochs', '{EPOCHS}', '--seed', '{SEED}']\n"
        "try:\n    main()\nfinally:\n    print('imported', *({'torch', 'jax'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder.parents[1], capture_output=True, text=True, check=False, timeout=HANGS
    )
    assert (done.returncode, done.stderr) == (0, "")
    (folder.parent / "told").write_text(done.stdout)
    return folder


@pytest.fixture(scope="module")
def told(out: Path) -> str:
    return (out.parent / "told").read_text()


@pytest.fixture(scope="module")
def facts(out: Path) -> dict[str, Any]:
    def no(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    result: dict[str, Any] = json.loads((out / "figures.json").read_text("utf-8"), parse_constant=no)
    return result


@pytest.fixture(scope="module")
def weights(out: Path) -> Weights:
    return {name: w.astype(np.float64) for name, w in load_file(out / "weights.safetensors").items()}


@pytest.fixture(scope="module")
def page(out: Path) -> str:
    return (out / "report.html").read_text("utf-8")


TRAIN, TEST = aj.data.digits().split(test=0.2, seed=SEED)


def normalized(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * weight + bias


def scores(w: Weights, x: np.ndarray) -> np.ndarray:
    """The network written out in NumPy, in float64."""
    h = x @ w["0.weight"].T + w["0.bias"]
    for block in ("1.inner", "2.inner"):
        a = (
            normalized(h, w[f"{block}.0.weight"], w[f"{block}.0.bias"]) @ w[f"{block}.1.weight"].T
            + w[f"{block}.1.bias"]
        )
        h = h + a * (1 + erf(a / np.sqrt(2))) / 2 @ w[f"{block}.3.weight"].T + w[f"{block}.3.bias"]
    return normalized(h, w["3.weight"], w["3.bias"]) @ w["4.weight"].T + w["4.bias"]


def test_three_files_appear_and_nothing_else(out: Path, told: str) -> None:
    assert sorted(path.name for path in out.iterdir()) == ["figures.json", "report.html", "weights.safetensors"]
    assert told.splitlines()[-1].split() == ["imported"]
    for path in out.iterdir():
        assert path.name in told


def test_the_screen_fits(told: str) -> None:
    assert max(map(len, told.splitlines())) <= 80
    assert "…" not in told
    for word in ("reads", "gradients", "right in all 19 arrays", "nullity", "48 of 64"):
        assert word in told


def test_accuracy_and_confusion_are_those_of_the_saved_weights(facts: dict[str, Any], weights: Weights) -> None:
    z = scores(weights, TEST.x.astype(np.float64))
    answers = z.argmax(-1)
    assert facts["accuracy"] == pytest.approx(np.mean(answers == TEST.y))
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (TEST.y, answers), 1)
    assert facts["confusion"] == confusion.tolist()
    assert sorted(m["row"] for m in facts["mistakes"]) == np.flatnonzero(answers != TEST.y).tolist()
    certainty = np.exp(log_softmax(z, -1)).max(-1)
    for mistake in facts["mistakes"]:
        assert mistake["certainty"] == pytest.approx(certainty[mistake["row"]], rel=1e-4)
        assert (mistake["digit"], mistake["read_as"]) == (TEST.y[mistake["row"]], answers[mistake["row"]])
    loss = -np.mean(log_softmax(z, -1)[np.arange(len(TEST)), TEST.y])
    assert facts["training"]["history"][-1]["validation_loss"] == pytest.approx(loss, rel=1e-4)
    assert len(facts["training"]["history"]) == EPOCHS


def test_linear_layers_are_what_numpy_says_of_the_saved_weights(facts: dict[str, Any], weights: Weights) -> None:
    linear = [layer for layer in facts["layers"] if layer["kind"] == "Linear"]
    assert len(linear) == 6
    for layer in linear:
        W = weights[f"{layer['name']}.weight"]
        s = np.linalg.svd(W, compute_uv=False)
        rank = np.linalg.matrix_rank(W, tol=max(W.shape) * EPS * s[0])
        assert (layer["rank"], layer["nullity"]) == (rank, W.shape[1] - rank)
        np.testing.assert_allclose(layer["svdvals"], s, rtol=1e-12)
        assert layer["norm"] == pytest.approx(s[0])
        assert layer["cond"] == pytest.approx(s[0] / s[-1])
        assert layer["parameters"] == W.size + len(W)
    first = weights["0.weight"]
    kernel = np.linalg.svd(first)[2][16:]
    x = TEST.x.astype(np.float64)
    share = np.mean(np.sum((x @ kernel.T) ** 2, 1) / np.sum(x**2, 1))
    assert linear[0]["hidden"] == pytest.approx(share, rel=1e-5)


def test_jacobians_equal_differences_of_the_saved_network(facts: dict[str, Any], weights: Weights) -> None:
    norms, values = [], []
    for x in TEST.x[: facts["points"]].astype(np.float64):
        steps = 1e-5 * np.eye(64)
        J = (scores(weights, x + steps) - scores(weights, x - steps)).T / 2e-5
        values.append(np.linalg.svd(J, compute_uv=False))
        norms.append(values[-1][0])
    flow = facts["gradient_flow"]["trained"]
    assert (flow[0]["kind"], flow[-1]["norm"]) == ("input", 1.0)
    assert flow[0]["norm"] == pytest.approx(np.median(norms), rel=1e-4)
    assert [flow[0]["low"], flow[0]["high"]] == pytest.approx([min(norms), max(norms)], rel=1e-4)
    assert flow[0]["gain"] == pytest.approx(np.mean(np.sum(np.square(values), 1)) / 64, rel=1e-4)
    np.testing.assert_allclose(facts["network"]["svdvals"], np.median(values, axis=0), rtol=1e-3, atol=1e-4)
    assert len(facts["gradient_flow"]["untrained"]) == len(flow) == 14


def test_costs_are_their_closed_form(facts: dict[str, Any]) -> None:
    sizes = [(64, 16), (16, 64), (64, 16), (16, 64), (64, 16), (16, 10)]
    products = [2 * BATCH * n * m for n, m in sizes]
    cost = facts["cost"]
    assert cost["forward"]["matmul_flops"] == sum(products)
    # two products backward for each forward, but for the gradient of the pixels, which training does not need
    assert cost["backward"]["matmul_flops"] == 2 * sum(products) - products[0]
    assert cost["parameters"] == sum(n * m + m for n, m in sizes) + 3 * 2 * 16


def test_the_gradient_check_is_of_every_array_and_the_pixels(facts: dict[str, Any], weights: Weights) -> None:
    check = facts["gradient_check"]
    assert check["ok"]
    assert {row["operand"] for row in check["rows"]} == {*(f"net.{name}" for name in weights), "x"}
    for row in check["rows"]:
        assert row["dot"] <= row["dot_tolerance"] < 1e-9
        assert row["error"] <= row["tolerance"] < 1e-5


def test_twins_are_pictures_that_the_network_cannot_tell_apart(facts: dict[str, Any], weights: Weights) -> None:
    assert facts["twins"]
    for pair in facts["twins"]:
        twin, digit = np.array(pair["twin"]), TEST.x[pair["digit"]].astype(np.float64)
        assert -1e-9 <= twin.min() <= twin.max() <= 1 + 1e-9
        # the basis of the kernel is rounded to float32
        moved = np.linalg.norm(twin - digit)
        assert np.linalg.norm(weights["0.weight"] @ (twin - digit)) < 64 * EPS * moved
        assert np.abs(scores(weights, twin) - scores(weights, digit)).max() < 1e-4
        assert moved > 1
        assert TEST.y[pair["digit"]] != TEST.y[pair["goal"]]
        goal = TEST.x[pair["goal"]]
        assert pair["likeness"] == pytest.approx(
            1 - np.linalg.norm(twin - goal) / np.linalg.norm(digit - goal), abs=1e-6
        )


def test_unlit_pixels_feel_only_weight_decay(facts: dict[str, Any], weights: Weights) -> None:
    unlit = facts["unlit"]
    assert unlit["pixels"] == np.flatnonzero(TRAIN.x.max(0) == 0).tolist()
    assert {0, 32, 39} <= set(unlit["pixels"])
    predicted = np.prod([1 - DECAY * rate for rate in rates(TRAIN, EPOCHS)])
    assert unlit["predicted"] == pytest.approx(predicted)
    start = network(SEED)[0].weight.astype(np.float64)
    for pixel in unlit["pixels"]:
        np.testing.assert_allclose(weights["0.weight"][:, pixel], predicted * start[:, pixel], rtol=92 * EPS)
    assert unlit["shrunk"] == pytest.approx(predicted, rel=92 * EPS)


class Page(HTMLParser):
    """What a browser would load, what it shows to those who cannot see, and which tags are left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.unnamed: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.anchors: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag not in ("meta", "img", "link"):
            self.open.append(tag)
        self.see(tag, named)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.see(tag, dict(attrs))

    def see(self, tag: str, named: dict[str, str | None]) -> None:
        self.loaded += [value for key in ("src", "srcset", "data", "action") if (value := named.get(key))]
        self.anchors += [value for key in ("href", "xlink:href") if (value := named.get(key))]
        if named.get("id"):
            self.ids.append(str(named["id"]))
        label = {"img": "alt", "svg": "aria-label"}.get(tag)
        if label and not named.get(label):
            self.unnamed.append(tag)
        assert tag not in ("script", "link", "iframe", "object")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_report_stands_alone(page: str) -> None:
    seen = Page(page)
    assert seen.open == []
    assert seen.unnamed == []
    assert all(value.startswith("data:image/png;base64,") for value in seen.loaded)
    assert all(anchor.startswith("#") for anchor in seen.anchors)
    assert {anchor[1:] for anchor in seen.anchors} <= set(seen.ids)
    assert not re.search(r"https?://|@import|url\((?!#)", page)
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page
    assert len(page) < 400_000


def test_the_report_says_what_the_figures_say(page: str, facts: dict[str, Any]) -> None:
    text = " ".join(" ".join(Page(page).words).split())
    first = facts["layers"][0]
    for figure in (
        f"{100 * facts['accuracy']:.1f}%",
        f"{facts['cost']['parameters']:,}",
        f"{first['nullity']} of 64",
        f"{100 * first['hidden']:.1f}%",
        f"{facts['cost']['backward']['flops']:,}",
        f"{facts['unlit']['shrunk']:.4f}",
        "19 of 19",
    ):
        assert figure in text
    assert text.count("How to read it") >= 10
    assert "nan" not in text.lower().split()


def snippets(page: str) -> Iterator[str]:
    for block in re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL):
        yield re.sub(r"<.*?>", "", block).replace("&lt;", "<").replace("&#39;", "'").replace("&amp;", "&")


def test_the_code_in_the_report_runs(
    page: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = snippets(page)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - the page's own example
    assert names["J"].shape == (10, 64)
    assert "network" in capsys.readouterr().out


def test_the_same_seed_gives_the_same_weights(weights: Weights) -> None:
    # threads may add in another order, and training carries that on
    for name, w in trained(TRAIN, TEST, EPOCHS, SEED).net.named_parameters():
        np.testing.assert_allclose(w, weights[name], atol=1e-2)


def test_a_network_that_reads_badly_is_shown_too(tmp_path: Path) -> None:
    """One epoch: no digit is read surely, so there are no twins to show."""
    console = Console(file=io.StringIO(), width=80)
    module.demo(console, tmp_path, epochs=1, seed=0, folds=2)
    told = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert "cannot see 48 of 64" in told
    facts = json.loads((tmp_path / "figures.json").read_text("utf-8"))
    assert facts["twins"] == []
    assert f"{100 * np.mean(facts['fold_accuracies']):.1f}% on average over 2 splits" in told
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "these pictures are the same" not in page
    assert "each of 2 stratified splits" in page


def test_five_splits_read_at_least_97_percent_on_average() -> None:
    accuracies = list(cross_validated(5, epochs=20, seed=0))
    assert len(accuracies) == 5
    assert np.mean(accuracies) >= 0.97


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_numbers_on_colour_can_be_read(theme: str) -> None:
    """The contrast of the mistakes' numbers with their ground is what WCAG 2.2 asks of text, 4.5 to 1."""
    css = (Path(report.__file__).parent / "page.css").read_text()
    light, dark = (re.findall(r"--(\w+): (#\w{6})", css.split(part)[1].split("}")[0]) for part in (":root", "dark)"))
    colours = dict(light) | (dict(dark) if theme == "dark" else {})
    ink = re.search(r"\.confusion \.wrong {.*?\bcolor: var\(--(\w+)\)", css)
    assert ink is not None

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(colours[ink[1]]), luminance(colours["orange"])))
    assert (high + 0.05) / (low + 0.05) >= 4.5
