"""One model by itself, whoever calls it: its caller tells steps and branches, or they are inferred."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from navicache_cli.cache.session.session import Session
from navicache_cli.cache.session.told import Names
from navicache_cli.cache.sites.context import ContextWatch
from navicache_cli.cache.sites.denoiser import Denoiser, Place


class ModelSite:
    """Binds one model until `release`.

    Args:
        module: the model.
        session: gives the session that accompanies its calls now.
        owner: whose the binding is, see `binding.bound_to`.
        inputs, timestep: see `Denoiser`.

    Attributes:
        names: of the branch that calls belong to.

    Raises:
        SiteError: the model is not as expected, or a cache is bound to it.
    """

    def __init__(
        self,
        module: nn.Module,
        session: Callable[[], Session],
        owner: object,
        inputs: str | None = None,
        timestep: str | None = None,
    ) -> None:
        self.names = Names()
        self._session = session
        self._denoiser = Denoiser(module, "", self._place, owner, inputs, timestep)
        self._context = ContextWatch(module, self.names.branch)

    def renew(self) -> None:
        """Bind again, where others have put something of theirs in the place."""
        self._denoiser.renew()
        self._context.renew()

    def release(self) -> None:
        """Put everything back as it was."""
        self._context.release()
        self._denoiser.release()

    def _place(self) -> Place:
        return Place(self._session(), self.names.names)
