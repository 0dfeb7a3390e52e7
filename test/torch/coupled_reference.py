"""Gradients of coupled residual networks by PyTorch autograd: an independent reference for ours.

In: a JSON request on stdin (see REQUEST below; command-line flags override its fields). Out: a folder of raw
little-endian tensors and index.json. Invariant: it knows weights, by initializer name, and the architecture family
it is told; it never reads the structure of a graph.

REQUEST
  model   path of the .onnx file with the weights and batch-norm epsilons: the original's, or, where the recipe draws or
          cuts weights (paper, split), that of the coupled network
  family  'preact'    CIFAR pre-activation ResNet  (conv1, stage<s>.<i>.{bn,conv}<j>, .shortcut, bn, fc)
          'cifar-v1'  CIFAR v1 ResNet              (conv1, bn1, stage<s>.<i>.{conv,bn}<j>, .shortcut.{0,1}, fc)
          'imagenet'  torchvision's ResNet         (conv1, bn1, layer<s>.<i>.{conv,bn}<j>, .downsample.{0,1}, fc)
  params  {layers: blocks per stage, block: 'basic' | 'bottleneck' (default basic),
           shortcut: 'A' | 'B' (cifar-v1 only, default A)}
  images  {path, shape: [N, C, H, W], dtype: 'float64' (default) | 'float32'}: raw little-endian file
  labels  N integers
  out     folder for the answer (made if missing)
  dtype   'float64' (default) | 'float32': what is computed with
  plain   true: no coupling, the original network
  recipe  'rewire' (default) | 'paper'
  partition  'widen' (default): streams of full width | 'split': of half the width
  mode    'train' (default): batch statistics; 'eval': running statistics, nothing is updated
  momentum  PyTorch's batch-norm momentum, default 0.1
  threads   default: PyTorch's own choice

ANSWER  index.json and, with the same text, stdout:
  {loss, dtype, runs: [[first block, …], …],
   logits: {file, shape}, gradients: {weight: {file, shape}}, running: {initializer: {file, shape}}}
  Files hold little-endian `dtype`; running is {} in eval mode. runs names the coupled blocks.

COUPLING (recipe rewire). A maximal run of n >= 2 consecutive identity blocks with residual functions f_1 … f_n, entered
with x:  s_0 = s_1 = x;  s_{k+1} = s_{k-1} + f_k(u_k);  result (s_n + s_{n+1}) / 2.  Pre-activation: u_k = s_k. v1:
u_1 = x, u_k = relu(s_k) for k >= 2, no ReLU after the additions, and one ReLU on the result. Under 'split' s_0 and s_1 are
the first and the second half of the channels of x, and the result is s_n and s_{n+1} side by side.

Recipe paper. All blocks are half-couplings of one chain whose first two states are the halves of the channels of the stem's
result; under 'widen' each is the result of a stem of its own, the second with the weights that have '.second' behind
the name. A block that changes the shape has a shortcut per stream:
state (a, b) becomes (S(b), S'(a) + f(b)); the weights of S' are those of S with '.second' behind the name. In v1 networks f, S
and S' all read the ReLU of their stream; in pre-activation networks S' has a first batch norm of its own. The head reads the
last two states side by side.
"""
import argparse
import json
import os
import sys

import numpy
import onnx
import onnx.numpy_helper
import torch
import torch.nn.functional as F


class Weights:
    """The initializers of the file as leaves of the autograd graph; notes which were read."""

    def __init__(self, path, dtype):
        graph = onnx.load(path).graph
        arrays = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
        # Exporters merge equal initializers and leave Identity nodes behind: undone here, each name its own tensor.
        for node in graph.node:
            if node.op_type == 'Identity' and node.input[0] in arrays:
                arrays[node.output[0]] = arrays[node.input[0]]
        self.tensors = {n: torch.tensor(a, dtype=dtype) for n, a in arrays.items() if a.dtype == numpy.float32}
        self.epsilons = {}
        for node in graph.node:
            if node.op_type == 'BatchNormalization':
                attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
                self.epsilons[node.input[1]] = attributes.get('epsilon', 1e-5)
        self.used = set()

    def has(self, name):
        return name in self.tensors

    def __call__(self, name):
        if name not in self.tensors:
            raise SystemExit(f'the model has no float32 initializer {name}')
        self.used.add(name)
        return self.tensors[name]


