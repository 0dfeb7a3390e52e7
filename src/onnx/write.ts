// Model → bytes or files. Invariant: a model that has not changed is written as the very bytes it was read
// from; a file appears whole or not at all; the files a model was read from are never overwritten.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, realpathSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { DiagnosticError } from '../diagnostics/index.js';
import type { ConstantData, Model } from '../ir/index.js';
import { recordOf } from './attribute.js';
import { encode, fromBigInt } from './codec.js';
import type { ExternalFiles } from './external.js';
import { atomicWriteAll } from './files.js';
import { Output } from './output.js';
import { MODEL, ModelRecord, ValueRecord } from './record.js';
import { TensorData } from './tensor-data.js';
import { DataFile, encodeTensor, makeTarget } from './tensor-write.js';
import type { TensorTarget } from './tensor-write.js';
import { Float32Data } from './widen.js';
import { writeFunction } from './write-body.js';
import { writeGraph } from './write-graph.js';

/** Protobuf messages end here. */
const MAX_MESSAGE = 2 ** 31 - 1;

/**
 * Where weights go. auto: where they are (those of a model that came with data files into a data file again), or
 * into a data file if the model would exceed 2 GiB; never: into the model file; always: those of 1 KiB and more
 * into a data file.
 */
type ExternalMode = 'auto' | 'never' | 'always';

export interface EncodeOptions {
  readonly external?: ExternalMode;
  /** The name of the data file that `external` makes; required for 'always' and for large models. */
  readonly dataName?: string;
  /** Write the types of all values, not only those the file had. Default false. */
  readonly valueInfo?: boolean;
}

export interface Layout {
  readonly main: Output;
  readonly data: DataFile | undefined;
}

/** The model as bytes. References to existing data files are kept unless external is 'never'. */
export function encodeModel(
  model: Model,
  options: EncodeOptions = {},
): { bytes: Uint8Array; external?: { name: string; bytes: Uint8Array } } {
  const { main, data } = layout(model, options, () => options.external === 'never');
  const bytes = main.bytes();
  return data
    ? { bytes, external: { name: data.location, bytes: data.content.bytes() } }
    : { bytes };
}

/**
 * Writes the model, and a data file beside it where weights are external.
 * @returns the paths of what was written, the model's last
 * @throws DiagnosticError usage/output
 */
export const writeModel = (
  model: Model,
  path: string,
  options: Omit<EncodeOptions, 'dataName'> = {},
): string[] => prepareModel(model, path, options)();

/**
 * writeModel in two steps: this one encodes the graph and touches no file.
 * @returns what writes the files; the model must be as it was
 * @throws DiagnosticError usage/output
 */
export function prepareModel(
  model: Model,
  path: string,
  options: Omit<EncodeOptions, 'dataName'> = {},
): () => string[] {
  const record = model.source instanceof ModelRecord ? model.source : undefined;
  const folder = dirname(path);
  // Tensors may stem from several files, so each one's own folder counts, not the model's.
  const relocates = ({ folder: from }: ExternalFiles): boolean =>
    options.external === 'never' || (from !== undefined && real(from) !== real(folder));
  const dataName = `${basename(path)}.data`;
  const { main, data } = layout(model, { ...options, dataName }, relocates);
  const dataPath = join(folder, dataName);
  for (const source of sourcesOf(model, record)) {
    const target = [path, ...(data ? [dataPath] : [])].find((p) => real(p) === real(source));
    if (target !== undefined)
      throw new DiagnosticError('usage/output', target, 'the model was read from this file');
  }
  const files = [
    ...(data ? [{ path: dataPath, content: data.content }] : []),
    { path, content: main },
  ];
  return () => {
    makeFolder(folder);
    atomicWriteAll(files.map(({ content, ...at }) => ({ ...at, body: (w) => content.emit(w) })));
    return files.map((file) => file.path);
  };
}

/** SHA-256 of the model with every weight in it: equal for models that differ in where their weights lie. */
export function modelDigest(model: Model): string {
  const hash = createHash('sha256');
  const target = makeTarget(() => true, undefined);
  writeMessage(model, target, false).emit((bytes) => hash.update(bytes));
  return hash.digest('hex');
}

function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    throw new DiagnosticError('usage/output', folder, error instanceof Error ? error.message : '');
  }
}

const real = (path: string): string => (existsSync(path) ? realpathSync(path) : resolve(path));

