"""Measures what each task of an official model takes of a GPU's memory, on a GPU on paper.

    python -m scripts.measure_memory wan --repo Wan2.1

writes `presets/memory-wan.json`, which `navicache memory` reads; `navicache_cli.plan.memory` says what is in
it. It needs a checkout of the official code and what that imports, no GPU and no weights, and takes minutes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from backends.official.installation import installations
from navicache_cli.plan.memory import DENOISE, features, memory_file
from navicache_cli.plan.plan import Plan, build_plan
from navicache_cli.plan.presets import preset_for
from scripts.paper_gpu.families import FAMILIES, official_parts, shallow
from scripts.paper_gpu.generation import OnPaper, generate_on_paper, weigh_on_paper

GIB = 2**30
# Predictors of the methods that have no settings of their own, and the methods of other papers.
PREDICTORS = ("residual", "hold", "calibrated")
OTHERS = ("teacache", "magcache", "fbcache", "taylorseer", "pab")


@dataclass(frozen=True)
class Family:
    """What to measure of a family.

    Attributes:
        tasks: each to the task whose transformer has the same hidden states, so that caches keep as much.
        points: sizes and frames; three of them make the figures, further ones check them.
        own_points: of tasks that make something else, such as pictures.
        same: tasks of the same architecture and the same parts as one of these.
        latent_frames: a and b of a + b frames.
        placements: options that move parts off the GPU, each combination.
        guidance_is_batched: both branches are one forward, where there are two.
        ratios: MagCache's, where a task has none of its own; how much is kept does not depend on them.
    """

    tasks: dict[str, str]
    points: tuple[tuple[str, int], ...]
    own_points: dict[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)
    same: dict[str, str] = field(default_factory=dict)
    latent_frames: tuple[float, float] = (0.75, 0.25)
    placements: tuple[tuple[str, ...], ...] = ((),)
    guidance_is_batched: bool = False
    ratios: str = ""


# Past the first frames, whose features the VAE only then begins to keep.
WAN_POINTS = (("832x480", 33), ("832x480", 81), ("1280x720", 81))
WAN_PLACEMENTS = (("offload",), (), ("offload", "t5_cpu"), ("t5_cpu",))
FAMILY = {
    "wan": Family(
        {
            "t2v-1.3B": "t2v-1.3B", "t2v-14B": "t2v-14B", "i2v-14B": "t2v-14B", "t2i-14B": "t2v-14B",
            "vace-1.3B": "t2v-1.3B", "vace-14B": "t2v-14B",
        },
        WAN_POINTS,
        # Of a single frame the VAE keeps no features.
        own_points={"t2i-14B": (("832x480", 1), ("1024x1024", 1), ("1280x720", 1))},
        same={"flf2v-14B": "i2v-14B"},
        placements=WAN_PLACEMENTS,
    ),
    # The 5B cannot do 720 lines.
    "wan2.2": Family(
        {"t2v-A14B": "t2v-A14B", "i2v-A14B": "t2v-A14B", "ti2v-5B": "ti2v-5B"},
        (("832x480", 33), ("832x480", 81), ("1280x704", 81)),
        placements=WAN_PLACEMENTS,
        ratios="wan2.2-i2v-A14B",
    ),
    "hunyuan": Family(
        {"t2v-544p": "t2v-544p"},
        # From 65 frames on the VAE decodes them in parts, and there are more parts of more pixels: minutes.
        (("960x544", 65), ("960x544", 129), ("1280x720", 65)),
        same={"t2v-720p": "t2v-544p"},
        placements=((), ("offload",)),
        guidance_is_batched=True,
    ),
    # Every 17 frames are 5 latent ones.
    "opensora": Family(
        {"t2v": "t2v"}, (("426x240", 51), ("426x240", 102), ("854x480", 51)), latent_frames=(0, 5 / 17)
    ),
}  # fmt: skip


class Measuring:
    """Runs plans of one family on paper.

    Args:
        model: the family.
        repo: a checkout of its official code.
        folder: for pictures.
    """

    def __init__(self, model: str, repo: str, folder: Path) -> None:
        self.model, self.repo, self.family = model, repo, FAMILY[model]
        self._folder = folder

    def plan(
        self,
        task: str,
        point: tuple[str, int],
        placement: tuple[str, ...],
        settings: list[str],
        **options: str,
    ) -> Plan:
        """The plan of one generation."""
        spec = preset_for(self.model).tasks[task]
        pictures = spec.get("inputs", ["reference_images"] if "vace" in task else [])
        flags = {
            "model": self.model, "task": task, "repo": self.repo, "steps": "4", "weights": "random-small",
            **dict.fromkeys(pictures, self._picture(point[0])), **options,
        }  # fmt: skip
        given = {name: name in placement for one in self.family.placements for name in one}
        return replace(build_plan(flags, settings, None, {}), size=point[0], frames=point[1], **given)

    def _picture(self, size: str) -> str:
        """A picture of the video's own proportions, which the official code follows."""
        width, height = map(int, size.split("x"))
        path = self._folder / f"{size}.png"
        Image.new("RGB", (width, height)).save(path)
        return str(path)

    def run(self, plan: Plan, official: bool = False) -> OnPaper:
        """Run a plan on paper, with the official parts or with their stand-ins, and say so."""
        row, begun = FAMILIES[self.model], time.process_time()
        with shallow(self.model), official_parts(self.model) if official else nullcontext():
            seen = generate_on_paper(plan, row.parts)
        peaks: dict[str, float] = {}
        for (stage, _), peak in seen.moments.items():
            peaks[stage] = max(peaks.get(stage, 0.0), round(peak.total / GIB, 2))
        seconds = time.process_time() - begun
        print(
            plan.task,
            plan.size,
            plan.frames,
            plan.method,
            plan.predictor,
            peaks,
            f"{seconds:.0f} s",
            flush=True,
        )
        return seen


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=FAMILY)
    parser.add_argument("--repo", required=True, help="a checkout of the official code")
    parser.add_argument("--task", action="append", help="only this one; the others stay as they were")
    parser.add_argument("--caches", action="store_true", help="only what caches keep; the rest stays")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measuring = Measuring(arguments.model, arguments.repo, Path(folder))
        path = memory_file(arguments.model)
        document = json.loads(path.read_text()) if path.exists() else {"tasks": {}}
        official = installations()[arguments.model].official
        repo = Path(arguments.repo).name
        document = {
            "model": arguments.model,
            "unit": "GiB",
            "source": f"{official.url.removeprefix('https://github.com/')} at {official.tested_commit[:7]}",
            "latent_frames": measuring.family.latent_frames,
            "guidance_is_batched": measuring.family.guidance_is_batched,
            "command": f"python -m scripts.measure_memory {arguments.model} --repo {repo}",
            "tasks": document["tasks"],
        }
        caches: dict[str, Any] = {}
        for task, like in measuring.family.tasks.items():
            if arguments.task and task not in arguments.task:
                continue
            if arguments.caches and task not in document["tasks"]:
                continue
            if like not in caches:
                known = document["tasks"].get(like, {}).get("cache")
                stays = arguments.task and like not in arguments.task
                caches[like] = known if stays and known else measure_caches(measuring, like)
            measured = document["tasks"][task] if arguments.caches else measure_task(measuring, task)
            document["tasks"][task] = {**measured, "cache": caches[like]}
            for other in (one for one, same in measuring.family.same.items() if same == task):
                document["tasks"][other] = document["tasks"][task]
            path.write_text(json.dumps(document, indent=1) + "\n")


