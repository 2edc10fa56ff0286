"""A model, a stack and a sampler small enough to have twins in plain Python."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import nn

GUIDANCE = 2.0


def timesteps(steps):
    """Falling from 1, unevenly, as shifted samplers do."""
    return [3 * s / (1 + 2 * s) for s in (1 - i / steps for i in range(steps))]


def combine(ys):
    """Guidance over one, two or three branches; works on lists of floats and on tensors."""
    if len(ys) == 1:
        return ys[0]
    if isinstance(ys[0], torch.Tensor):
        return ys[-1] + GUIDANCE * (ys[0] - ys[-1])
    return [last + GUIDANCE * (first - last) for first, last in zip(ys[0], ys[-1], strict=True)]


def plain_model(x, t, branch):
    """The twin of `Tiny` on a flat list: a saturating map plus the element before."""
    return [0.6 * math.tanh(1.3 * value + t - 0.2 * branch) + 0.3 * x[j - 1] * t for j, value in enumerate(x)]


@dataclass
class Output:
    sample: torch.Tensor


FORMS = {
    "tensor": lambda y: y,
    "dict": lambda y: {"x": y, "note": None},
    "tuple": lambda y: (y,),
    "list": lambda y: [y],
    "dataclass": lambda y: Output(sample=y),
    "object": lambda y: SimpleNamespace(sample=y),
}


def tensor_of(output):
    """The one tensor in any of the forms."""
    if isinstance(output, torch.Tensor):
        return output
    if isinstance(output, dict):
        return output["x"]
    return output[0] if isinstance(output, list | tuple) else output.sample


class Tiny(nn.Module):
    def __init__(self, form="tensor"):
        super().__init__()
        self.form = form
        self.calls = 0

    def one(self, x, t, context):
        t = t.reshape(-1)[0] if isinstance(t, torch.Tensor) else t
        flat = x.reshape(-1)
        return (0.6 * torch.tanh(1.3 * flat + t - 0.2 * context) + 0.3 * flat.roll(1) * t).reshape(x.shape)

    def forward(self, x, t, context=0):
        self.calls += 1
        if isinstance(x, list | tuple):
            return type(x)(self.one(a, t, context) for a in x)
        return FORMS[self.form](self.one(x, t, context))


def sample(model, latents, schedule, branches=1, make_timestep=lambda t: torch.tensor(t), in_place=False):
    """Euler sampling; returns the final latents and every output of the model."""
    outputs = []
    for i, t in enumerate(schedule):
        argument = make_timestep(t)
        ys = [tensor_of(model(latents, argument, context=b)) for b in range(branches)]
        outputs += [y.clone() for y in ys]
        after = schedule[i + 1] if i + 1 < len(schedule) else 0.0
        step = (after - t) * combine(ys)
        if in_place:
            latents += step
            for y in ys:
                y.zero_()
        else:
            latents = latents + step
    return latents, outputs


class Block(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale
        self.calls = 0

    def forward(self, hidden, condition, *, gate=1.0):
        self.calls += 1
        return hidden + gate * self.scale * torch.tanh(hidden.roll(1, -1) + condition)


class Stack(nn.Module):
    """Embedder, pairs of spatial and temporal blocks, and a final layer with extra channels."""

    def __init__(self, pairs=3, keyword=False):
        super().__init__()
        self.spatial = nn.ModuleList(Block(0.1 * (j + 1)) for j in range(pairs))
        self.temporal = nn.ModuleList(Block(0.05 * (j + 1)) for j in range(pairs))
        self.keyword = keyword
        self.edges = 0

    def in_order(self):
        return [block for pair in zip(self.spatial, self.temporal, strict=True) for block in pair]

    def forward(self, x, timestep, context=0):
        self.edges += 1
        hidden = 1.5 * x
        condition = timestep.reshape(-1)[0] - 0.1 * context
        for block in self.in_order():
            args, kwargs = ((), {"hidden": hidden}) if self.keyword else ((hidden,), {})
            hidden = block(*args, condition=condition, **kwargs)
        return torch.cat([0.4 * hidden, hidden], dim=-1)
