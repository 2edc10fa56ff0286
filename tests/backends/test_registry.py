"""Model families of other packages that are broken in one way or another: named, and in nobody's way."""

from __future__ import annotations

import json
import sys

import pytest
import yaml

from backends.registry import families, get_backend, problem_of
from navicache_cli.errors import BackendError, UsageError
from navicache_cli.plan import presets
from navicache_cli.plan.presets import load_presets, preset_faults, preset_for, read_preset
from tests.machine import Machine
from tests.program import ROOT, assert_refused

DOTS = yaml.safe_load((ROOT / "examples/plugin/navicache_dots/dots.yaml").read_text())
CLASS = """
class Family:
    name = {name!r}
    def problem(self): return ""
    def check(self, plan): return []
    def load(self, plan): raise NotImplementedError
"""


def offer(site, name, code=None, preset=None, package="", target=""):
    """Put a package into a folder: `NAME_family`, of the distribution NAME_family-package."""
    package = package or f"{name}_family"
    folder = site / package
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "code.py").write_text(CLASS.format(name=name) if code is None else code)
    content = yaml.safe_dump({**DOTS, "model": name}) if preset is None else preset
    if content:
        (folder / f"{name}.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    info = site / f"{package}-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}-package\nVersion: 2.0\n")
    point = f"{name} = {target or f'{package}.code:Family'}"
    (info / "entry_points.txt").write_text(f"[navicache.backends]\n{point}\n")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of packages that this process sees."""
    place = tmp_path / "site"
    place.mkdir()
    monkeypatch.syspath_prepend(str(place))
    presets._load.cache_clear()
    yield place
    presets._load.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0].endswith("_family")]:
        del sys.modules[name]


def changed(**keys):
    return yaml.safe_dump({**DOTS, "model": "wave", **keys})


def with_defaults(**values):
    return changed(defaults={**DOTS["defaults"], **values})


def with_task(**values):
    return changed(tasks={"t2v": {"sizes": ["32x32"], **values}})


WITHOUT_STEPS = {key: value for key, value in DOTS["defaults"].items() if key != "steps"}
BROKEN_PRESETS = {
    "none": ("", "expected its preset wave.yaml in"),
    "no YAML": ("a: [1", "is not valid YAML"),
    "no text": (b"\xff\xfe\x00", "wave.yaml"),
    "a knot": ("&a\nmodel: *a\n", "wave"),
    "a list": ("- 1", "a mapping was expected"),
    "empty": ("{}", "'model' is a required property"),
    "another's": (changed(model="waves"), "model: expected 'wave'"),
    "an unknown key": (changed(sizes=["32x32"]), "'sizes' was unexpected"),
    "a number for text": (changed(title=3), "title: 3 is not of type 'string'"),
    "text for a number": (changed(fps="8 a second"), "fps: '8 a second' is not of type 'integer'"),
    "a list for a mapping": (changed(modes=["fast"]), "modes: ['fast'] is not of type 'object'"),
    "no mode fast": (changed(modes={"quick": {}}), "modes: 'fast' is a required property"),
    "a mode off": (changed(modes={"fast": {}, "off": {}}), "preset: modes: "),
    "an unknown option": (changed(modes={"fast": {"treshold": 1}}), "modes/fast: unknown name 'treshold'"),
    "keys that are numbers": (changed(modes={1: {}, "fast": {2: 3}}), "modes/fast: unknown name '2'"),
    "an option of the user's": (with_defaults(output="/x.mp4"), "defaults: unknown name 'output'"),
    "a word for a number": (changed(modes={"fast": {"threshold": "low"}}), "threshold expects a number"),
    "no steps": (changed(defaults=WITHOUT_STEPS), "defaults: expected steps too"),
    "another task": (with_defaults(task="i2v"), "defaults/task: unknown name 'i2v'"),
    "a task that is a list": (with_defaults(task=["t2v"]), "defaults/task: ['t2v'] is not of type"),
    "no sizes": (changed(tasks={"t2v": {}}), "tasks/t2v: 'sizes' is a required property"),
    "a size that is none": (with_task(sizes=["small"]), "tasks/t2v/sizes expects WIDTHxHEIGHT"),
    "an unknown input": (with_task(inputs=["sound"]), "tasks/t2v/inputs: unknown name 'sound'"),
    "a size not its own": (with_task(by_size={"64x64": {}}), "by_size: unknown name '64x64'"),
    "few named sizes": (changed(named_sizes={"s": ["32x32"]}), "named_sizes/s: expected a size for each"),
    "a name in capitals": (changed(named_frames={"LONG": 99}), "named_frames: 'LONG' does not match"),
    "an unknown method": (changed(methods={"teecache": {}}), "did you mean teacache?"),
    "a bad value in a method": (
        changed(methods={"magcache": {"modes": {"slow": {"max_skips": "many"}}}}),
        "methods/magcache/modes/slow/max_skips expects a whole number",
    ),
    "an unknown family option": (changed(takes=["wings"]), "takes: unknown name 'wings'"),
}


@pytest.mark.parametrize("kind", BROKEN_PRESETS)
def test_a_broken_preset(site, kind):
    content, told = BROKEN_PRESETS[kind]
    offer(site, "wave", preset=content)
    with pytest.raises(BackendError) as caught:
        preset_for("wave")
    assert "of the package wave_family-package 2.0" in caught.value.message
    assert told in caught.value.message
    assert "pip uninstall wave_family-package" in caught.value.hint
    assert "tiny" in load_presets()
    assert "wave" not in load_presets()


def test_presets_are_read_without_importing_their_packages(site):
    offer(site, "wave")
    (site / "wave_family/__init__.py").write_text("raise RuntimeError('imported')")
    assert preset_for("wave").title == DOTS["title"]
    assert "wave_family" not in sys.modules
    assert problem_of("wave").endswith("RuntimeError: imported")


BROKEN_CLASSES = {
    "does not import": ("import no_such_thing", "No module named 'no_such_thing'"),
    "is no Python": ("class Family(", "SyntaxError"),
    "leaves": ("raise SystemExit(3)", "SystemExit: 3"),
    "is not there": ("", "has no attribute 'Family'"),
    "takes arguments": ("class Family:\n    def __init__(self, x): pass", "TypeError"),
    "is another thing": ("class Family: name = 'wave'", "found one without problem, check, load"),
    "is called otherwise": (CLASS.format(name="waves"), "found 'waves'"),
}


@pytest.mark.parametrize("kind", BROKEN_CLASSES)
def test_a_broken_class(site, kind):
    code, told = BROKEN_CLASSES[kind]
    offer(site, "wave", code=code)
    with pytest.raises(BackendError) as caught:
        get_backend("wave")
    assert "of the package wave_family-package 2.0" in caught.value.message
    assert told in caught.value.message
    assert problem_of("wave") == caught.value.message


def test_a_check_of_its_own_that_fails(site):
    offer(site, "wave", code=CLASS.format(name="wave").replace('return ""', "return 1 / 0"))
    assert problem_of("wave") == "its own check failed: ZeroDivisionError: division by zero"


def test_navicaches_own_names_are_taken(site):
    offer(site, "tiny")
    assert type(get_backend("tiny")).__module__ == "backends.tiny.backend"
    assert preset_for("tiny").title == "tiny (a miniature Wan2.1, included)"
    (other,) = [family for family in families() if family.name == "tiny" and not family.own]
    assert other.fault == "this name is navicache's own"


def test_two_packages_with_one_name(site):
    offer(site, "wave")
    offer(site, "wave", package="tide_family")
    with pytest.raises(BackendError, match="offers one of that name too; one of them has to go") as caught:
        preset_for("wave")
    for package in ("wave_family-package 2.0", "tide_family-package 2.0"):
        assert package in caught.value.message
    with pytest.raises(BackendError, match="one of them has to go"):
        get_backend("wave")


@pytest.mark.parametrize("name", ["../wave", "wave family", "-wave", "w" * 41, "wave\x1b[31m"])
def test_names_that_are_none(site, name):
    offer(site, "wave", target="wave_family.code:Family")
    (site / "wave_family-2.0.dist-info/entry_points.txt").write_text(
        f"[navicache.backends]\n{name} = wave_family.code:Family\n"
    )
    (fault,) = preset_faults().values()
    assert "expected a name of at most 40" in fault.message


@pytest.mark.parametrize(
    "target", ["gone.code:Family", "wave_family.gone:Family", "", "= : :", "wave_family"]
)
def test_entry_points_that_lead_nowhere(site, target):
    offer(site, "wave", target=target or " ")
    with pytest.raises(BackendError, match="wave_family-package"):
        get_backend("wave")
    assert "tiny" in load_presets()


def test_a_file_of_entry_points_that_cannot_be_read(site):
    offer(site, "wave")
    offer(site, "tide")
    (site / "tide_family-2.0.dist-info/entry_points.txt").write_text("[navicache.backends]\nno entry\n")
    names = {family.name for family in families()}
    assert {"wave", "tiny", "wan"} <= names


def test_a_module_without_a_package(site):
    offer(site, "wave", target="waves:Family")
    (site / "waves.py").write_text(CLASS.format(name="wave"))
    (site / "wave_family/wave.yaml").rename(site / "wave.yaml")
    assert preset_for("wave").fps == DOTS["fps"]
    assert get_backend("wave").name == "wave"


def test_ratios_beside_the_preset(site):
    from navicache_cli.plan.layers import Layer
    from navicache_cli.plan.method import policy_for
    from navicache_cli.plan.plan import resolve

    magcache = {"ratios": "wave", "threshold": 0.1, "max_skips": 2, "retention": 0.2}
    offer(site, "wave", preset=changed(methods={"magcache": magcache}))
    layers = [Layer("--{name}", {"model": "wave", "method": "magcache"})]
    with pytest.raises(UsageError, match="unknown magnitude ratios 'wave'"):
        resolve(layers)
    document = {"model": "wave", "ratios": [1.0] + [0.9] * 19}
    (site / "wave_family/magcache-wave.json").write_text(json.dumps(document))
    assert policy_for(resolve(layers)).name == "magcache"


@pytest.mark.parametrize("model", ["tiny", "wan", "hunyuan", "opensora", "diffusers"])
def test_own_presets_are_as_strict(model):
    assert read_preset(ROOT / f"presets/{model}.yaml", model).model == model


def test_the_program_goes_on(tmp_path):
    machine = Machine(tmp_path)
    place = machine.root / "site"
    offer(place, "good")
    offer(place, "broken", code="import no_such_thing")
    offer(place, "blank", preset="")
    offer(place, "tiny")
    rows = {row["model"]: row for row in json.loads(machine.run("models", "--json").stdout)}
    ready = [name for name, row in rows.items() if row["ready"]]
    assert [name for name in ready if name != "diffusers"] == ["tiny", "good"], "its packages may be there"
    assert "No module named 'no_such_thing'" in rows["broken"]["problem"]
    assert "expected its preset blank.yaml" in rows["blank"]["problem"]
    assert "navicache's own" in rows["tiny (tiny_family-package 2.0)"]["problem"]
    assert machine.run("models").returncode == 0
    listed = machine.run("presets")
    assert listed.returncode == 0
    assert "note: the model family 'blank' of the package blank_family-package 2.0" in listed.stderr
    assert machine.run("generate", "--dry-run").returncode == 0
    assert_refused(
        machine.run("generate", "--model", "blank"), 3, "blank_family-package 2.0", "pip uninstall"
    )
    assert_refused(machine.run("generate", "--model", "broken"), 3, "broken_family-package 2.0")
    checks = json.loads(machine.run("doctor", "--model", "blank", "--json").stdout)
    assert not checks["ready"]
    summary = json.loads(machine.run("doctor", "--json", NAVICACHE_TASK="t2v-14B").stdout)
    assert {row["name"] for row in summary["checks"]} >= {"good", "broken", "blank", "wan t2v-14B"}


def test_an_unknown_peer():
    from navicache_cli.compare.settings import choose_settings

    with pytest.raises(UsageError, match=r"'diffusers:fbcash', expected .* did you mean diffusers:fbcache"):
        choose_settings(None, None, [], 8, ["fast"], {"diffusers:fbcash": {}})
