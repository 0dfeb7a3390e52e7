// Python text with holes. In: text, sizes that may differ from one block to the next, references to parts of a module.
// Out: the text once it is known which sizes differ. Invariant: two texts with the same key differ in their holes only,
// so that one class with constructor arguments serves for both.

/** A literal that may differ between blocks of one structure: an argument of the class where it does. */
export interface Size {
  readonly kind: 'size';
  /** What it says in Python: "64", "(3, 1)", "0.1". */
  readonly text: string;
  /** What to call it where it becomes an argument. */
  readonly name: string;
}

/** A part of the module, by its index: written self.NAME. */
export interface Reference {
  readonly kind: 'part';
  readonly index: number;
}

type Piece = string | Size | Reference;

/** A piece of Python. */
export class Code {
  constructor(readonly pieces: readonly Piece[]) {}

  /** The text without its holes. */
  get key(): string {
    return this.pieces
      .map((p) => (typeof p === 'string' ? p : p.kind === 'size' ? '\u0000' : `\u0001${p.index}`))
      .join('');
  }

  get sizes(): Size[] {
    return this.pieces.filter((p): p is Size => typeof p !== 'string' && p.kind === 'size');
  }

  /** @param size text of the next hole, asked in order @param part name of a part */
  text(size: (hole: Size) => string, part: (index: number) => string): string {
    return this.pieces
      .map((p) => (typeof p === 'string' ? p : p.kind === 'size' ? size(p) : part(p.index)))
      .join('');
  }
}

type Insert = Code | Piece | number;

/** py`F.pad(${x}, (${left}, ${right}))`; numbers and strings are text, sizes are holes. */
export function py(strings: TemplateStringsArray, ...inserts: readonly Insert[]): Code {
  const pieces: Piece[] = [];
  const add = (piece: Insert): void => {
    if (piece instanceof Code) pieces.push(...piece.pieces);
    else pieces.push(typeof piece === 'number' ? numberText(piece) : piece);
  };
  strings.forEach((text, i) => {
    if (text !== '') pieces.push(text);
    const insert = inserts[i];
    if (insert !== undefined) add(insert);
  });
  return new Code(pieces);
}

/** Pieces side by side. */
export const joined = (parts: readonly Insert[], separator: string): Code =>
  new Code(parts.flatMap((part, i) => [...(i === 0 ? [] : [separator]), ...py`${part}`.pieces]));

/** Arguments of a call or elements of a tuple. */
export const listed = (parts: readonly Insert[]): Code => joined(parts, ', ');

/** (a, b); (a,) for one. */
export const tuple = (parts: readonly Insert[]): Code =>
  parts.length === 1 ? py`(${parts[0] ?? ''},)` : py`(${listed(parts)})`;

export const size = (value: number, name: string): Size => ({
  kind: 'size',
  text: numberText(value),
  name,
});

/** One number where all are equal, else a tuple. */
export function sizes(values: readonly number[], name: string): Size {
  const same = values.every((v) => v === values[0]);
  const text = same ? numberText(values[0] ?? 0) : `(${values.map(numberText).join(', ')})`;
  return { kind: 'size', text, name };
}

const LARGEST_INT64 = 2 ** 63;

/** A number as Python has it. */
export function numberText(value: number): string {
  if (Number.isNaN(value)) return "float('nan')";
  if (!Number.isFinite(value) || Math.abs(value) >= LARGEST_INT64)
    return value > 0 ? "float('inf')" : "-float('inf')";
  return String(value);
}

/** A float32 as the shortest decimal that stands for it, always with a point or exponent. */
export function floatText(value: number): string {
  if (!Number.isFinite(value)) return numberText(value);
  let text = String(value);
  for (let digits = 1; digits < 10; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === Math.fround(value)) {
      text = String(short);
      break;
    }
  }
  return /[.e]/.test(text) ? text : `${text}.0`;
}

export const floatSize = (value: number, name: string): Size => ({
  kind: 'size',
  text: floatText(value),
  name,
});

/** A Python string literal. */
export const quoted = (text: string): string =>
  `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'").replaceAll('\n', '\\n')}'`;
