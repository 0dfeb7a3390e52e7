// Bodies in the place of the nodes that stand for them: functions of the model, branches of If.

export { inlineBranches, isControlFlow, refuseControlFlow } from './branches.js';
export { inlineFunctions } from './functions.js';
export type { NodeOpsets } from './functions.js';
