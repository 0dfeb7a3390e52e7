// README.md of a package. In: its plan. Out: what it is, how to run it, how the weights get back.

import type { Plan } from '../../plan/index.js';
import type { Module } from './model.js';

export function readmeOf(plan: Plan, name: string, { className }: Module): string {
  const { model, assumptions, recipe } = plan;
  const input = ['N', ...assumptions.imageShape].join(', ');
  return `# ${name}

\`${className}\` is the reversible network that revnetify made of ${model.source} (recipe ${recipe}): it trains without storing
the activations of its reversible sequences, which are rebuilt backwards. PyTorch 1.13 or newer is all it needs.

\`\`\`python
import torch
from ${name} import build_model

model = build_model()              # with weights.safetensors
output = model(torch.zeros(${assumptions.batch}, ${assumptions.imageShape.join(', ')}))
\`\`\`

Input [${input}]; the loss is ${assumptions.loss}. \`build_model('stored')\` is the same network under ordinary autograd,
\`build_model('checkpoint')\` keeps the input of every function.

## Training

Run from the folder that holds this one:

    python3 -m ${name}.train --data PATH --epochs 30
    torchrun --nproc_per_node 2 -m ${name}.train --data PATH --epochs 30 --amp bf16

\`--data\` takes CIFAR-10 binary files, IDX files, NumPy arrays (\`train-images.npy\`, \`train-labels.npy\`, \`test-…\`), or
\`random\`. \`--batch\` is that of one process; \`--help\` lists the rest. Batch norm sees the batch of its process
(\`--sync-batch-norm\`: of all). At the end the weights are in \`${name}/trained.safetensors\`.

On a CPU much of the memory saved stays with the allocator of the C library. With \`MALLOC_MMAP_THRESHOLD_=1048576\` and
\`MALLOC_TRIM_THRESHOLD_=1048576\` in the environment it goes back to the system at once, at the price of time.

## Back to ONNX

    revnetify import torch DIR ${name}/trained.safetensors

writes \`${model.name}.trained.onnx\`; DIR is the folder that \`revnetify export torch\` was given. Any
\`safetensors.torch.save_file(model.state_dict(), …)\` will do, as long as the names of the modules are as they were.

## Files

- \`model.py\`: the network. One class per structure of unit; names follow the ONNX file. Yours to edit.
- \`reversible.py\`: \`ReversibleSequence\`, one autograd.Function per sequence, and \`recomputed\` for what has no inverse.
- \`weights.py\`: reads and writes safetensors. \`data.py\`, \`train.py\`: data sets and the training loop.
- \`plan.json\`: what revnetify decided, and why.

Functions of a sequence must not change their input in place, and must keep its shape. Under autocast the streams between
them are float32.
`;
}
