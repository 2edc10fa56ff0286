"""Pages in a headless browser; the browser itself is a fixture in conftest.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path


def assert_data_stays_in_its_element(page_text: Callable[[dict], str], hostile: str) -> None:
    """Nothing in a page's data reads as HTML, and it comes back as it was; `hostile` would say "stolen"."""
    texts = [hostile, "<!--<script>", "/* data */ /* style */ /* script */", "\u2028 & \\u003c"]
    text = page_text({"prompts": texts})
    before, _, rest = text.partition('<script type="application/json" id="data">')
    data, end, _ = rest.partition("</script>")
    assert end
    assert "<" not in data
    assert json.loads(data) == {"prompts": texts}
    assert "stolen" not in before + rest[len(data) :]


def assert_names_no_other_file(text: str) -> None:
    """A page's text asks for nothing from elsewhere."""
    for outside in ("http://", "https://", '<link rel="stylesheet', "<script src", "@import", "url("):
        assert outside not in text.replace("http://www.w3.org/2000/svg", "")


class Look:
    """A page opened from its file, until `ready` is true, and all that it complained about or asked for."""

    def __init__(self, browser, folder: Path, ready: str, **options) -> None:
        options = {"viewport": {"width": 1100, "height": 900}, **options}
        self.page = browser.new_page(**options)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on(
            "console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto((folder / "index.html").resolve().as_uri())
        self.page.wait_for_function(ready)
