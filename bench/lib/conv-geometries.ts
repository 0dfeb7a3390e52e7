// The convolutions that bench:ops times: layers of the networks that people train, and some off the beaten track, so that the
// fit is not left to guess between them. In: nothing. Out: geometries by name. Invariant: a name says all there is to say,
// so that times on file can be matched with it.

import type { ConvGeometry } from '../../src/ops/conv-geometry.js';

/** One entry of the list; what is left out is 1, `pad` keeps the map's size at stride 1. */
interface Layer {
  readonly n: number;
  /** Channels in and out. */
  readonly c: readonly [number, number];
  readonly map: number;
  readonly k: number;
  readonly stride?: number;
  readonly group?: number;
  readonly dilation?: number;
  readonly pad?: number;
}

function geometryOf(layer: Layer): ConvGeometry {
  const { n, c, map, k, stride = 1, group = 1, dilation = 1 } = layer;
  const reach = dilation * (k - 1);
  const { pad = reach >> 1 } = layer;
  const output = Math.floor((map + 2 * pad - reach - 1) / stride) + 1;
  return {
    batch: n,
    group,
    inChannels: c[0],
    outChannels: c[1],
    kernel: [k, k],
    strides: [stride, stride],
    dilations: [dilation, dilation],
    begin: [pad, pad],
    end: [pad, pad],
    input: [map, map],
    output: [output, output],
  };
}

/** "128x16x32x32 → 32, 3x3, stride 2" */
function nameOf(layer: Layer): string {
  const { n, c, map, k, stride = 1, group = 1, dilation = 1, pad } = layer;
  return [
    `${n}x${c[0]}x${map}x${map} → ${c[1]}`,
    `${k}x${k}`,
    ...(stride > 1 ? [`stride ${stride}`] : []),
    ...(group > 1 ? [`${group} groups`] : []),
    ...(dilation > 1 ? [`dilation ${dilation}`] : []),
    ...(pad === undefined ? [] : [`pad ${pad}`]),
  ].join(', ');
}

const LAYERS: readonly Layer[] = [
  // Pre-activation ResNets for CIFAR, and their halves.
  { n: 128, c: [3, 16], map: 32, k: 3 },
  { n: 128, c: [16, 16], map: 32, k: 3 },
  { n: 128, c: [16, 32], map: 32, k: 3, stride: 2 },
  { n: 128, c: [32, 32], map: 16, k: 3 },
  { n: 128, c: [32, 64], map: 16, k: 3, stride: 2 },
  { n: 128, c: [64, 64], map: 8, k: 3 },
  { n: 128, c: [16, 32], map: 32, k: 1, stride: 2 },
  { n: 128, c: [32, 64], map: 16, k: 1, stride: 2 },
  { n: 128, c: [8, 8], map: 32, k: 3 },
  { n: 128, c: [32, 32], map: 8, k: 3 },
  { n: 128, c: [16, 64], map: 32, k: 1 },
  { n: 128, c: [256, 64], map: 8, k: 1 },
  // resnet18, resnet50.
  { n: 16, c: [3, 64], map: 224, k: 7, stride: 2 },
  { n: 16, c: [64, 64], map: 56, k: 3 },
  { n: 16, c: [64, 128], map: 56, k: 3, stride: 2 },
  { n: 16, c: [128, 128], map: 28, k: 3 },
  { n: 16, c: [128, 256], map: 28, k: 3, stride: 2 },
  { n: 16, c: [256, 256], map: 14, k: 3 },
  { n: 16, c: [256, 512], map: 14, k: 3, stride: 2 },
  { n: 16, c: [512, 512], map: 7, k: 3 },
  { n: 16, c: [128, 128], map: 56, k: 3, stride: 2 },
  { n: 16, c: [512, 512], map: 14, k: 3, stride: 2 },
  { n: 16, c: [64, 64], map: 56, k: 1 },
  { n: 16, c: [64, 256], map: 56, k: 1 },
  { n: 16, c: [256, 64], map: 56, k: 1 },
  { n: 16, c: [256, 512], map: 56, k: 1, stride: 2 },
  { n: 16, c: [512, 128], map: 28, k: 1 },
  { n: 16, c: [256, 1024], map: 14, k: 1 },
  { n: 16, c: [1024, 2048], map: 14, k: 1, stride: 2 },
  { n: 16, c: [512, 2048], map: 7, k: 1 },
  // resnext50: 32 groups.
  { n: 8, c: [128, 128], map: 56, k: 3, group: 32 },
  { n: 8, c: [256, 256], map: 56, k: 3, stride: 2, group: 32 },
  { n: 8, c: [512, 512], map: 14, k: 3, group: 32 },
  { n: 8, c: [1024, 1024], map: 7, k: 3, group: 32 },
  // mobilenet, efficientnet, convnext: one filter per channel.
  { n: 8, c: [32, 32], map: 112, k: 3, group: 32 },
  { n: 8, c: [96, 96], map: 112, k: 3, stride: 2, group: 96 },
  { n: 8, c: [144, 144], map: 56, k: 3, group: 144 },
  { n: 8, c: [384, 384], map: 14, k: 3, group: 384 },
  { n: 8, c: [960, 960], map: 7, k: 3, group: 960 },
  { n: 8, c: [240, 240], map: 28, k: 5, group: 240 },
  { n: 8, c: [96, 96], map: 56, k: 7, group: 96 },
  // Small batches.
  { n: 1, c: [64, 64], map: 56, k: 3 },
  { n: 1, c: [256, 256], map: 14, k: 3 },
  { n: 1, c: [512, 512], map: 7, k: 3 },
  { n: 1, c: [256, 64], map: 56, k: 1 },
  { n: 8, c: [128, 128], map: 28, k: 3 },
  { n: 8, c: [1024, 256], map: 14, k: 1 },
  // Off the beaten track.
  { n: 32, c: [32, 64], map: 14, k: 5 },
  { n: 128, c: [1, 6], map: 28, k: 5 },
  { n: 128, c: [6, 16], map: 14, k: 5, pad: 0 },
  { n: 16, c: [37, 53], map: 20, k: 3 },
  { n: 16, c: [19, 23], map: 31, k: 3, stride: 2 },
  { n: 4, c: [256, 256], map: 28, k: 3, dilation: 2 },
  { n: 8, c: [240, 240], map: 28, k: 1, group: 3 },
  { n: 16, c: [3, 192], map: 224, k: 16, stride: 16, pad: 0 },
  { n: 32, c: [64, 128], map: 16, k: 2, stride: 2, pad: 0 },
];

export const GEOMETRIES: ReadonlyMap<string, ConvGeometry> = new Map(
  LAYERS.map((layer) => [nameOf(layer), geometryOf(layer)]),
);
