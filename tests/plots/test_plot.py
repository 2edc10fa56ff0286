"""`navicache plot` on reports of a real generation, and on measured pairs."""

from __future__ import annotations

import copy
import json
import math
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest

from navicache_cli.errors import BackendError, OutputError, UsageError
from navicache_cli.plots import accuracy

pytest.importorskip("matplotlib", reason="pip install 'navicache[plot]'")

from matplotlib.colors import to_hex

from navicache_cli.plots.many_runs import draw_runs, group
from navicache_cli.plots.one_run import draw_run
from navicache_cli.plots.theme import DARK, LIGHT, drawing, plain
from navicache_cli.plots.trace import read_trace
from tests.conftest import MEASURED
from tests.program import invoke

Writer = Callable[..., Path]


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The report of a real generation that computed and skipped steps."""
    video = tmp_path_factory.mktemp("generated") / "run.mp4"
    invoke("generate", "--steps", "14", "--align-steps", "3", "--threshold", "0.15", "-q", "-o", video)
    document = json.loads(video.with_suffix(".json").read_text())
    assert {step["computed"] for step in document["steps"][3:-1]} == {True, False}
    return document


@pytest.fixture
def report(generated: dict, tmp_path: Path) -> Writer:
    """Write the generated report, changed by a function, under a name."""

    def write(name: str = "run", change: Callable[[dict], object] = lambda document: None) -> Path:
        document = copy.deepcopy(generated)
        change(document)
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(document))
        return path

    return write


def option(document: dict, **values: object) -> None:
    for name, value in values.items():
        document["plan"][name] = {"value": value, "source": "test"}


def numbers(document: dict, key: str) -> np.ndarray:
    return np.array([math.nan if step[key] is None else step[key] for step in document["steps"]])


def svg(path: Path) -> list[ElementTree.Element]:
    return list(ElementTree.parse(path).getroot().iter())


# Files


def test_png_beside_the_report(report: Writer) -> None:
    source = report()
    picture = source.with_name("run-plot.png")
    assert invoke("plot", source).strip() == str(picture)
    from PIL import Image

    with Image.open(picture) as image:
        assert image.format == "PNG"
        assert image.width > 1200
        colours = {to_hex([c / 255 for c in colour[:3]]) for _, colour in image.getcolors(10**7)}
    assert {LIGHT.surface, LIGHT.computed, LIGHT.skipped} <= colours
    assert sorted(path.name for path in source.parent.iterdir()) == ["run-plot.png", "run.json"]


def test_svg_light_and_dark(report: Writer, tmp_path: Path) -> None:
    source = report()
    found = {}
    for name, flags in {"light": (), "dark": ("--dark",)}.items():
        picture = tmp_path / "new" / f"{name}.svg"
        invoke("plot", source, "-o", picture, *flags)
        found[name] = picture.read_text()
        assert len(svg(picture)) > 100
        invoke("plot", source, "-o", picture, *flags)
        assert picture.read_text() == found[name], "the same report, the same picture"
    assert LIGHT.skipped in found["light"]
    assert DARK.surface not in found["light"]
    assert DARK.surface in found["dark"]
    assert LIGHT.skipped not in found["dark"]


def test_text_of_a_report_is_text(report: Writer, tmp_path: Path) -> None:
    hostile = '--><script>alert(1)</script> $\\frac{ & "\x00\x1b[2J\ud800\n雪 ' + "long " * 100
    source = report("a", lambda d: option(d, prompt=hostile, model=hostile, mode="$x_"))
    other = report("b", lambda d: option(d, prompt=hostile, model="$", mode="<b>"))
    for name, sources in {"one": [source], "two": [source, other]}.items():
        picture = tmp_path / f"{name}.svg"
        invoke("plot", *sources, "-o", picture)
        assert not [element for element in svg(picture) if element.tag.endswith("script")]
        assert "\x1b" not in picture.read_text()
    assert plain("a\n b\x00\ud800c", 100) == "a bc"
    assert plain("abcdef", 4) == "abc…"


# One report


def test_steps_and_error_against_threshold(report: Writer, generated: dict) -> None:
    with drawing(LIGHT):
        figure = draw_run(read_trace(report()), LIGHT)
    strip, error, ratio, innovation, predicted = figure.axes
    expected = [
        LIGHT.skipped if not step["computed"] else LIGHT.forced if step["forced"] else LIGHT.computed
        for step in generated["steps"]
    ]
    for axes in (strip, error):
        assert [to_hex(bar.get_facecolor()) for bar in axes.patches] == expected
    assert [bar.get_height() for bar in error.patches] == list(numbers(generated, "accumulated_error"))
    (threshold,) = error.lines
    assert set(threshold.get_ydata()) == {0.15}
    assert ratio.get_title(loc="left").startswith("Feature-change ratio")
    assert innovation.get_title(loc="left").startswith("Innovation")
    assert predicted.get_title(loc="left").startswith("Predicted error of the final latents")
    np.testing.assert_allclose(predicted.lines[0].get_ydata(), 100 * numbers(generated, "predicted_error"))


def test_ratio_band_and_innovation(report: Writer, generated: dict) -> None:
    with drawing(LIGHT):
        _, _, ratio, innovation, _ = draw_run(read_trace(report()), LIGHT).axes
    k, z_minus_k = numbers(generated, "ratio"), numbers(generated, "innovation")
    sigma = np.sqrt(numbers(generated, "variance"))
    estimate, measured = (line.get_ydata() for line in ratio.lines)
    np.testing.assert_allclose(estimate, k)
    np.testing.assert_allclose(measured, k + z_minus_k)
    (band,) = ratio.collections
    corners = band.get_paths()[0].vertices
    for step in np.flatnonzero(np.isfinite(k)):
        heights = corners[corners[:, 0] == step, 1]
        assert heights.max() == pytest.approx(k[step] + 2 * sigma[step])
        low, floor = k[step] - 2 * sigma[step], ratio.get_ylim()[0]
        assert heights.min() == pytest.approx(low) if low > floor else heights.min() < floor
    stems = innovation.lines[-1]
    np.testing.assert_allclose(stems.get_ydata(), z_minus_k[np.isfinite(z_minus_k)])
    np.testing.assert_array_equal(stems.get_xdata(), np.flatnonzero(np.isfinite(z_minus_k)))


def test_the_dual_filters_band_is_of_logarithms(report: Writer, generated: dict) -> None:
    trace = read_trace(report("dual", lambda d: option(d, estimator="dual")))
    k, sigma = numbers(generated, "ratio"), np.sqrt(numbers(generated, "variance"))
    np.testing.assert_allclose(np.log(trace.high / k), 2 * sigma)
    np.testing.assert_allclose(np.log(trace.low / k), -2 * sigma)


def test_methods_without_such_numbers(report: Writer, tmp_path: Path) -> None:
    def without(*keys: str) -> Callable[[dict], None]:
        def change(document: dict) -> None:
            for step in document["steps"]:
                step.update(dict.fromkeys(keys))
            if "predicted_error" in keys:
                document["totals"]["predicted_error"] = None

        return change

    all_keys = ("ratio", "variance", "innovation", "accumulated_error", "predicted_error")
    held = read_trace(report("held", without("variance")))
    bare = read_trace(report("bare", without(*all_keys)))
    with drawing(DARK):
        assert len(draw_run(held, DARK).axes) == 5
        assert len(draw_run(held, DARK).axes[2].collections) == 0
        assert len(draw_run(bare, DARK).axes) == 1


# Several reports


def flip(*steps: int) -> Callable[[dict], None]:
    """Turn the given steps from computed to skipped, or the other way round."""

    def change(document: dict) -> None:
        for index in steps:
            document["steps"][index]["computed"] = not document["steps"][index]["computed"]

    return change


def test_skip_frequency_and_compute_ratio(report: Writer, generated: dict) -> None:
    traces = [read_trace(report(f"r{i}", flip(*steps))) for i, steps in enumerate([(), (5,), (5, 7), (7,)])]
    with drawing(LIGHT):
        strips, frequency, ratio = draw_runs(traces, LIGHT).axes
    ran = np.array([[step["computed"] for step in generated["steps"]]] * 4)
    ran[[1, 2], 5] ^= True
    ran[[2, 3], 7] ^= True
    assert strips.collections[0].get_array().shape == (4, 14)
    assert [bar.get_height() for bar in frequency.patches] == list(1 - ran.mean(0))
    (line,) = ratio.lines
    np.testing.assert_allclose(line.get_ydata(), (ran.cumsum(1) / np.arange(1, 15)).mean(0))
    assert line.get_ydata()[-1] == pytest.approx(ran.mean())


def test_reports_of_different_settings_are_told_apart(report: Writer) -> None:
    traces = [
        read_trace(report("a", lambda d: option(d, seed=1))),
        read_trace(report("b", lambda d: option(d, seed=2, prompt="another"))),
        read_trace(report("c", lambda d: option(d, method="easycache"))),
        read_trace(report("d", lambda d: option(d, threshold=0.3))),
    ]
    common, groups = group(traces)
    assert list(common) == ["model", "task", "mode", "align_steps", "steps"]
    assert {label: [trace.name for trace in members] for label, members in groups.items()} == {
        "navicache, scalar, threshold 0.15": ["a", "b"],
        "easycache, threshold 0.15": ["c"],
        "navicache, scalar, threshold 0.3": ["d"],
    }
    with drawing(LIGHT):
        figure = draw_runs(traces, LIGHT)
    assert len(figure.axes) == 1 + 3 + 1
    assert len(figure.axes[-1].lines) == 3


def test_budgets_have_one_name_however_asked_for(report: Writer) -> None:
    traces = [
        read_trace(report("a", lambda d: option(d, speedup=2))),
        read_trace(report("b", lambda d: option(d, compute=0.5))),
        read_trace(report("c", lambda d: option(d, compute=0.4))),
    ]
    _, groups = group(traces)
    assert {label: len(members) for label, members in groups.items()} == {"2x": 2, "2.5x": 1}


def test_long_names_are_within_the_picture(report: Writer, tmp_path: Path) -> None:
    names = [f"tiny-a-red-circle-moving-right-2x-{seed}" for seed in range(2)]
    invoke("plot", *(report(name) for name in names), "-o", tmp_path / "rows.png")
    picture = imageio.imread(tmp_path / "rows.png")
    rows = picture[150:275, :200, :3].min(axis=2)  # the names of the strip's rows
    assert (rows < 200).any()
    assert (rows[:, :5] == 255).all(), "free at the left edge"


def test_many_reports(report: Writer, tmp_path: Path) -> None:
    sources = [report(f"r{i}", flip(i % 14)) for i in range(30)]
    invoke("plot", *sources, "-o", tmp_path / "many.png")
    assert (tmp_path / "many.png").stat().st_size > 10_000


def test_reports_that_do_not_go_together(report: Writer) -> None:
    def shorten(document: dict) -> None:
        del document["steps"][-1]

    with pytest.raises(UsageError, match=r"found 14 \(a\) and 13 \(b\)"):
        invoke("plot", report("a"), report("b", shorten))
    sources = [report(f"r{i}", lambda d, i=i: option(d, threshold=i / 10)) for i in range(9)]
    with pytest.raises(UsageError, match="at most 8 different settings; found 9"):
        invoke("plot", *sources)


# Measured pairs


def write_pairs(path: Path, seed: int = 0, prompts: int = 3, steps: int = 12) -> list[tuple]:
    rng = np.random.default_rng(seed)
    rows = [
        (f"p{prompt}", step, round(float(rng.uniform(0.05, 0.4)), 5), round(float(rng.uniform(0.05, 0.5)), 5))
        for prompt in range(prompts)
        for step in range(1, steps)
    ]
    lines = ["prompt,step,input_rel_l1,output_rel_l1", *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return rows


def expected_errors(rows: list[tuple]) -> dict[str, tuple[float, float]]:
    """MAE and relative error from step 6 on, by plain formulas: held ratio, published filter, polynomial."""
    errors: dict[str, list[tuple[float, float]]] = {
        "zero-order hold": [],
        "scalar filter": [],
        "polynomial": [],
    }
    for prompt in {row[0] for row in rows}:
        others = np.array([row[2:] for row in rows if row[0] != prompt])
        fitted = np.polyfit(others[:, 0], others[:, 1], 4)
        z = k = p = None
        for _, step, before, after in (row for row in rows if row[0] == prompt):
            if step >= 6:
                forecasts = {"zero-order hold": z * before, "scalar filter": k * before}
                forecasts["polynomial"] = np.polyval(fitted, before)
                for name, forecast in forecasts.items():
                    errors[name].append((abs(forecast - after), abs(forecast - after) / after))
            z = after / before
            if k is None or step < 5:
                k, p = z, 1.0
            else:
                gain = (p + 0.05) / (p + 0.05 + 0.05 + 1e-8)
                k, p = k + gain * (z - k), (1 - gain) * (p + 0.05)
    return {name: tuple(np.mean(found, axis=0)) for name, found in errors.items()}


def test_accuracy_by_plain_formulas(tmp_path: Path) -> None:
    rows = write_pairs(tmp_path / "pairs.csv")
    found = accuracy.measure_accuracy(accuracy.read_pairs(tmp_path / "pairs.csv"))
    assert list(found) == ["zero-order hold", "polynomial", "scalar filter", "dual filter"]
    for name, (mae, relative) in expected_errors(rows).items():
        assert found[name].mae == pytest.approx(mae, rel=1e-6)
        assert found[name].relative == pytest.approx(relative, rel=1e-6)
        assert list(found[name].by_step) == [6, 7, 8, 9, 10, 11]
        assert np.mean(list(found[name].by_step.values())) == pytest.approx(relative)


def test_a_perfect_world(tmp_path: Path) -> None:
    """A constant ratio is foreseen by every filter, one that grows steadily best by the dual one."""
    header = "prompt,step,input_rel_l1,output_rel_l1\n"
    for growth in (1.0, 1.2):
        lines = [f"{p},{i},{0.1 + 0.01 * i},{(0.1 + 0.01 * i) * growth**i}" for p in "ab" for i in range(20)]
        (tmp_path / "pairs.csv").write_text(header + "\n".join(lines))
        found = accuracy.measure_accuracy(accuracy.read_pairs(tmp_path / "pairs.csv"))
        filters = [found[name].relative for name in ("zero-order hold", "scalar filter", "dual filter")]
        if growth == 1:
            assert filters == pytest.approx([0, 0, 0], abs=1e-6)
        else:
            assert filters[2] == min(filters)
            assert filters[0] == pytest.approx(1 - 1 / 1.2)


def test_measured_pairs_as_a_picture(tmp_path: Path) -> None:
    rows = write_pairs(tmp_path / "pairs.csv")
    shown = invoke("plot", tmp_path / "pairs.csv", "-o", tmp_path / "accuracy.svg", "--dark")
    lines = shown.splitlines()
    mae, relative = expected_errors(rows)["scalar filter"]
    assert lines[3].split() == ["scalar", "filter", f"{mae:.4f}", f"{relative:.1%}"]
    assert lines[-1] == str(tmp_path / "accuracy.svg")
    assert len(svg(tmp_path / "accuracy.svg")) > 100


@pytest.mark.skipif(
    not MEASURED.is_file(), reason=f"needs {MEASURED}; set NAVICACHE_MEASURED_PAIRS to where it is"
)
def test_filters_beat_the_hold_on_measured_pairs() -> None:
    """116 pairs of a 30-step Open-Sora-class model; the hold's figure is the one published with them."""
    found = accuracy.measure_accuracy(accuracy.read_pairs(MEASURED))
    assert found["zero-order hold"].relative == pytest.approx(0.298, abs=0.002)
    dual, scalar, hold = (
        found[name].relative for name in ("dual filter", "scalar filter", "zero-order hold")
    )
    assert dual < 0.92 * scalar
    assert dual < 0.85 * hold
    assert scalar < hold
    assert found["polynomial"].relative > found["zero-order hold"].relative