def measure_task(measuring: Measuring, task: str) -> dict[str, Any]:
    """Weights by part, and by placement and stage the moments that can be the fullest."""
    family = measuring.family
    # VACE keeps something of every one of its blocks, so that there the depth counts. That takes minutes, and
    # further steps add only the latents that the solver keeps, a hundredth.
    way = {"weights": "random", "steps": "1"} if "vace" in task else {"steps": "3"}
    moments = {}
    for placement in family.placements:
        plans = [
            measuring.plan(task, point, placement, [], mode="off", **way)
            for point in family.own_points.get(task, family.points)
        ]
        seen = [measuring.run(plan, official=True) for plan in plans]
        moments[" ".join(placement)] = fit_moments([_features(family, one) for one in seen], seen)
    return {"weights": _weigh(measuring, task), "moments": moments}


def fit_moments(known: Sequence[Sequence[float]], seen: Sequence[OnPaper]) -> dict[str, list[dict[str, Any]]]:
    """By stage, what can be its fullest moment: parts that are on the GPU, and all else in coefficients.

    A part of which only single layers are there, as in offloading by layers, counts among all else.

    Args:
        known: the features of each generation.
        seen: generations of one plan, but for size and frames.
    """
    found: dict[str, list[tuple[list[str], np.ndarray]]] = {}
    for stage, present in seen[0].moments:
        peaks = [one.moments.get((stage, present)) for one in seen]
        if stage in ("load", "end") or None in peaks:
            continue
        pairs = [(one, peak) for one, peak in zip(seen, peaks, strict=True) if peak]
        parts = [
            part
            for part in seen[0].weights
            if all(peak.weights.get(part) == one.weights[part] for one, peak in pairs)
        ]
        beside = np.array([peak.activations(parts) for _, peak in pairs]) / GIB
        found.setdefault(stage, []).append((parts, beside))
    told = {}
    for stage, moments in found.items():
        left = [one for one in moments if not _covered(one, moments)]
        if stage != DENOISE:  # Where its own work is not begun, or done: the transformer comes and goes.
            left = [one for one in left if not _covered(one, found[DENOISE])] or left
        told[stage] = [
            {"parts": parts, "activations": _coefficients(known, beside)} for parts, beside in left
        ]
    return told


