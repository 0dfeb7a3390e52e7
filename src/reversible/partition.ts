// Fills and joins the streams. In: coupled sections whose ends are open, and how channels shall be shared out. Out: the
// chains, each with its input duplicated, made twice, or split, and the streams averaged or concatenated.
// Invariant: residual functions see a stream of the width they had (widen), or half of it (split), throughout a section.

import { invariant } from '../diagnostics/index.js';
import { int } from '../ir/index.js';
import type { Graph, Node, Value } from '../ir/index.js';
import { AxisClasses, Dominance, regionBetween } from '../analysis/index.js';
import type { AxisClass } from '../analysis/index.js';
import { Builder } from '../ops/index.js';
import { copyOf } from './copy.js';
import type { CoupledChain, CoupledSection } from './couple.js';
import { resizeAxes, resizedTo, select } from './resize.js';
import type { Selection } from './resize.js';
import { stemOf } from './stem.js';

/** State of 2C channels, each stream as wide as the original's (widen), or of C, each stream half (split). */
export const PARTITIONS = ['widen', 'split'] as const;
export type Partition = (typeof PARTITIONS)[number];
/** Where the second C channels come from under widen: a second stem (the two are one of twice the width), or a copy of
 * the first. */
export const STEMS = ['widened', 'duplicated'] as const;
export type Stem = (typeof STEMS)[number];
export const HEADS = ['concat', 'average'] as const;
export type Head = (typeof HEADS)[number];

export interface PartitionChoices {
  readonly partition: Partition;
  readonly stem: Stem;
  readonly head: Head;
  readonly seed: number;
}

/** Widths that may be chosen freely: channels inside residual functions. */
export interface Widths {
  /** Each with the extent it has now. */
  readonly classes: readonly AxisClass[];
  /** What the other changes are. */
  readonly fixed: ReadonlyMap<AxisClass, Selection>;
  readonly axes: AxisClasses;
}

export interface PartitionResult {
  readonly chains: readonly CoupledChain[];
  /** What could not be done as asked, in plain words. */
  readonly notes: readonly string[];
}

interface Ends {
  readonly entry: 'copy' | 'split' | 'stems';
  readonly exit: 'average' | 'concat';
  /** Axis of the channels. */
  readonly channels: number;
}

/**
 * @param chooseWidths inner extents; not named: as they are (widen) or half (split)
 */
export function partitionSections(
  graph: Graph,
  sections: readonly CoupledSection[],
  choices: PartitionChoices,
  chooseWidths: (widths: Widths) => ReadonlyMap<AxisClass, number>,
): PartitionResult {
  const borders = new Set(sections.flatMap((s) => [...s.entry, ...s.join]));
  const axes = new AxisClasses(graph, borders);
  const dominance = new Dominance(graph);
  const changes = new Map<AxisClass, Selection>();
  const notes: string[] = [];
  const ends = new Map<CoupledSection, Ends>();
  const split = new Set<CoupledSection>();
  for (const section of sections) {
    const channels = channelAxis(section, axes);
    if (choices.partition === 'split') {
      const why = whyNotSplit(section, sections, axes, channels);
      if (why === undefined) {
        for (const [axisClass, half] of halves(section, axes, channels))
          changes.set(axisClass, half);
        split.add(section);
        ends.set(section, { entry: 'split', exit: 'concat', channels });
        continue;
      }
      notes.push(`${section.id} cannot be split, its streams keep their full width: ${why}`);
    }
    ends.set(section, widen(section, axes, channels, dominance, choices, changes, notes));
  }
  const classes = innerClasses(sections, axes, changes);
  for (const [axisClass, extent] of defaultWidths(sections, split, axes, classes))
    changes.set(axisClass, resizedTo(extentOf(axisClass) ?? 0, extent));
  const free = [...classes];
  for (const [axisClass, extent] of chooseWidths({ classes: free, fixed: changes, axes }))
    changes.set(axisClass, resizedTo(extentOf(axisClass) ?? 0, extent));
  for (const [axisClass, selection] of [...changes])
    if (selection.length === extentOf(axisClass) && selection.every((from, to) => from === to))
      changes.delete(axisClass);
  resizeAxes(graph, changes, choices.seed);
  const chains = sections.map((section) => {
    const end = ends.get(section);
    invariant(end, 'every section has its ends');
    return close(graph, section, end, dominance, choices.seed);
  });
  graph.removeDead();
  graph.sort();
  return { chains, notes };
}

