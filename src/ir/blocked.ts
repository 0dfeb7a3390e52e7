// Names of ONNX Runtime's blocked layout, which compiler and runtime share: see src/ops/blocked.ts.

export const NCHWC = 'com.microsoft.nchwc';

/** Block sizes that ONNX Runtime has kernels for: of 256 and of 512 bits. */
export const BLOCK_SIZES = [8, 16] as const;
export type BlockSize = (typeof BLOCK_SIZES)[number];
