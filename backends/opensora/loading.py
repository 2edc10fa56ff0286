"""Builds the official pipeline by its own code, from weights in folders or from random parts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from backends.official.names import replaced
from backends.official.official import RANDOM, SMALL, code_errors, out_of_memory_hints, weights_errors
from backends.official.repositories import Checkout, Official, choose_repository, import_package
from backends.opensora import random_parts
from backends.opensora.absent import placeholders
from backends.opensora.facts import (
    IMAGE_VAE,
    OPENSORA,
    REPOSITORIES,
    TEXT_ENCODER,
    TRANSFORMER,
    VAE,
    VIDEOSYS,
)
from backends.opensora.official import OpenSoraRoute
from backends.opensora.pipeline import LESS_MEMORY, OpenSoraPipeline, quiet
from backends.opensora.videosys import VideoSysRoute
from backends.opensora.weights import digest_weights, locate_weights
from navicache_cli.errors import BackendError
from navicache_cli.plan.plan import Plan
from navicache_cli.report.report import ModelIdentity

ROUTES: dict[str, type[OpenSoraRoute] | type[VideoSysRoute]] = {
    OPENSORA.package: OpenSoraRoute,
    VIDEOSYS.package: VideoSysRoute,
}
# The classes that the official code asks for weights, and the hub name it asks with.
HUB_NAMES = {
    "STDiT3": TRANSFORMER,
    "VideoAutoencoderPipeline": VAE,
    "AutoencoderKL": IMAGE_VAE,
    "T5EncoderModel": TEXT_ENCODER,
    "AutoTokenizer": TEXT_ENCODER,
}


@dataclass(frozen=True)
class Source:
    """Takes the place of a class in an official module where that is asked for `from_pretrained`.

    Args:
        load: makes the object from all arguments but the hub name.
    """

    load: Callable[..., Any]

    def from_pretrained(self, name: str, *arguments: Any, **keywords: Any) -> Any:
        """Make it; `name`, which the official code has written into it, is ignored."""
        return self.load(*arguments, **keywords)


def load_pipeline(plan: Plan, device: torch.device) -> OpenSoraPipeline:
    """Import the official code, check and load the weights, and return the pipeline.

    Args:
        plan: names weights and repository.
        device: the GPU; or the CPU, of use with small random weights.

    Raises:
        BackendError: the official code is not there, cannot be imported, or is not as expected.
        OutOfMemoryError: the GPU's memory does not suffice.
        WeightsError: weights are missing, incomplete or of another model.
    """
    official, checkout = choose_repository(REPOSITORIES, plan.repo)
    kind = ROUTES[official.package]
    with quiet(), out_of_memory_hints(LESS_MEMORY, plan), code_errors(official):
        import_official(official, checkout)
        if plan.weights in (RANDOM, SMALL):
            digest = f"none: {plan.weights} weights"
            with _in_place(kind, _random_sources(kind, plan, device)):
                route = kind(plan, device)
        else:
            folders = locate_weights(plan.weights, checkout)
            digest = digest_weights(folders)
            again = "download them again with hf download --force-download"
            sources = {
                name: Source(partial(_official_class(kind, name).from_pretrained, str(folders[hub])))
                for name, hub in HUB_NAMES.items()
            }
            with _in_place(kind, sources), weights_errors(f"the weights of {OPENSORA.title}", again):
                route = kind(plan, device)
    identity = ModelIdentity(f"{OPENSORA.title} {plan.task}", official.url, checkout.commit, digest)
    return OpenSoraPipeline(route, device, identity)


def import_official(official: Official, checkout: Checkout) -> None:
    """Import what generation needs of the official package.

    Raises:
        BackendError: see `import_package`.
    """
    with placeholders():
        import_package(official, checkout, ROUTES[official.package].modules)


def _random_sources(
    kind: type[OpenSoraRoute] | type[VideoSysRoute], plan: Plan, device: torch.device
) -> dict[str, Source]:
    """Random parts by the name of the class they stand for."""
    sizes = random_parts.SMALL_CONFIG if plan.weights == SMALL else {}
    transformer = _official_class(kind, "STDiT3")

    def make(part: type[torch.nn.Module]) -> Source:
        # The official code moves the text encoder by an argument that these do not have.
        return Source(lambda *_, **__: part().to(device))

    return {
        "STDiT3": Source(partial(random_parts.random_transformer, transformer, device, sizes)),
        "VideoAutoencoderPipeline": make(random_parts.RandomVAE),
        "T5EncoderModel": make(random_parts.RandomTextEncoder),
        "AutoTokenizer": Source(lambda *_, **__: random_parts.RandomTokenizer()),
    }


def _official_class(kind: type[OpenSoraRoute] | type[VideoSysRoute], name: str) -> Any:
    """The class `name` in the official module that asks it for weights."""
    module = kind.classes[name]
    found = getattr(sys.modules[module], name, None)
    if found is None:
        raise BackendError(
            f"expected {name} in {module}, found none", "check out the tested commit of the repository"
        )
    return found


@contextmanager
def _in_place(kind: type[OpenSoraRoute] | type[VideoSysRoute], sources: dict[str, Source]) -> Iterator[None]:
    """Let each source take the place of the class of its name, in the official module that asks it."""
    with ExitStack() as stack:
        for name, source in sources.items():
            stack.enter_context(replaced(sys.modules[kind.classes[name]], **{name: source}))
        yield
