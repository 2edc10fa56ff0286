"""Pages in a headless browser; the browser itself is a fixture in conftest.py."""

from __future__ import annotations

from pathlib import Path


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
