"""`navicache eval common`: every metric of two folders; stopped, it resumes where it was."""

from __future__ import annotations

from pathlib import Path

from navicache_cli import terminal
from navicache_cli.errors import InterruptedRunError, UsageError
from navicache_cli.evaluation.documents import CommonMetrics, common_document
from navicache_cli.evaluation.metrics import metrics_table
from navicache_cli.evaluation.page import pairs_page
from navicache_cli.evaluation.store import FOLDER_HINT, PairLog, pair_key
from navicache_cli.files import check_replaceable, prepare_folder, sha256_of, write_together
from navicache_cli.locks import FolderLock
from navicache_cli.media.fidelity import Fidelity, Models, means_of
from navicache_cli.media.lpips import pick_lpips
from navicache_cli.media.pairs import compare_files, over_files, pairs_of
from navicache_cli.report.documents import document_text


def eval_common(
    a: Path,
    b: Path,
    folder: Path,
    use_lpips: bool | None = None,
    *,
    page: bool = True,
    as_json: bool = False,
) -> CommonMetrics:
    """Measure the pairs that were not measured before, write common_metrics.json and the page, show a table.

    Args:
        a: folder of the references.
        b: folder of videos of the same names.
        folder: where results go.
        use_lpips: see `lpips.pick_lpips`.
        page: whether to write index.html.
        as_json: print the document instead of the table.

    Raises:
        UsageError: not two folders, partners missing, sizes or lengths that differ.
        OutputError: a folder cannot be read, a file is not a video, results cannot be written or would
            replace files that are not ours, or another run works in the folder.
        BackendError, WeightsError: LPIPS was insisted on and cannot be computed.
        InterruptedRunError: Ctrl-C; what was measured is kept.
    """
    pairs = pairs_of(a, b)
    if not a.is_dir():
        raise UsageError(f"expected two folders; found the files {a} and {b}", f"navicache metrics {a} {b}")
    path, page_path, log_path = (
        folder / name for name in ("common_metrics.json", "index.html", "pairs.jsonl")
    )
    written = [path, *([page_path] if page else [])]
    for one in written:
        check_replaceable(one)
    models, notes = pick_lpips(use_lpips)
    for note in notes:
        terminal.show_note(note)
    prepare_folder(folder, FOLDER_HINT)
    with FolderLock(folder, "evaluation") as lock:
        log = PairLog(log_path)
        try:
            found = _measure(pairs, log, models, lock)
            document = common_document(a, b, found, notes)
            texts = {path: document_text(document)}
            if page:
                texts[page_path] = pairs_page(document, folder)
            lock.check()
            write_together(texts)
        except KeyboardInterrupt:
            raise InterruptedRunError(
                f"stopped; measured pairs are kept in {log_path}"
                if log
                else "stopped; no pair is measured yet",
                "run the same command again to resume",
            ) from None
    if as_json:
        print(document_text(document), end="")
        return document
    rows = {name: means_of(fidelity) for name, fidelity in found.items()}
    terminal.stdout.print(metrics_table("video", rows, means_of(over_files(list(found.values())))))
    for one in written:
        terminal.show_path(one)
    return document


def _measure(
    pairs: dict[str, tuple[Path, Path]], log: PairLog, models: Models, lock: FolderLock
) -> dict[str, Fidelity]:
    """Find or measure every pair."""
    found: dict[str, Fidelity] = {}
    kept = 0
    for name, (first, second) in pairs.items():
        with terminal.stderr.status(f"comparing {len(found) + 1} of {len(pairs)}"):
            key = pair_key([sha256_of(first), sha256_of(second)])
            known = log.find(key, models)
            found[name] = known or compare_files(first, second, models)
            if known is None:
                lock.check()
                log.add(name, key, found[name])
        kept += known is not None
    terminal.stderr.say(f"{len(pairs)} pairs: {len(pairs) - kept} measured, {kept} kept from before")
    return found
