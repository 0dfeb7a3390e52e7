// The layer rules of ARCHITECTURE.md: a layer may use only lower-numbered ones.
const layers = [
  'src/diagnostics',
  'src/ir',
  'src/onnx',
  'src/ops',
  'src/analysis',
  'src/rewrite',
  'src/reversible',
  'src/schedule',
  'src/autodiff',
  'src/lowering',
  'src/plan',
  'src/memory',
  'passes',
  'src/compiler',
];

/** Everything above layer i in the list, and the folders that see everything. */
const above = (i) => [
  ...layers.slice(i + 1),
  'runtime',
  'src/verify',
  'src/emit',
  'src/cli',
  'src/index.ts',
];

module.exports = {
  forbidden: [
    ...layers.map((layer, i) => ({
      name: `layer-${layer.replace('src/', '')}`,
      severity: 'error',
      comment: `${layer} may use only the layers before it`,
      from: { path: `^${layer}/` },
      to: { path: `^(${above(i).join('|')})` },
    })),
    {
      name: 'layer-runtime',
      severity: 'error',
      comment: 'the runtime reads the plan and files; it knows nothing of how they were made',
      from: { path: '^runtime/' },
      to: {
        path: '^(passes|src/(ops|analysis|rewrite|reversible|schedule|autodiff|lowering|memory|compiler|verify|emit|cli|index))',
      },
    },
    {
      name: 'layer-verify',
      severity: 'error',
      comment: 'verification uses the compiler and the runtime, never the command line',
      from: { path: '^src/verify/' },
      to: { path: '^src/(cli|index)' },
    },
    {
      name: 'layer-emit',
      severity: 'error',
      comment:
        'what is written for other frameworks uses the compiler and files, never the command line',
      from: { path: '^src/emit/' },
      to: { path: '^src/(verify|cli|index)' },
    },
    {
      name: 'no-circular',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'no-tests-in-code',
      severity: 'error',
      from: { path: '^(src|passes|runtime)' },
      to: { path: '^(test|fixtures|bench)' },
    },
    {
      name: 'no-dev-dependency',
      severity: 'error',
      from: { path: '^(src|passes|runtime)' },
      to: { dependencyTypes: ['npm-dev'] },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
  },
};
