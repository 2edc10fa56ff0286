"""What is laid over modules and objects: it comes off again, and what others put there stays."""

from __future__ import annotations

import copy
import copyreg
import io
import pickle
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from navicache_cli.cache.sites.binding import Around, Before, CallBinding, bound_to
from navicache_cli.cache.sites.layout import Part, find_parts, take
from navicache_cli.cache.sites.outputs import read_all
from navicache_cli.cache.sites.overlay import Overlay, overlaid
from navicache_cli.errors import SiteError


class Double(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        return self.weight * x


class OwnCall(Double):
    """Its calls do not come by `Module.__call__`."""

    def __call__(self, x):
        return self.forward(x)


class Answer(Around):
    """Answers every second call by itself."""

    def __init__(self):
        self.seen = self.after_calls = 0

    def before(self, args, kwargs):
        self.seen += 1
        return Before(self.seen % 2 == 0, "answered" if self.seen % 2 == 0 else "ran")

    def after(self, before, output):
        assert before == "ran"
        self.after_calls += 1


@pytest.mark.parametrize("kind", [Double, OwnCall])
def test_every_call_comes_by_and_none_afterwards(kind):
    module, around, x = kind(), Answer(), torch.ones(3)
    before = dict(module.__dict__)
    binding = CallBinding(module, around, owner="me")
    assert bound_to(module) == "me"
    assert torch.equal(module(x), 2 * x)
    assert module(x) == "answered"
    assert (around.seen, around.after_calls) == (2, 1)
    binding.release()
    assert module.__dict__ == before
    assert bound_to(module) is None
    assert torch.equal(module(x), 2 * x)
    assert around.seen == 2


def test_torch_still_calls_what_an_instance_has_instead_of_its_hooks():
    """The private attribute that the binding relies on; hooks of a call that does not run do not run."""
    module, hooked = Double(), []
    module.register_forward_hook(lambda *_: hooked.append(1))
    binding = CallBinding(module, Answer(), owner="me")
    assert binding._slot == "_compiled_call_impl"
    module(torch.ones(3))
    module(torch.ones(3))
    assert hooked == [1]


def test_two_on_one_module_are_refused():
    module = Double()
    CallBinding(module, Answer(), owner="me")
    with pytest.raises(SiteError, match="Double without a cache"):
        CallBinding(module, Answer(), owner="you")


@pytest.mark.parametrize("kind", [Double, OwnCall])
def test_what_others_bind_over_it_stays_and_is_bound_over(kind):
    module, around, x = kind(), Answer(), torch.ones(3)
    binding = CallBinding(module, around, owner="me")
    slot, ours, theirs = binding._slot, module.__dict__[binding._slot], []

    def wrapped(*args):
        theirs.append(1)
        return ours(*args)

    module.__dict__[slot] = wrapped
    assert not binding.intact
    binding.renew()
    assert torch.equal(module(x), 2 * x)
    assert module(x) == "answered"
    assert (around.seen, around.after_calls, theirs) == (2, 1, [1]), "once a call, though bound twice"
    module.__dict__[slot] = wrapped
    binding.release()
    assert module.__dict__[slot] is wrapped
    assert torch.equal(module(x), 2 * x), "what is left beneath theirs does nothing"
    assert around.seen == 2


def test_one_that_was_overwritten_is_bound_again():
    """As `remove_hook_from_module` of accelerate puts an older forward back."""
    module, around = OwnCall(), Answer()
    old = module.forward
    binding = CallBinding(module, around, owner="me")
    module.forward = old
    module(torch.ones(3))
    assert around.seen == 0
    binding.renew()
    module(torch.ones(3))
    assert around.seen == 1


def test_a_copy_of_a_module_runs_its_own_weights():
    module, around = Double(), Answer()
    CallBinding(module, around, owner="me")
    twin = copy.deepcopy(module)
    with torch.no_grad():
        twin.weight.fill_(5.0)
    assert torch.equal(twin(torch.ones(3)), 5 * torch.ones(3))
    stored = io.BytesIO()
    torch.save(module, stored)
    stored.seek(0)
    loaded = torch.load(stored, weights_only=False)
    assert torch.equal(loaded(torch.ones(3)), 2 * torch.ones(3))
    assert around.seen == 0


class Counter:
    """An ordinary object."""

    def __init__(self):
        self.count = 0

    def step(self, by):
        self.count += by
        return self.count


def over(seen):
    def make(beneath):
        def step(self, by):
            seen.append(by)
            return beneath(self, by)

        return step

    return make


def test_an_overlay_is_of_one_object_and_comes_off():
    one, other, seen = Counter(), Counter(), []
    overlay = Overlay(one, {"step": over(seen)}, mark="me")
    assert one.step(3) == 3
    other.step(4)
    assert (seen, overlaid(one), overlaid(other)) == ([3], "me", None)
    assert isinstance(one, Counter)
    assert (type(one).__name__, type(one).__module__) == ("Counter", Counter.__module__)
    assert one.__dict__ == {"count": 3}
    overlay.remove()
    assert type(one) is Counter
    one.step(1)
    assert seen == [3]


def test_copies_get_the_methods_only_if_asked_and_lose_them_too():
    one, seen = Counter(), []
    plain = copy.deepcopy(one)
    overlay = Overlay(one, {"step": over(seen)})
    assert type(copy.deepcopy(one)) is Counter
    overlay.remove()
    overlay = Overlay(one, {"step": over(seen)}, copies=True)
    twin = copy.deepcopy(copy.deepcopy(one))
    twin.step(2)
    assert (seen, twin.count, one.count, plain.count) == ([2], 2, 0, 0)
    overlay.remove()
    assert type(twin) is type(one) is Counter
    assert type(copy.deepcopy(twin)) is Counter


def test_a_pickle_is_of_the_objects_own_class():
    one = Counter()
    Overlay(one, {"step": over([])}, copies=True)
    one.step(3)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        stored = pickle.dumps(one, protocol)
        assert b"navicache" not in stored.replace(Counter.__module__.encode(), b"")
        loaded = pickle.loads(stored)
        assert type(loaded) is Counter
        assert loaded.count == 3
    assert copyreg._reconstructor  # not a public name: what a pickle of protocol 0 calls


def tensor(*shape):
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape)


