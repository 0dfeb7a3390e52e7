// From the value of --data to a data set. In: a folder or the word "random", the split, and the
// shape the model takes. Out: a data set of that shape. Invariant: the layout is told by the names
// of the files, and what cannot be used is refused before a training step runs.
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { findCifar, readCifar } from './cifar.js';
import type { Dataset, Split, Wanted } from './dataset.js';
import { bad } from './files.js';
import { fitDataset } from './fit.js';
import { findIdx, readIdx } from './idx.js';
import { findNpy, readNpy } from './arrays.js';
import { syntheticDataset } from './synthetic.js';

/**
 * A split of a data set as one training or evaluation wants it.
 * @param spec a folder with CIFAR-10 binary files, IDX files or NumPy arrays, or "random"
 * @param wanted shape of a batch and number of classes the network takes
 * @throws DiagnosticError data/invalid
 */
export function loadDataset(spec: string, split: Split, wanted: Wanted): Dataset {
  if (spec === 'random') return syntheticDataset(split, wanted);
  if (!existsSync(spec)) throw bad(spec, 'there is no such folder');
  if (!statSync(spec).isDirectory())
    throw bad(
      spec,
      'this is a file; the data is a folder',
      'unpack the archive and pass its folder',
    );

  const cifar = findCifar(spec);
  if (cifar !== undefined) return fitDataset(readCifar(cifar, split), wanted);
  const idx = findIdx(spec);
  if (idx !== undefined) return fitDataset(readIdx(idx, split), wanted);

  if (findNpy(spec) !== undefined) return fitDataset(readNpy(spec, split, wanted), wanted);

  if ([spec, join(spec, 'cifar-10-batches-py')].some((at) => existsSync(join(at, 'data_batch_1'))))
    throw bad(
      spec,
      'the folder holds the Python version of CIFAR-10, which is pickled',
      'fetch the binary version (cifar-10-binary.tar.gz)',
    );
  throw bad(
    spec,
    'the folder holds no CIFAR-10 binary files (data_batch_1.bin, …), ' +
      'no IDX files (train-images-idx3-ubyte, …) and no NumPy arrays (train-images.npy, …)',
  );
}
