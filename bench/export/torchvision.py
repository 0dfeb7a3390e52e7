"""Exports the residual networks of torchvision (and some that have nothing to couple) for `npm run corpus`.

    python3 bench/export/torchvision.py OUT [--networks resnet18 vit_b_16] [--modes eval evalbn train]
                                            [--opsets 11 14 17] [--batches dynamic fixed] [--large]

Out: OUT/<network>.<mode>.<dyn|fix>.op<opset>.onnx, random seeded weights, input x, output y. Modes:
  eval    inference, batch norm folded into the convolutions, constants folded
  evalbn  inference form, batch norm kept (what to export for training)
  train   batch norm with training_mode, dropout and stochastic depth kept
Images are as small as the network takes, so that a corpus runs in minutes. What this PyTorch cannot export at an opset is
skipped, and the reason printed. Files above 300 MB are written only with --large; the others take 75 MB each on average.
Needs torch, torchvision.
"""
import argparse
import inspect
import os
import sys
import warnings

# This file has the name of the package it is about.
sys.path = [p for p in sys.path if os.path.abspath(p or '.') != os.path.dirname(os.path.abspath(__file__))]

import torch  # noqa: E402
import torchvision  # noqa: E402
from torch.onnx import TrainingMode  # noqa: E402

# Network: size of its images. Those that end in the ImageNet head after five halvings take 64.
NETWORKS = {
    'resnet18': 64,
    'resnet34': 64,
    'resnet50': 64,
    'resnet101': 64,
    'resnet152': 64,
    'resnext50_32x4d': 64,
    'wide_resnet50_2': 64,
    'regnet_y_400mf': 64,
    'mobilenet_v2': 64,
    'mobilenet_v3_small': 64,
    'efficientnet_b0': 64,
    'mnasnet1_0': 64,
    'convnext_tiny': 64,
    'vit_b_16': 224,
    'swin_t': 64,
    'fcn_resnet50': 64,
    'densenet121': 64,
    'vgg11_bn': 64,
    'googlenet': 64,
}
# The weights alone, MB: what a file is going to take.
LARGE_MEGABYTES = 300
MODES = {'eval': TrainingMode.EVAL, 'evalbn': TrainingMode.PRESERVE, 'train': TrainingMode.TRAINING}


def stochastic_depth(x, p, mode, training=True):
    """torchvision's, with its mask drawn by dropout of ones: in-place bernoulli_ cannot be exported."""
    if not training or p == 0.0:
        return x
    size = [x.shape[0] if mode == 'row' else 1] + [1] * (x.dim() - 1)
    return x * torch.nn.functional.dropout(torch.ones(size), p)


class FirstOutput(torch.nn.Module):
    """Segmentation networks give a dictionary, googlenet in training a tuple: the main output is what counts."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        y = self.network(x)
        if isinstance(y, dict):
            return y['out']
        return y[0] if isinstance(y, tuple) else y


def build(name, seed):
    torchvision.ops.stochastic_depth.__globals__['stochastic_depth'] = stochastic_depth
    torch.manual_seed(seed)
    make = getattr(torchvision.models, name, None) or getattr(torchvision.models.segmentation, name)
    options = {'weights': None}
    parameters = inspect.signature(make).parameters
    if 'weights_backbone' in parameters:
        options['weights_backbone'] = None
    if name in ('googlenet', 'inception_v3'):
        # The auxiliary classifiers need images of the full size.
        options.update(init_weights=True, aux_logits=False)
    return FirstOutput(make(**options))


def export(model, path, mode, opset, batch, image):
    model.train(mode == 'train')
    # Traced at batch 2: a 1 would be taken for a broadcast.
    images = torch.randn(2, 3, image, image)
    dynamic = {'x': {0: 'N'}, 'y': {0: 'N'}} if batch == 'dynamic' else None
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.onnx.export(
            model,
            images,
            path,
            training=MODES[mode],
            do_constant_folding=mode == 'eval',
            opset_version=opset,
            input_names=['x'],
            output_names=['y'],
            dynamic_axes=dynamic,
        )


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out')
    parser.add_argument('--networks', nargs='+', choices=list(NETWORKS), default=list(NETWORKS), metavar='NAME')
    parser.add_argument('--modes', nargs='+', choices=list(MODES), default=list(MODES))
    parser.add_argument('--opsets', nargs='+', type=int, default=[11, 14, 17], help='11 to 17; default: %(default)s')
    parser.add_argument('--batches', nargs='+', choices=['dynamic', 'fixed'], default=['dynamic', 'fixed'])
    parser.add_argument('--image', type=int, default=0, help='size of the images; default: small, by network')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--large', action='store_true', help=f'also networks whose file is above {LARGE_MEGABYTES} MB')
    return parser.parse_args()


def megabytes(model):
    return sum(p.numel() * p.element_size() for p in model.parameters()) / 1e6


def main():
    args = parse()
    os.makedirs(args.out, exist_ok=True)
    written = skipped = 0
    for name in args.networks:
        size = megabytes(build(name, args.seed))
        if size > LARGE_MEGABYTES and not args.large:
            print(f'skipped {name}: {size:.0f} MB each (--large exports it)', flush=True)
            skipped += 1
            continue
        for mode in args.modes:
            for opset in args.opsets:
                for batch in args.batches:
                    path = os.path.join(args.out, f'{name}.{mode}.{batch[:3]}.op{opset}.onnx')
                    try:
                        # Built anew each time: tracing in training mode moves the running statistics.
                        model = build(name, args.seed)
                        export(model, path, mode, opset, batch, args.image or NETWORKS[name])
                    except Exception as error:  # whatever the exporter throws, the reason is for the reader
                        reason = ' '.join(str(error).split())[:200]
                        print(f'skipped {os.path.basename(path)}: {type(error).__name__}: {reason}', flush=True)
                        if os.path.exists(path):
                            os.remove(path)
                        skipped += 1
                        continue
                    print(path, flush=True)
                    written += 1
    print(f'{written} written, {skipped} skipped', flush=True)


if __name__ == '__main__':
    main()
