// Early checks of a model that was read: are its weights there, and where? Invariant: nothing is loaded; only the
// existence, the place and the size of the data are looked at.

import { DiagnosticError } from '../diagnostics/index.js';
import type { Model, Value } from '../ir/index.js';
import { recordOf } from './attribute.js';
import type { ExternalFiles } from './external.js';
import { TensorData } from './tensor-data.js';

/** The folders that hold data files of a model. */
export function dataFolders(model: Model): Set<string> {
  const folders = new Set<string>();
  const add = ({ folder }: ExternalFiles): void => {
    if (folder !== undefined) folders.add(folder);
  };
  for (const tensor of tensors(model)) if (tensor.external) add(tensor.files);
  for (const node of model.graph.nodes)
    for (const [, attribute] of node.attributes.entries()) {
      const record = recordOf(attribute);
      if (record?.external) add(record.files);
    }
  return folders;
}

/** How many problems a message lists. */
const LISTED = 5;

/** The tensors of a model that lie in files: initializers and tensor attributes. */
function* tensors(model: Model): Iterable<TensorData> {
  for (const { constant } of model.graph.constants)
    if (constant instanceof TensorData) yield constant;
  for (const node of model.graph.nodes)
    for (const [, attribute] of node.attributes.entries())
      if (attribute.kind === 'tensor' && attribute.value instanceof TensorData)
        yield attribute.value;
}

/**
 * @throws DiagnosticError model/external-data, listing what is missing or may not be used; model/missing-weights,
 * model/damaged for weights inside the model file
 */
export function checkWeights(model: Model): void {
  const problems: string[] = [];
  let where = '';
  for (const tensor of tensors(model)) {
    try {
      tensor.check();
    } catch (error) {
      if (!(error instanceof DiagnosticError && tensor.external)) throw error;
      where ||= tensor.span.source.label;
      problems.push(`${tensor.name}: ${error.why}`);
    }
  }
  if (problems.length === 0) return;
  const more = problems.length - LISTED;
  const list = problems.slice(0, LISTED).join('; ') + (more > 0 ? `; and ${more} more` : '');
  throw new DiagnosticError('model/external-data', where, list);
}

/** Initializers whose elements are not there: a data file that is missing, or no data at all. */
export function missingWeights(model: Model): Value[] {
  return [...model.graph.constants].filter(({ constant }) => {
    if (!(constant instanceof TensorData)) return false;
    try {
      constant.check();
      return false;
    } catch (error) {
      const code = error instanceof DiagnosticError ? error.code : undefined;
      if (code === 'model/external-data' || code === 'model/missing-weights') return true;
      throw error;
    }
  });
}
