// Cuts the network into the units a training step works through. In: a graph with its loss, the coupled chains,
// the residual blocks that were left. Out: units in execution order. Invariant: every node is in exactly one
// unit, and a unit reads only what earlier units, graph inputs and weights hold.

import type { ResidualBlock } from '../analysis/index.js';
import { regionBetween } from '../analysis/index.js';
import type { Graph, Node, Value } from '../ir/index.js';
import { isReversible } from '../reversible/index.js';
import type { CoupledChain, HalfCoupling } from '../reversible/index.js';
import { cutStretch, interiorBytes } from './cuts.js';

type UnitKind = 'stem' | 'coupling' | 'block' | 'transition' | 'plain' | 'head';

export interface Unit {
  /** Unique, a path segment in node names: "stem", "layer1.2", "head". */
  readonly id: string;
  readonly kind: UnitKind;
  /** In topological order. */
  readonly nodes: readonly Node[];
  /** For couplings: the streams. */
  readonly coupling: HalfCoupling | undefined;
  /** For couplings: the chain they belong to. */
  readonly chain: CoupledChain | undefined;
}

interface Seed {
  readonly id: string;
  readonly kind: UnitKind;
  readonly nodes: Set<Node>;
  readonly end: Node;
  readonly coupling?: HalfCoupling;
  readonly chain?: CoupledChain;
}

/** Operators that do the learning: a group of nodes with one of them is worth a unit of its own. */
const HEAVY = new Set(['Conv', 'ConvTranspose', 'Gemm', 'MatMul']);
const isLight = (nodes: readonly Node[]): boolean =>
  !nodes.some((n) => n.domain === '' && HEAVY.has(n.op));

/** Without what is shared with others and does not come from the streams: the mask that all attention reads. */
function own(region: readonly Node[], streams: readonly Value[]): Set<Node> {
  const inside = new Set(region);
  const made = new Set<Value | undefined>(streams);
  for (const node of region)
    if (node.inputs.some((v) => made.has(v))) for (const v of node.outputs) made.add(v);
  const isShared = (node: Node): boolean =>
    !node.outputs.some((v) => made.has(v)) &&
    node.outputs.some((v) => v?.users.some((user) => !inside.has(user)) === true);
  // What only leads to something shared is shared as well.
  for (const node of [...region].reverse()) if (isShared(node)) inside.delete(node);
  return inside;
}

function couplingSeeds(chains: readonly CoupledChain[]): Seed[] {
  return chains.flatMap((chain) =>
    chain.couplings.map((coupling): Seed => {
      const end = coupling.t.producer;
      if (!end) throw new Error(`internal error: stream ${coupling.t.name} has no producer`);
      const { id, a, b, t, carried } = coupling;
      const nodes = own(regionBetween([t, carried], new Set([a, b])), [a, b]);
      if (isReversible(coupling)) return { id, kind: 'coupling', nodes, end, coupling, chain };
      return { id, kind: 'transition', nodes, end, chain };
    }),
  );
}

function blockSeeds(blocks: readonly ResidualBlock[]): Seed[] {
  return blocks.map((block) => {
    const nodes = own([...block.shortcut, ...block.branch, block.add], [block.input]);
    const reader = block.output.users.length === 1 ? block.output.users[0] : undefined;
    const activation = reader?.op === 'Relu' ? reader : undefined;
    if (activation) nodes.add(activation);
    const kind = block.kind === 'projection' ? 'transition' : 'block';
    return { id: block.id, kind, nodes, end: activation ?? block.add };
  });
}

/** Groups that do not read each other's results: two stems side by side are two units, so that their interiors need not
 * be there together. Groups without a heavy node join the others. */
function independentParts(nodes: readonly Node[]): Node[][] {
  const groups: Set<Node>[] = [];
  for (const node of nodes) {
    const makers = new Set(node.inputs.map((v) => v?.producer));
    const read = groups.filter((group) => [...makers].some((maker) => maker && group.has(maker)));
    const joined = new Set([...read.flatMap((group) => [...group]), node]);
    for (const group of read) groups.splice(groups.indexOf(group), 1);
    groups.push(joined);
  }
  const heavy = groups.filter((group) => !isLight([...group]));
  if (heavy.length < 2) return nodes.length > 0 ? [[...nodes]] : [];
  const [first] = heavy;
  for (const group of groups)
    if (!heavy.includes(group)) for (const node of group) first?.add(node);
  return heavy.map((group) => nodes.filter((node) => group.has(node)));
}

/**
 * @param graph sorted
 * @param left residual blocks that are not coupled and hold no other block
 */
export function partition(
  graph: Graph,
  chains: readonly CoupledChain[],
  left: readonly ResidualBlock[],
): Unit[] {
  const position = new Map<Node, number>();
  for (const node of graph.nodes) position.set(node, position.size);
  const at = (node: Node): number => position.get(node) ?? -1;
  const seeds = [...couplingSeeds(chains), ...blockSeeds(left)].sort(
    (a, b) => at(a.end) - at(b.end),
  );
  const owner = new Map<Node, number>();
  seeds.forEach((seed, index) => {
    for (const node of seed.nodes) owner.set(node, index);
  });

  // What belongs to no block lies between two of them, by position in the order of execution.
  const gaps: Node[][] = Array.from({ length: seeds.length + 1 }, () => []);
  let gap = 0;
  for (const node of graph.nodes) {
    while (gap < seeds.length && at(node) > at(seeds[gap]?.end ?? node)) gap++;
    if (!owner.has(node)) gaps[gap]?.push(node);
  }

  const floor = Math.max(0, ...seeds.map((seed) => interiorBytes(seed.nodes)));
  const names = new Map<string, number>();
  const unique = (base: string): string => {
    const count = names.get(base) ?? 0;
    names.set(base, count + 1);
    return count === 0 ? base : `${base}#${count}`;
  };
  const units: Unit[] = [];
  const plain = (kind: UnitKind, nodes: readonly Node[]): void => {
    for (const whole of independentParts(nodes))
      for (const part of kind === 'head' ? [whole] : cutStretch(whole, floor))
        units.push({ id: unique(kind), kind, nodes: part, coupling: undefined, chain: undefined });
  };
  seeds.forEach((seed, index) => {
    const before = gaps[index] ?? [];
    // A batch norm or an average before a block is recomputed together with the block.
    const join = seed.kind !== 'coupling' && isLight(before);
    if (!join) plain(index === 0 ? 'stem' : 'plain', before);
    const nodes = [...(join ? before : []), ...seed.nodes].sort((a, b) => at(a) - at(b));
    units.push({
      id: unique(seed.id),
      kind: seed.kind,
      nodes,
      coupling: seed.coupling,
      chain: seed.chain,
    });
  });
  plain('head', gaps[seeds.length] ?? []);
  return units;
}
