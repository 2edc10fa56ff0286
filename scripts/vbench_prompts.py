"""Choose prompts of VBench, as many of each dimension as of the others: `vbench_prompts.py FILE --count 32`.

Prints one a line. Of each dimension they lie evenly spread over its part of the list; fewer first is no loss.
"""

from __future__ import annotations

import argparse
import sys
from itertools import zip_longest
from pathlib import Path

from navicache_cli.batch.rows import read_vbench_list
from navicache_cli.errors import NavicacheError
from navicache_cli.evaluation.dimensions import DIMENSIONS
from navicache_cli.terminal import show_error


def spread(prompts: list[str], count: int) -> list[str]:
    """Return up to `count` of the prompts, at even distances."""
    count = min(count, len(prompts))
    return [prompts[(2 * i + 1) * len(prompts) // (2 * count)] for i in range(count)]


def choose(path: Path, count: int) -> list[str]:
    """Return `count` different prompts, one of each dimension in turn.

    Raises:
        UsageError: it is not VBench's list.
    """
    entries = read_vbench_list(path)
    each = -(-count // len(DIMENSIONS))
    chosen = [
        spread([entry["prompt_en"] for entry in entries if dimension in entry["dimension"]], each)
        for dimension in DIMENSIONS
    ]
    in_turn = [prompt for row in zip_longest(*chosen) for prompt in row if prompt]
    # Dimensions share prompts; what is left over makes up for those that were there already.
    others = spread([entry["prompt_en"] for entry in entries], len(entries))
    return list(dict.fromkeys([*in_turn, *others]))[:count]


def main() -> None:
    """Print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="VBench_full_info.json")
    parser.add_argument("--count", type=int, default=32)
    arguments = parser.parse_args()
    print(*choose(arguments.file, arguments.count), sep="\n")


if __name__ == "__main__":
    try:
        main()
    except NavicacheError as error:
        show_error(error)
        sys.exit(error.exit_code)
