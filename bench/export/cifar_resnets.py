"""CIFAR residual networks as PyTorch modules: baselines, and a second source of ONNX files.

In: depth, block, width. Out: a torch.nn.Module. Invariant: same structure and same parameter names as
fixtures/models.ts, so that the weights of a fixture load with load_state_dict and the other way round.
"""
import math
import re

import torch
import torch.nn.functional as F
from torch import nn


def _conv(inputs, outputs, kernel, stride=1):
    return nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=False)


class PreActivationBlock(nn.Module):
    """BN-ReLU-conv branches; where the shape changes the shortcut is a 1x1 conv of the activated input."""

    def __init__(self, inputs, inner, stride, bottleneck):
        super().__init__()
        outer = inner * 4 if bottleneck else inner
        self.bn1 = nn.BatchNorm2d(inputs)
        self.bottleneck = bottleneck
        if bottleneck:
            self.conv1 = _conv(inputs, inner, 1)
            self.bn2 = nn.BatchNorm2d(inner)
            self.conv2 = _conv(inner, inner, 3, stride)
            self.bn3 = nn.BatchNorm2d(inner)
            self.conv3 = _conv(inner, outer, 1)
        else:
            self.conv1 = _conv(inputs, inner, 3, stride)
            self.bn2 = nn.BatchNorm2d(inner)
            self.conv2 = _conv(inner, outer, 3)
        self.shortcut = _conv(inputs, outer, 1, stride) if stride != 1 or inputs != outer else None

    def forward(self, x):
        first = F.relu(self.bn1(x))
        skip = x if self.shortcut is None else self.shortcut(first)
        y = self.conv2(F.relu(self.bn2(self.conv1(first))))
        if self.bottleneck:
            y = self.conv3(F.relu(self.bn3(y)))
        return y + skip


class PadShortcut(nn.Module):
    """Option A: every second pixel, zero channels on both sides. No parameters."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.before = (outputs - inputs) // 2
        self.after = outputs - inputs - self.before

    def forward(self, x):
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.before, self.after))


class PostActivationBlock(nn.Module):
    """conv-BN-ReLU-conv-BN, Add, ReLU."""

    def __init__(self, inputs, channels, stride, option):
        super().__init__()
        self.conv1 = _conv(inputs, channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _conv(channels, channels, 3)
        self.bn2 = nn.BatchNorm2d(channels)
        if stride == 1:
            self.shortcut = None
        elif option == 'A':
            self.shortcut = PadShortcut(inputs, channels)
        else:
            self.shortcut = nn.Sequential(_conv(inputs, channels, 1, stride), nn.BatchNorm2d(channels))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class CifarResNet(nn.Module):
    """Three stages of n blocks, stem 3x3, global average pool, linear classifier."""

    def __init__(self, depth, kind='pre', bottleneck=False, option='A', width=16, classes=10):
        super().__init__()
        per_block = 9 if bottleneck else 6
        n, rest = divmod(depth - 2, per_block)
        if rest or n < 1:
            raise ValueError(f'depth {depth}: such networks have {per_block}n + 2 layers')
        self.pre = kind == 'pre'
        self.conv1 = _conv(3, width, 3)
        if not self.pre:
            self.bn1 = nn.BatchNorm2d(width)
        channels = width
        for stage in range(3):
            inner = width * 2**stage
            blocks = []
            for i in range(n):
                stride = 2 if stage > 0 and i == 0 else 1
                if self.pre:
                    blocks.append(PreActivationBlock(channels, inner, stride, bottleneck))
                    channels = inner * 4 if bottleneck else inner
                else:
                    blocks.append(PostActivationBlock(channels, inner, stride, option))
                    channels = inner
            setattr(self, f'stage{stage + 1}', nn.Sequential(*blocks))
        if self.pre:
            self.bn = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
        nn.init.normal_(self.fc.weight, std=math.sqrt(1 / channels))
        nn.init.zeros_(self.fc.bias)

    def forward(self, x):
        x = self.conv1(x)
        if not self.pre:
            x = F.relu(self.bn1(x))
        x = self.stage3(self.stage2(self.stage1(x)))
        if self.pre:
            x = F.relu(self.bn(x))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


def by_name(name, classes=10):
    """preresnet110, preresnet164-bottleneck, cifar-resnet20-A, cifar-resnet56-B; None for other names."""
    match = re.fullmatch(r'preresnet(\d+)(-bottleneck)?', name)
    if match:
        return CifarResNet(int(match[1]), 'pre', bottleneck=bool(match[2]), classes=classes)
    match = re.fullmatch(r'cifar-resnet(\d+)-([AB])', name)
    if match:
        return CifarResNet(int(match[1]), 'v1', option=match[2], classes=classes)
    return None