const extentOf = (axisClass: AxisClass | undefined): number | undefined =>
  typeof axisClass?.extent === 'number' ? axisClass.extent : undefined;

/**
 * The axis of a section's streams that holds the channels: 1 in [N,C,H,W], the last in [N,T,C]. It is told by the weights:
 * the axis whose extent most of them have, among those that may change; where none may, the second.
 */
function channelAxis({ entry }: CoupledSection, axes: AxisClasses): number {
  const stream = entry[0].output();
  let [best, most] = [1, 0];
  for (let axis = 0; axis < (stream.shape?.length ?? 0); axis++) {
    const own = axes.of(stream, axis);
    if (!own || own.frozen !== undefined) continue;
    const weights = new Set(own.members.map(({ value }) => value).filter((v) => v.constant));
    if (weights.size > most) [best, most] = [axis, weights.size];
  }
  return best;
}

/** Streams of a section, each with the half it stands for: the first of the pair takes the first half. */
function streams(section: CoupledSection): Map<Value, 0 | 1> {
  const half = new Map<Value, 0 | 1>();
  for (const { a, b, f, t, carried } of section.couplings) {
    const [ofA, ofB] = [half.get(a) ?? 0, half.get(b) ?? 1];
    half.set(a, ofA).set(b, ofB).set(f, ofA).set(t, ofA).set(carried, ofB);
  }
  return half;
}

function whyNotSplit(
  section: CoupledSection,
  sections: readonly CoupledSection[],
  axes: AxisClasses,
  channels: number,
): string | undefined {
  const whole = sections.flatMap(({ input, output }) => [input, output]);
  for (const value of streams(section).keys()) {
    const own = axes.of(value, channels);
    const extent = extentOf(own);
    if (!own || extent === undefined) return `the number of channels of ${value.name} is not known`;
    if (own.frozen !== undefined) return own.frozen;
    const tied = whole.find((other) => axes.of(other, channels) === own);
    if (tied) return `${value.name} shares a weight with what makes or reads ${tied.name}`;
    if (extent % 2 !== 0) return `${value.name} has ${extent} channels, an odd number`;
    if ((extent / 2) % own.multiple !== 0)
      return `half of the ${extent} channels of ${value.name} is no whole number of groups`;
  }
  return undefined;
}

function halves(
  section: CoupledSection,
  axes: AxisClasses,
  channels: number,
): Map<AxisClass, Selection> {
  const found = new Map<AxisClass, Selection>();
  for (const [value, half] of streams(section)) {
    const own = axes.of(value, channels);
    const extent = extentOf(own) ?? 0;
    if (own && !found.has(own))
      found.set(own, half === 0 ? select(0, extent / 2) : select(extent / 2, extent));
  }
  return found;
}

/** Streams of full width: how the section starts and ends, and what changes outside it. */
function widen(
  section: CoupledSection,
  axes: AxisClasses,
  channels: number,
  dominance: Dominance,
  choices: PartitionChoices,
  changes: Map<AxisClass, Selection>,
  notes: string[],
): Ends {
  const own = new Set([...streams(section).keys()].map((v) => axes.of(v, channels)));
  const double = (value: Value): string | undefined => {
    const axisClass = axes.of(value, channels);
    const extent = extentOf(axisClass);
    if (!axisClass || extent === undefined) return 'its number of channels is not known';
    if (own.has(axisClass)) return 'it is tied to a stream';
    if (axisClass.frozen === undefined) changes.set(axisClass, resizedTo(extent, 2 * extent));
    return axisClass.frozen;
  };
  const possible = (value: Value, instead: string, why: string | undefined): boolean => {
    if (why !== undefined)
      notes.push(`${section.id}: ${instead}, because ${value.name} cannot be widened: ${why}`);
    return why === undefined;
  };
  const { input, output } = section;
  let entry: Ends['entry'] = 'copy';
  if (choices.stem === 'widened') {
    const stem = stemOf(input, channels, dominance);
    const why = typeof stem === 'string' ? stem : undefined;
    if (possible(input, 'the streams start as copies', why)) entry = 'stems';
  }
  const concat =
    choices.head === 'concat' &&
    possible(output, 'the streams are averaged at the end', double(output));
  return { entry, exit: concat ? 'concat' : 'average', channels };
}