def _covered(moment: tuple[list[str], np.ndarray], others: Sequence[tuple[list[str], np.ndarray]]) -> bool:
    """Whether another moment has the same parts, or more, and at every size as much beside them."""
    parts, beside = moment
    return any(
        there is not beside and set(parts) <= set(more) and (beside <= there).all() for more, there in others
    )


def _coefficients(known: Sequence[Sequence[float]], gigabytes: np.ndarray) -> list[float]:
    found = np.linalg.lstsq(np.array(known), gigabytes, rcond=None)[0]
    return [float(f"{one:.4g}") if abs(one) > 1e-9 else 0.0 for one in found]


def _features(family: Family, seen: OnPaper) -> tuple[float, float, float]:
    """Of the video that was made: one that follows a picture may have a row of cells less than asked for."""
    _, frames, height, width = seen.run.video.shape
    return features(family.latent_frames, f"{width}x{height}", frames)


def _weigh(measuring: Measuring, task: str) -> dict[str, float]:
    plan = measuring.plan(task, measuring.family.points[0], (), [], mode="off", weights="random")
    with official_parts(measuring.model):
        sizes = weigh_on_paper(plan, FAMILIES[measuring.model].parts)
    return {part: round(size / GIB, 3) for part, size in sizes.items()}


def measure_caches(measuring: Measuring, task: str) -> dict[str, float]:
    """The most that each method keeps at once, for one megapixel of one latent frame.

    With stored residuals, as of TeaCache, that is a quarter more than at the fullest moment of a forward.
    """
    family, preset = measuring.family, preset_for(measuring.model)
    kept: dict[str, float] = {}

    def note(name: str, *settings: str, **options: str) -> None:
        plan = measuring.plan(task, family.points[0], family.placements[0], [*settings], **options)
        # That does not depend on text encoder and VAE: their stand-ins will do.
        seen = measuring.run(plan)
        kept[name] = float(f"{seen.kept / GIB / _features(family, seen)[2]:.4g}")

    for predictor in PREDICTORS:
        note(predictor, predictor=predictor, steps="6", speedup="1.5", align_steps="1")
    for method in (name for name in OTHERS if name in preset.methods):
        if method == "pab":  # every attention of the whole model
            for pair in preset.methods["pab"]["broadcast"].split():
                note(
                    f"pab {pair.partition('=')[0]}",
                    f"broadcast={pair}",
                    method="pab",
                    weights="random",
                    steps="2",
                )
        elif method == "taylorseer":  # of one output; it keeps one more than the order
            note(method, "order=0", method=method)
        elif method == "magcache":
            note(method, *([f"ratios={family.ratios}"] if family.ratios else []), method=method)
        else:  # skips as soon as may be
            note(method, method=method, threshold="1000", align_steps="2")
    return kept


if __name__ == "__main__":
    main()
