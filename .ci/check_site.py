"""Check that the links of the built site lead somewhere, and that it needs nothing from elsewhere to be read.

python .ci/check_site.py FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What a browser fetches by itself, and the attribute that says from where.
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "link": "href"}
UNLOADED = {"canonical", "next", "prev", "alternate"}  # relations of `link` that name pages


class Page(HTMLParser):
    """The anchors of a page, what it links to, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors = {""}
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif LOADED.get(tag) in given and given.get("rel", "") not in UNLOADED:
            self.loaded.append(given[LOADED[tag]])


def problems(folder: Path) -> Iterator[str]:
    """Say what is wrong with the pages of a folder."""
    pages = {path.resolve(): Page(path.read_text("utf-8")) for path in sorted(folder.rglob("*.html"))}
    if not pages:
        yield f"{folder}: no pages"
    for path, page in pages.items():
        if path.name == "404.html":  # It is shown at any address, so its links begin at the root.
            continue
        name = path.relative_to(folder.resolve())
        for target in page.loaded:
            if urlsplit(target).scheme not in ("", "data") or target.startswith("//"):
                yield f"{name}: loads {target}"
        for target in (*page.links, *page.loaded):
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            found = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if found.is_dir():
                found /= "index.html"
            if not found.exists():
                yield f"{name}: {target} is not there"
            elif found in pages and unquote(parts.fragment) not in pages[found].anchors:
                yield f"{name}: {target} has no such anchor"


if __name__ == "__main__":
    found = list(problems(Path(sys.argv[1])))
    if found:
        raise SystemExit("\n".join(found))
    print("the links of the site lead somewhere, and it loads nothing from elsewhere")
