"""Steps of torch.optim.SGD on a coupled network in float64.

In: a JSON request on stdin: that of coupled_reference.py, and {lr, weight_decay, nesterov, sgd_momentum, steps}. Out:
index.json with the weights, their momentum and the running statistics after the last step, files as there.
Invariant: weight decay applies to tensors of rank 2 and more only, as is usual for residual networks.
"""
import json
import os
import sys

import numpy
import torch

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import coupled_reference as reference  # noqa: E402


def main():
    request = json.load(sys.stdin)
    initial = reference.Weights(request['model'], torch.float64).tensors
    weights = {n: t for n, t in initial.items() if not reference.is_statistic(n)}
    statistics = {n: t for n, t in initial.items() if reference.is_statistic(n)}
    for tensor in weights.values():
        tensor.requires_grad_(True)
    decayed = [t for t in weights.values() if t.dim() >= 2]
    others = [t for t in weights.values() if t.dim() < 2]
    optimizer = torch.optim.SGD(
        [{'params': decayed, 'weight_decay': request['weight_decay']}, {'params': others, 'weight_decay': 0}],
        lr=request['lr'], momentum=request['sgd_momentum'], nesterov=request['nesterov'])
    losses = []
    for _ in range(request['steps']):
        net, _, loss = reference.evaluate(request, lambda tensors: tensors.update({**weights, **statistics}))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        statistics = {**statistics, **net.running}
        losses.append(loss.item())

    out = request['out']
    os.makedirs(out, exist_ok=True)
    count = 0

    def save(tensor):
        nonlocal count
        file = f'{count:04d}.bin'
        count += 1
        array = tensor.detach().numpy()
        numpy.ascontiguousarray(array, array.dtype.newbyteorder('<')).tofile(os.path.join(out, file))
        return {'file': file, 'shape': list(tensor.shape)}

    print(json.dumps({
        'losses': losses,
        'weights': {n: save(t) for n, t in weights.items()},
        'velocities': {n: save(optimizer.state[t]['momentum_buffer']) for n, t in weights.items()},
        'running': {n: save(t) for n, t in statistics.items()},
    }))


if __name__ == '__main__':
    main()
