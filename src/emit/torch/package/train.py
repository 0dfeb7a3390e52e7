"""Training: one process, or several under torchrun.

    python3 -m PACKAGE.train --data PATH --epochs 30
    torchrun --nproc_per_node 2 -m PACKAGE.train --data PATH --epochs 30 --amp bf16
"""
from __future__ import annotations

import argparse
import contextlib
import csv
import json
import math
import os
import sys
import time
from typing import Any, Callable, Dict, List, Optional

import torch
import torch.distributed as distributed
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from . import data
from .model import WEIGHTS, build_model
from .reversible import MODES
from .weights import write_safetensors

HERE = os.path.dirname(os.path.abspath(__file__))


def parse(argv: Optional[List[str]] = None) -> argparse.Namespace:
    with open(os.path.join(HERE, 'plan.json'), encoding='utf-8') as file:
        plan = json.load(file)
    chosen = plan['assumptions']
    adam = chosen['optimizer'] == 'adamw'
    default = {'reverse': 'reversible', 'recompute': 'checkpoint', 'store': 'stored'}[chosen['policy']]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('--data', required=True, help='folder of CIFAR-10 binary, IDX or NumPy files, or "random"')
    add('--steps', type=int, help='updates of the weights')
    add('--epochs', type=float, default=1.0, help='passes over the data, where --steps is not given')
    add('--batch', type=int, default=chosen['batch'], help='samples of one process at a time (%(default)s)')
    add('--accumulate', type=int, default=chosen['accumulate'], help='batches per update (%(default)s)')
    add('--optimizer', choices=['sgd', 'adamw'], default=chosen['optimizer'])
    add('--lr', type=float, default=0.001 if adam else 0.1, help='highest learning rate (%(default)s)')
    schedules = ['cosine', 'linear', 'constant', 'step']
    add('--lr-schedule', choices=schedules, default='cosine', help='step: × 0.1 at 50 %% and 75 %%')
    add('--warmup', type=int, default=0, help='steps of linear warm-up')
    add('--momentum', type=float, default=0.9)
    add('--beta1', type=float, default=0.9)
    add('--beta2', type=float, default=0.999)
    add('--epsilon', type=float, default=1e-8)
    add('--weight-decay', type=float, default=0.01 if adam else 5e-4, help='of matrices and filters (%(default)s)')
    add('--clip-norm', type=float, default=chosen['clipNorm'], help='largest norm of all gradients; 0: any')
    add('--mode', choices=MODES, default=default, help='what is kept for the backward pass (%(default)s)')
    add('--amp', choices=['none', 'bf16'], default='none', help='bf16: autocast to bfloat16')
    add('--channels-last', action='store_true', help='lay images out with channels last')
    add('--sync-batch-norm', action='store_true', help='statistics over all processes (GPUs only)')
    add('--device', help='default: cuda where there is one, else cpu')
    add('--seed', type=int, default=0)
    add('--no-augment', action='store_true', help='no random crops and flips of 32×32 colour images')
    add('--no-evaluate', action='store_true', help='do not measure the test split at the end')
    add('--log', help='a line per step: CSV where the name ends in .csv, else JSON')
    add('--checkpoint', default=os.path.join(HERE, 'checkpoint.pt'), help='%(default)s')
    add('--checkpoint-every', type=int, default=0, help='steps; 0: none')
    add('--resume', action='store_true', help='continue from the checkpoint, if there is one')
    add('--weights', default=WEIGHTS, help='what to start from')
    add('--out', default=os.path.join(HERE, 'trained.safetensors'), help='%(default)s')
    args = parser.parse_args(argv)
    args.plan = plan
    return args


