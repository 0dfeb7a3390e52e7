// Classes of the generated module. In: the bodies of all units. Out: one class per distinct structure, and for every
// unit the call that makes it. Invariant: what differs between the units of a class is an argument; what does not
// stands in the class.

import type { Code, Size } from './code.js';
import { commonLength, identifier, placeOf, unique } from './names.js';
import type { Draft } from './unit.js';
import type { Part } from './writing.js';

/** A class of the module, and the units that are made of it. */
export interface UnitClass {
  readonly name: string;
  /** Lines of Python, without what stands around them. */
  readonly text: readonly string[];
  /** One per unit, in their order. */
  readonly instances: readonly Instance[];
}

export interface Instance {
  readonly draft: Draft;
  /** "Residual(64, 16)" */
  readonly call: string;
  /** Names of the parts, in the order of draft.parts. */
  readonly partNames: readonly string[];
}

const structureOf = (draft: Draft): string =>
  JSON.stringify([
    draft.unit.streams !== undefined,
    draft.operands,
    draft.parts.map((p) => [p.code.key, p.isBuffer, p.holds.map((h) => [h.name, h.layout])]),
    draft.statements.map((s) => s.key),
  ]);

/** What a class is called: by what its units are. */
function nameOf({ unit, parts }: Draft): string {
  const has = (op: string): boolean => unit.nodes.some((node) => node.op === op);
  if (unit.streams) {
    if (has('Softmax')) return 'Attention';
    const convolves = has('Conv') || has('ConvTranspose');
    return !convolves && parts.length > 0 ? 'FeedForward' : 'Residual';
  }
  return {
    stem: 'Stem',
    coupling: 'Residual',
    block: 'Block',
    transition: 'Transition',
    plain: 'Plain',
    head: 'Head',
  }[unit.kind];
}

/** Names of the parts, after the weights they hold, as far as these do not say the place of the unit itself. */
function partNamesOf(parts: readonly Part[]): string[] {
  const places = parts.map((part) => {
    const place = placeOf(
      part.node,
      part.holds.map(({ value }) => value),
    );
    // A tensor of its own is called after itself, not after a layer.
    const [holding] = part.holds;
    if (holding?.name !== '') return place;
    const own = holding.value.name.split('.').filter((word) => word !== '');
    return /^(onnx::|\/|\d+$)|_output_\d+|::/.test(holding.value.name)
      ? [...place, part.fallback]
      : own;
  });
  const weighted = places.filter((_, i) => (parts[i]?.holds.length ?? 0) > 0);
  const length = commonLength(weighted.length > 0 ? weighted : places);
  const prefix = weighted[0]?.slice(0, length) ?? [];
  const taken = new Set<string>();
  return places.map((place, i) => {
    let shared = 0;
    while (shared < prefix.length && shared < place.length - 1 && place[shared] === prefix[shared])
      shared++;
    return unique(identifier(place.slice(shared).join('_'), parts[i]?.fallback ?? 'part'), taken);
  });
}

/** The holes of a body, in order. */
const holesOf = (draft: Draft): { inParts: Size[]; inStatements: Size[] } => ({
  inParts: draft.parts.flatMap((part) => part.code.sizes),
  inStatements: draft.statements.flatMap((statement) => statement.sizes),
});

interface Argument {
  readonly name: string;
  readonly type: string;
  /** One per unit. */
  readonly values: readonly string[];
}

function typeOf(values: readonly string[]): string {
  if (values.every((v) => /^-?\d+$/.test(v))) return 'int';
  if (values.every((v) => /^-?[\d.]+(e-?\d+)?$/.test(v))) return 'float';
  return 'Union[int, Tuple[int, ...]]';
}

/** Columns of holes that differ; equal columns are one argument. */
class Arguments {
  readonly list: Argument[] = [];
  private readonly columns = new Map<string, Argument>();

  constructor(private readonly taken: Set<string>) {}

  /** What stands in a hole: a literal, or an argument. */
  text(values: readonly string[], name: string): { text: string; argument: Argument | undefined } {
    if (values.every((v) => v === values[0])) return { text: values[0] ?? '', argument: undefined };
    const key = values.join('|');
    let argument = this.columns.get(key);
    if (!argument) {
      argument = { name: unique(name, this.taken), type: typeOf(values), values };
      this.columns.set(key, argument);
      this.list.push(argument);
    }
    return { text: argument.name, argument };
  }
}

