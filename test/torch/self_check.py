"""Checks coupled_reference.py by itself, before anything is compared with it.

    python3 test/torch/self_check.py

1. plain: loss, gradients and running statistics equal those of an ordinary PyTorch module (bench/export) in float64;
2. plain: logits equal onnxruntime-node's, for inference and training exports (skipped where node is missing);
3. coupled: directional derivatives equal central differences of the loss;
4. coupled: to first order in the size of the residual functions, a chain is its run with all of them halved.
Out: one line per check; exit status 1 if one fails.
"""
import json
import os
import subprocess
import sys
import tempfile

import numpy
import torch
import torchvision

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, 'bench', 'export')]
import coupled_reference as reference  # noqa: E402
from cifar_resnets import CifarResNet  # noqa: E402
from torchvision_models import export  # noqa: E402

BATCH = 4
failures = 0


def check(what, error, limit):
    global failures
    good = error <= limit
    failures += not good
    print(f'{"ok  " if good else "FAIL"} {what}: {error:.1e} (limit {limit:.0e})', flush=True)


def cases():
    """name, module, image size, family, params"""
    def resnet(block, layers):
        return torchvision.models.resnet.ResNet(block, layers, num_classes=7)
    basic, bottleneck = torchvision.models.resnet.BasicBlock, torchvision.models.resnet.Bottleneck
    yield 'preact basic', lambda: CifarResNet(20, width=4), 16, 'preact', {'layers': [3, 3, 3]}
    yield ('preact bottleneck', lambda: CifarResNet(29, bottleneck=True, width=4), 16, 'preact',
           {'layers': [3, 3, 3], 'block': 'bottleneck'})
    for option in 'AB':
        yield (f'v1 {option}', lambda o=option: CifarResNet(26, 'v1', option=o, width=4), 16, 'cifar-v1',
               {'layers': [4, 4, 4], 'shortcut': option})
    yield 'imagenet basic', lambda: resnet(basic, [2, 3, 3, 1]), 64, 'imagenet', {'layers': [2, 3, 3, 1]}
    yield ('imagenet bottleneck', lambda: resnet(bottleneck, [2, 3, 3, 1]), 64, 'imagenet',
           {'layers': [2, 3, 3, 1], 'block': 'bottleneck'})


def randomise_norms(module):
    for m in module.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(m.weight, 0.5, 1.5)
            torch.nn.init.uniform_(m.bias, -0.5, 0.5)
            m.running_mean.uniform_(-0.5, 0.5)
            m.running_var.uniform_(0.5, 1.5)


def relative(a, b):
    return (a - b).norm().item() / max(b.norm().item(), 1e-300)


def against_module(name, module, request):
    module = module.double().train()
    for m in module.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.eps = float(numpy.float32(m.eps))  # as the file holds it
    images = reference.read_images(request['images'], torch.float64)
    loss = torch.nn.functional.cross_entropy(module(images), torch.tensor(request['labels']))
    loss.backward()
    net, _, ours = reference.evaluate({**request, 'plain': True})
    ours.backward()
    check(f'{name}: plain loss = module', abs(ours.item() - loss.item()), 1e-12)
    worst = max(relative(net.w(n).grad, p.grad) for n, p in module.named_parameters())
    check(f'{name}: plain gradients = module', worst, 1e-10)
    buffers = {n: b for n, b in module.named_buffers() if reference.is_statistic(n)}
    assert set(buffers) == set(net.running)
    check(f'{name}: running statistics = module', max(relative(net.running[n], b) for n, b in buffers.items()), 1e-12)


NODE = '''
import ort from 'onnxruntime-node';
import { readFileSync } from 'node:fs';
const { model, data, shape } = JSON.parse(readFileSync(0, 'utf8'));
const session = await ort.InferenceSession.create(model);
const out = await session.run({ input: new ort.Tensor('float32', Float32Array.from(data), shape) });
console.log(JSON.stringify(Array.from(out.logits.data)));
'''


