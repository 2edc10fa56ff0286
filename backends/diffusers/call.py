"""The call of a pipeline, by its signature: what options go where, and what is left to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

from navicache_cli.errors import UsageError, WeightsError
from navicache_cli.plan.presets import AUTO, unknown

if TYPE_CHECKING:
    from navicache_cli.plan.plan import Plan

# By option: what pipelines call it; the first that a call has.
NAMES = {
    "prompt": ("prompt",),
    "negative_prompt": ("negative_prompt",),
    "image": ("image",),
    "last_image": ("last_image",),
    "source_video": ("video",),
    "frames": ("num_frames", "video_length", "frames"),
    "fps": ("frame_rate", "fps"),
    "steps": ("num_inference_steps",),
    "guidance": ("guidance_scale",),
}
SIZE = ("height", "width")
FILES = ("image", "last_image", "source_video")
_NUMBERS = ("frames", "fps", "steps", "guidance")
# What navicache gives a call, or takes from it, whatever the options.
_OURS = (
    "self", "generator", "output_type", "return_dict", "latents", "num_videos_per_prompt",
    "num_images_per_prompt", "callback_on_step_end", "callback_on_step_end_tensor_inputs",
)  # fmt: skip
# Of a plan's sources, those that are not the user.
NOT_ASKED = ("default", "preset", "signature", "scheduler", "guider", "chosen")


@dataclass(frozen=True)
class Call:
    """The call of one pipeline.

    Attributes:
        owner: name of the pipeline.
        parameters: their defaults, by name; `Parameter.empty` of those that it needs.
        guider: whether a part of the pipeline has the scale of guidance, and not its call.
        scheduler: name of its class.
        shift: name of the scheduler's setting that is the shift, or "".
    """

    owner: str
    parameters: Mapping[str, Any]
    guider: bool = False
    scheduler: str = ""
    shift: str = ""

    def name_of(self, option: str) -> str:
        """What it calls an option; "" where it takes none."""
        return next((name for name in NAMES[option] if name in self.parameters), "")

    def takes(self, option: str) -> bool:
        """Whether an option of a plan does anything."""
        if option == "size":
            return all(name in self.parameters for name in SIZE)
        if option == "guidance" and self.guider:
            return True
        if option in ("shift", "solver"):
            return option == "solver" or bool(self.shift)
        return option == "fps" or bool(self.name_of(option))  # the file has a rate, whatever the call


def read_call(kind: type[Any], **facts: Any) -> Call:
    """Read the signature of a pipeline's call.

    Raises:
        WeightsError: it makes no videos from prompts.
    """
    parameters = {
        name: one.default
        for name, one in signature(kind.__call__).parameters.items()
        if one.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD) and name != "self"
    }
    call = Call(kind.__name__, parameters, **facts)
    if not call.name_of("prompt") or not (call.name_of("frames") or call.name_of("source_video")):
        raise WeightsError(
            f"expected a pipeline that makes videos from prompts, found {call.owner}, whose call takes no "
            f"{'number of frames' if call.name_of('prompt') else 'prompt'}",
            "for all others: import navicache; navicache.enable(pipe, speedup=2)",
        )
    return call


def asked(plan: Plan, option: str) -> bool:
    """Whether the user said anything of an option."""
    return not plan.provenance[option].startswith(NOT_ASKED)


def check_call(call: Call, plan: Plan) -> None:
    """Check that the call takes what the user asked for, and has what it needs.

    Raises:
        UsageError: it does not; the message says what it takes.
    """
    for option in (*NAMES, "size", "shift"):
        given = option not in FILES or getattr(plan, option)
        if given and asked(plan, option) and not call.takes(option):
            name = option.replace("_", "-")
            taken = [one.replace("_", "-") for one in (*NAMES, "size", "shift") if call.takes(one)]
            raise UsageError(
                f"{name} expects a pipeline that takes one, found {call.owner} ({plan.provenance[option]}); "
                f"it takes {', '.join(taken)}",
                f"drop --{name}",
            )
    if asked(plan, "solver") and plan.solver != call.scheduler:
        raise UsageError(
            f"solver expects {call.scheduler}, with which the weights come, found {plan.solver[:60]!r} "
            f"({plan.provenance['solver']})",
            "drop --solver",
        )
    further = further_arguments(call, plan)
    needed = [name for name, default in call.parameters.items() if default is Parameter.empty]
    if not call.name_of("frames"):
        needed.append(call.name_of("source_video"))
    options = {call.name_of(option): option for option in NAMES}
    for name in needed:
        option = options.get(name, "")
        if name in further or (option and getattr(plan, option)):
            continue
        if not option:
            raise UsageError(
                f"expected a pipeline that needs a prompt, pictures or a video alone, found {call.owner}, "
                f"which needs {name}",
                "load it yourself: import navicache; navicache.enable(pipe, speedup=2)",
            )
        flag = option.replace("_", "-")
        raise UsageError(f"{flag} expects a file for {call.owner}, found none", f"--{flag} FILE")


def further_arguments(call: Call, plan: Plan) -> dict[str, Any]:
    """The arguments that `--call` names.

    Raises:
        UsageError: the call does not take one, or navicache gives it itself.
    """
    given = json.loads(plan.call) if plan.call else {}
    options = {name: option for option, names in NAMES.items() for name in names}
    options |= dict.fromkeys(SIZE, "size")
    for name in given:
        if name in options and call.takes(options[name]) and name in call.parameters:
            flag = options[name].replace("_", "-")
            raise UsageError(
                f"call expects what no option says, found {name}, which --{flag} does "
                f"({plan.provenance['call']})",
                f"--{flag} instead",
            )
        if name in _OURS:
            raise UsageError(
                f"call expects arguments that navicache does not give itself, found {name} "
                f"({plan.provenance['call']})",
                f"leave {name} out",
            )
        if name not in call.parameters:
            free = [one for one in call.parameters if one not in (*_OURS, *options)]
            raise UsageError(f"{unknown(f'argument of {call.owner}', name, free)}", "correct --call")
    return dict(given)


def call_arguments(call: Call, plan: Plan, files: Mapping[str, Any]) -> dict[str, Any]:
    """What the call is given.

    Args:
        call: of the pipeline.
        plan: what to generate.
        files: pictures and the video that it is given, by option.
    """
    found: dict[str, Any] = {"prompt": plan.prompt}
    for option in (*_NUMBERS, "negative_prompt"):
        name, value = call.name_of(option), getattr(plan, option)
        # What the preset says is for plans; the pipeline has a default of its own, which no signature shows.
        invented = plan.provenance[option].startswith(("preset", "default"))
        if name and not invented and (option != "frames" or value):
            found[name] = value
    found |= {call.name_of(option): value for option, value in files.items()}
    if call.takes("size") and plan.size != AUTO:
        found |= {"height": plan.height, "width": plan.width}
    return {**found, **further_arguments(call, plan)}
