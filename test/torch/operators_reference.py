"""Values and gradients of single operators by PyTorch in float64.

In: a JSON object {cases: [...]} on stdin, each with an expression over x (operands) and a (attributes). Out: a JSON list,
one entry a case: the results and the gradients by the operands asked for, of the sum of results times cotangents.
"""

import json
import sys

import torch
import torch.nn.functional as F


def padded(x, pads, value=0.0):
    """Pads as ONNX orders them: every begin, then every end; of the last axes."""
    half = len(pads) // 2
    pairs = []
    for axis in reversed(range(half)):
        pairs += [pads[axis], pads[half + axis]]
    return F.pad(x, pairs, value=value)


def conv(x, w, b, a):
    f = [None, F.conv1d, F.conv2d, F.conv3d][x.dim() - 2]
    pads = same_pads(x, a) if "auto_pad" in a else a["pads"]
    return f(padded(x, pads), w, b, a["strides"], 0, a["dilations"], a["group"])


def conv_transpose(x, w, b, a):
    rank = x.dim() - 2
    f = [None, F.conv_transpose1d, F.conv_transpose2d][rank]
    return f(x, w, b, a["strides"], a["pads"][:rank], a["output_padding"], a["group"], a["dilations"])


def same_pads(x, a):
    """Pads of auto_pad: as many windows as strides fit into the input, what is odd at the end or the beginning."""
    begin, end = [], []
    kernel = a["kernel_shape"]
    for extent, k, stride, d in zip(x.shape[2:], kernel, a["strides"], a.get("dilations", [1] * len(kernel))):
        total = max(0, (-(-extent // stride) - 1) * stride + (k - 1) * d + 1 - extent)
        small, large = total // 2, total - total // 2
        upper = a["auto_pad"] == "SAME_UPPER"
        begin.append(small if upper else large)
        end.append(large if upper else small)
    return begin + end


def max_pool(x, a):
    f = [None, F.max_pool1d, F.max_pool2d][x.dim() - 2]
    if a.get("ceil_mode"):
        return f(x, a["kernel_shape"], a["strides"], a["pads"][: x.dim() - 2], a["dilations"], True)
    wide = padded(x, same_pads(x, a) if "auto_pad" in a else a["pads"], float("-inf"))
    return f(wide, a["kernel_shape"], a["strides"], 0, a["dilations"])


def avg_pool(x, a):
    f = [None, F.avg_pool1d, F.avg_pool2d][x.dim() - 2]
    if "auto_pad" in a:
        pads = same_pads(x, a)
        mean = lambda t: f(padded(t, pads), a["kernel_shape"], a["strides"])
        return mean(x) if a["count_include_pad"] else mean(x) / mean(torch.ones_like(x))
    pads = a["pads"][: x.dim() - 2]
    return f(x, a["kernel_shape"], a["strides"], pads, a.get("ceil_mode") == 1, a["count_include_pad"] == 1)


def sliced(x, starts, ends, axes, steps):
    for start, end, axis, step in zip(*(v.tolist() for v in (starts, ends, axes, steps))):
        x = x.index_select(axis, torch.tensor(range(*slice(start, end, step).indices(x.shape[axis]))))
    return x


def gather(x, index, axis):
    axis %= x.dim()
    picked = x.index_select(axis, index.reshape(-1) % x.shape[axis])
    return picked.reshape(x.shape[:axis] + index.shape + x.shape[axis + 1 :])


def gather_nd(x, index, batch):
    result = x.shape[:batch] + index.shape[batch:-1] + x.shape[batch + index.shape[-1] :]
    x = x.reshape(-1, *x.shape[batch:])
    index = index.reshape(len(x), -1, index.shape[-1])
    return torch.stack([one[at.unbind(-1)] for one, at in zip(x, index)]).reshape(result)


def running_sum(x, axis, a):
    ahead = x.flip(axis) if a["reverse"] else x
    sums = ahead.cumsum(axis) - (ahead if a["exclusive"] else 0)
    return sums.flip(axis) if a["reverse"] else sums


def resize(x, scales, sizes, a):
    rank = x.dim() - 2
    mode = {"nearest": "nearest", "linear": [None, "linear", "bilinear", "trilinear"][rank], "cubic": "bicubic"}[a["mode"]]
    if a.get("nearest_mode") == "round_prefer_ceil":
        mode = "nearest-exact"
    aligned = None if a["mode"] == "nearest" else a["coordinate_transformation_mode"] == "align_corners"
    size = None if sizes is None else sizes.tolist()[2:]
    factor = None if scales is None else scales.tolist()[2:]
    return F.interpolate(x, size, factor, mode, aligned)


def depth_to_space(x, block, mode):
    if mode == "DCR":  # Blocks are the outer part of the channels; PyTorch has them inside.
        x = x.unflatten(1, (block * block, -1)).transpose(1, 2).flatten(1, 2)
    return F.pixel_shuffle(x, block)


def space_to_depth(x, block):
    y = F.pixel_unshuffle(x, block)
    return y.unflatten(1, (-1, block * block)).transpose(1, 2).flatten(1, 2)


def tensor(entry):
    # Scales of a Resize are float32, and not computed with.
    dtype = {"float64": torch.float64, "float32": torch.float64, "int64": torch.int64, "bool": torch.bool}[entry["dtype"]]
    return torch.tensor(entry["data"], dtype=torch.float64).reshape(entry["dims"]).to(dtype)


def run(case):
    x = [None if entry is None else tensor(entry) for entry in case["inputs"]]
    wanted = case["differentiable"]
    for index in wanted:
        x[index].requires_grad_(True)
    results = eval(case["torch"], {**globals(), "x": x, "a": case["attributes"]})
    results = list(results) if isinstance(results, (tuple, list)) else [results]
    total = sum((r * tensor(g)).sum() for r, g in zip(results, case["cotangents"]))
    grads = torch.autograd.grad(total, [x[i] for i in wanted], allow_unused=True)
    grads = [torch.zeros_like(x[i]) if g is None else g for i, g in zip(wanted, grads)]
    flat = lambda t: {"dims": list(t.shape), "data": t.detach().reshape(-1).tolist()}
    return {"results": [flat(r) for r in results], "gradients": [flat(g) for g in grads]}


def attempt(case):
    try:
        return run(case)
    except Exception as error:
        raise RuntimeError(f"{case['label']}: {case['torch']}: {error}") from error


json.dump([attempt(case) for case in json.load(sys.stdin)["cases"]], sys.stdout)
