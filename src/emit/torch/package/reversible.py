"""Reversible sequences: half-couplings of two streams that keep their last state only.

A function f turns the state (a, b) into (b, a + f(b)). Backward rebuilds a = t - f(b) from the state
(b, t) that f left, and differentiates the same evaluation of f: four units of arithmetic where
stored activations take three.
Source: Gomez et al. 2017, "The Reversible Residual Network", section 3.1.
"""
from __future__ import annotations

import contextlib
from typing import Any, Callable, ContextManager, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

#: reversible: sequences are rebuilt backwards. checkpoint: every function keeps its input.
#: stored: ordinary autograd, every interior is kept.
MODES = ('reversible', 'checkpoint', 'stored')


def _batch_norms(module: nn.Module) -> List[nn.modules.batchnorm._BatchNorm]:
    """Those that have running statistics to update."""
    kind = nn.modules.batchnorm._BatchNorm
    return [m for m in module.modules() if isinstance(m, kind) and m.track_running_stats]


@contextlib.contextmanager
def _without_statistics(module: nn.Module) -> Iterator[None]:
    """Batch norm in training uses the statistics of the batch and leaves its running ones alone."""
    norms = _batch_norms(module)
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


@contextlib.contextmanager
def _with_spare_statistics(module: nn.Module) -> Iterator[None]:
    """The same for torch.utils.checkpoint, which wants as many saved tensors as the first time."""
    norms = _batch_norms(module)
    buffers = [dict(norm._buffers) for norm in norms]
    for norm, own in zip(norms, buffers):
        norm._buffers.update((name, None if t is None else t.clone()) for name, t in own.items())
    try:
        yield
    finally:
        for norm, own in zip(norms, buffers):
            norm._buffers.update(own)


def recomputed(module: nn.Module, *args: Any, mode: str = 'reversible') -> Any:
    """Calls the module, keeping its operands and not its interior.

    Running statistics are updated by the first call alone, the second draws the same random numbers.
    """
    if mode == 'stored' or not torch.is_grad_enabled():
        return module(*args)
    ran = False

    def call(*operands: Any) -> Any:
        nonlocal ran
        again, ran = ran, True
        with _with_spare_statistics(module) if again else contextlib.nullcontext():
            return module(*operands)

    return checkpoint(call, *args, use_reentrant=False)


def tie(root: nn.Module, key: str, to: str) -> None:
    """Makes two parameters, named as in the state_dict, one."""

    def place(name: str) -> Tuple[nn.Module, str]:
        path, _, last = name.rpartition('.')
        return root.get_submodule(path), last

    (module, name), (other, other_name) = place(key), place(to)
    setattr(module, name, getattr(other, other_name))


def _autocast_state(kind: str) -> Callable[[], ContextManager]:
    """The autocast state of this moment, to be entered later.

    Its cache stays off: a weight that was cast without gradients must not serve where one is wanted.
    """
    try:
        enabled, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    except (AttributeError, TypeError):  # before PyTorch 2.4
        if kind == 'cpu':
            enabled, dtype = torch.is_autocast_cpu_enabled(), torch.get_autocast_cpu_dtype()
        elif kind == 'cuda':
            enabled, dtype = torch.is_autocast_enabled(), torch.get_autocast_gpu_dtype()
        else:
            return contextlib.nullcontext
    except RuntimeError:  # a device that has no autocast
        return contextlib.nullcontext
    return lambda: torch.autocast(kind, dtype=dtype, enabled=enabled, cache_enabled=False)


def _autocast_enabled(kind: str) -> bool:
    try:
        return torch.is_autocast_enabled(kind)
    except (TypeError, RuntimeError):
        return torch.is_autocast_cpu_enabled() if kind == 'cpu' else torch.is_autocast_enabled()