/** The files that the content of a model still comes from. */
function sourcesOf(model: Model, record: ModelRecord | undefined): Set<string> {
  // A source's label is its path; that of bytes in memory is no path of a file, which does no harm.
  const paths = new Set<string>();
  if (record?.path !== undefined) paths.add(record.path);
  for (const { constant } of model.graph.constants) {
    const data = constant instanceof Float32Data ? constant.origin : constant;
    if (data instanceof TensorData) {
      const { external, files, span } = data;
      paths.add(span.source.label);
      if (external && files.folder !== undefined) paths.add(join(files.folder, external.location));
    }
  }
  for (const node of model.graph.nodes)
    for (const [, attribute] of node.attributes.entries()) {
      const from = recordOf(attribute);
      if (from) paths.add(from.span.source.label);
    }
  return paths;
}

/** @internal what would be written, before anything is */
export function layout(
  model: Model,
  options: EncodeOptions,
  relocates: TensorTarget['relocates'],
): Layout {
  const { external = 'auto', dataName } = options;
  const valueInfo = options.valueInfo ?? false;
  const withData = (all: boolean): Layout => {
    if (dataName === undefined)
      throw new DiagnosticError('usage/output', 'model', 'no name for the data file is given');
    const data = new DataFile(dataName);
    const main = writeMessage(model, makeTarget(relocates, data, all), valueInfo);
    return { main, data: data.content.length > 0 ? data : undefined };
  };
  if (external === 'always') return withData(true);
  if (external === 'auto' && dataName !== undefined && cameWithData(model)) {
    const laid = withData(false);
    if (laid.main.length <= MAX_MESSAGE) return laid;
  }
  const main = writeMessage(model, makeTarget(relocates, undefined), valueInfo);
  if (main.length <= MAX_MESSAGE) return { main, data: undefined };
  if (external === 'auto') return withData(true);
  throw new DiagnosticError(
    'usage/output',
    'model',
    'a model of more than 2 GiB needs a data file',
  );
}

/** Whether the model, or weights that are still in it, came with a data file. */
function cameWithData(model: Model): boolean {
  const outside = (data: ConstantData | undefined): boolean =>
    data instanceof TensorData && data.external !== undefined;
  if ([...model.graph.constants].some(({ constant }) => outside(constant))) return true;
  const slots = model.source instanceof ModelRecord ? model.source.graph.slots : [];
  return slots.some(
    ({ value }) => value?.source instanceof ValueRecord && outside(value.source.constant),
  );
}

function writeMessage(model: Model, target: TensorTarget, valueInfo: boolean): Output {
  const record = model.source instanceof ModelRecord ? model.source : undefined;
  const graph = writeGraph(model.graph, { target, valueInfo });
  const header = new Map<number, (out: Output) => void>();
  const producer = model.producerName || (record ? '' : 'revnetify');
  if (!record || model.irVersion !== record.irVersion)
    header.set(MODEL.irVersion, (out) => out.varintField(MODEL.irVersion, model.irVersion));
  if (!record || producer !== record.producerName)
    header.set(MODEL.producer, (out) =>
      out.field(MODEL.producer, new TextEncoder().encode(producer)),
    );
  if (graph.changed || !record)
    header.set(MODEL.graph, (out) => out.field(MODEL.graph, graph.content));
  if (!record || !sameMap(model.opsets, record.opsets))
    header.set(MODEL.opset, (out) => {
      for (const [domain, version] of model.opsets) {
        const entry = { domain, version: fromBigInt(BigInt(version)) };
        out.field(MODEL.opset, encode('OperatorSetIdProto', entry));
      }
    });
  if (!record || !sameMap(model.metadata, record.metadata))
    header.set(MODEL.metadata, (out) => {
      for (const [key, value] of model.metadata)
        out.field(MODEL.metadata, encode('StringStringEntryProto', { key, value }));
    });
  const functions = record?.functions;
  if (!sameList(model.functions, [...(functions?.keys() ?? [])]))
    header.set(MODEL.function, (out) => {
      for (const f of model.functions) {
        const field = functions?.get(f);
        if (field) out.add(field);
        else out.field(MODEL.function, writeFunction(f, target));
      }
    });
  const out = new Output();
  const done = new Set<number>();
  for (const field of record?.fields ?? []) {
    const write = header.get(field.number);
    if (!write) out.add(field);
    else if (!done.has(field.number)) {
      done.add(field.number);
      write(out);
    }
  }
  for (const [number, write] of [...header].sort(([a], [b]) => a - b))
    if (!done.has(number)) write(out);
  return out;
}

const sameMap = <V>(a: ReadonlyMap<string, V>, b: ReadonlyMap<string, V>): boolean =>
  a.size === b.size && [...a].every(([key, value]) => b.get(key) === value);

const sameList = <T>(a: readonly T[], b: readonly T[]): boolean =>
  a.length === b.length && a.every((item, i) => item === b[i]);

/** A TensorProto file (.pb). */
export function writeTensor(data: ConstantData, name = ''): Uint8Array {
  return encodeTensor(
    name,
    data,
    makeTarget(() => true, undefined),
  ).bytes();
}