@pytest.mark.parametrize(
    ("x", "y", "part"),
    [
        ((1, 16, 3, 4), (1, 16, 3, 4), Part("x")),
        ((1, 36, 3, 4), (1, 16, 3, 4), Part("x", 1, 16)),
        ((1, 3, 4, 33), (1, 3, 4, 16), Part("x", 3, 16)),
        ((1, 4, 3, 4), (1, 8, 3, 4), Part("x", 1, 8)),
    ],
    ids=["as large", "conditions behind", "channels last", "a variance behind"],
)
def test_x_is_as_large_as_the_output(x, y, part):
    given = {"x": tensor(*x)}
    parts = find_parts(given, (tensor(*y),))
    assert parts == [part]
    (taken,) = take(parts, given)
    assert taken.shape == y
    common = tuple(slice(0, min(a, b)) for a, b in zip(x, y, strict=True))
    assert torch.equal(taken[common], given["x"][common])
    assert taken.sum() == given["x"][common].sum(), "zeros behind"


def test_further_outputs_belong_to_arguments_of_their_shape():
    given = {"hidden_states": tensor(1, 6, 8), "audio_hidden_states": tensor(1, 3, 4)}
    parts = find_parts(given, (tensor(1, 6, 8), tensor(1, 3, 4)))
    assert [part.name for part in parts] == list(given)
    with pytest.raises(SiteError, match=r"audio_hidden_states in the call, found none"):
        take(parts, {"hidden_states": tensor(1, 6, 8)})


@pytest.mark.parametrize("outputs", [[(2, 16, 3, 5)], [(2, 16, 3)], [(1, 16, 3, 4), (2, 2)]])
def test_an_output_of_another_kind_is_an_error(outputs):
    with pytest.raises(SiteError, match=r"expected an output like one of x \(1, 16, 3, 4\)"):
        find_parts({"x": tensor(1, 16, 3, 4)}, [tensor(*shape) for shape in outputs])


@dataclass
class Pair:
    sample: torch.Tensor
    audio: torch.Tensor | None = None
    note: str = ""


@pytest.mark.parametrize(
    "form",
    [
        lambda a, b: (a, b),
        lambda a, b: [a, b],
        lambda a, b: {"x": a, "note": None, "audio": b},
        lambda a, b: Pair(a, b, "kept"),
        lambda a, b: (a, None, b),
    ],
)
def test_every_tensor_of_an_output_is_rebuilt_in_its_place(form):
    a, b, c, d = (torch.full((2,), float(k)) for k in range(4))
    tensors, rebuild = read_all(form(a, b))
    assert [id(one) for one in tensors] == [id(a), id(b)]
    rebuilt, expected = rebuild((c, d)), form(c, d)
    assert type(rebuilt) is type(expected)
    assert str(rebuilt) == str(expected)


@pytest.mark.parametrize("output", [None, (), (torch.ones(1), [torch.ones(1)]), "text", {"x": None}])
def test_an_output_without_tensors_or_with_hidden_ones_is_an_error(output):
    with pytest.raises(SiteError, match="found an output of type"):
        read_all(output)
