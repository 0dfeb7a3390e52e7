"""One measurement in a process of its own: a package of `revnetify export torch`, some training steps.

    python3 step.py '{"package": "out/resnet50_torch", "mode": "reversible", "batch": 16, "dtype": "float32"}'

Out: JSON on stdout: seconds per step, peak memory above the loaded model, bytes saved for the backward pass.
On a GPU the peak is that of torch.cuda.max_memory_allocated, on the CPU the resident memory of the process.
"""
from __future__ import annotations

import contextlib
import copy
import importlib
import json
import os
import resource
import sys
import time

import torch
from torch import nn


def settled_memory():
    """Resident bytes now."""
    with open('/proc/self/statm', encoding='ascii') as file:
        return int(file.read().split()[1]) * resource.getpagesize()


class Peak:
    """Highest memory between start and stop, in bytes above what there was at the start."""

    def __init__(self, device):
        self.device = device

    def start(self):
        if self.device.type == 'cuda':
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
            return
        # Linux forgets the peak when 5 is written there.
        with open('/proc/self/clear_refs', 'w', encoding='ascii') as file:
            file.write('5')
        self.before = settled_memory()

    def stop(self):
        if self.device.type == 'cuda':
            torch.cuda.synchronize()
            return torch.cuda.max_memory_allocated() - self.before
        with open('/proc/self/status', encoding='ascii') as file:
            lines = dict(line.split(':', 1) for line in file if ':' in line)
        return int(lines['VmHWM'].split()[0]) * 1024 - self.before


class SavedBytes:
    """What autograd keeps between the passes: every storage once, parameters and buffers left out.

    Operands that torch.utils.checkpoint keeps go past the hooks of autograd and are counted where it is called.
    """

    def __init__(self, model, reversible):
        self.own = {t.storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
        self.found = {}
        self.reversible = reversible

    def add(self, tensor):
        storage = tensor.storage()
        if storage.data_ptr() not in self.own:
            self.found[storage.data_ptr()] = storage.nbytes()
        return tensor

    @contextlib.contextmanager
    def counting(self):
        original = self.reversible.checkpoint

        def checkpoint(function, *args, **options):
            for arg in args:
                if isinstance(arg, torch.Tensor):
                    self.add(arg)
            return original(function, *args, **options)

        self.reversible.checkpoint = checkpoint
        try:
            with torch.autograd.graph.saved_tensors_hooks(self.add, lambda tensor: tensor):
                yield
        finally:
            self.reversible.checkpoint = original

    @property
    def total(self):
        return sum(self.found.values())


def deepen(model, reversible, copies):
    """Every function of every sequence so many times; returns the layers with weights that came in addition."""
    added = 0
    for sequence in model.modules():
        if not isinstance(sequence, reversible.ReversibleSequence):
            continue
        for name, function in list(sequence._modules.items()):
            heavy = sum(isinstance(m, (nn.Linear, nn.modules.conv._ConvNd)) for m in function.modules())
            for k in range(1, copies):
                sequence.add_module(f'{name}_copy{k}', copy.deepcopy(function))
                added += heavy
    return added


def main(request):
    torch.set_num_threads(request.get('threads') or os.cpu_count() or 1)
    path = os.path.abspath(request['package'])
    sys.path.insert(0, os.path.dirname(path))
    package = importlib.import_module(os.path.basename(path))
    reversible = sys.modules[f'{package.__name__}.reversible']
    train = importlib.import_module(f'{package.__name__}.train')
    with open(os.path.join(path, 'plan.json'), encoding='utf-8') as file:
        plan = json.load(file)
    device = torch.device('cuda' if torch.cuda.is_available() and not request.get('cpu') else 'cpu')
    torch.manual_seed(0)
    model = package.build_model(request['mode'])
    added = deepen(model, reversible, request.get('copies', 1))
    model = model.to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    inputs, labels = {i['role']: i for i in plan['inputs']}, None
    shape = [request['batch'], *inputs['images']['shape'][1:]]
    if request.get('image') and len(shape) == 4:
        shape[2:] = [request['image']] * 2
    if inputs['images']['dtype'] == 'float32':
        images = torch.randn(shape, device=device)
    else:
        images = torch.randint(0, inputs['images'].get('limit', 2), shape, device=device)
    labels = torch.randint(
        0, max(1, plan['assumptions']['classes']), [request['batch'], *inputs['labels']['shape'][1:]], device=device
    )
    kind = {'float32': None, 'bf16': torch.bfloat16}[request['dtype']]

    def forward():
        with torch.autocast(device.type, dtype=kind) if kind else contextlib.nullcontext():
            output = model(images)
            return train.loss_of(output.float(), labels, plan['assumptions'])

    def step():
        optimizer.zero_grad(set_to_none=True)
        forward().backward()
        optimizer.step()

    result = {'parameters': sum(p.numel() for p in model.parameters()), 'added': added}
    if request.get('saved'):
        saved = SavedBytes(model, reversible)
        with saved.counting():
            loss = forward()
        result['savedBytes'] = saved.total
        del loss
    # The state of the optimizer belongs to the loaded model.
    for group in optimizer.param_groups:
        for p in group['params']:
            optimizer.state[p]['momentum_buffer'] = torch.zeros_like(p).fill_(0)
    peak = Peak(device)
    peak.start()
    seconds = []
    for _ in range(request.get('steps', 1)):
        started = time.perf_counter()
        step()
        if device.type == 'cuda':
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    result['peakBytes'] = peak.stop()
    # The first step warms up.
    timed = sorted(seconds[1:] or seconds)
    result['seconds'] = timed[len(timed) // 2]
    result['imagesPerSecond'] = request['batch'] / result['seconds']
    return result


if __name__ == '__main__':
    try:
        print(json.dumps(main(json.loads(sys.argv[1]))))
    except RuntimeError as error:
        if 'out of memory' not in str(error).lower():
            raise
        print(json.dumps({'outOfMemory': True}))
