// A deep step run segment by segment.

export { loadSegments } from './load.js';
export { SegmentRunner } from './runner.js';
