// Names in a TypeScript module. In: names of a model and its values. Out: identifiers, property names, type texts.

/** resnet20-v1 → Resnet20V1Training: an identifier whatever the name is, and none of the module's others. */
export function className(name: string): string {
  const words = name.split(/[^A-Za-z0-9]+/).filter((word) => word !== '');
  const joined = words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('');
  return `${/^[A-Za-z]/.test(joined) ? joined : `Net${joined}`}Training`;
}

/** A text as TypeScript writes it. */
export const quoted = (text: string): string =>
  `'${JSON.stringify(text).slice(1, -1).replaceAll('\\"', '"').replaceAll("'", "\\'")}'`;

/** A property name, quoted where it has to be. */
export const propertyName = (name: string): string =>
  /^[A-Za-z_$][\w$]*$/.test(name) ? name : quoted(name);

const ARRAYS: Readonly<Record<string, string>> = {
  int64: 'BigInt64Array',
  int32: 'Int32Array',
  bool: 'Uint8Array',
};

/** The array that holds elements of an ONNX type. */
export const arrayType = (dtype: string): string => ARRAYS[dtype] ?? 'Float32Array';

/** A tensor's type: its elements and, as a tuple, its shape. */
export const tensorType = (dtype: string, shape: readonly number[]): string =>
  `Tensor<${arrayType(dtype)}, ${shapeText(shape)}>`;

export const shapeText = (shape: readonly number[]): string => `[${shape.join(', ')}]`;