class Net:
    """A family's blocks as functions, and the walk over them, plain or coupled."""

    def __init__(self, weights, request):
        params = request['params']
        self.w = weights
        self.family = request['family']
        if self.family not in ('preact', 'cifar-v1', 'imagenet'):
            raise SystemExit(f'unknown family {self.family}')
        self.layers = params['layers']
        self.bottleneck = params.get('block', 'basic') == 'bottleneck'
        self.option = params.get('shortcut', 'A')
        self.training = request.get('mode', 'train') == 'train'
        self.momentum = request.get('momentum', 0.1)
        self.coupled = not request.get('plain', False)
        self.paper = self.coupled and request.get('recipe', 'rewire') == 'paper'
        self.split = request.get('partition', 'widen') == 'split'
        self.running = {}
        self.runs = []

    # Layers

    def conv(self, x, name, stride=1, copy=''):
        weight = self.w(f'{name}.weight{copy}')
        return F.conv2d(x, weight, stride=stride, padding=(weight.shape[-1] - 1) // 2)

    def bn(self, x, name, copy=''):
        mean = self.w(f'{name}.running_mean{copy}').detach().clone()
        var = self.w(f'{name}.running_var{copy}').detach().clone()
        gamma, beta = self.w(f'{name}.weight{copy}'), self.w(f'{name}.bias{copy}')
        eps = self.w.epsilons[f'{name}.weight{copy}']
        y = F.batch_norm(x, mean, var, gamma, beta, self.training, self.momentum, eps)
        if self.training:
            if f'{name}.running_mean{copy}' in self.running:
                raise SystemExit(f'internal error: {name} ran twice')
            self.running[f'{name}.running_mean{copy}'] = mean
            self.running[f'{name}.running_var{copy}'] = var
        return y

    # Residual branches: everything between the block's input and its Add.

    def activated(self, x, path, copy=''):
        return F.relu(self.bn(x, f'{path}.bn1', copy))

    def pre_tail(self, first, path, stride):
        """The branch of a pre-activation block after its first BN and ReLU."""
        y = self.conv(first, f'{path}.conv1', 1 if self.bottleneck else stride)
        y = self.conv(F.relu(self.bn(y, f'{path}.bn2')), f'{path}.conv2', stride if self.bottleneck else 1)
        if self.bottleneck:
            y = self.conv(F.relu(self.bn(y, f'{path}.bn3')), f'{path}.conv3')
        return y

    def branch(self, x, path, stride):
        if self.family == 'preact':
            return self.pre_tail(self.activated(x, path), path, stride)
        y = self.bn(self.conv(x, f'{path}.conv1', 1 if self.bottleneck else stride), f'{path}.bn1')
        y = self.bn(self.conv(F.relu(y), f'{path}.conv2', stride if self.bottleneck else 1), f'{path}.bn2')
        if self.bottleneck:
            y = self.bn(self.conv(F.relu(y), f'{path}.conv3'), f'{path}.bn3')
        return y

    # Blocks

    def shortcut(self, path):
        """The prefix of the projection's weights, or None."""
        name = f'{path}.downsample' if self.family == 'imagenet' else f'{path}.shortcut'
        return name if self.w.has(f'{name}.weight') or self.w.has(f'{name}.0.weight') else None

    def is_identity(self, path, stride):
        return stride == 1 and self.shortcut(path) is None

    def block(self, x, path, stride):
        """The block as it stands in the original network."""
        projection = self.shortcut(path)
        if self.family == 'preact':
            first = self.activated(x, path)
            skip = x if projection is None else self.conv(first, projection, stride)
            return skip + self.pre_tail(first, path, stride)
        y = self.branch(x, path, stride)
        skip = x if self.is_identity(path, stride) else self.post_shortcut(x, path, stride, y.shape[1])
        return F.relu(skip + y)

    def post_shortcut(self, x, path, stride, channels, copy=''):
        """The shortcut of a v1 block that changes the shape."""
        projection = self.shortcut(path)
        if projection is not None:
            return self.bn(self.conv(x, f'{projection}.0', stride, copy), f'{projection}.1', copy)
        if self.family != 'cifar-v1' or self.option != 'A':
            raise SystemExit(f'{path} changes the shape but has no projection')
        more = channels - x.shape[1]
        return F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, more // 2, more - more // 2))

    def transition(self, a, b, path, stride):
        """A block that changes the shape, on two streams."""
        if self.family == 'preact':
            first = self.activated(b, path)
            f = self.pre_tail(first, path, stride)
            second = self.activated(a, path, '.second')
            projection = self.shortcut(path)
            return self.conv(first, projection, stride), self.conv(second, projection, stride, '.second') + f
        a, b = F.relu(a), F.relu(b)
        f = self.branch(b, path, stride)
        kept = self.post_shortcut(b, path, stride, f.shape[1])
        return kept, self.post_shortcut(a, path, stride, f.shape[1], '.second') + f

    def entered(self, a, b, path):
        """A chain that starts with a change of shape: the first batch norm is not yet part of it."""
        projection = self.shortcut(path)
        return self.conv(b, projection), self.conv(a, projection, 1, '.second') + self.pre_tail(b, path, 1)

    def streams(self, images, blocks):
        """All blocks as one chain from stem to head."""
        post = self.family != 'preact'
        self.runs.append([path for path, _ in blocks])
        path, stride = blocks[0]
        activated = not post and not self.is_identity(path, stride)

        def start(copy=''):
            x = self.stem(images, copy)
            return self.activated(x, path, copy) if activated else x

        a, b = start().chunk(2, dim=1) if self.split else (start(), start('.second'))
        if activated:
            a, b = self.entered(a, b, path)
            blocks = blocks[1:]
        for path, stride in blocks:
            if self.is_identity(path, stride):
                # What the stem hands over has gone through a ReLU: once more changes nothing.
                a, b = b, a + self.branch(F.relu(b) if post else b, path, 1)
            else:
                a, b = self.transition(a, b, path, stride)
        joined = torch.cat([a, b], dim=1)
        return F.relu(joined) if post else joined

    def chain(self, x, paths):
        """A run of identity blocks as half-couplings."""
        post = self.family != 'preact'
        before, now = x.chunk(2, dim=1) if self.split else (x, x)
        for k, path in enumerate(paths, start=1):
            u = F.relu(now) if post and k >= 2 else now
            before, now = now, before + self.branch(u, path, 1)
        joined = torch.cat([before, now], dim=1) if self.split else (before + now) / 2
        return F.relu(joined) if post else joined

    def stem(self, images, copy=''):
        x = self.conv(images, 'conv1', 2 if self.family == 'imagenet' else 1, copy)
        if self.family != 'preact':
            x = F.relu(self.bn(x, 'bn1', copy))
        return F.max_pool2d(x, 3, 2, 1) if self.family == 'imagenet' else x

    def logits(self, images):
        prefix = 'layer' if self.family == 'imagenet' else 'stage'
        blocks = [
            (f'{prefix}{s}.{i}', 2 if s > 1 and i == 0 else 1)
            for s, count in enumerate(self.layers, start=1)
            for i in range(count)
        ]
        x, blocks = (self.streams(images, blocks), []) if self.paper else (self.stem(images), blocks)
        while blocks:
            length = 0
            while length < len(blocks) and self.is_identity(*blocks[length]):
                length += 1
            if self.coupled and length >= 2:
                run = [path for path, _ in blocks[:length]]
                self.runs.append(run)
                x = self.chain(x, run)
                blocks = blocks[length:]
            else:
                x = self.block(x, *blocks.pop(0))
        if self.family == 'preact':
            x = F.relu(self.bn(x, 'bn'))
        x = x.mean(dim=(2, 3))
        return F.linear(x, self.w('fc.weight'), self.w('fc.bias'))


def is_statistic(name):
    return '.running_mean' in name or '.running_var' in name


def read_images(images, dtype):
    stored = numpy.dtype({'float64': '<f8', 'float32': '<f4'}[images.get('dtype', 'float64')])
    return torch.tensor(numpy.fromfile(images['path'], stored).reshape(images['shape']), dtype=dtype)


def evaluate(request, change=None):
    """(net, logits, loss) of a request, ready for loss.backward(). change(tensors) may edit the weights first."""
    dtype = {'float64': torch.float64, 'float32': torch.float32}[request.get('dtype', 'float64')]
    weights = Weights(request['model'], dtype)
    if change:
        change(weights.tensors)
    for name, tensor in weights.tensors.items():
        tensor.requires_grad_(not is_statistic(name))
    net = Net(weights, request)
    logits = net.logits(read_images(request['images'], dtype))
    unread = sorted(set(weights.tensors) - weights.used)
    if unread:
        raise SystemExit(f'family {net.family} {net.layers} leaves initializers unread: {unread[:5]}')
    labels = torch.tensor(request['labels'], dtype=torch.int64)
    loss = F.cross_entropy(logits, labels, label_smoothing=request.get('label_smoothing', 0.0))
    return net, logits, loss


def answer(request):
    net, logits, loss = evaluate(request)
    loss.backward()
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

    index = {
        'loss': loss.item(),
        'dtype': request.get('dtype', 'float64'),
        'runs': net.runs,
        'logits': save(logits),
        'gradients': {n: save(t.grad) for n, t in sorted(net.w.tensors.items()) if not is_statistic(n)},
        'running': {n: save(t) for n, t in sorted(net.running.items())},
    }
    with open(os.path.join(out, 'index.json'), 'w', encoding='utf-8') as file:
        json.dump(index, file)
    return index


def main():
    parser = argparse.ArgumentParser(description='Reads a JSON request on stdin; see the head of this file.')
    parser.add_argument('--model')
    parser.add_argument('--out')
    parser.add_argument('--dtype', choices=['float64', 'float32'])
    parser.add_argument('--mode', choices=['train', 'eval'])
    parser.add_argument('--plain', action='store_true', default=None)
    args = parser.parse_args()
    request = json.load(sys.stdin)
    request.update({k: v for k, v in vars(args).items() if v is not None})
    if 'threads' in request:
        torch.set_num_threads(request['threads'])
    print(json.dumps(answer(request)))


if __name__ == '__main__':
    main()
