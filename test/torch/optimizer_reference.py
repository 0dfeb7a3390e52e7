"""Steps of torch.optim.SGD or AdamW on a coupled network in float64.

In: a JSON request on stdin: that of coupled_reference.py, and {optimizer, options, weight_decay, clip_norm, accumulate,
steps}; options go to the optimizer as they are, a clip_norm of 0 is none. Out: the weights, the optimizer's tensors and
the running statistics after the last step, files as there.
Invariant: weight decay applies to tensors of rank 2 and more only, as is usual for residual networks.
"""
import json
import os
import sys

import numpy
import torch

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import coupled_reference as reference  # noqa: E402

STATES = {
    'sgd': {'velocity': 'momentum_buffer'},
    'adamw': {'moment1': 'exp_avg', 'moment2': 'exp_avg_sq'},
}


def main():
    request = json.load(sys.stdin)
    initial = reference.Weights(request['model'], torch.float64).tensors
    weights = {n: t for n, t in initial.items() if not reference.is_statistic(n)}
    statistics = {n: t for n, t in initial.items() if reference.is_statistic(n)}
    for tensor in weights.values():
        tensor.requires_grad_(True)
    decayed = [t for t in weights.values() if t.dim() >= 2]
    others = [t for t in weights.values() if t.dim() < 2]
    optimizer = {'sgd': torch.optim.SGD, 'adamw': torch.optim.AdamW}[request['optimizer']](
        [{'params': decayed, 'weight_decay': request['weight_decay']}, {'params': others, 'weight_decay': 0}],
        **request['options'])
    parts = request['accumulate']
    losses, norms = [], []
    for _ in range(request['steps']):
        optimizer.zero_grad()
        for _ in range(parts):
            net, _, loss = reference.evaluate(request, lambda tensors: tensors.update({**weights, **statistics}))
            (loss / parts).backward()
            statistics = {**statistics, **net.running}
        if request['clip_norm'] > 0:
            norms.append(torch.nn.utils.clip_grad_norm_(list(weights.values()), request['clip_norm']).item())
        optimizer.step()
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
        'norms': norms,
        'states': {
            f'{n}.{role}': save(optimizer.state[t][key])
            for n, t in weights.items()
            for role, key in STATES[request['optimizer']].items()
        },
        'running': {n: save(t) for n, t in statistics.items()},
    }))


if __name__ == '__main__':
    main()
