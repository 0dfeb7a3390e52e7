// The program of the thread that builds baselines (see beside.ts).

import { parentPort, workerData } from 'node:worker_threads';
import { readModel } from '../onnx/index.js';
import { measureBaselines } from './baselines.js';
import type { BesideRequest } from './beside.js';
import { coupleNetwork } from './coupled.js';

const { path, settings } = workerData as BesideRequest;
const options = { name: 'baseline', source: path, ...settings };
const coupled = coupleNetwork(readModel(path), options, true);
parentPort?.postMessage(measureBaselines(coupled));
