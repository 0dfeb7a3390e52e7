// Couplings that are there already: an exported RevNet, or rev.onnx itself. In: a typed graph in topological order. Out:
// chains of half-couplings as couple.ts makes them, (a, b) → (c, t) with t = S(a) + f(b) and c = b, or S'(b) where the
// shape changes. Invariant: f reads b alone and S reads a alone, what can be reversed is left through its Add only, and a chain
// starts with two couplings that can be reversed; the graph is not touched.

import { sameShape } from '../ir/index.js';
import type { Graph, Node, Value } from '../ir/index.js';
import { Dominance, labelsOf, leakOf, learns, regionBetween } from '../analysis/index.js';
import type { CoupledChain, HalfCoupling } from './couple.js';

/** An Add with one operand taken as the stream, the other as the function. */
interface Sum {
  readonly add: Node;
  readonly stream: Value;
  readonly f: Value;
  readonly t: Value;
}

/** A coupling on the way; `b` of the first of a chain is known only from the second. */
interface Link extends Sum {
  readonly a: Value;
  readonly b: Value;
}

const readings = (add: Node): Sum[] => {
  const [p, q] = [add.input(0), add.input(1)];
  const t = add.output();
  return [
    { add, stream: p, f: q, t },
    { add, stream: q, f: p, t },
  ];
};

const isCandidate = (node: Node, dominance: Dominance): boolean => {
  if (node.domain !== '' || (node.op !== 'Add' && node.op !== 'Sum')) return false;
  const [p, q] = node.inputs;
  if (!p || !q || p === q || node.inputs.length !== 2) return false;
  return dominance.isData(p) && dominance.isData(q) && sameShape(p.shape, q.shape);
};

class Recogniser {
  private readonly dominance: Dominance;
  private readonly candidates: ReadonlySet<Node>;

  constructor(private readonly graph: Graph) {
    this.dominance = new Dominance(graph);
    this.candidates = new Set([...graph.nodes].filter((n) => isCandidate(n, this.dominance)));
  }

  chains(): (readonly Link[])[] {
    const ending = new Map<Node, Link[]>();
    const chains: Link[][] = [];
    for (const add of this.candidates) {
      const chain = this.extend(add, ending) ?? this.start(add, ending);
      if (!chain) continue;
      if (chain.length === 2) chains.push(chain);
      ending.set(add, chain);
    }
    return chains.map((chain) => this.finished(chain)).filter((chain) => chain.length >= 2);
  }

  /** The Add as the next coupling of a chain. */
  private extend(add: Node, ending: Map<Node, Link[]>): Link[] | undefined {
    for (const sum of readings(add))
      for (const from of this.sumsAbove(sum)) {
        const chain = ending.get(from);
        const last = chain?.at(-1);
        if (!chain || last?.add !== from) continue;
        const a = this.carried(last, sum);
        if (!a || !this.fits(sum, a, last.t)) continue;
        chain.push({ ...sum, a, b: last.t });
        ending.delete(from);
        return chain;
      }
    return undefined;
  }

  /** The Add as the second coupling of a new chain. */
  private start(add: Node, ending: ReadonlyMap<Node, Link[]>): Link[] | undefined {
    for (const second of readings(add))
      for (const from of this.sumsAbove(second)) {
        if (ending.has(from)) continue;
        const b = second.stream;
        for (const first of readings(from)) {
          if (first.f === b || this.dominance.common(b, first.f) !== b) continue;
          if (!this.fits(first, first.stream, b) || !this.fits(second, b, first.t)) continue;
          return [
            { ...first, a: first.stream, b },
            { ...second, a: b, b: first.t },
          ];
        }
      }
    return undefined;
  }

  /** Adds whose sum is the only way into the function, nearest first. */
  private *sumsAbove({ stream, f }: Sum): Generator<Node> {
    const end = this.dominance.common(stream, f);
    for (let at: Value | undefined = f; at && at !== end; at = this.dominance.above(at))
      if (at !== f && at.producer && this.candidates.has(at.producer)) yield at.producer;
  }

  /** The first stream after `last` if `next` follows: b itself, or what a change of shape made of it. */
  private carried(last: Link, next: Sum): Value | undefined {
    if (next.stream === last.b) return isTransition(last) ? undefined : last.b;
    if (this.dominance.common(last.b, next.stream) !== last.b) return undefined;
    if (!isTransition(last)) return last.b;
    for (
      let at: Value | undefined = next.stream;
      at && at !== last.b;
      at = this.dominance.above(at)
    )
      if (sameShape(at.shape, last.t.shape)) return at;
    return undefined;
  }

  /** Whether t = S(a) + f(b), and nothing else reads what lies between. */
  private fits({ add, stream, f }: Sum, a: Value, b: Value): boolean {
    const shortcut = regionBetween([stream], new Set([a]));
    const branch = regionBetween([f], new Set([b]));
    if (!learns(branch)) return false;
    const inside = new Set(branch);
    if (shortcut.some((node) => inside.has(node) && this.isData(node))) return false;
    if (a !== b && branch.some((node) => node.inputs.includes(a) || node.outputs.includes(a)))
      return false;
    // What changes the shape is not reversed, and may start with what the other stream's shortcut starts with.
    const closed = stream === a ? [branch] : [shortcut];
    return closed.every((region) => !leakOf(region, add, this.graph, this.dominance));
  }

  private isData(node: Node): boolean {
    return node.outputs.some((v) => v && this.dominance.isData(v));
  }

  /** A chain ends with two streams that something reads; a block whose input nobody reads any more is an ordinary one. */
  private finished(chain: readonly Link[]): readonly Link[] {
    for (let length = chain.length; length >= 2; length--) {
      const last = chain[length - 1];
      if (!last || isTransition(last)) continue;
      const branch = new Set(regionBetween([last.f], new Set([last.b])));
      const outside = this.dominance.dataUsers(last.b).some((user) => !branch.has(user));
      if (outside || this.graph.outputs.includes(last.b)) return chain.slice(0, length);
    }
    return [];
  }
}

const isTransition = ({ a, stream }: Link): boolean => a !== stream;

/** The value that joins the streams, where one operator reads both. */
function joined({ b, t }: Link): Value {
  const reader = t.users.find((user) => user.inputs.includes(b));
  return reader?.output() ?? t;
}

/** Chains in topological order of their first couplings. */
export function findCoupledChains(graph: Graph): CoupledChain[] {
  const chains = new Recogniser(graph).chains();
  const ids = labelsOf(chains.flatMap((chain) => chain.map(({ add }) => add)));
  return chains.flatMap((chain): CoupledChain[] => {
    const [first, last] = [chain[0], chain.at(-1)];
    if (!first || !last) return [];
    const idOf = ({ add }: Link): string => ids.get(add) ?? add.name;
    const couplings = chain.map((link, index): HalfCoupling => {
      const { a, b, f, t } = link;
      return { id: idOf(link), a, b, f, t, carried: chain[index + 1]?.a ?? b };
    });
    return [{ id: `${idOf(first)}..${idOf(last)}`, couplings, output: joined(last) }];
  });
}
