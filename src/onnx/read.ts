// Bytes → Model. In: a file or bytes in memory. Out: the IR, with records from which everything unchanged is
// written back byte for byte. Invariant: whatever the bytes are, the result is a Model or a DiagnosticError.

import { dirname } from 'node:path';
import { DiagnosticError } from '../diagnostics/index.js';
import { Model } from '../ir/index.js';
import type { LocalFunction } from '../ir/index.js';
import { decode, toNumber } from './codec.js';
import { ExternalFiles } from './external.js';
import { FileSource } from './files.js';
import { readFunction } from './read-body.js';
import { readGraph } from './read-graph.js';
import { MODEL, ModelRecord } from './record.js';
import { TensorData } from './tensor-data.js';
import { MemorySource, expectWire, payload, scan, text, varintOf, wholeSpan } from './wire.js';
import type { ByteSource, Field } from './wire.js';

/** Larger files are not read as a whole. */
const IN_MEMORY = 16 * 2 ** 20;
/** The IR version that made opset_import obligatory. */
const OPSETS_SINCE = 3;

/**
 * Reads a model. Weights stay in the file until they are asked for, so the file must stay as it is.
 * @throws DiagnosticError model/not-found, model/not-onnx, model/damaged, model/invalid
 */
export function readModel(path: string, options: { inMemory?: number } = {}): Model {
  const source = openFile(path);
  return source.held(() => {
    if (source.size > (options.inMemory ?? IN_MEMORY)) return decodeSource(source, path);
    return decodeSource(new MemorySource(source.read(0, source.size), path), path);
  });
}

/** The same for bytes in memory, which must not change afterwards. @param options.path finds external data */
export function decodeModel(bytes: Uint8Array, options: { path?: string } = {}): Model {
  return decodeSource(new MemorySource(bytes, options.path ?? 'model'), options.path);
}

/** Reads a TensorProto file (.pb), as ONNX test data sets hold them. */
export function readTensor(bytes: Uint8Array): TensorData {
  return new TensorData(wholeSpan(new MemorySource(bytes, 'tensor')), new ExternalFiles(undefined));
}

function openFile(path: string): FileSource {
  try {
    return new FileSource(path);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new DiagnosticError('model/not-found', path, why);
  }
}

function decodeSource(source: ByteSource, path: string | undefined): Model {
  try {
    return decodeFields(source, topLevel(source), path);
  } catch (error) {
    // Deep nesting may exhaust the stack before a limit is reached.
    if (error instanceof RangeError)
      throw new DiagnosticError('model/damaged', source.label, error.message);
    throw error;
  }
}

/** The fields of the ModelProto. A file that does not begin like one is not ONNX rather than damaged. */
function topLevel(source: ByteSource): Field[] {
  const notOnnx = (why: string): DiagnosticError =>
    new DiagnosticError('model/not-onnx', source.label, why);
  if (source.size === 0) throw notOnnx('it is empty');
  // ModelProto begins with ir_version in every known writer's output; some leave it out or put it elsewhere.
  const [first, second] = source.read(0, Math.min(2, source.size));
  const likely = first === MODEL.irVersion * 8 && (second === undefined || second < 64);
  let fields: Field[];
  try {
    fields = scan(wholeSpan(source));
  } catch (error) {
    if (likely || !(error instanceof DiagnosticError)) throw error;
    throw notOnnx('it is not a protobuf message');
  }
  const graphs = fields.filter((f) => f.number === MODEL.graph);
  if (graphs.length === 1 && graphs[0]?.wire === 2) return fields;
  if (graphs.length > 1)
    throw new DiagnosticError('model/invalid', source.label, `it holds ${graphs.length} graphs`);
  if (!likely) throw notOnnx('it holds no graph');
  throw new DiagnosticError('model/damaged', source.label, 'it holds no graph');
}

function decodeFields(
  source: ByteSource,
  fields: readonly Field[],
  path: string | undefined,
): Model {
  const model = new Model();
  const files = new ExternalFiles(path === undefined ? undefined : dirname(path));
  model.irVersion = 0;
  const functions = new Map<LocalFunction, Field>();
  let graphField: Field | undefined;
  for (const field of fields) {
    if (field.number === MODEL.irVersion) model.irVersion = varintOf(field);
    else if (field.number === MODEL.producer) model.producerName = text(field);
    else if (field.number === MODEL.graph) graphField = field;
    else if (field.number === MODEL.opset) {
      expectWire(field, 2);
      const { domain, version } = decode('OperatorSetIdProto', payload(field), source.label);
      model.opsets.set(domain === 'ai.onnx' ? '' : (domain ?? ''), toNumber(version));
    } else if (field.number === MODEL.metadata) {
      expectWire(field, 2);
      const { key, value } = decode('StringStringEntryProto', payload(field), source.label);
      model.metadata.set(key ?? '', value ?? '');
    } else if (field.number === MODEL.function) functions.set(readFunction(field, files), field);
  }
  if (!graphField) throw new Error('internal error: topLevel lets no model without a graph pass');
  if (model.opsets.size === 0) {
    if (model.irVersion >= OPSETS_SINCE)
      throw new DiagnosticError('model/damaged', source.label, 'it imports no operator set');
    model.opsets.set('', 1);
  }
  model.functions = [...functions.keys()];
  const graph = readGraph(model.graph, graphField, files);
  model.source = new ModelRecord(
    source,
    fields,
    graph,
    files,
    path,
    model.irVersion,
    model.producerName,
    new Map(model.opsets),
    new Map(model.metadata),
    functions,
  );
  return model;
}
