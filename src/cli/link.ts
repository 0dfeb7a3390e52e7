// Run at the end of `npm run build`: copies what the compiler leaves behind (the schema of the plan,
// the Python files of the PyTorch package), makes the built
// command executable and puts it where npx looks first, so that `npx revnetify` runs this checkout. (npm links the
// commands of dependencies, not those of the package itself.)

import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { join, relative, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '../../..');
const command = join(root, 'dist/src/cli/main.js');
const folder = join(root, 'node_modules/.bin');

copyFileSync(join(root, 'src/plan/plan.schema.json'), join(root, 'dist/src/plan/plan.schema.json'));
const packaged = 'src/emit/torch/package';
mkdirSync(join(root, 'dist', packaged), { recursive: true });
for (const name of readdirSync(join(root, packaged)))
  if (name.endsWith('.py'))
    copyFileSync(join(root, packaged, name), join(root, 'dist', packaged, name));
chmodSync(command, 0o755);
if (process.platform !== 'win32' && existsSync(folder)) {
  const link = join(folder, 'revnetify');
  rmSync(link, { force: true });
  symlinkSync(relative(folder, command), link);
}