/** Channels inside residual functions, in the order of the network. */
function innerClasses(
  sections: readonly CoupledSection[],
  axes: AxisClasses,
  taken: ReadonlyMap<AxisClass, Selection>,
): Set<AxisClass> {
  const outside = new Set<AxisClass | undefined>(taken.keys());
  for (const section of sections)
    for (const value of [section.input, section.output, ...streams(section).keys()])
      for (const own of axes.all(value)) outside.add(own);
  const found = new Set<AxisClass>();
  for (const section of sections)
    for (const node of interior(section))
      for (const value of node.outputs)
        for (const own of value ? axes.all(value) : []) {
          if (own.frozen !== undefined || outside.has(own)) continue;
          if (extentOf(own) !== undefined && own.members.some((m) => m.value.constant))
            found.add(own);
        }
  return found;
}

const interior = (section: CoupledSection): Node[] =>
  section.couplings.flatMap(({ a, b, f }) => regionBetween([f], new Set([a, b])));

/** Under split a function is halved inside as well; under widen it stays as it is. */
function defaultWidths(
  sections: readonly CoupledSection[],
  split: ReadonlySet<CoupledSection>,
  axes: AxisClasses,
  classes: ReadonlySet<AxisClass>,
): Map<AxisClass, number> {
  const widths = new Map<AxisClass, number>();
  for (const section of sections) {
    if (!split.has(section)) continue;
    for (const node of interior(section))
      for (const value of node.outputs)
        for (const own of value ? axes.all(value) : [])
          if (classes.has(own))
            widths.set(own, wholeGroups((extentOf(own) ?? 1) / 2, own.multiple));
  }
  return widths;
}

/** The nearest extent that is a whole number of groups, at least one. */
export const wholeGroups = (extent: number, multiple: number): number =>
  Math.max(1, Math.round(extent / multiple)) * multiple;

/** Puts the real nodes where the marked ones stand. */
function close(
  graph: Graph,
  section: CoupledSection,
  { entry, exit, channels }: Ends,
  dominance: Dominance,
  seed: number,
): CoupledChain {
  const { id, input, join } = section;
  const [a, b] = section.entry.map((node) => node.output());
  invariant(a && b, 'a section starts with two streams');
  const builder = new Builder(graph, { phase: 'forward', path: `${id}/streams` });
  let [nextA, nextB] = [input, input];
  if (entry === 'split') {
    const half = a.shape?.[channels];
    invariant(typeof half === 'number', `the width of ${a.name} is known`);
    const node = builder.node('Split', [input, builder.ints(half, half)], {
      attributes: { axis: int(channels) },
      outputs: 2,
      name: 'split',
    });
    [nextA, nextB] = [node.output(0), node.output(1)];
  }
  if (entry === 'stems') {
    const stem = stemOf(input, channels, dominance);
    invariant(typeof stem !== 'string', `${input.name} has a stem`);
    nextB = copyOf(stem, new Map(), graph, seed)(input);
  }
  const streamsOf = (value: Value): Value => (value === a ? nextA : value === b ? nextB : value);
  const couplings = section.couplings.map((c) => ({
    ...c,
    a: streamsOf(c.a),
    b: streamsOf(c.b),
    carried: streamsOf(c.carried),
  }));
  graph.replaceValue(a, nextA);
  graph.replaceValue(b, nextB);
  let { output } = section;
  if (exit === 'concat') {
    const [sum] = join;
    const joined = builder.op('Concat', [sum.input(0), sum.input(1)], {
      attributes: { axis: int(channels) },
      name: 'concat',
    });
    graph.replaceValue(output, joined);
    output = joined;
  }
  return { id, couplings, output };
}
