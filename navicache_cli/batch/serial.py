"""The engine `serial`: one video after the other, in this process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from navicache_cli.batch.agenda import Agenda
from navicache_cli.batch.folder import Folder
from navicache_cli.batch.making import failure, make

if TYPE_CHECKING:
    from backends.protocol import Pipeline
    from navicache_cli.batch.progress import BatchProgress


def work_serially(pipeline: Pipeline, folder: Folder, agenda: Agenda, progress: BatchProgress) -> None:
    """Do all tasks of an agenda.

    Raises:
        OutputError: the manifest cannot be written.
    """
    progress.begin()
    while task := agenda.next():
        agenda.started(task, os.getpid())
        try:
            made = make(pipeline, folder, task.item, task.replace, agenda.notes(task), progress.watch)
        except Exception as error:
            agenda.failed(task, failure(error))
        else:
            agenda.made(task, made)
