// The intermediate representation: what every other layer works on.

export * from './blocked.js';
export * from './attributes.js';
export * from './body.js';
export * from './clone.js';
export * from './execution-order.js';
export * from './graph.js';
export * from './model.js';
export * from './node.js';
export * from './tensor.js';
