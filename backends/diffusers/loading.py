"""Loads a pipeline to its device."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.diffusers.defaults import read_pipeline
from backends.diffusers.index import Index, check_parts, pipeline_class
from backends.diffusers.pipeline import DiffusersPipeline
from backends.diffusers.place import download
from backends.official.weight_files import digest_files
from navicache_cli.errors import BackendError, NavicacheError, WeightsError, one_line
from navicache_cli.report.report import ModelIdentity

if TYPE_CHECKING:
    import torch

    from navicache_cli.plan.plan import Plan

# Decoders that know no other way than in tiles.
_TILED = ("AutoencoderKLAllegro",)


def load(plan: Plan) -> DiffusersPipeline:
    """Load the pipeline of a plan.

    Raises:
        WeightsError: files are missing, damaged or not to be trusted, or are not there and cannot be fetched.
    """
    import torch

    index, call, _ = read_pipeline(plan.weights, plan.revision)
    folder = download(index.place)
    check_parts(index, folder)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pipe = _from_folder(index, folder, _dtype(plan.dtype, device))
    if type(getattr(pipe, "vae", None)).__name__ in _TILED:
        pipe.vae.enable_tiling()
    pipe.set_progress_bar_config(disable=True)
    _place(pipe, device, plan.offload_by if plan.offload else "")
    return DiffusersPipeline(pipe, call, _identity(index, folder))


def _from_folder(index: Index, folder: Path, dtype: torch.dtype) -> Any:
    import torch
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    for logging in (of_diffusers, of_transformers):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    try:
        return pipeline_class(index).from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True, trust_remote_code=False
        )
    except (NavicacheError, MemoryError, torch.cuda.OutOfMemoryError):
        raise
    except ImportError as error:
        told = one_line(error)
        package = re.search(r"pip install (?:-U )?([\w.-]+)", told)
        raise BackendError(
            f"{index.pipeline} needs another package: {told}",
            f"pip install {package[1] if package else 'what it names'}",
        ) from error
    except Exception as error:  # whatever diffusers, transformers and safetensors stumble over
        raise WeightsError(
            f"cannot load {index.pipeline} from {index.place.name}: {type(error).__name__}: "
            f"{one_line(error)}",
            "compare it with what save_pretrained writes; `navicache --debug …` shows where it failed",
        ) from error


def _dtype(name: str, device: torch.device) -> torch.dtype:
    import torch

    if name == "auto":
        name = "bfloat16" if device.type == "cuda" else "float32"
    found: torch.dtype = getattr(torch, name)
    return found


def _place(pipe: Any, device: torch.device, offload: str) -> None:
    """Move the pipeline to its device, or have its parts moved there as they are needed."""
    if not offload or device.type == "cpu":
        pipe.to(device)
    elif offload == "model":
        pipe.enable_model_cpu_offload()
    elif offload == "sequential":
        pipe.enable_sequential_cpu_offload()
    else:
        pipe.enable_group_offload(device, offload_type="leaf_level", use_stream=True)


def _identity(index: Index, folder: Path) -> ModelIdentity:
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".safetensors"))
    code = f"diffusers {version('diffusers')}"
    return ModelIdentity(
        name=" ".join(filter(None, (index.pipeline, index.place.hub))),
        repository=code,
        commit=index.place.commit or code,
        weights_digest=digest_files(folder, files),
    )
