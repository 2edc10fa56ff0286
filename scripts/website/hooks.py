"""Hooks of mkdocs: pages of the site that are no files of docs/, and links to files that are no pages.

See `hooks` in mkdocs.yml.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from scripts.website import api, commands  # noqa: E402

# Files outside docs/ that are pages, too.
ELSEWHERE = {
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "examples.md": "examples/README.md",
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")
COMMENT = re.compile(r"^<!--.*?-->$\n?", re.MULTILINE)
FENCE = re.compile(r"^(```.*?^```$)", re.MULTILINE | re.DOTALL)
HISTORY = ("changelog.md",)  # names everything, so a search would find it first
UNSEARCHED = "---\nsearch: {exclude: true}\n---\n"
COMMANDS = "commands/"  # in the navigation: the page of every command


def generated() -> dict[str, str]:
    """Pages by their place on the site, with their Markdown."""
    return {
        **{name: (ROOT / path).read_text("utf-8") for name, path in ELSEWHERE.items()},
        **{name: api.page(name) for name in api.PAGES},
        f"{COMMANDS}index.md": commands.overview(),
        **{commands.page_name(name): commands.page(name, one) for name, one in commands.commands().items()},
    }


def navigation(entries: list[Any]) -> list[Any]:
    """The navigation of mkdocs.yml, with the commands in it."""
    pages = [f"{COMMANDS}index.md", "command-line.md", *map(commands.page_name, commands.commands())]
    return [{"Command line": pages} if entry == {"Command line": COMMANDS} else entry for entry in entries]


def heading(path: str) -> str:
    """The title of a page, by the path of its file."""
    return (ROOT / path).read_text("utf-8").split("\n", 1)[0].removeprefix("# ")


def on_config(config: Any) -> Any:
    """Put the commands into the navigation."""
    config.nav = navigation(config.nav)
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages; the start is where the site opens."""
    from mkdocs.structure.files import File

    for name, text in generated().items():
        files.append(File.generated(config, name, content=UNSEARCHED + text if name in HISTORY else text))
    start = files.get_file_from_path("start.md")
    start.dest_uri = start.url = "index.html"
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Leave out comments, and lead links to where the site has what they name."""
    uri = page.file.src_uri
    source = ELSEWHERE.get(uri, f"docs/{uri}")
    on_site = {f"docs/{file.src_uri}": file.src_uri for file in files}
    on_site |= {path: name for name, path in ELSEWHERE.items()}

    def led(link: re.Match[str]) -> str:
        picture, text, target, anchor = link.groups()
        path = os.path.normpath(os.path.join(os.path.dirname(source), target))
        if path in on_site:
            text = heading(path) if text == os.path.basename(path) else text
            place = os.path.relpath(on_site[path], os.path.dirname(uri) or ".")
            return f"{picture}[{text}]({place}{anchor or ''})"
        return f"`{path}`" if path.endswith(text.strip("`/")) else f"{text} (`{path}`)"

    parts = FENCE.split(markdown)
    parts[::2] = [LINK.sub(led, COMMENT.sub("", part)) for part in parts[::2]]
    return "".join(parts)
