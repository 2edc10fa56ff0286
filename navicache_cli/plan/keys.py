"""Keys of plan values in flags, files and variables: every option, and the settings of every method."""

from __future__ import annotations

from navicache_cli.cache.policies.factory import METHODS, method_called
from navicache_cli.cache.policies.settings import Setting, settings_of
from navicache_cli.plan.option import Reader
from navicache_cli.plan.options import OPTIONS

# Settings by name; no two methods have one of the same name.
SETTINGS: dict[str, Setting] = {
    name: setting
    for method in METHODS
    for name, setting in settings_of(method_called(method).settings).items()
}
READERS: dict[str, Reader] = {
    **{name: option.read for name, option in OPTIONS.items()},
    **{name: setting.read for name, setting in SETTINGS.items()},
}


def own_settings(method: str) -> dict[str, Setting]:
    """Return the settings that a method takes, by name; none for an unknown method."""
    return settings_of(method_called(method).settings) if method in METHODS else {}


def hint_for(key: str) -> str:
    """Say how to set a key on the command line."""
    if key in SETTINGS:
        return f"--set {key}={SETTINGS[key].example}"
    name = key.replace("_", "-")
    return f"set it with --{name}" if OPTIONS[key].panel else f"--set {name}=…"
