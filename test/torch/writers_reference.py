"""Runs classes of one operator each. In: JSON on stdin: cases of {text, call, feeds, state}; arrays lie in files of
float64. Out: JSON on stdout: per case {values: [{shape, data}]} or {error}."""
import json
import sys

import numpy
import torch

HEADER = '''
from __future__ import annotations
from typing import Tuple, Union
import torch
import torch.nn.functional as F
from torch import Tensor, nn
'''


def read(item):
    array = torch.from_numpy(numpy.fromfile(item['path'], '<f8').reshape(item['shape']))
    return array.to(getattr(torch, item['dtype']))


def run(case):
    space = {}
    exec(HEADER + case['text'], space)
    module = eval(case['call'], space).double().eval()
    for part in module.modules():
        if hasattr(part, 'eps'):
            part.eps = float(numpy.float32(part.eps))
    state = {key: read(item) for key, item in case['state'].items()}
    module.load_state_dict({**module.state_dict(), **state})
    with torch.no_grad():
        results = module(*(read(item) for item in case['feeds']))
    results = results if isinstance(results, tuple) else (results,)
    return {'values': [{'shape': list(r.shape), 'data': [str(x) for x in r.double().reshape(-1).tolist()]} for r in results]}


def answer(case):
    try:
        return run(case)
    except Exception as error:  # whatever PyTorch says, the test shows it
        return {'error': f'{type(error).__name__}: {error}'}


print(json.dumps([answer(case) for case in json.load(sys.stdin)['cases']]))