def against_onnxruntime(name, path, mode, request):
    images = reference.read_images(request['images'], torch.float64)
    feed = json.dumps({'model': path, 'data': images.flatten().tolist(), 'shape': list(images.shape)})
    try:
        done = subprocess.run(['node', '--input-type=module', '-e', NODE], input=feed, cwd=ROOT, check=True,
                              stdout=subprocess.PIPE, text=True)
    except FileNotFoundError:
        print(f'skip {name}: {mode} logits against onnxruntime (no node)')
        return
    theirs = torch.tensor(json.loads(done.stdout), dtype=torch.float64)
    kind = 'train' if mode == 'train' else 'eval'
    _, logits, _ = reference.evaluate({**request, 'model': path, 'plain': True, 'mode': kind})
    check(f'{name}: plain {mode} logits = onnxruntime (float32)', relative(theirs, logits.flatten()), 1e-4)


def finite_differences(name, request):
    net, _, loss = reference.evaluate(request)
    loss.backward()
    names = [n for n in sorted(net.w.tensors) if not reference.is_statistic(n)]
    generator = torch.Generator().manual_seed(1)
    worst = 0.0
    for target in names[:: max(1, len(names) // 12)]:
        gradient = net.w(target).grad
        noise = torch.randn(gradient.shape, generator=generator, dtype=torch.float64)
        # A small step, partly along the gradient so that the derivative is not lost in rounding.
        direction = gradient / gradient.norm() + noise / noise.norm()
        exact = (gradient * direction).sum().item()

        def at(step):
            def change(tensors):
                tensors[target] = tensors[target] + step * direction
            return reference.evaluate(request, change)[2].item()

        # ReLU and MaxPool have kinks: of two step sizes the better one counts.
        errors = [abs((at(h) - at(-h)) / (2 * h) - exact) for h in (1e-6, 1e-7)]
        worst = max(worst, min(errors) / abs(exact))
    check(f'{name}: coupled gradients = central differences ({sum(map(len, net.runs))} blocks coupled)', worst, 2e-6)


def first_order(name, request):
    last = 'conv3' if request['params'].get('block') == 'bottleneck' else 'conv2'
    runs = reference.evaluate(request)[0].runs
    inside = {f'{path}.{last}.weight' for run in runs for path in run}

    def scaled(factor):
        def change(tensors):
            for n in inside:
                tensors[n] = tensors[n] * factor
        return change

    def gap(size):
        # Pre-activation branches end in a convolution: scaling its weight scales the function.
        coupled = reference.evaluate({**request, 'mode': 'eval'}, scaled(size))[1]
        halved = reference.evaluate({**request, 'mode': 'eval', 'plain': True}, scaled(size / 2))[1]
        still = reference.evaluate({**request, 'mode': 'eval', 'plain': True}, scaled(0))[1]
        return relative(coupled - still, halved - still)

    check(f'{name}: a chain is its run with halved functions, to first order', gap(1e-6), 1e-4)


def main():
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        for name, make, image, family, params in cases():
            module = make()
            randomise_norms(module)
            state = {n: t.clone() for n, t in module.state_dict().items()}
            paths = {}
            for mode in ('evalbn', 'train'):
                module.load_state_dict(state)
                paths[mode] = os.path.join(folder, f'{name}.{mode}.onnx')
                export(module, paths[mode], mode, 13, 0, image)
            module.load_state_dict(state)
            images = os.path.join(folder, f'{name}.images.bin')
            torch.randn(BATCH, 3, image, image).double().numpy().tofile(images)
            request = {
                'model': paths['evalbn'],
                'family': family,
                'params': params,
                'images': {'path': images, 'shape': [BATCH, 3, image, image]},
                'labels': [i % 7 for i in range(BATCH)],
            }
            against_module(name, module, request)
            for mode in ('evalbn', 'train'):
                against_onnxruntime(name, paths[mode], mode, request)
            finite_differences(name, request)
            if family == 'preact':
                first_order(name, request)
    sys.exit(1 if failures else 0)


if __name__ == '__main__':
    main()
