"""Data sets as tensors: CIFAR-10 binary files, IDX files, NumPy arrays, or random numbers.

Order and augmentation of a batch follow from seed, epoch and position alone: any number of processes
that share a batch out see the same samples, and a training that is resumed needs no state of theirs.
"""
from __future__ import annotations

import gzip
import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor


class Wanted(NamedTuple):
    """What the network takes and what its loss compares with, from plan.json."""

    images: Dict[str, Any]
    sides: List[Dict[str, Any]]
    labels: Dict[str, Any]
    classes: int

    @staticmethod
    def of(plan: Dict[str, Any]) -> 'Wanted':
        by_role: Dict[str, List[Dict[str, Any]]] = {}
        for item in plan['inputs']:
            by_role.setdefault(item['role'], []).append(item)
        return Wanted(
            by_role['images'][0], by_role.get('side', []), by_role['labels'][0], plan['assumptions']['classes']
        )


class Normalisation(NamedTuple):
    """Per channel, on the scale where a byte of 255 is 1."""

    mean: List[float]
    std: List[float]


class Samples(NamedTuple):
    """One split. Bytes are normalised when they are used, everything else is used as it is."""

    images: Tensor
    labels: Tensor
    sides: List[Tensor]

    def __len__(self) -> int:
        return self.images.shape[0]


def _fail(path: str, why: str) -> ValueError:
    return ValueError(f'{path}: {why}')


def _bytes(path: str) -> bytearray:
    with (gzip.open if path.endswith('.gz') else open)(path, 'rb') as file:
        return bytearray(file.read())


CIFAR = {'train': [f'data_batch_{i}.bin' for i in range(1, 6)], 'test': ['test_batch.bin']}


def _read_cifar(folder: str, split: str) -> Samples:
    parts = []
    for name in CIFAR[split]:
        path = os.path.join(folder, name)
        records = torch.frombuffer(_bytes(path), dtype=torch.uint8)
        if records.numel() % 3073 != 0:
            raise _fail(path, 'it is not a whole number of CIFAR-10 records')
        parts.append(records.reshape(-1, 3073))
    records = torch.cat(parts)
    return Samples(records[:, 1:].reshape(-1, 3, 32, 32).contiguous(), records[:, 0].long(), [])


def _idx_path(folder: str, split: str, part: str, axes: int) -> Optional[str]:
    stem = f'{"train" if split == "train" else "t10k"}-{part}'
    for name in (f'{stem}-idx{axes}-ubyte', f'{stem}.idx{axes}-ubyte'):
        for path in (os.path.join(folder, name), os.path.join(folder, f'{name}.gz')):
            if os.path.exists(path):
                return path
    return None


def _read_idx(folder: str, split: str) -> Samples:
    found = []
    for part, axes in (('images', 3), ('labels', 1)):
        path = _idx_path(folder, split, part, axes)
        if path is None:
            raise _fail(folder, f'the {part} of the {split} split are missing')
        data = _bytes(path)
        if data[:4] != bytes((0, 0, 8, axes)):
            raise _fail(path, f'it holds no unsigned bytes in {axes} dimensions')
        sizes = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], 'big') for i in range(axes)]
        values = torch.frombuffer(data, dtype=torch.uint8, offset=4 + 4 * axes)
        if values.numel() != torch.Size(sizes).numel():
            raise _fail(path, 'it does not hold what its header promises')
        found.append(values.reshape(sizes))
    return Samples(found[0].unsqueeze(1), found[1].long(), [])


def _npy(path: str) -> Tensor:
    import numpy  # nothing else needs it

    # Copy on write: the file stays as it is, and is read as far as it is used.
    array = numpy.load(path, mmap_mode='c')
    if array.dtype.byteorder == '>' or array.dtype in (numpy.uint16, numpy.uint32, numpy.uint64):
        array = array.astype(numpy.int64 if array.dtype.kind == 'u' else array.dtype.newbyteorder('<'))
    return torch.from_numpy(array)


