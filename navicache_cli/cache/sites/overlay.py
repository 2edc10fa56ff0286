"""Methods laid over those of one object, by a subclass of its own class; other objects are left alone."""

from __future__ import annotations

import copy
import copyreg
import weakref
from collections.abc import Callable, Mapping
from typing import Any

Method = Callable[..., Any]


class Overlay:
    """Lays methods over those of `instance` until `remove`. The object stays an instance of its class.

    Attributes set on the object would go along into copies, and special methods are looked up on the class.
    A pickle of the object is one of its own class, and so is an object that its class is called for.

    Args:
        instance: the object.
        methods: by name: makes the method that is laid over from the one beneath.
        mark: found by `overlaid`.
        copies: whether copies of the object get the methods too.
    """

    def __init__(
        self,
        instance: Any,
        methods: Mapping[str, Callable[[Method], Method]],
        mark: object = None,
        copies: bool = False,
    ) -> None:
        self._instance = weakref.ref(instance)
        base: Any = type(instance)
        self._base = base
        self._copies: weakref.WeakSet[Any] = weakref.WeakSet()

        def reduce(this: Any, protocol: Any) -> Any:
            _, _, *state = base.__reduce_ex__(this, 2)
            # As in a pickle of protocol 0: those of later ones insist on the class the object has.
            return copyreg._reconstructor, (base, object, None), *state  # type: ignore[attr-defined]

        def of_the_base(cls: Any, *args: Any, **kwargs: Any) -> Any:
            # Of the class beneath: others make objects of the class that they find, as `from_config` does.
            return base(*args, **kwargs)

        def deep_copy(this: Any, memo: dict[int, Any]) -> Any:
            twin = base.__new__(base)
            memo[id(this)] = twin
            twin.__dict__.update(copy.deepcopy(this.__dict__, memo))
            if this is not self._instance() and this not in self._copies:
                return twin
            _become(twin, kind)
            self._copies.add(twin)
            return twin

        body: dict[str, Any] = {name: make(getattr(base, name)) for name, make in methods.items()}
        body |= {"__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__}
        body |= {"__new__": of_the_base, "__reduce_ex__": reduce, "_navicache_mark": mark}
        if copies:
            body["__deepcopy__"] = deep_copy
        metaclass: Any = type(base)
        kind: Any = metaclass(base.__name__, (base,), body)
        self._kind = kind
        _become(instance, kind)

    def on(self, instance: object) -> bool:
        """Whether this lies over `instance`."""
        return self._instance() is instance and type(instance) is self._kind

    def remove(self) -> None:
        """Give the object, and copies of it, their own class back."""
        for one in [self._instance(), *self._copies]:
            if type(one) is self._kind:
                _become(one, self._base)


def overlaid(instance: object) -> Any:
    """The mark of what is laid over an object; None where nothing is."""
    return getattr(type(instance), "_navicache_mark", None)


def _become(instance: Any, kind: type) -> None:
    # Not as an ordinary attribute: some classes look at each that is set.
    object.__setattr__(instance, "__class__", kind)