class _Random:
    """Random states of the CPU and of one device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.on_cuda = device.type == 'cuda'

    def state(self) -> Tuple[Tensor, Optional[Tensor]]:
        return torch.get_rng_state(), torch.cuda.get_rng_state(self.device) if self.on_cuda else None

    def restore(self, state: Tuple[Tensor, Optional[Tensor]]) -> None:
        cpu, cuda = state
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda, self.device)

    def aside(self) -> ContextManager:
        """What is drawn inside leaves no trace outside."""
        return torch.random.fork_rng(devices=[self.device] if self.on_cuda else [])


class _Run:
    """One pass through the functions of a sequence, and what it takes to evaluate them again."""

    def __init__(
        self,
        names: Sequence[str],
        functions: Sequence[nn.Module],
        reads: Sequence[Sequence[int]],
        device: torch.device,
        keeps_input: bool,
    ) -> None:
        self.keeps_input = keeps_input
        self.names = names
        self.functions = functions
        self.reads = reads
        self.autocast = _autocast_state(device.type)
        self.random = _Random(device)
        self.states: List[Any] = []
        #: The streams that the functions left, while they are rebuilt.
        self.state: Optional[Tuple[Tensor, ...]] = None

    def take_state(self) -> Tuple[Tensor, ...]:
        state, self.state = self.state, None
        assert state is not None, 'backward runs from the last state'
        return state

    def first(self, k: int, b: Tensor, sides: Sequence[Any]) -> Tensor:
        self.states.append(self.random.state() if self.functions[k].training else None)
        version = b._version
        with self.autocast():
            result = self.functions[k](b, *(sides[i] for i in self.reads[k]))
        if b._version != version:
            raise RuntimeError(f'function {self.names[k]} changed its input in place: it cannot be rebuilt')
        return result

    def again(self, k: int, b: Tensor, sides: Sequence[Any]) -> Tensor:
        if self.states[k] is not None:
            self.random.restore(self.states[k])
        with self.autocast(), _without_statistics(self.functions[k]):
            return self.functions[k](b, *(sides[i] for i in self.reads[k]))


class _Reversible(torch.autograd.Function):
    """(a, b) through all functions of a run; operands: a, b, side inputs, parameters.

    Gradients of parameters are results like any other, so that hooks and DistributedDataParallel see them.
    """

    @staticmethod
    def forward(ctx: Any, run: _Run, side_count: int, a: Tensor, b: Tensor, *rest: Any) -> Tuple[Tensor, Tensor]:
        sides, ctx.parameters = rest[:side_count], rest[side_count:]
        kept = [b] if run.keeps_input else []
        for k in range(len(run.functions)):
            a, b = b, a + run.first(k, b, sides)
        ctx.run = run
        ctx.sides = [None if isinstance(side, Tensor) else side for side in sides]
        ctx.tensor_sides = [i for i, side in enumerate(sides) if isinstance(side, Tensor)]
        ctx.save_for_backward(*(sides[i] for i in ctx.tensor_sides), *kept)
        return a, b

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_b: Tensor, d_t: Tensor) -> Tuple[Optional[Tensor], ...]:
        run: _Run = ctx.run
        b, t = run.take_state()
        wants = ctx.needs_input_grad[4:]
        sides = list(ctx.sides)
        for i, side in zip(ctx.tensor_sides, ctx.saved_tensors):
            sides[i] = side.detach().requires_grad_(wants[i])
        gradients: Dict[int, Tensor] = {}
        wanted_parameters = {id(p) for p, want in zip(ctx.parameters, wants[len(sides) :]) if want}
        with run.random.aside():
            for k in reversed(range(len(run.functions))):
                x = b.detach().requires_grad_()
                inner = [x, *(sides[i] for i in run.reads[k] if i in ctx.tensor_sides and wants[i])]
                inner += [p for p in run.functions[k].parameters() if id(p) in wanted_parameters]
                with torch.enable_grad():
                    # f(b) - t is -a, and its gradient that of f(b): neither f(b) nor t has to stay.
                    negative = run.again(k, x, sides) - t
                del t
                found = torch.autograd.grad(negative, inner, d_t.to(negative.dtype), allow_unused=True)
                for leaf, gradient in zip(inner[1:], found[1:]):
                    if gradient is not None:
                        old = gradients.get(id(leaf))
                        gradients[id(leaf)] = gradient if old is None else old + gradient
                d_b, d_t = d_t, d_b if found[0] is None else d_b + found[0]
                if k == 1 and run.keeps_input:
                    b, t = ctx.saved_tensors[-1].detach(), b
                else:
                    b, t = negative.detach().neg_(), b
                # The interior goes before anything of the next function is made.
                del x, inner, negative, found
        return (
            None,
            None,
            d_b,
            d_t,
            *(gradients.get(id(side)) for side in sides),
            *(gradients.get(id(p)) for p in ctx.parameters),
        )


class _KeepState(torch.autograd.Function):
    """Keeps the last state for the backward pass of a run.

    Apart from _Reversible, so that autograd lets go of it before the run begins to rebuild.
    """

    @staticmethod
    def forward(ctx: Any, run: _Run, b: Tensor, t: Tensor) -> Tuple[Tensor, Tensor]:
        ctx.run = run
        ctx.save_for_backward(b, t)
        return b.view_as(b), t.view_as(t)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_b: Tensor, d_t: Tensor) -> Tuple[None, Tensor, Tensor]:
        ctx.run.state = tuple(stream.detach() for stream in ctx.saved_tensors)
        return None, d_b, d_t


class ReversibleSequence(nn.Module):
    """Half-couplings in a row: each function f turns the state (a, b) into (b, a + f(b)).

    functions: by name, called as f(b, *sides); they keep the shape and do not change b in place.
    reads: which of the side inputs a function is given, by its name; default none.
    stored: how many functions at the end keep their interior. Where the loss follows at once this
        costs no memory: backward begins there.
    keeps_input: whether the b it starts from is kept rather than rebuilt: for a layer norm, which
        divides each row by its own deviation, a row much smaller than the others would be inexact.

    Under autocast the streams are float32, whatever the functions compute in: rounded to 16 bits
    they could not be rebuilt.
    """

    def __init__(
        self,
        functions: Mapping[str, nn.Module],
        reads: Optional[Mapping[str, Sequence[int]]] = None,
        stored: int = 0,
        keeps_input: bool = False,
    ) -> None:
        super().__init__()
        for name, function in functions.items():
            self.add_module(name, function)
        self.reads = dict(reads or {})
        self.stored = stored
        self.keeps_input = keeps_input

    def forward(self, a: Tensor, b: Tensor, *sides: Any, mode: str = 'reversible') -> Tuple[Tensor, Tensor]:
        """State before → state after. Side inputs that are tensors may have gradients."""
        if mode not in MODES:
            raise ValueError(f'mode {mode!r} is none of {", ".join(MODES)}')
        if _autocast_enabled(b.device.type):
            a, b = a.float(), b.float()
        names = list(self._modules)
        split = len(names) - self.stored
        if mode == 'reversible' and torch.is_grad_enabled() and split > 0:
            a, b = self._reversed(names[:split], a, b, sides)
            names = names[split:]
        for index, name in enumerate(names):
            f = self._modules[name]
            operands = (b, *(sides[i] for i in self.reads.get(name, ())))
            keep = mode != 'checkpoint' or index >= split
            a, b = b, a + (f(*operands) if keep else recomputed(f, *operands, mode=mode))
        return a, b

    def _reversed(self, names: Sequence[str], a: Tensor, b: Tensor, sides: Sequence[Any]) -> Tuple[Tensor, Tensor]:
        functions = [self._modules[name] for name in names]
        reads = [self.reads.get(name, ()) for name in names]
        run = _Run(names, functions, reads, b.device, self.keeps_input)
        parameters = {id(p): p for f in functions for p in f.parameters() if p.requires_grad}
        return _KeepState.apply(run, *_Reversible.apply(run, len(sides), a, b, *sides, *parameters.values()))
