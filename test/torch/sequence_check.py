"""Properties of src/emit/torch/package/reversible.py. In: {folder} on stdin. Out: JSON: name → figure or truth."""
import copy
import json
import sys

import torch
from torch import nn

sys.path.insert(0, json.load(sys.stdin)['folder'])
import reversible  # noqa: E402

torch.set_num_threads(1)


class Function(nn.Module):
    """With everything that a recompute may get wrong: random numbers, statistics, side inputs."""

    def __init__(self, width, in_place=False):
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.norm = nn.BatchNorm1d(width)
        self.dropout = nn.Dropout(0.3)
        self.in_place = in_place

    def forward(self, b, mask=None, times=1):
        if self.in_place:
            b.mul_(2)
        y = self.dropout(torch.tanh(self.norm(self.linear(b)))) * times
        return y if mask is None else y * mask


def sequence(**options):
    torch.manual_seed(0)
    functions = {str(i): Function(8, **options) for i in range(5)}
    return reversible.ReversibleSequence(functions, reads={'1': (0, 1), '3': (0,)}, stored=1).double()


def streams(dtype=torch.double):
    generator = torch.Generator().manual_seed(1)
    a, b, mask = torch.rand(3, 16, 8, dtype=torch.double, generator=generator)
    return [x.to(dtype).clone().requires_grad_() for x in (a, b, mask)]


class Normed(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.linear = nn.Linear(width, width)

    def forward(self, b):
        return self.linear(self.norm(b))


def small_row_error(keeps_input):
    """Of the gradient of a stream with one row much smaller than the others, in float32 against float64 that is stored."""
    torch.manual_seed(0)
    functions = {str(i): Normed(32) for i in range(8)}
    model = reversible.ReversibleSequence(functions, keeps_input=keeps_input)
    start = torch.randn(16, 32)
    start[0] *= 1e-4

    def gradient(mode, dtype):
        own = copy.deepcopy(model).to(dtype)
        x = start.to(dtype).clone().requires_grad_()
        loss_of(*own(x, x, mode=mode)).backward()
        return x.grad.double()

    exact = gradient('stored', torch.double)
    return ((gradient('reversible', torch.float32) - exact).norm() / exact.norm()).item()


def loss_of(a, b):
    return (a.double() ** 2).sum() + (b.double() ** 3).sum()


def run(mode, model=None, amp=False):
    model = copy.deepcopy(model or sequence())
    a, b, mask = streams(next(model.parameters()).dtype)
    torch.manual_seed(3)
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=amp):
        out = model(a, b, mask, 2, mode=mode)
    loss = loss_of(*out)
    # Outside of autocast, and with other random numbers drawn in between.
    torch.rand(5)
    loss.backward()
    tensors = [a.grad, b.grad, mask.grad, *(p.grad for p in model.parameters()), *model.buffers(), torch.rand(2)]
    return [t.double() for t in [loss.detach(), *tensors]], out[0].dtype


def apart(x, y):
    # A bias before batch norm has no gradient but rounding.
    whole = max(float(q.norm()) for q in y)
    return max(float((p - q).norm()) / max(float(q.norm()), 1e-3 * whole) for p, q in zip(x, y))


def raises(call):
    try:
        call()
    except RuntimeError as error:
        return str(error)
    return ''


results = {}
plain, _ = run('stored')
results['reversible'] = apart(run('reversible')[0], plain)
results['checkpoint'] = apart(run('checkpoint')[0], plain)

single = sequence().float()
half, dtype = run('reversible', single, amp=True)
results['autocast'] = apart(half, run('stored', single, amp=True)[0])
results['autocastMatters'] = apart(half, run('stored', single)[0])
results['streams'] = str(dtype)

# What would happen without each of the precautions: the comparison has to see it.
restore = reversible._Random.restore
reversible._Random.restore = lambda self, state: None
results['withoutRandom'] = apart(run('reversible')[0], plain)
reversible._Random.restore = restore
frozen = reversible._without_statistics
reversible._without_statistics = reversible._with_spare_statistics
results['spareStatistics'] = apart(run('reversible')[0], plain)
reversible._without_statistics = lambda module: reversible.contextlib.nullcontext()
results['withoutFrozen'] = apart(run('reversible')[0], plain)
reversible._without_statistics = frozen

results['inPlace'] = raises(lambda: run('reversible', sequence(in_place=True)))

model = sequence()
calls = []
for parameter in model.parameters():
    parameter.register_hook(lambda gradient: calls.append(gradient.shape))
a, b, mask = streams()
torch.manual_seed(3)
loss = loss_of(*model(a, b, mask, 2))
loss.backward(retain_graph=True)
results['hooks'] = len(calls) / len(list(model.parameters()))
first = [p.grad.clone() for p in model.parameters()]
model.zero_grad()
loss.backward()
results['again'] = apart([p.grad for p in model.parameters()], first)

shared = Function(8).double()
twice = reversible.ReversibleSequence({'0': shared, '1': Function(8).double(), '2': shared}, {'1': (0,)})
x, y = run('reversible', twice)[0], run('stored', twice)[0]
results['shared'] = apart(x, y)

frozen_weights = sequence()
frozen_weights.get_submodule('1.linear').requires_grad_(False)
a, b, mask = streams()
loss_of(*frozen_weights(a, b, mask, 2)).backward()
grads = [p.grad is None for p in frozen_weights.get_submodule('1.linear').parameters()]
results['frozenWeights'] = all(grads)

with torch.no_grad():
    out, _ = sequence().eval()(*streams(), 2)
results['noGrad'] = not out.requires_grad

results['smallRow'] = small_row_error(True)
results['smallRowRebuilt'] = small_row_error(False)

print(json.dumps(results))
