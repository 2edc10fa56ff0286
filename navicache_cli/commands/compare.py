"""The options of `navicache compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from navicache_cli.commands.environment import enter_environment_of
from navicache_cli.commands.flags import LPIPS_HELP, OUTPUT, Text, opt, takes_options
from navicache_cli.plan.option import Use

COMPARED = "What to compare"


@takes_options(leaving_out=Use.COMPARED | Use.MEASURED | Use.OUTPUT | Use.PARALLEL)
def compare_command(
    methods: Annotated[
        Text,
        opt(COMPARED, "Comma-separated methods, or fewer-steps.  [default: all, or those swept]", "NAMES"),
    ] = None,
    modes: Annotated[Text, opt(COMPARED, "Modes to run each method in.  [default: all]", "NAMES")] = None,
    sweep: Annotated[
        list[str] | None,
        opt(
            COMPARED,
            "Sweep a method's option from A to B in N values; may be repeated.",
            "METHOD.OPTION=A:B:N",
        ),
    ] = None,
    settings: Annotated[
        Path | None, opt(COMPARED, "Named settings, each a method with its options (YAML).", "FILE")
    ] = None,
    prompts: Annotated[
        Path | None,
        opt(COMPARED, "One prompt per line.  [default: --prompt, or the preset's examples]", "FILE"),
    ] = None,
    seeds: Annotated[int, opt(COMPARED, "Seeds per prompt, counting up from --seed.", "N")] = 1,
    lpips: Annotated[bool | None, opt(COMPARED, LPIPS_HELP, None, "--lpips/--no-lpips")] = None,
    page: Annotated[bool, opt(COMPARED, "Also write index.html.", None, "--page/--no-page")] = True,
    output_dir: Annotated[
        Text,
        opt(OUTPUT, "Folder for the comparison; finished cells in it are kept.  [default: compare]", "DIR"),
    ] = None,
    as_json: Annotated[bool, opt(OUTPUT, "Print only compare.json.", None, "--json")] = False,
    **options: Any,
) -> None:
    """Compare methods with the uncached baseline: work, time, PSNR, SSIM, LPIPS, and a page of videos.

    Generates every prompt with every seed, uncached and with every method. You can stop it at any time: the
    same command resumes and keeps what was finished.
    """
    from navicache_cli.compare.compare import compare
    from navicache_cli.compare.request import Request

    assignments, config = options.pop("assignments") or [], options.pop("config")
    enter_environment_of(options, assignments, config)
    request = Request(methods, modes, tuple(sweep or ()), settings, prompts, seeds, lpips, page, as_json)
    compare(request, {**options, "output_dir": output_dir}, assignments, config)
