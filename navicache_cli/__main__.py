"""The program's entry point: signals are heard before the rest is imported, which takes a moment."""

from __future__ import annotations

import sys

from navicache_cli.interruption import exit_code_of, stop_on_signals


def main() -> None:
    """Run the program; see `app.main`."""
    try:
        stop_on_signals()
        from navicache_cli.app import main as run

        run()
    except KeyboardInterrupt as stop:  # Before a command was read, or while an error was shown.
        if sys.stderr is not None:
            print("error: stopped\ntry: run the same command again", file=sys.stderr)
        sys.exit(exit_code_of(stop))


if __name__ == "__main__":
    main()