# Errors


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompt,step,input_rel_l1\na,1,2\n", "found no output_rel_l1"),
        ("", "found no prompt, step, input_rel_l1, output_rel_l1"),
        ("{h}a,6,0.1,x\n", "two numbers at .*line 2"),
        ("{h}a,6\n", "two numbers at .*line 2"),
        ("{h}a,6,0.1,0\n", "positive changes, .*line 2; found 6, 0.1, 0"),
        ("{h}a,6,nan,1\n", "positive changes"),
        ("{h}a,6,1e999,1\n", "positive changes"),
        ("{h}a,6,1e-150,1\n", "positive changes"),
        ("{h}a,6,1,1e150\n", "positive changes"),
        ("{h}a," + "9" * 400 + ",1,1\n", "step below 10000"),
        ("{h}a,99999999999,1,1\n", "step below 10000"),
        ("{h}a,7,1,1\na,6,1,1\n", "rising order"),
        ("{h}a,1,1,1\n", "from step 6 on .*found none"),
        ("{h}a,9,1,1\nb,9,1,1\n", "from step 6 on .*found none"),
        ("{h}", "from step 6 on .*found none"),
        ("{h}" + "a" * 200_000 + ",1,1,1\n", "CSV file"),
    ],
)
def test_pairs_that_make_no_sense(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(text.replace("{h}", "prompt,step,input_rel_l1,output_rel_l1\n"))
    with pytest.raises(OutputError, match=message):
        invoke("plot", path)


def test_one_prompt_is_too_few(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs.csv", prompts=1)
    with pytest.raises(UsageError, match="at least two prompts; found 1"):
        invoke("plot", tmp_path / "pairs.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("steps"), "run.json: not a navicache report"),
        (lambda d: d.update(steps=[]), "numbered from 0"),
        (lambda d: d["steps"].reverse(), "numbered from 0"),
        (lambda d: d["steps"][3].update(ratio=1e13), "numbers below 1e\\+12 .*steps/ratio"),
        (lambda d: d["steps"][3].update(ratio=math.inf), "finite numbers were expected, Infinity"),
        (lambda d: d["steps"][3].update(innovation=math.nan), "finite numbers were expected, NaN"),
        (lambda d: d["steps"][3].update(variance=10**300), "numbers below 1e\\+12 .*steps/variance"),
        (lambda d: d["steps"][3].update(ratio="<script>"), "not a navicache report: steps/3/ratio"),
    ],
)
def test_reports_that_make_no_sense(
    report: Writer, change: Callable[[dict], object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match=message) as caught:
        invoke("plot", report("run", change))
    assert "\n" not in caught.value.message
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_files_that_are_no_reports(tmp_path: Path) -> None:
    for text in ("{", "[" * 100_000, "\xff", "3"):
        (tmp_path / "run.json").write_text(text, encoding="latin-1")
        with pytest.raises(OutputError, match=r"run\.json"):
            invoke("plot", tmp_path / "run.json")
    with pytest.raises(OutputError, match="No such file"):
        invoke("plot", tmp_path / "none.json")


def test_extreme_numbers(report: Writer, tmp_path: Path) -> None:
    def stretch(document: dict) -> None:
        document["steps"][4].update(ratio=9e11, innovation=-9e11, variance=9e11, accumulated_error=-1)
        document["steps"][5].update(ratio=-1, variance=-1, accumulated_error=9e11)

    for estimator in ("scalar", "dual"):
        source = report(estimator, lambda d: (stretch(d), option(d, estimator=estimator)))  # noqa: B023
        invoke("plot", source, "-o", tmp_path / f"{estimator}.png")


def test_wrong_names_and_mixtures(report: Writer, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"named \.png or \.svg; found run\.pdf"):
        invoke("plot", report(), "-o", tmp_path / "run.pdf")
    write_pairs(tmp_path / "pairs.csv")
    with pytest.raises(UsageError, match=r"found .*pairs\.csv among 2 files"):
        invoke("plot", report(), tmp_path / "pairs.csv")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError, match=r"folder\.png is a folder"):
        invoke("plot", report(), "-o", tmp_path / "folder.png")
    assert not list(tmp_path.glob(".*"))


def test_without_matplotlib(report: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BackendError, match="matplotlib") as caught:
        invoke("plot", report())
    assert caught.value.hint == "pip install 'navicache[plot]'"


def test_exit_code_and_one_line(cli, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"version": 1}')
    done = cli("plot", "run.json")
    assert done.returncode == OutputError.exit_code
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 2, "a cause and a next step"


def test_the_program_starts_without_matplotlib() -> None:
    code = (
        "import sys, navicache_cli.app as a; sys.exit('matplotlib' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
