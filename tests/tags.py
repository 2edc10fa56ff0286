"""The tags of a video, read back by ffmpeg."""

from __future__ import annotations

import re
from pathlib import Path

from navicache_cli.media import ffmpeg

_MADE_BY_MUXER = {"major_brand", "minor_version", "compatible_brands"}


def read_tags(path: Path) -> dict[str, str]:
    """A file's tags as `write_video` wrote them, without those the container makes by itself."""
    args = "-fflags +bitexact -f ffmetadata -"
    code, output, said = ffmpeg.run(["-i", ffmpeg.url(path), *args.split()])
    assert code == 0, said
    tags: dict[str, str] = {}
    # In this format = ; # \ and line breaks have a backslash before them, so lines end at a bare break.
    for line in re.findall(r"(?:\\.|[^\\\n])+", output.decode(errors="replace"), re.DOTALL):
        if line.startswith("["):  # from here on it is about streams and chapters
            break
        pair = re.fullmatch(r"((?:\\.|[^\\=])*)=(.*)", line, re.DOTALL)
        if pair:
            key, value = (re.sub(r"\\(.)", r"\1", part, flags=re.DOTALL) for part in pair.groups())
            tags[key] = value
    return {key: value for key, value in tags.items() if key not in _MADE_BY_MUXER}
