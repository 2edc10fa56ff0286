"""Colours, text and files that all pictures share.

Figures are made without pyplot: no window, no state that outlives a call.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from navicache_cli.errors import BackendError, UsageError
from navicache_cli.files import check_replaceable, prepare_folder, write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")
_DPI = 160
_HEAD = 0.68  # inches


@dataclass(frozen=True)
class Theme:
    """Colours of a picture; those of steps and of lines differ in lightness too, not in hue alone."""

    surface: str
    ink: str
    muted: str
    grid: str
    computed: str
    forced: str
    skipped: str
    limit: str
    lines: tuple[str, ...]


LIGHT = Theme(
    surface="#ffffff", ink="#1f2328", muted="#59636e", grid="#e3e6ea",
    computed="#2a6fbb", forced="#a9c8e8", skipped="#e8920c", limit="#b3261e",
    lines=("#2a6fbb", "#d1600a", "#1a8a68", "#9b4a9e", "#7a6a00", "#4aa8d8", "#6b7280", "#c2456b"),
)  # fmt: skip
DARK = Theme(
    surface="#15181d", ink="#e6e9ed", muted="#a0a9b4", grid="#2c323a",
    computed="#5ea5ea", forced="#2f5782", skipped="#f2ad43", limit="#ff8a80",
    lines=("#5ea5ea", "#f28c4a", "#4cc39b", "#cf86d2", "#cdb83a", "#9ad6f5", "#a0a9b4", "#f285a5"),
)  # fmt: skip


@contextmanager
def drawing(theme: Theme) -> Iterator[None]:
    """Draw in the theme's colours; saving belongs inside too.

    Raises:
        BackendError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise BackendError(
            "pictures need the package matplotlib; found none", "pip install 'navicache[plot]'"
        ) from None
    style: Any = {
        "figure.facecolor": theme.surface, "axes.facecolor": theme.surface,
        "savefig.facecolor": theme.surface, "legend.facecolor": theme.surface,
        "text.color": theme.ink, "axes.labelcolor": theme.muted, "axes.titlecolor": theme.ink,
        "xtick.color": theme.muted, "ytick.color": theme.muted, "axes.edgecolor": theme.grid,
        "axes.grid": True, "axes.grid.axis": "y", "grid.color": theme.grid, "grid.linewidth": 0.8,
        "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False,
        "axes.spines.left": False,
        "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.titlepad": 7,
        "axes.labelsize": 9, "xtick.labelsize": 8.5, "ytick.labelsize": 8.5, "legend.fontsize": 8.5,
        "font.family": _families(),
        "ytick.major.size": 0, "xtick.major.size": 3, "legend.frameon": False, "font.size": 9,
        # Text of a report is a user's: a dollar sign in a prompt is no mathematics.
        "text.parse_math": False,
        "text.usetex": False,
        # The same report gives the same SVG.
        "svg.hashsalt": "navicache",
    }  # fmt: skip
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # A prompt in a script the font lacks shows as boxes; that is no reason to write on the terminal.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def _families() -> list[str]:
    """Matplotlib's own font, then whichever is here of those that have Chinese and Japanese."""
    from matplotlib.font_manager import get_font_names

    wanted = ("Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", "WenQuanYi Zen Hei", "Source Han Sans SC")
    installed = set(get_font_names())
    return ["DejaVu Sans", *(name for name in wanted if name in installed)]


def plain(text: object, longest: int = 100) -> str:
    """One printable line of at most `longest` characters: what an SVG may hold, whatever a report held."""
    line = "".join(c for c in " ".join(str(text).split()) if c.isprintable())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def new_figure(height: float) -> Figure:
    """A figure 9 inches wide, its axes laid out below a strip for `head`."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(rect=(0, 0, 1, 1 - _HEAD / height), h_pad=0.07, w_pad=0.07)
    # Laid out at the resolution it is saved at: hinted text is not equally wide in proportion at others.
    return Figure(figsize=(9, height), dpi=_DPI, layout=layout)


def head(figure: Figure, title: str, subtitle: str, theme: Theme) -> None:
    """Put a title and a line below it into the strip that `new_figure` keeps free at the top."""
    height = figure.get_figheight()
    top = 1 - 0.14 / height
    figure.text(0.012, top, plain(title, 90), va="top", fontsize=12.5, fontweight="bold", color=theme.ink)
    figure.text(0.012, 1 - 0.42 / height, plain(subtitle, 132), va="top", fontsize=9, color=theme.muted)


def legend_above(axes: Axes, columns: int, **options: Any) -> None:
    """A legend on the title's line, to the right: it never hides data."""
    axes.legend(
        loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=columns, borderaxespad=0.15,
        handlelength=1.4, columnspacing=1.3, handletextpad=0.5, **options,
    )  # fmt: skip


def step_axis(axes: Axes, steps: int) -> None:
    """Number a figure's lowest axis by steps 0 … steps − 1."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12, min_n_ticks=1))
    axes.set_xlim(-0.6, steps - 0.4)


def check_picture(path: Path) -> None:
    """Check a picture's name before any work is done.

    Raises:
        UsageError: it ends neither in .png nor in .svg.
        OutputError: it is a folder, or another file than a picture that navicache drew.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"expected a picture named .png or .svg; found {path.name}", "-o steps.svg")
    check_replaceable(path)


def _settle_layout(figure: Figure) -> None:
    """Lay the axes out once and round where they stand.

    The solver sums in an order of its own, so last digits vary, and an SVG names its clip paths by them.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        left, bottom, width, height = axes.get_position().bounds
        axes.set_position((round(left, 6), round(bottom, 6), round(width, 6), round(height, 6)))


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG or SVG, by its suffix, in one move; a picture that navicache drew is replaced.

    Raises:
        TakenError: another file has that name.
        OutputError: the file cannot be written.
    """
    check_replaceable(path)
    form = path.suffix.lower().lstrip(".")
    _settle_layout(figure)
    buffer = io.BytesIO()
    metadata = {"Date": None, "Creator": "navicache"} if form == "svg" else {"Software": "navicache"}
    figure.savefig(buffer, format=form, dpi=_DPI, metadata=metadata)
    prepare_folder(path.parent, "choose another place with -o")
    write_atomically(path, buffer.getvalue())
