"""A machine for `navicache setup` and `doctor`: an empty home, a local mirror, a hub without a network."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import Requirement

from backends.official.installation import Installation, Weights, installations
from tests import warm
from tests.conftest import clean_environment

# The program on a machine with another disk and, where GPU is set, with a GPU of so many GiB.
PROGRAM = """
import collections, os, shutil, sys
usage = collections.namedtuple("usage", "total used free")
shutil.disk_usage = lambda path: usage(10**15, 0, int(float(os.environ["FREE_GB"]) * 1e9))
if os.environ.get("GPU"):
    import torch
    device = collections.namedtuple("device", "name total_memory")
    found = device("Test GPU", int(float(os.environ["GPU"]) * 2**30))
    torch.cuda.is_available = lambda: True
    torch.cuda.current_device = lambda: 0
    torch.cuda.device_count = lambda: 1
    torch.cuda.get_device_properties = lambda device: found
import navicache_cli.app
navicache_cli.app.main()
"""
HEAD = "0123456789abcdef" * 2 + "01234567"  # the newest commit of every repository of the hub
# Stands for huggingface_hub: copies from a folder, leaves what is there, and may stop after some files. A
# folder holds the files of the newest commit; the name of one of another commit ends in @ and its hash.
HUB = """
import errno, fnmatch, json, os, pathlib, shutil, types

class HfApi:
    def model_info(self, repo_id):
        if "HUB_HEAD" not in os.environ:
            raise ConnectionError("the hub does not answer")
        return types.SimpleNamespace(sha=os.environ["HUB_HEAD"])

def snapshot_download(repo_id, revision, local_dir, allow_patterns=None):
    source, copied = pathlib.Path(os.environ["HUB"]) / repo_id, []
    older = source.with_name(f"{source.name}@{revision}")
    if older.exists():
        source = older
    elif revision != os.environ.get("HUB_HEAD"):
        raise ValueError(f"404: no revision {revision}")
    limit = int(os.environ.get("HUB_LIMIT", "1000"))
    try:
        for path in sorted(path for path in source.rglob("*") if path.is_file()):
            name = str(path.relative_to(source))
            target = pathlib.Path(local_dir) / name
            wanted = allow_patterns is None or any(fnmatch.fnmatch(name, one) for one in allow_patterns)
            if target.exists() or not wanted:
                continue
            if len(copied) == limit:
                if os.environ.get("HUB_DISK_FULL"):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                raise ConnectionError("the network went away\\nand more words")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
            copied.append(name)
    finally:
        with open(os.environ["HUB"] + "/calls.jsonl", "a") as file:
            file.write(json.dumps([repo_id, str(local_dir), copied, revision]) + "\\n")