class Processes:
    """This process among those that torchrun has started; alone without it."""

    #: What is summed over the processes. Of the class, to outlive their group: in PyTorch 1.13 a thread of gloo that
    #: is the last to hold a tensor waits for the interpreter's lock, and who takes down the group waits for the thread.
    sums: Tensor

    def __init__(self, device: Optional[str]) -> None:
        self.count = int(os.environ.get('WORLD_SIZE', '1'))
        self.rank = int(os.environ.get('RANK', '0'))
        name = device or ('cuda' if torch.cuda.is_available() else 'cpu')
        if name == 'cuda':
            torch.cuda.set_device(int(os.environ.get('LOCAL_RANK', '0')))
            name = f'cuda:{torch.cuda.current_device()}'
        self.device = torch.device(name)
        Processes.sums = torch.zeros(4, dtype=torch.float64, device=self.device)
        if self.count > 1:
            distributed.init_process_group('nccl' if self.device.type == 'cuda' else 'gloo')

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def total(self, *values: float) -> List[float]:
        """Sums over all processes, of four numbers at most."""
        if self.count == 1:
            return list(values)
        own = self.sums[: len(values)]
        own.copy_(torch.tensor(values, dtype=torch.float64))
        distributed.all_reduce(self.sums)
        return own.tolist()

    def close(self) -> None:
        if self.count > 1:
            distributed.destroy_process_group()


def loss_of(output: Tensor, labels: Tensor, chosen: Dict[str, Any]) -> Tensor:
    """The mean loss of a batch, as the plan says."""
    if chosen['loss'] == 'mse':
        return F.mse_loss(output, labels.reshape(output.shape))
    scores, labels = scores_of(output, labels, chosen)
    ignored = chosen['ignoreIndex']
    return F.cross_entropy(
        scores,
        labels,
        ignore_index=-100 if ignored is None else ignored,
        label_smoothing=chosen['labelSmoothing'],
    )


def scores_of(output: Tensor, labels: Tensor, chosen: Dict[str, Any]) -> Any:
    """Scores with their classes along axis 1, and labels of the other axes."""
    if output.dim() > 2 and all(extent == 1 for extent in output.shape[2:]):
        output = output.flatten(1)
    elif chosen['classAxis'] == 2:
        output = output.transpose(1, 2)
    return output, labels.reshape([output.shape[0], *output.shape[2:]])


def correct_of(output: Tensor, labels: Tensor, chosen: Dict[str, Any]) -> Tensor:
    """[labels that are met, labels that count]; zeros where there are no classes."""
    if chosen['loss'] == 'mse':
        return torch.zeros(2)
    scores, labels = scores_of(output.detach(), labels, chosen)
    counts = torch.ones_like(labels, dtype=torch.bool)
    if chosen['ignoreIndex'] is not None:
        counts = labels != chosen['ignoreIndex']
    return torch.stack([((scores.argmax(1) == labels) & counts).sum(), counts.sum()]).float()


