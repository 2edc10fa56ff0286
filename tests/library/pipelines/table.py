"""All the toy pipelines, one row each."""

from tests.library.pipelines import hunyuan, images, ltx, more, others, wan
from tests.library.pipelines.toy import Toy

ROWS: list[Toy] = [*wan.ROWS, *hunyuan.ROWS, *ltx.ROWS, *others.ROWS, *more.ROWS, *images.ROWS]
ROW = {row.name: row for row in ROWS}
MAIN = ROW.keys() - {row.name for row in more.ROWS}