def _read_npy(folder: str, split: str, wanted: Wanted) -> Samples:
    def path(*names: str) -> str:
        paths = [os.path.join(folder, f'{split}-{name}.npy') for name in names]
        return next((p for p in paths if os.path.exists(p)), paths[0])

    images, labels = _npy(path('images', 'ids')), _npy(path('labels', 'targets'))
    shape = wanted.images['shape'][1:]
    if images.dtype == torch.uint8 and list(images.shape[1:]) != shape:
        if images.dim() == 3:
            images = images.unsqueeze(1)
        elif images.dim() == 4 and images.shape[3] <= 4 < images.shape[1]:
            images = images.permute(0, 3, 1, 2)
    sides = [_npy(path(side['name'])) for side in wanted.sides]
    floats = wanted.labels['dtype'] == 'float32'
    if len(labels) != len(images) or labels.is_floating_point() != floats:
        raise _fail(path('labels'), f'it does not fit the {len(images)} images and the loss')
    return Samples(images, labels.float() if floats else labels.long(), sides)


def _random(wanted: Wanted, count: int, seed: int) -> Samples:
    generator = torch.Generator().manual_seed(seed)

    def draw(item: Dict[str, Any], limit: int) -> Tensor:
        shape = [count, *item['shape'][1:]]
        if item['dtype'] == 'float32':
            return torch.randn(shape, generator=generator)
        return torch.randint(0, max(1, limit), shape, generator=generator)

    sides = [torch.ones([count, *s['shape'][1:]]) if s['dtype'] == 'float32' else draw(s, s.get('limit', 1)) for s in wanted.sides]
    return Samples(draw(wanted.images, wanted.images.get('limit', 2)), draw(wanted.labels, wanted.classes), sides)


