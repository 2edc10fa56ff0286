"""The page of a comparison in headless Chromium: nothing fetched, videos in step, wipe, keys, widths.

Needs the package playwright and a Chromium: `playwright install chromium`, or one on the PATH (Debian has
a package of that name).
"""

from __future__ import annotations

import io
import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from navicache_cli.compare.page import page_text
from tests.browsing import Look, assert_data_stays_in_its_element, assert_names_no_other_file
from tests.comparison import PROMPTS, SETTINGS

FPS, FRAMES = 8, 17
TIMES = "() => VIDEOS.player.videos.map((video) => video.currentTime)"
MOVING = "VIDEOS.player.videos.every((video) => !video.paused && !video.seeking)"
READY = "() => VIDEOS.player.videos.length > 0 && VIDEOS.player.frames() > 1"
STILL = "VIDEOS.player.videos.every((video) => video.readyState >= 2 && !video.seeking)"


def test_no_prompt_can_leave_its_element():
    """Without a browser: nothing in the data reads as HTML, and it comes back as it was."""
    assert_data_stays_in_its_element(page_text, PROMPTS[1])


def test_the_page_is_one_file_that_names_no_other():
    assert_names_no_other_file(page_text({}))


def cell_of(document: dict, setting: str) -> dict:
    """The setting's cell of the first prompt."""
    (cell,) = [one for one in document["cells"] if one["setting"] == setting and one["prompt"] == 0]
    return cell


@pytest.fixture
def look(browser, comparison):
    opened = []

    def open_page(folder: Path = comparison.folder, **options) -> Look:
        opened.append(Look(browser, folder, READY, **options))
        return opened[-1]

    yield open_page
    for one in opened:
        one.page.close()


def test_it_loads_without_complaints_or_a_network(look):
    found = look()
    page = found.page
    page.keyboard.press("n")  # the hostile prompt
    page.wait_for_function("() => VIDEOS.places[VIDEOS.place].prompt === 1")
    assert found.complaints == []
    assert found.requests
    assert all(url.startswith(("file://", "data:")) for url in found.requests)
    assert page.evaluate("window.stolen") is None
    assert page.locator("#prompt option").nth(1).text_content() == f"2. {PROMPTS[1]}"
    assert page.locator("#settings tbody tr").count() == 1 + len(SETTINGS)
    assert page.locator("figure:visible").count() == 1 + len(SETTINGS)
    assert page.locator("#legend li").all_text_contents() == ["navicache", "easycache", "fewer-steps"]


def test_videos_play_in_step(look):
    """Over more than two rounds, no video is a frame away from another; stopped, all show the same frame."""
    page = look().page
    page.click("#play")
    page.wait_for_function("() => VIDEOS.player.playing")
    page.wait_for_function("() => VIDEOS.player.videos.every((video) => !video.paused)")
    samples, leader = [], []
    for _ in range(100):
        # At the end of a round all stop, go back and start again together.
        times = page.evaluate(f"() => {MOVING} ? ({TIMES})() : null")
        if times is not None:
            samples.append((max(times) - min(times)) * FPS)
            leader.append(times[0])
        page.wait_for_timeout(50)
    assert len(samples) > 40, "it was playing for most of the time"
    assert max(samples) <= 1, f"{max(samples):.2f} frames apart"
    falls = [later < earlier - 1 for earlier, later in pairwise(leader)]
    assert any(falls), "it starts again"
    page.click("#play")
    page.wait_for_function(f"() => !VIDEOS.player.playing && {STILL}")
    times = page.evaluate(TIMES)
    assert max(times) - min(times) < 1e-3
    assert page.locator("#play").text_content() == "Play"


def test_scrubber_and_keys(look):
    page = look().page

    def wait_for(frame: int) -> None:
        page.wait_for_function(
            "([frame, fps]) => VIDEOS.player.videos.every("
            "(video) => !video.seeking && Math.floor(video.currentTime * fps) === frame)",
            arg=[frame, FPS],
        )
        page.wait_for_function("(text) => byId('frame').textContent === text", arg=f"{frame + 1} / {FRAMES}")

    page.locator("#scrubber").fill("10")
    wait_for(10)
    page.locator("h1").click()
    page.locator("#scrubber").evaluate("(element) => element.blur()")
    page.keyboard.press("ArrowRight")
    wait_for(11)
    page.keyboard.press("ArrowLeft")
    wait_for(10)
    page.keyboard.press("Home")
    wait_for(0)
    page.keyboard.press("Space")
    page.wait_for_function("() => VIDEOS.player.playing && VIDEOS.player.videos[0].currentTime > 0.4")
    page.keyboard.press("Space")
    page.wait_for_function("() => !VIDEOS.player.playing")
    # By the keyboard alone: the slider has the focus, the frames stay.
    page.locator("#wipe").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#wipe").input_value() == "51"


