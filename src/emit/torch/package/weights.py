"""Named tensors in files: the layout of safetensors, with nothing but PyTorch.

Eight bytes with the length of a JSON header, the header, the raw values, little-endian.
"""
from __future__ import annotations

import json
import mmap
import os
from typing import Any, Dict, Mapping, Optional, Tuple

import torch
from torch import Tensor

DTYPES = {
    'F64': torch.float64,
    'F32': torch.float32,
    'F16': torch.float16,
    'BF16': torch.bfloat16,
    'I64': torch.int64,
    'I32': torch.int32,
    'I16': torch.int16,
    'I8': torch.int8,
    'U8': torch.uint8,
    'BOOL': torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def read_safetensors(path: str) -> Tuple[Dict[str, Tensor], Dict[str, str]]:
    """Tensors by name, and the words beside them. Values are read when they are first used.

    Raises ValueError where the file is not whole.
    """
    size = os.path.getsize(path)
    if size < 8:
        raise ValueError(f'{path}: it is no safetensors file')
    with open(path, 'rb') as file:
        # A private mapping: a tensor may be written to, the file stays as it is.
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    length = int.from_bytes(data[:8], 'little')
    if length > size - 8:
        raise ValueError(f'{path}: it is no safetensors file')
    header: Dict[str, Any] = json.loads(data[8 : 8 + length].decode('utf-8'))
    words = header.pop('__metadata__', {})
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry['data_offsets'])
        dtype, shape = DTYPES.get(entry['dtype']), entry['shape']
        if dtype is None or not 8 + length <= begin <= end <= size:
            raise ValueError(f'{path}: its header does not say where {name} lies')
        count = (end - begin) // torch.empty((), dtype=dtype).element_size()
        flat = torch.frombuffer(data, dtype=dtype, count=count, offset=begin) if count else torch.empty(0, dtype=dtype)
        tensors[name] = flat.reshape(shape)
    return tensors, words


def write_safetensors(path: str, tensors: Mapping[str, Tensor], words: Optional[Mapping[str, str]] = None) -> None:
    """Writes the file as a whole or not at all."""
    header: Dict[str, Any] = {'__metadata__': dict(words or {})}
    values = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    end = 0
    for name, tensor in values.items():
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            'dtype': NAMES[tensor.dtype],
            'shape': list(tensor.shape),
            'data_offsets': [begin, end],
        }
    text = json.dumps(header).encode('utf-8')
    text += b' ' * (-len(text) % 8)
    unfinished = f'{path}.{os.getpid()}.tmp'
    with open(unfinished, 'wb') as file:
        file.write(len(text).to_bytes(8, 'little'))
        file.write(text)
        for tensor in values.values():
            if tensor.numel() > 0:
                file.write(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)
