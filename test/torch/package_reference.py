"""Runs a package of `revnetify export torch`. In: a JSON request on stdin. Out: a JSON answer on stdout, arrays in files.

Request: package, mode, dtype (float64, float32), train (bool), inputs [{path, shape, dtype}], labels {path, shape, dtype},
out. Answer: loss, output, gradients and buffers by their keys in the state_dict, {file, shape}.
"""
import importlib
import json
import os
import sys

import numpy
import torch

# What the model file holds in float32 is a decimal in the package: float64 comparisons need the very number.
def as_in_the_file(model):
    for module in model.modules():
        if hasattr(module, 'eps'):
            module.eps = float(numpy.float32(module.eps))
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = 1 - float(numpy.float32(1 - module.momentum))


def read(item):
    array = numpy.fromfile(item['path'], numpy.dtype(item['dtype']).newbyteorder('<')).reshape(item['shape'])
    return torch.from_numpy(array)


def main():
    request = json.load(sys.stdin)
    torch.set_num_threads(request.get('threads', 1))
    path = request['package']
    sys.path.insert(0, os.path.dirname(path))
    package = importlib.import_module(os.path.basename(path))
    train = importlib.import_module(f'{package.__name__}.train')
    with open(os.path.join(path, 'plan.json'), encoding='utf-8') as file:
        chosen = json.load(file)['assumptions']
    dtype = getattr(torch, request['dtype'])
    options = {'weights': request['weights']} if 'weights' in request else {}
    model = package.build_model(request['mode'], **options).to(dtype)
    as_in_the_file(model)
    model.train(request['train'])
    inputs = [read(item) for item in request['inputs']]
    inputs = [x.to(dtype) if x.is_floating_point() else x for x in inputs]
    os.makedirs(request['out'], exist_ok=True)
    count = 0

    def save(tensor):
        nonlocal count
        name = f'{count:04d}.bin'
        count += 1
        array = tensor.detach().double().contiguous().numpy()
        array.astype('<f8').tofile(os.path.join(request['out'], name))
        return {'file': name, 'shape': list(tensor.shape)}

    with torch.set_grad_enabled(request['train']):
        output = model(*inputs)
    answer = {'output': save(output)}
    if request['train']:
        labels = read(request['labels'])
        loss = train.loss_of(output, labels.to(dtype) if labels.is_floating_point() else labels, chosen)
        loss.backward()
        answer['loss'] = loss.item()
        answer['gradients'] = {n: save(p.grad) for n, p in model.named_parameters() if p.grad is not None}
        answer['buffers'] = {n: save(b) for n, b in model.named_buffers()}
    print(json.dumps(answer))


if __name__ == '__main__':
    main()