/** Residual, Residual2, Residual3. */
function uniqueClass(name: string, taken: Set<string>): string {
  let free = name;
  for (let i = 2; taken.has(free); i++) free = `${name}${i}`;
  taken.add(free);
  return free;
}

function classOf(drafts: readonly Draft[], taken: Set<string>): UnitClass {
  const [first] = drafts;
  if (!first) throw new Error('internal error: a class of no unit');
  const name = uniqueClass(nameOf(first), taken);
  const partNames = partNamesOf(first.parts);
  const args = new Arguments(new Set(partNames));
  const holes = drafts.map(holesOf);
  const part = (index: number): string => `self.${partNames[index] ?? ''}`;
  const filled = (
    code: Code,
    which: 'inParts' | 'inStatements',
    at: { i: number },
    kept?: Set<Argument>,
  ): string =>
    code.text((hole) => {
      const i = at.i++;
      const values = holes.map((h) => h[which][i]?.text ?? hole.text);
      const { text, argument } = args.text(values, hole.name);
      if (!argument || !kept) return text;
      kept.add(argument);
      return `self.${text}`;
    }, part);

  const place = { i: 0 };
  const parts = first.parts.map((p, i) => {
    const text = filled(p.code, 'inParts', place);
    return p.isBuffer
      ? `self.register_buffer('${partNames[i] ?? ''}', ${text})`
      : `self.${partNames[i] ?? ''} = ${text}`;
  });
  const kept = new Set<Argument>();
  const at = { i: 0 };
  const statements = first.statements.map((s) => filled(s, 'inStatements', at, kept));
  // Only buffers are of a type that cannot be told from how they are made.
  const declared = first.parts.flatMap((p, i) =>
    p.isBuffer ? [`${partNames[i] ?? ''}: Tensor`] : [],
  );

  const signature = args.list.map(({ name: n, type }) => `, ${n}: ${type}`).join('');
  const operands = first.operands.map((o) => `, ${o}: Tensor`).join('');
  const result =
    first.unit.gives.length === 1
      ? 'Tensor'
      : `Tuple[${first.unit.gives.map(() => 'Tensor').join(', ')}]`;
  const body = [...parts, ...[...kept].map((a) => `self.${a.name} = ${a.name}`)];
  const text = [
    `class ${name}(nn.Module):`,
    `    """${docOf(drafts)}"""`,
    '',
    ...declared.map((line) => `    ${line}`),
    ...(declared.length > 0 ? [''] : []),
    ...(body.length === 0
      ? []
      : [
          `    def __init__(self${signature}) -> None:`,
          '        super().__init__()',
          ...body.map((line) => `        ${line}`),
          '',
        ]),
    `    def forward(self${operands}) -> ${result}:`,
    ...statements.map((line) => `        ${line}`),
  ];
  const instances = drafts.map((draft, i): Instance => {
    const values = args.list.map((a) => a.values[i] ?? '');
    return { draft, call: `${name}(${values.join(', ')})`, partNames };
  });
  return { name, text, instances };
}

function docOf(drafts: readonly Draft[]): string {
  const [first, ...rest] = drafts.map(({ unit }) =>
    unit.id.replaceAll('"', "'").replaceAll('\\', '/'),
  );
  const last = rest.at(-1);
  const units = last === undefined ? first : `${first ?? ''} to ${last} (${drafts.length} of them)`;
  return drafts[0]?.unit.streams ? `Residual function f(b) of ${units ?? ''}.` : `${units ?? ''}.`;
}

/** One class per structure, in the order of their first units. */
export function classesOf(drafts: readonly Draft[], taken: Set<string>): UnitClass[] {
  const groups = new Map<string, Draft[]>();
  for (const draft of drafts) {
    const key = structureOf(draft);
    const group = groups.get(key);
    if (group) group.push(draft);
    else groups.set(key, [draft]);
  }
  return [...groups.values()].map((group) => classOf(group, taken));
}
