// Names in the generated Python. In: names of weights and nodes, which may be any text. Out: identifiers that follow them.
// Invariant: what comes out is an identifier, and no word of the language.

import { DiagnosticError } from '../../diagnostics/index.js';
import type { Node, Value } from '../../ir/index.js';

const RESERVED: ReadonlySet<string> = new Set(
  (
    'False None True and as assert async await break class continue def del elif else except finally for from ' +
    'global if import in is lambda nonlocal not or pass raise return try while with yield self torch nn math F ' +
    'forward training train eval mode half float double to cpu cuda type modules parameters buffers children ' +
    'apply requires_grad_ zero_grad state_dict load_state_dict register_buffer register_parameter add_module'
  ).split(' '),
);

/** Text as an identifier: what cannot stand in one becomes an underscore. */
export function identifier(text: string, fallback: string): string {
  let name = text
    .replace(/[^A-Za-z0-9]+/g, '_')
    .replace(/^_+|_+$/g, '')
    .slice(0, 60);
  if (name === '' || /^\d/.test(name)) name = name === '' ? fallback : `${fallback}_${name}`;
  return RESERVED.has(name) ? `${name}_` : name;
}

/** The name itself, or the first of NAME_1, NAME_2 … that is free. Takes it. */
export function unique(name: string, taken: Set<string>): string {
  let free = name;
  for (let i = 1; taken.has(free); i++) free = `${name}_${i}`;
  taken.add(free);
  return free;
}

/** A class name: resnet20 → Resnet20. */
export function className(text: string): string {
  const name = identifier(text, 'Network')
    .split('_')
    .map((part) => part.charAt(0).toUpperCase() + part.slice(1))
    .join('');
  return name;
}

/** Last words of weights that say what they are to their layer, not which layer it is. */
const LAST_WORDS: ReadonlySet<string> = new Set([
  ...['weight', 'bias', 'gamma', 'beta', 'scale', 'kernel', 'running_mean', 'running_var'],
]);

/** Names that an exporter made up: onnx::MatMul_123, 1234, /path/Transpose_output_0. */
const isMadeUp = (name: string): boolean =>
  /^(onnx::|\/|\d+$)|_output_\d+|::/.test(name) || !name.includes('.');

/** layer1.0.conv1.weight.second → [layer1, 0, conv1, second]. */
const fromWeight = (name: string): string[] =>
  name.split('.').filter((part) => part !== '' && !LAST_WORDS.has(part));

/** /layer1/layer1.0/conv1/Conv → [layer1, 0, conv1]. */
function fromNode(name: string): string[] {
  const path = name.split('/').filter((part) => part !== '');
  const parts: string[] = [];
  let before = '';
  for (const part of path.length > 1 ? path.slice(0, -1) : path) {
    // Exporters repeat what stands before: layer1/layer1.0.
    const own =
      before !== '' && part.startsWith(`${before}.`) ? part.slice(before.length + 1) : part;
    before = part;
    parts.push(...own.split('.'));
  }
  return parts;
}

/** Where a layer stands in its network, as words, from the names of its weights or else of its node. */
export function placeOf(node: Node, weights: readonly Value[]): string[] {
  const named = weights.find(({ name }) => !isMadeUp(name));
  const place = named ? fromWeight(named.name) : fromNode(node.name);
  return place.length > 0 ? place : [node.op.toLowerCase()];
}

/** How many words all places begin with; each keeps at least one. */
export function commonLength(places: readonly (readonly string[])[]): number {
  const [first] = places;
  if (!first) return 0;
  const most = Math.min(...places.map((place) => place.length - 1));
  let length = 0;
  while (length < most && places.every((place) => place[length] === first[length])) length++;
  return Math.max(0, length);
}

/** What a value is called where it is read. @throws DiagnosticError export/operator */
export function variableOf(variables: ReadonlyMap<Value, string>, value: Value): string {
  const name = variables.get(value);
  if (name === undefined)
    throw new DiagnosticError(
      'export/operator',
      `value ${value.name}`,
      'it is read before it is there',
    );
  return name;
}
