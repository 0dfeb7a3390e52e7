// How eagerly V8 optimizes this process, and its threads. In: nothing. Out: V8's settings. Invariant: imported before all else,
// and a matter of speed alone.
//
// A conversion runs a few hundred functions for a few seconds. V8's defaults compile each as soon as it is warm, with all it
// calls, and again whenever its operands are of a new form: a third of the time of a deep network's conversion, on the two cores
// that it is for. (npm run bench:compile, 1,202 layers: a fifth less with these.)

import { setFlagsFromString } from 'node:v8';

/** Bytecode of all calls that are inlined into one function; V8: 920. */
setFlagsFromString('--max-inlined-bytecode-size-cumulative=250');
/** Bytecode that a function runs before it is optimized; V8: 67,584. Later versions have a cheaper compiler in between, and no such flag. */
if (Number(process.versions.v8.split('.')[0]) < 12) setFlagsFromString('--interrupt-budget=400000');