def test_the_wipe_shows_one_video_on_each_side(look):
    page = look().page
    page.select_option("#right", "fewer-steps 2")
    page.wait_for_function(f"() => {STILL}")
    # At whole pixels and in one place, so that pictures can be held against each other.
    place = "position: fixed; top: 0; left: 0; width: 384px; height: 384px; border-radius: 0; z-index: 9"
    page.add_style_tag(content=f".divider, .tag {{ display: none }} #stage {{ {place} }}")

    def picture(part: int) -> np.ndarray:
        page.locator("#wipe").fill(str(part))
        page.wait_for_timeout(100)
        shot = page.locator("#canvas").screenshot()
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)

    right, half, left = picture(0), picture(50), picture(100)
    middle = half.shape[1] // 2
    sides = ((np.s_[:, : middle - 20], left, right), (np.s_[:, middle + 20 :], right, left))
    for part, shown, hidden in sides:
        assert np.abs(half[part] - shown[part]).max() == 0
        assert np.abs(half[part] - hidden[part]).mean() > 1, "two different videos"
    # After a jump it shows the new frame, not the one before.
    page.locator("#scrubber").fill("15")
    page.wait_for_function(f"() => {STILL} && VIDEOS.player.frame === 15")
    page.wait_for_timeout(500)
    jumped = np.asarray(Image.open(io.BytesIO(page.locator("#canvas").screenshot())).convert("RGB"))
    assert np.abs(jumped.astype(int) - picture(100)).max() == 0
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 30)
    page.mouse.up()
    assert abs(float(page.locator("#wipe").input_value()) - 25) <= 1


def test_the_strip_tells_each_step(look, comparison):
    page = look().page
    cell = cell_of(comparison.document, "navicache threshold 5")
    steps = json.loads((comparison.folder / cell["report"]).read_text())["steps"]
    figure = page.locator("figure", has_text="navicache threshold 5")
    marks = figure.locator(".strip .step")
    classes = [mark.get_attribute("class") for mark in marks.all()]
    assert [name != "step" for name in classes] == [step["computed"] for step in steps]
    skipped = next(i for i, step in enumerate(steps) if not step["computed"])
    marks.nth(skipped).hover()
    told = figure.locator(".readout").text_content()
    assert f"step {skipped + 1}: predicted" in told
    assert f"ratio {float(format(steps[skipped]['ratio'], '.4g')):.3f}" in told
    assert "of 5" in told
    # All strips share the cursor.
    baseline = page.locator("figure").first.locator(".readout").text_content()
    assert baseline.startswith(f"step {skipped + 1}: computed")
    strip = figure.locator(".strip")
    page.mouse.move(0, 0)
    strip.focus()
    page.keyboard.press("End")
    assert f"step {len(steps)}: computed" in figure.locator(".readout").text_content()
    page.keyboard.press("ArrowLeft")
    assert strip.get_attribute("aria-valuenow") == str(len(steps) - 1)
    assert strip.get_attribute("aria-valuetext").startswith(f"step {len(steps) - 1}:")


def test_points_of_the_frontier_tell_their_numbers(look, comparison):
    page = look().page
    points = page.locator("#frontier .point")
    assert points.count() == len(SETTINGS)
    (setting,) = [one for one in comparison.document["settings"] if one["name"] == "fewer-steps 3"]
    point = page.locator('#frontier .point[aria-label^="fewer-steps 3"]')
    point.focus()
    tip = page.locator("#frontier .tip")
    assert tip.is_visible()
    assert f"PSNR {setting['psnr']['mean']:.2f} dB" in tip.text_content()
    assert "50 % of the work" in tip.text_content()
    page.get_by_role("button", name="Speedup").click()
    assert "×" in page.locator("#frontier svg").text_content()
    page.get_by_role("button", name="SSIM").click()
    point.focus()
    assert f"SSIM {setting['ssim']['mean']:.4f}" in tip.text_content()


def test_a_speedup_beyond_its_bound_is_marked(look, comparison, copied):
    folder = copied(comparison.folder)
    text = (folder / "index.html").read_text("utf-8")
    changed = re.sub(r'"beyond_bound": ?false', '"beyond_bound":true', text)
    assert changed != text
    (folder / "index.html").write_text(changed, "utf-8")
    page = look(folder).page
    assert page.locator("#settings td", has_text="×*").count() == 1 + len(SETTINGS)
    assert page.locator("figcaption", has_text="×*").count() == 1 + len(SETTINGS)
    assert page.locator("#frontier text", has_text="*").count() == len(SETTINGS)
    page.locator("#frontier .point").first.focus()
    assert "×* faster" in page.locator("#frontier .tip").text_content()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 375, 768])
def test_nothing_sticks_out_of_a_narrow_window(look, width, scheme):
    page = look(viewport={"width": width, "height": 800}, color_scheme=scheme).page
    for key in ("n", "n"):
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.keyboard.press(key)
    wide = page.evaluate(
        "(width) => [...document.querySelectorAll('main *')].filter((one) => !one.closest('.scroll') && "
        "one.getBoundingClientRect().right > width + 1).map((one) => one.outerHTML.slice(0, 80))",
        width,
    )
    assert wide == []
    bright = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (np.mean(bright) > 128) == (scheme == "light")


def test_a_missing_video_does_not_stop_the_others(look, comparison, copied):
    folder = copied(comparison.folder)
    cell = cell_of(comparison.document, "easycache fast")
    (folder / cell["video"]).unlink()
    page = look(folder).page
    page.locator("figure", has_text="easycache fast").locator(".missing").wait_for(state="visible")
    page.wait_for_function("(count) => VIDEOS.player.videos.length === count", arg=len(SETTINGS))
    page.click("#play")
    page.wait_for_function("() => VIDEOS.player.videos[0].currentTime > 0.4")
