// Running a step without copies of its outputs. In: the bytes of a model. Out: the same model with END, an empty
// sequence, as its first output. ONNX Runtime writes new weights straight into the tensors a caller prepared, but
// onnxruntime-node then turns every output into a JavaScript tensor of its own, a copy (204 MB per step of a
// resnet50), while all memory of the step is still held. Outputs are turned in order and a sequence cannot
// be: the first one ends that with an error, when the step is done and all prepared tensors are written.
// Invariant: the model computes what it did, and a binding that does not stop at END is as good, only larger.

/** Name of the output, to be fetched with null. */
export const END = 'revnetify/end';

/** What onnxruntime-node says when it meets an output that is no tensor; no other error has this text. */
const NO_TENSOR = /non tensor type is temporarily not supported/i;

export const endedByMarker = (error: unknown): boolean =>
  error instanceof Error && NO_TENSOR.test(error.message);

const bytes = (text: string): number[] => [...Buffer.from(text)];

/** A field that holds bytes, a text or another message: all of them shorter than 128 bytes. */
const field = (id: number, content: readonly number[]): number[] => [
  (id << 3) | 2,
  content.length,
  ...content,
];

/**
 * Two encoded messages in a row are one message: lists are joined, here the lists of nodes and of outputs, so what
 * is put before a model comes first. The model itself is not decoded.
 */
export function withEndMarker(model: Uint8Array): Uint8Array {
  const node = [
    ...field(2, bytes(END)),
    ...field(3, bytes(END)),
    ...field(4, bytes('SequenceEmpty')),
  ];
  const float = field(1, [1 << 3, 1]);
  const type = field(4, field(1, float));
  const output = [...field(1, bytes(END)), ...field(2, type)];
  const graph = field(7, [...field(1, node), ...field(12, output)]);
  return Buffer.concat([Buffer.from(graph), model]);
}
