"""Exports networks with seeded random weights to ONNX: torchvision's by name, and those of cifar_resnets.

    python3 bench/export/torchvision_models.py OUT resnet18 resnet50 preresnet110 --modes evalbn train --opset 13

Out: OUT/<name>.<mode>.onnx, or OUT/<name>.<mode>.batch<N>.onnx where --batch fixes it. Modes:
  eval    inference, batch norm folded into the convolutions
  evalbn  inference form, batch norm kept (what to export for training)
  train   batch norm with training_mode=1
Needs torch, torchvision.
"""
import argparse
import os
import warnings

import torch
import torchvision
from torch.onnx import TrainingMode

import cifar_resnets


def build(name, seed, norm):
    """The module and the size of its input images."""
    torch.manual_seed(seed)
    model, image = cifar_resnets.by_name(name), 32
    if model is None:
        if not hasattr(torchvision.models, name):
            raise SystemExit(f'unknown network {name}')
        options = {'init_weights': True} if name in ('googlenet', 'inception_v3') else {}
        model = getattr(torchvision.models, name)(weights=None, **options)
        image = 299 if name == 'inception_v3' else 224
    if norm == 'random':
        for module in model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
                torch.nn.init.uniform_(module.bias, -0.5, 0.5)
                module.running_mean.uniform_(-0.5, 0.5)
                module.running_var.uniform_(0.5, 1.5)
    return model, image


def export(model, path, mode, opset, batch, image):
    training = {
        'eval': TrainingMode.EVAL,
        'evalbn': TrainingMode.PRESERVE,
        'train': TrainingMode.TRAINING,
    }[mode]
    model.train(mode == 'train')
    # Traced at batch 2 where the batch is dynamic: a 1 would be taken for a broadcast.
    images = torch.randn(batch or 2, 3, image, image)
    dynamic = None if batch else {'input': {0: 'N'}, 'logits': {0: 'N'}}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.onnx.export(
            model,
            images,
            path,
            training=training,
            do_constant_folding=mode == 'eval',
            opset_version=opset,
            input_names=['input'],
            output_names=['logits'],
            dynamic_axes=dynamic,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out')
    parser.add_argument('names', nargs='*', default=['resnet18', 'resnet34', 'resnet50', 'resnet101', 'resnet152'])
    parser.add_argument('--modes', nargs='+', choices=['eval', 'evalbn', 'train'], default=['eval', 'evalbn', 'train'])
    parser.add_argument('--opset', type=int, default=13)
    parser.add_argument('--batch', type=int, default=0, help='fixed batch size; 0 (default) = dynamic')
    parser.add_argument('--image', type=int, default=0, help='image size; default: the usual one of the network')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--norm', choices=['initial', 'random'], default='initial',
                        help='batch-norm parameters: as initialised (default), or drawn')
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    for name in args.names:
        for mode in args.modes:
            # Built anew for each mode: tracing in training mode moves the running statistics.
            model, image = build(name, args.seed, args.norm)
            suffix = f'.batch{args.batch}' if args.batch else ''
            path = os.path.join(args.out, f'{name}.{mode}{suffix}.onnx')
            export(model, path, mode, args.opset, args.batch, args.image or image)
            print(path, flush=True)


if __name__ == '__main__':
    main()
