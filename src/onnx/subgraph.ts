// Graphs nested in attributes (the branches of If, the body of Loop). In: the bytes of a GraphProto. Out: the
// outer names it reads, and the same bytes with names replaced or tensors rewritten. Invariant: what is not
// replaced stays byte for byte, unknown fields included.

import type { SubgraphNames } from '../ir/index.js';
import { ATTRIBUTE } from './attribute.js';
import { Output } from './output.js';
import { damaged, inside, scan, text } from './wire.js';
import type { Field, Span } from './wire.js';

/** Deeper nesting is an attack, not a network. */
const MAX_GRAPHS = 16;

/** Numbers of the fields that are followed. */
const GRAPH = {
  node: 1,
  initializer: 5,
  input: 11,
  output: 12,
  valueInfo: 13,
  sparse: 15,
} as const;
const NODE = { input: 1, output: 2, attribute: 5 } as const;

const nameIn = (field: Field, number: number): string => {
  const found = scan(inside(field)).findLast((f) => f.number === number);
  return found ? text(found) : '';
};

/** Names of the values that a graph itself defines. */
function definedIn(fields: readonly Field[]): Set<string> {
  const names = new Set<string>();
  for (const field of fields) {
    if (field.number === GRAPH.input) names.add(nameIn(field, 1));
    else if (field.number === GRAPH.initializer) names.add(nameIn(field, 8));
    else if (field.number === GRAPH.sparse) {
      const values = scan(inside(field)).find((f) => f.number === 1);
      if (values) names.add(nameIn(values, 8));
    } else if (field.number === GRAPH.node) {
      for (const f of scan(inside(field))) if (f.number === NODE.output) names.add(text(f));
    }
  }
  return names;
}

/** Collects what the graph in `span` reads from outside and defines inside: in the order in which namesIn of src/ir does. */
export function collectNames(
  span: Span,
  into: SubgraphNames,
  scopes: readonly ReadonlySet<string>[] = [],
): void {
  if (scopes.length >= MAX_GRAPHS)
    throw damaged(span.source, `graphs nest deeper than ${MAX_GRAPHS}`);
  const fields = scan(span);
  const own = definedIn(fields);
  for (const name of own) into.inner.add(name);
  const visible = [...scopes, own];
  const reads = (name: string): void => {
    if (name !== '' && !visible.some((s) => s.has(name))) into.captures.add(name);
  };
  for (const field of fields) {
    if (field.number !== GRAPH.node) continue;
    const parts = scan(inside(field));
    for (const f of parts) if (f.number === NODE.input) reads(text(f));
    for (const f of parts) {
      if (f.number !== NODE.attribute) continue;
      for (const a of scan(inside(f)))
        if (a.number === ATTRIBUTE.graph || a.number === ATTRIBUTE.graphs)
          collectNames(inside(a), into, visible);
    }
  }
  for (const field of fields) if (field.number === GRAPH.output) reads(nameIn(field, 1));
}

export interface Rewriting {
  /** The new name of the attribute itself, as bytes; undefined = the old one. */
  readonly name?: Uint8Array;
  /** Outer name → its new name. */
  readonly rename: ReadonlyMap<string, string>;
  /** The new content of a TensorProto; undefined = leave it. */
  readonly tensor: (span: Span) => Output | undefined;
}

const utf8 = new TextEncoder();

/** Copies a message, with some fields replaced by new content. */
function replaceFields(span: Span, replace: (field: Field) => Output | undefined): Output {
  const out = new Output();
  for (const field of scan(span)) {
    const content = replace(field);
    if (content) out.field(field.number, content);
    else out.add(field);
  }
  return out;
}

function rewriteGraph(span: Span, how: Rewriting): Output {
  // A name that the graph defines itself hides the outer one.
  const own = definedIn(scan(span));
  const rename = new Map([...how.rename].filter(([from]) => !own.has(from)));
  const inner: Rewriting = { tensor: how.tensor, rename };
  const renamed = (field: Field): Output | undefined => {
    const to = rename.get(text(field));
    return to === undefined ? undefined : new Output().add(utf8.encode(to));
  };
  return replaceFields(span, (field) => {
    switch (field.number) {
      case GRAPH.initializer:
        return how.tensor(inside(field));
      case GRAPH.output:
        return replaceFields(inside(field), (f) => (f.number === 1 ? renamed(f) : undefined));
      case GRAPH.node:
        return replaceFields(inside(field), (f) => {
          if (f.number === NODE.input) return renamed(f);
          return f.number === NODE.attribute ? rewriteAttribute(inside(f), inner) : undefined;
        });
      default:
        return undefined;
    }
  });
}

/** The same for an AttributeProto. */
export function rewriteAttribute(span: Span, how: Rewriting): Output {
  return replaceFields(span, (field) => {
    switch (field.number) {
      case ATTRIBUTE.name:
        return how.name && new Output().add(how.name);
      case ATTRIBUTE.graph:
      case ATTRIBUTE.graphs:
        return rewriteGraph(inside(field), how);
      case ATTRIBUTE.tensor:
      case ATTRIBUTE.tensors:
        return how.tensor(inside(field));
      default:
        return undefined;
    }
  });
}

/** Whether some tensor at any depth of an AttributeProto satisfies a test. */
export function someTensor(span: Span, test: (tensor: Span) => boolean): boolean {
  return scan(span).some((field) => {
    if (field.number === ATTRIBUTE.tensor || field.number === ATTRIBUTE.tensors)
      return test(inside(field));
    if (field.number !== ATTRIBUTE.graph && field.number !== ATTRIBUTE.graphs) return false;
    return scan(inside(field)).some((f) => {
      if (f.number === GRAPH.initializer) return test(inside(f));
      if (f.number !== GRAPH.node) return false;
      return scan(inside(f)).some(
        (a) => a.number === NODE.attribute && someTensor(inside(a), test),
      );
    });
  });
}
