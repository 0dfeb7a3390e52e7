// The only source of randomness of the data pipeline. In: a key of three integers. Out: a stream of
// 32-bit numbers. Invariant: the stream is a pure function of its key, on every machine, so a
// consumer that derives its key from counters (seed, purpose, position) can be continued from those
// counters alone; nothing of the generator itself ever needs saving.

/**
 * sfc32 of Chris Doty-Humphrey's PractRand: 128 bits of state, one of them a counter that keeps the
 * period above 2^32, additions and shifts only, so plain JavaScript integers are exact.
 */
export class Random {
  private a = 0;
  private b = 0;
  private c = 0;
  private counter = 1;

  constructor(key0: number, key1 = 0, key2 = 0) {
    this.reseed(key0, key1, key2);
  }

  /** Starts the stream of another key; the low 32 bits of each part count. */
  reseed(key0: number, key1: number, key2: number): void {
    this.a = key0 | 0;
    this.b = key1 | 0;
    this.c = key2 | 0;
    this.counter = 1;
    // The author's number of rounds after which neighbouring keys give unrelated streams.
    for (let round = 0; round < 15; round++) this.uint32();
  }

  /** A whole number, uniform over 0 … 2^32 - 1. */
  uint32(): number {
    const out = (((this.a + this.b) | 0) + this.counter) | 0;
    this.counter = (this.counter + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = (((this.c << 21) | (this.c >>> 11)) + out) | 0;
    return out >>> 0;
  }

  /** A whole number, uniform over 0 … limit - 1; draws again where a remainder would be biased. */
  below(limit: number): number {
    const fair = 0x1_0000_0000 - (0x1_0000_0000 % limit);
    let value = this.uint32();
    while (value >= fair) value = this.uint32();
    return value % limit;
  }
}