def learning_rate(args: argparse.Namespace, steps: int, step: int) -> float:
    """Of a step, counted from 0."""
    warmup = min(args.warmup, steps)
    if step < warmup:
        return args.lr * (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    if args.lr_schedule == 'cosine':
        return args.lr * (1 + math.cos(math.pi * progress)) / 2
    if args.lr_schedule == 'linear':
        return args.lr * (1 - progress)
    if args.lr_schedule == 'step':
        return args.lr * 0.1 ** sum(step >= share * steps for share in (0.5, 0.75))
    return args.lr


def make_optimizer(args: argparse.Namespace, model: nn.Module) -> torch.optim.Optimizer:
    """Decay applies to matrices and filters, not to biases and scales."""
    parameters = list(model.parameters())
    groups = [
        {'params': [p for p in parameters if p.dim() >= 2], 'weight_decay': args.weight_decay},
        {'params': [p for p in parameters if p.dim() < 2], 'weight_decay': 0.0},
    ]
    groups = [group for group in groups if group['params']]
    if args.optimizer == 'adamw':
        return torch.optim.AdamW(groups, lr=args.lr, betas=(args.beta1, args.beta2), eps=args.epsilon)
    nesterov = args.plan['assumptions']['nesterov'] and args.momentum > 0
    return torch.optim.SGD(groups, lr=args.lr, momentum=args.momentum, nesterov=nesterov)


class Log:
    """A line per step, of the first process."""

    COLUMNS = ('step', 'epoch', 'loss', 'accuracy', 'learningRate', 'seconds')

    def __init__(self, path: Optional[str], length: Optional[int]) -> None:
        self.file = None
        if path is None:
            return
        continued = length is not None and os.path.exists(path)
        self.file = open(path, 'r+' if continued else 'w', encoding='utf-8', newline='')
        if continued:
            # What was written after the checkpoint will be written again.
            self.file.truncate(length)
            self.file.seek(0, os.SEEK_END)
        self.table = csv.writer(self.file) if path.lower().endswith('.csv') else None
        if self.table and not continued:
            self.table.writerow(self.COLUMNS)

    def write(self, row: Dict[str, Any]) -> None:
        if self.file is None:
            return
        if self.table:
            self.table.writerow([row.get(name) for name in self.COLUMNS])
        else:
            self.file.write(json.dumps(row) + '\n')
        self.file.flush()

    def length(self) -> Optional[int]:
        return None if self.file is None else self.file.tell()


class Training:
    """A network, its optimizer and where they stand."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.chosen = args.plan['assumptions']
        self.processes = Processes(args.device)
        device = self.processes.device
        torch.manual_seed(args.seed + self.processes.rank)
        model = build_model(args.mode, args.weights).to(device)
        if args.channels_last:
            model = model.to(memory_format=torch.channels_last)
        if args.sync_batch_norm:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        self.model = model
        self.network: nn.Module = model
        if self.processes.count > 1:
            ids = [device.index] if device.type == 'cuda' else None
            self.network = DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)
        self.optimizer = make_optimizer(args, model)
        wanted = data.Wanted.of(args.plan)
        self.samples = data.load(args.data, 'train', wanted, args.seed)
        self.by = data.measure(self.samples)
        augment = not args.no_augment and args.data != 'random' and data.is_colour(self.samples)
        self.batches = data.Batches(self.samples, self.by, args.seed, augment)
        #: Samples of all processes in one pass through the network, and in one update.
        self.together = args.batch * self.processes.count
        self.per_step = self.together * args.accumulate
        self.steps = args.steps or max(1, math.ceil(args.epochs * len(self.samples) / self.per_step))
        self.step = 0
        self.log_length: Optional[int] = None
        if args.resume and os.path.exists(args.checkpoint):
            self._restore(torch.load(args.checkpoint, map_location=device))

    def _restore(self, state: Dict[str, Any]) -> None:
        for name, was in state['settings'].items():
            if was != getattr(self.args, name):
                raise ValueError(f'{self.args.checkpoint}: --{name.replace("_", "-")} was {was}')
        self.model.load_state_dict(state['model'])
        self.optimizer.load_state_dict(state['optimizer'])
        self.step, self.log_length = state['step'], state['log']

    def save(self, log: Log) -> None:
        """Written under another name first: a checkpoint that is there is whole."""
        if not self.processes.is_first:
            return
        names = ('batch', 'accumulate', 'optimizer', 'lr', 'lr_schedule', 'warmup', 'momentum', 'weight_decay', 'seed')
        state = {
            'settings': {name: getattr(self.args, name) for name in names},
            'model': self.model.state_dict(),
            'optimizer': self.optimizer.state_dict(),
            'step': self.step,
            'log': log.length(),
        }
        unfinished = f'{self.args.checkpoint}.tmp'
        torch.save(state, unfinished)
        os.replace(unfinished, self.args.checkpoint)

    def to_device(self, tensors: List[Tensor]) -> List[Tensor]:
        moved = [t.to(self.processes.device, non_blocking=True) for t in tensors]
        if self.args.channels_last:
            moved = [t.contiguous(memory_format=torch.channels_last) if t.dim() == 4 else t for t in moved]
        return moved

    def autocast(self) -> Any:
        if self.args.amp == 'none':
            return contextlib.nullcontext()
        return torch.autocast(self.processes.device.type, dtype=torch.bfloat16)

    def one_step(self) -> Dict[str, Any]:
        """One update: the gradients of all batches that belong to it."""
        args, started = self.args, time.perf_counter()
        rate = learning_rate(args, self.steps, self.step)
        for group in self.optimizer.param_groups:
            group['lr'] = rate
        # Dropout of a step follows from its number, so that a resumed training draws the same.
        torch.manual_seed((args.seed * 1000003 + self.step) * 4096 + self.processes.rank)
        self.optimizer.zero_grad(set_to_none=True)
        sums = torch.zeros(3)
        for part in range(args.accumulate):
            start = self.step * self.per_step + part * self.together
            first = self.processes.rank * args.batch
            inputs, labels = self.batches.take(start, self.together, first, first + args.batch)
            *inputs, labels = self.to_device([*inputs, labels])
            last = part == args.accumulate - 1
            waits = self.processes.count > 1 and not last
            with self.network.no_sync() if waits else contextlib.nullcontext():
                with self.autocast():
                    output = self.network(*inputs)
                    loss = loss_of(output.float(), labels, self.chosen)
                (loss / args.accumulate).backward()
            sums += torch.cat([loss.detach().reshape(1).cpu(), correct_of(output, labels, self.chosen).cpu()])
            del output, loss
        if args.clip_norm > 0:
            nn.utils.clip_grad_norm_(self.model.parameters(), args.clip_norm)
        self.optimizer.step()
        loss_sum, met, counted = self.processes.total(*sums.tolist())
        self.step += 1
        mean = loss_sum / (self.processes.count * args.accumulate)
        if not math.isfinite(mean):
            raise FloatingPointError(f'step {self.step}: the loss is {mean}; lower --lr, or add --warmup')
        row = {'step': self.step, 'epoch': self.batches.epoch((self.step - 1) * self.per_step), 'loss': mean}
        if counted:
            row['accuracy'] = met / counted
        return {**row, 'learningRate': rate, 'seconds': time.perf_counter() - started}

    def evaluate(self) -> Dict[str, float]:
        """The test split, every sample once, shared out among the processes."""
        samples = data.load(self.args.data, 'test', data.Wanted.of(self.args.plan), self.args.seed)
        self.model.eval()
        sums = torch.zeros(4)
        with torch.no_grad():
            own = torch.arange(self.processes.rank, len(samples), self.processes.count)
            for picks in own.split(self.args.batch):
                inputs, labels = data.gather(samples, picks, self.by)
                *inputs, labels = self.to_device([*inputs, labels])
                with self.autocast():
                    output = self.model(*inputs)
                loss = loss_of(output.float(), labels, self.chosen)
                own_sums = [loss.reshape(1).cpu() * len(picks), torch.tensor([float(len(picks))])]
                sums += torch.cat([*own_sums, correct_of(output, labels, self.chosen).cpu()])
        self.model.train()
        loss_sum, count, met, counted = self.processes.total(*sums.tolist())
        result = {'samples': count, 'loss': loss_sum / count}
        return {**result, 'accuracy': met / counted} if counted else result

    def run(self, report: Callable[[str], None]) -> None:
        args, first = self.args, self.processes.is_first
        log = Log(args.log if first else None, self.log_length)
        self.model.train()
        while self.step < self.steps:
            row = self.one_step()
            log.write(row)
            if first and (self.step % 10 == 0 or self.step == self.steps):
                accuracy = f'  accuracy {100 * row["accuracy"]:.1f} %' if 'accuracy' in row else ''
                rate = self.per_step / row['seconds']
                report(f'step {self.step}/{self.steps}  loss {row["loss"]:.4f}{accuracy}  {rate:.0f} samples/s')
            if args.checkpoint_every and (self.step % args.checkpoint_every == 0 or self.step == self.steps):
                self.save(log)
        if first:
            words = {'revnetify.steps': str(self.step), 'revnetify.normalisation': json.dumps(self.by._asdict())}
            write_safetensors(args.out, self.model.state_dict(), words)
            report(f'wrote {args.out}')
        if not args.no_evaluate:
            result = self.evaluate()
            if first:
                report(', '.join(f'test {name} {value:.4f}' for name, value in result.items()))


def main(argv: Optional[List[str]] = None) -> int:
    args = parse(argv)
    training = None
    try:
        training = Training(args)
        training.run(lambda text: print(text, flush=True))
        return 0
    except (ValueError, OSError, FloatingPointError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    finally:
        if training is not None:
            training.processes.close()


if __name__ == '__main__':
    sys.exit(main())