def _fitted(samples: Samples, wanted: Wanted, where: str) -> Samples:
    """Grey images over all channels, small ones framed with zeros."""
    images, shape = samples.images, wanted.images['shape'][1:]
    if images.dtype == torch.uint8 and images.dim() == 4 and len(shape) == 3:
        tall, wide = (want - have for want, have in zip(shape[1:], images.shape[2:]))
        if 0 <= tall <= 8 and 0 <= wide <= 8 and images.shape[1] in (1, shape[0]):
            frame = (wide // 2, wide - wide // 2, tall // 2, tall - tall // 2)
            images = torch.nn.functional.pad(images, frame).expand(-1, shape[0], -1, -1)
    if list(images.shape[1:]) != shape:
        raise _fail(where, f'images are {list(samples.images.shape[1:])}, the network takes {shape}')
    if wanted.images['dtype'] == 'int64':
        images = images.long()
    return samples._replace(images=images)


def load(path: str, split: str, wanted: Wanted, seed: int = 0) -> Samples:
    """A split of the data in a folder; of 'random', 1024 samples of noise. Raises ValueError, OSError."""
    if path == 'random':
        return _random(wanted, 1024, seed + (split == 'test'))
    nested = os.path.join(path, 'cifar-10-batches-bin')
    folder = nested if os.path.isdir(nested) else path
    if os.path.exists(os.path.join(folder, CIFAR[split][0])):
        samples = _read_cifar(folder, split)
    elif _idx_path(path, split, 'images', 3):
        samples = _read_idx(path, split)
    elif any(os.path.exists(os.path.join(path, f'{split}-{n}.npy')) for n in ('images', 'ids')):
        samples = _read_npy(path, split, wanted)
    else:
        raise _fail(path, f'it holds no {split} split as CIFAR-10 binary, IDX or NumPy files')
    return _fitted(samples, wanted, path)


def measure(samples: Samples) -> Normalisation:
    """Mean and deviation of the bytes of every channel; 0 and 1 for what are no bytes."""
    images = samples.images
    channels = images.shape[1] if images.dim() == 4 else 1
    if images.dtype != torch.uint8:
        return Normalisation([0.0] * channels, [1.0] * channels)
    planes = images.reshape(len(images), channels, -1)
    mean, std = [], []
    for channel in range(channels):
        counts = torch.zeros(256, dtype=torch.float64)
        for part in planes[:, channel].split(4096):
            counts += torch.bincount(part.reshape(-1).long(), minlength=256)
        share, values = counts / counts.sum(), torch.arange(256, dtype=torch.float64) / 255
        average = float((share * values).sum())
        mean.append(average)
        std.append(float((share * (values - average) ** 2).sum().sqrt()) or 1.0)
    return Normalisation(mean, std)


class Batches:
    """Batches of a split, endlessly, in another order each epoch; samples left over go with the next."""

    def __init__(self, samples: Samples, by: Normalisation, seed: int, augment: bool) -> None:
        self.samples = samples
        self.by = by
        self.seed = seed
        self.augment = augment
        self.orders: Dict[int, Tensor] = {}

    def _generator(self, *key: int) -> torch.Generator:
        mixed = self.seed
        for part in key:
            mixed = (mixed * 1000003 + part + 1) % (2**63 - 1)
        return torch.Generator().manual_seed(mixed)

    def _order(self, epoch: int) -> Tensor:
        if epoch not in self.orders:
            self.orders = {e: o for e, o in self.orders.items() if e == epoch - 1}
            self.orders[epoch] = torch.randperm(len(self.samples), generator=self._generator(epoch))
        return self.orders[epoch]

    def epoch(self, start: int) -> int:
        return start // len(self.samples)

    def take(self, start: int, count: int, first: int, last: int) -> Tuple[List[Tensor], Tensor]:
        """Inputs and labels of samples first to last of a batch of count that begins at start."""
        size = len(self.samples)
        picks = [self._order(p // size)[p % size] for p in range(start + first, start + last)]
        inputs, labels = gather(self.samples, torch.stack(picks), self.by)
        if self.augment:
            generator = self._generator(start, -7)
            top, left = (torch.randint(0, 9, (count,), generator=generator)[first:last] for _ in range(2))
            flip = torch.rand(count, generator=generator)[first:last] < 0.5
            inputs[0] = _augmented(inputs[0], top, left, flip)
        return inputs, labels


def _augmented(images: Tensor, top: Tensor, left: Tensor, flip: Tensor) -> Tensor:
    """Crops out of 4 pixels of padding, every other one or so mirrored (He et al. 2015, section 4.2)."""
    height, width = images.shape[2:]
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4))
    crops = [padded[i, :, t : t + height, l : l + width] for i, (t, l) in enumerate(zip(top.tolist(), left.tolist()))]
    cropped = torch.stack(crops)
    return torch.where(flip.reshape(-1, 1, 1, 1), cropped.flip(3), cropped)


def gather(samples: Samples, picks: Tensor, by: Normalisation) -> Tuple[List[Tensor], Tensor]:
    """Inputs of the network and labels of the samples with these numbers."""
    images = samples.images[picks]
    if images.dtype == torch.uint8:
        shape = [1, -1] + [1] * (images.dim() - 2)
        mean, std = torch.tensor(by.mean).reshape(shape), torch.tensor(by.std).reshape(shape)
        images = (images.float() / 255 - mean) / std
    elif images.is_floating_point():
        images = images.float()
    return [images, *(side[picks] for side in samples.sides)], samples.labels[picks]


def is_colour(samples: Samples) -> bool:
    """Photographs of 32×32, which are cropped and flipped; digits must not be mirrored."""
    images = samples.images
    if images.dtype != torch.uint8 or list(images.shape[1:]) != [3, 32, 32] or samples.labels.dim() != 1:
        return False
    some = images[:16]
    return not torch.equal(some[:, 0], some[:, 1])
