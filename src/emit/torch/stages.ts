// What the network is a row of: sequences of half-couplings, and single units between them. In: the units. Out: stages with
// the names of their attributes. Invariant: a sequence holds functions whose streams follow from each other.

import { commonLength, identifier, unique } from './names.js';
import type { NetworkUnit } from './network.js';

/** Half-couplings in a row: one attribute of the network; or a unit by itself. */
export type Stage =
  | {
      readonly kind: 'sequence';
      readonly units: readonly NetworkUnit[];
      readonly name: string;
      readonly children: readonly string[];
    }
  | { readonly kind: 'single'; readonly unit: NetworkUnit; readonly name: string };

const words = (id: string): string[] => id.split(/[./#]+/).filter((word) => word !== '');

/** Units in the order they run, those that follow each other in a chain as one. */
export function stagesOf(units: readonly NetworkUnit[]): Stage[] {
  const runs: NetworkUnit[][] = [];
  for (const unit of units) {
    const last = runs.at(-1)?.at(-1);
    const follows =
      unit.streams &&
      last?.streams &&
      unit.streams.a === last.streams.b &&
      unit.streams.b === last.streams.t;
    if (follows) runs.at(-1)?.push(unit);
    else runs.push([unit]);
  }
  const taken = new Set(['mode']);
  // Single units first: their names are shorter where names collide.
  return runs.map((run): Stage => {
    const [first] = run;
    if (!first) throw new Error('internal error: a run of no unit');
    if (!first.streams)
      return {
        kind: 'single',
        unit: first,
        name: unique(identifier(words(first.id).join('_'), 'unit'), taken),
      };
    const places = run.map(({ id }) => words(id));
    const length =
      run.length === 1
        ? places[0]?.length === 1
          ? 0
          : (places[0]?.length ?? 1) - 1
        : commonLength(places);
    const name = unique(identifier(places[0]?.slice(0, length).join('_') ?? '', 'blocks'), taken);
    const own = new Set<string>();
    const children = places.map((place) => unique(childName(place.slice(length)), own));
    return { kind: 'sequence', units: run, name, children };
  });
}

/** Of a module inside a sequence: numbers stay numbers. */
const childName = (place: readonly string[]): string => {
  const name = place.join('_').replace(/[^A-Za-z0-9]+/g, '_');
  return name === '' ? 'f' : name;
};
