"""Pages of the site for what other programs import: every public name, shown by mkdocstrings."""

from __future__ import annotations

from types import ModuleType

import backends.protocol
import navicache
import navicache_cli.cache

# Title, module, and what is said of it. A module with `__all__` is shown name by name.
PAGES = {
    "api/navicache.md": (
        "For pipelines: `navicache`",
        navicache,
        "What a program with a pipeline of diffusers, or a model of its own, needs: "
        "[In your own program](../library.md) explains it.",
    ),
    "api/cache.md": (
        "The caching core: `navicache_cli.cache`",
        navicache_cli.cache,
        "Policies decide, predictors rebuild, a session keeps the tensors, and a site binds them to a model. "
        "It depends on torch alone.",
    ),
    "api/backends.md": (
        "Model families: `backends.protocol`",
        backends.protocol,
        "What a package implements to add a model family; "
        "[the examples](../examples.md#a-model-of-your-own) have a small one.",
    ),
}


def names(module: ModuleType) -> list[str]:
    """The public names of a module, in full; the module itself if it does not list them."""
    listed = getattr(module, "__all__", None)
    if listed is None:
        return [module.__name__]
    return [f"{module.__name__}.{name}" for name in sorted(listed, key=lambda name: name[0].isupper())]


def page(name: str) -> str:
    """The text of a page of `PAGES`."""
    title, module, text = PAGES[name]
    return "\n\n".join([f"# {title}", text, *(f"::: {public}" for public in names(module))]) + "\n"