"""


@dataclass
class Machine:
    """Runs the program in `work`, with everything it may touch below `root`."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        for name in ("work", "site/huggingface_hub", "hub"):
            (self.root / name).mkdir(parents=True)
        (self.root / "site/huggingface_hub/__init__.py").write_text(HUB)
        self.environment = {
            "HOME": str(self.root),
            "XDG_CACHE_HOME": str(self.root / "cache"),
            "PYTHONPATH": f"{self.root / 'site'}{os.pathsep}{Path(__file__).parents[1]}",
            "CUDA_VISIBLE_DEVICES": "",
            "FREE_GB": "1000",
            "HUB": str(self.root / "hub"),
            "HUB_HEAD": HEAD,
            "PIP_NO_INDEX": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen:
        """Start the program in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            cwd=self.root / "work", env=self._variables(environment),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        """Run the program to its end."""
        done = warm.python(PROGRAM, *arguments, cwd=self.root / "work", env=self._variables(environment))
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def _variables(self, environment: dict[str, str]) -> dict[str, str]:
        variables = {**clean_environment(**self.environment), "COLUMNS": "300", **environment}
        return {key: value for key, value in variables.items() if not key.startswith("GIT_")}

    def repository(self, family: str) -> Path:
        """Where the checkout belongs."""
        return self.root / "cache/navicache/repos" / family

    def weights(self, name: str) -> Path:
        """Where weights belong."""
        return self.root / "cache/navicache/weights" / name

    def give_packages(self, family: str) -> None:
        """Let the packages a family needs look installed, in the lowest versions that will do."""
        for package in installations()[family].packages:
            # A module without metadata may be a stand-in of other tests, which a new process has not.
            if package.found() == "?" or not package.fits():
                bounds = Requirement(package.requirement).specifier
                lowest = [one.version for one in bounds if "=" in one.operator]
                self.give_package(package.name, max(lowest, default="9"))

    def give_package(self, name: str, version: str, *needs: str) -> None:
        """Let a package look installed, by its metadata."""
        folder = self.root / "site" / f"{name.replace('-', '_')}-0.dist-info"
        folder.mkdir(exist_ok=True)
        requires = "".join(f"Requires-Dist: {need}\n" for need in needs)
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}"
        )

    def entry_point(self, family: str, target: str) -> None:
        """Let a package offer a model family."""
        folder = self.root / "site" / f"{family}_backend-0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {family}-backend\nVersion: 0\n")
        (folder / "entry_points.txt").write_text(f"[navicache.backends]\n{family} = {target}\n")

    def calls(self) -> list[list]:
        """What was asked of the hub: repository, folder, files copied, revision."""
        path = self.root / "hub/calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def git(folder: Path, *arguments: str) -> str:
    """Run git as somebody."""
    command = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e@example.org", *arguments]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit_files(folder: Path, files: dict[str, str]) -> str:
    """Commit files in a repository, made if need be, and return the commit."""
    if not folder.exists():
        folder.mkdir(parents=True)
        git(folder, "init", "-q")
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "change")
    return git(folder, "rev-parse", "HEAD")


def official_files(installation: Installation, content: str = "") -> dict[str, str]:
    """Files that make a repository look like the official one."""
    return dict.fromkeys(installation.official.files, content)


def importable_files(family: str) -> dict[str, str]:
    """The same, and what `generate` imports; all of it empty."""
    return dict.fromkeys([*installations()[family].official.files, *IMPORTED[family]], "")


IMPORTED = {
    "wan": ["wan/__init__.py"],
    "wan2.2": ["wan/configs/__init__.py", "wan/image2video.py"],
    "hunyuan": ["hyvideo/__init__.py", "hyvideo/config.py"],
    "opensora": ["opensora/__init__.py", "opensora/registry.py"],
    "videosys": ["videosys/__init__.py"],
}


# What the official code reads of each set of weights, from its documentation. A name without an ending is a
# folder; a config.json has the content that tells it from others.
WAN_FILES = {
    "config.json": "",
    "diffusion_pytorch_model.safetensors": "",
    "models_t5_umt5-xxl-enc-bf16.pth": "",
    "google/umt5-xxl": "",
    "Wan2.1_VAE.pth": "",
}
CLIP_FILES = {"models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth": "", "xlm-roberta-large": ""}
FILES = {
    "Wan2.1-T2V-1.3B": {**WAN_FILES, "config.json": '{"model_type": "t2v", "dim": 1536, "num_layers": 30}'},
    "Wan2.1-I2V-14B-720P": {
        **WAN_FILES, **CLIP_FILES, "config.json": '{"model_type": "i2v", "dim": 5120, "num_layers": 40}',
    },
    "Wan2.2-T2V-A14B": {
        **{name: content for name, content in WAN_FILES.items() if "." not in name or name.endswith(".pth")},
        **{
            f"{expert}_noise_model/{name}": content
            for expert in ("high", "low")
            for name, content in {
                "config.json": '{"model_type": "t2v", "dim": 5120, "num_layers": 40}',
                "diffusion_pytorch_model.safetensors": "",
            }.items()
        },
    },
    "HunyuanVideo": {
        "hunyuan-video-t2v-720p/transformers/mp_rank_00_model_states.pt": "",
        "hunyuan-video-t2v-720p/vae/config.json": "{}",
        "hunyuan-video-t2v-720p/vae/pytorch_model.pt": "",
        "text_encoder/config.json": "{}",
        "text_encoder/tokenizer_config.json": "{}",
        "text_encoder/model.safetensors": "",
        "text_encoder_2/config.json": "{}",
        "text_encoder_2/tokenizer_config.json": "{}",
        "text_encoder_2/model.safetensors": "",
    },
    "Open-Sora-1.2": {
        "OpenSora-STDiT-v3/config.json": '{"model_type": "STDiT3"}',
        "OpenSora-STDiT-v3/model.safetensors": "",
        "OpenSora-VAE-v1.2/config.json": '{"model_type": "VideoAutoencoderPipeline"}',
        "OpenSora-VAE-v1.2/model.safetensors": "",
        "t5-v1_1-xxl/config.json": '{"model_type": "t5", "d_model": 4096}',
        "t5-v1_1-xxl/spiece.model": "pieces",
        "t5-v1_1-xxl/pytorch_model.bin": "",
        "pixart_sigma_sdxlvae_T5_diffusers/vae/config.json": '{"_class_name": "AutoencoderKL"}',
        "pixart_sigma_sdxlvae_T5_diffusers/vae/diffusion_pytorch_model.safetensors": "",
    },
}  # fmt: skip


def write_weights(folder: Path, weights: Weights, downloads: bool = False) -> None:
    """Write small whole files in the place of weights, or of the repositories they are downloaded from."""
    for name, content in FILES[weights.name].items():
        target = folder / name
        if downloads:
            part = max(
                (one for one in weights.downloads if name.startswith(one.folder)),
                key=lambda one: len(one.folder),
            )
            target = folder / part.repository / Path(name).relative_to(part.folder or ".")
        write_whole(target, content)


def write_whole(target: Path, content: str = "") -> None:
    """Write one file that counts as whole by its ending, or a folder with one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if content:
        target.write_text(content)
    elif target.suffix == ".safetensors":
        target.write_bytes((2).to_bytes(8, "little") + b"{}")
    elif target.suffix in (".pth", ".pt", ".bin"):
        target.write_bytes(pickle.dumps({}))  # As PyTorch wrote them before they were zip archives.
    else:
        target.mkdir()
        (target / "tokenizer.json").write_text("{}")
