"""The pages of `navicache eval` in headless Chromium: nothing fetched, figures as in the documents.

Needs what tests/compare/test_compare_page.py needs.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from navicache_cli.evaluation.documents import Evaluation
from navicache_cli.evaluation.page import vbench_page
from navicache_cli.media.metrics import FROM_FRAMES
from navicache_cli.media.video import write_video
from navicache_cli.report.documents import as_document
from tests.browsing import Look
from tests.program import invoke
from tests.vbench_standin import PROMPTS, make_videos, python_with_vbench

HOSTILE = "</script><script>window.stolen = 1</script> 100% #1?.mp4".replace("/", "")


@pytest.fixture
def look(browser):
    opened = []

    def open_page(folder: Path, ready: str) -> Look:
        opened.append(Look(browser, folder, ready))
        return opened[-1]

    yield open_page
    for one in opened:
        one.page.close()


def assert_by_itself(found: Look) -> None:
    """It complained of nothing, fetched nothing, and ran no text of the data."""
    assert found.complaints == []
    assert all(url.startswith(("file://", "data:")) for url in found.requests)
    assert found.page.evaluate("window.stolen") is None


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    """Common metrics of three pairs of gray videos: in b, one is a little darker, one much, one the same."""
    root = tmp_path_factory.mktemp("pairs")
    for folder, change in {"a": 0, "b": 1}.items():
        for darker, name in ((0, "same.mp4"), (8, HOSTILE), (80, "far.mp4")):
            frames = np.full((9, 32, 48, 3), 200 - change * darker, np.uint8)
            write_video(frames, root / folder / name, 8, {})
    invoke("eval", "common", root / "a", root / "b", "--no-lpips", "--output-dir", root / "the figures")
    return root / "the figures"


READY = "() => VIDEOS.player.videos.length > 0 && VIDEOS.player.frames() > 1"


def test_pairs_and_the_least_faithful_first(look, pairs):
    found = look(pairs, READY)
    page = found.page
    document = json.loads((pairs / "common_metrics.json").read_text())
    means = {name: entry["psnr"]["mean"] for name, entry in document["files"].items()}
    assert page.locator("#pairs tbody th").all_text_contents() == sorted(means, key=means.get)
    assert page.locator("#pairs tbody td").first.text_content() == f"{means['far.mp4']:.2f} dB"
    assert page.locator("#figures tbody th").all_text_contents() == [
        metric.label for metric in FROM_FRAMES.values()
    ]
    assert page.locator("#figures tbody button").first.text_content() == "far.mp4"
    assert not page.locator("#seed").is_visible()
    assert_by_itself(found)


def test_a_name_shows_its_pair_side_by_side(look, pairs):
    found = look(pairs, READY)
    page = found.page
    page.locator("#pairs button", has_text=HOSTILE).click()
    page.wait_for_function("() => VIDEOS.shots.every((shot) => shot.video.readyState >= 2)")
    assert page.locator("#prompt option:checked").text_content().endswith(HOSTILE)
    assert page.locator("p.missing:visible").count() == 0, "names with # % ? are found"
    page.locator("#wipe").fill("50")
    page.wait_for_timeout(300)
    shot = np.asarray(Image.open(io.BytesIO(page.locator("#canvas").screenshot())).convert("L")).astype(int)
    # The reference on the left, the darker one on the right.
    quarter = shot.shape[1] // 4
    assert shot[:, quarter].mean() - shot[:, 3 * quarter].mean() == pytest.approx(8, abs=2)
    page.click("#play")
    page.wait_for_function("() => VIDEOS.player.playing && VIDEOS.player.frame > 2")
    assert_by_itself(found)


GALLERY = "() => GALLERY.videos.length > 0 && GALLERY.videos.every((video) => video.readyState >= 2)"


def test_scores_and_videos_of_a_dimension(look, tmp_path):
    videos = make_videos(tmp_path / "videos", per_prompt=2)
    python = python_with_vbench(tmp_path)
    arguments = ("--vbench-python", python, "--seeds", "2", "--videos", videos)
    document = json.loads(
        invoke("eval", "vbench", *arguments, "--dimensions", "color,background_consistency", "--json",
               "--output-dir", tmp_path / "out")
    )  # fmt: skip
    found = look(tmp_path / "out", GALLERY)
    page = found.page
    rows = page.locator("#scores tbody tr").all_text_contents()
    assert [row.split("–")[0] for row in rows if "–" in row] == ["total", "quality", "semantic"]
    color = document["dimensions"][1]
    assert f"{100 * color['score']:.2f} %" in next(row for row in rows if row.startswith("color"))
    page.select_option("#dimension", "background_consistency")
    page.wait_for_function(f"() => GALLERY.videos.length === 4 && ({GALLERY})()")
    scored = {
        video["name"]: video["scores"]["background_consistency"]
        for video in document["videos"]
        if "background_consistency" in video["scores"]
    }
    shown = page.locator("figcaption").all_text_contents()
    for caption, name in zip(shown, sorted(scored, key=scored.get), strict=True):
        assert caption.startswith(name)
    assert page.locator("p.missing:visible").count() == 0
    page.click("#play")
    page.wait_for_function("() => GALLERY.player.playing")
    assert_by_itself(found)


def test_a_dimension_without_a_score_says_why(look, tmp_path):
    """A document as it is when vbench failed, with hostile text in it."""
    videos = make_videos(tmp_path / "videos")
    why = "<img src=x onerror='window.stolen = 1'> </script>"
    entry = {"name": "color", "group": "semantic", "weight": 1.0, "videos": 0, "error": why}
    document = {
        "source": "navicache", "version": 1, "convention": "VBench", "vbench": "0.1.5", "folder": "videos",
        "plan": None,
        "totals": {"quality": None, "semantic": None, "total": None},
        "dimensions": [{**entry, "score": None, "normalised": None, "seconds": None}],
        "videos": [{"name": f"{PROMPTS[0]}-0.mp4", "prompt": PROMPTS[0], "scores": {}}],
        "notes": [why],
    }  # fmt: skip
    (tmp_path / "index.html").write_text(
        vbench_page(as_document(document, Evaluation), videos, tmp_path), "utf-8"
    )
    found = look(tmp_path, "() => document.getElementById('shown').textContent !== ''")
    assert found.page.locator("#scores .why").text_content() == why
    assert found.page.locator("#notes li").text_content() == why
    assert found.page.locator("#shown").text_content() == "no videos"
    assert_by_itself(found)
