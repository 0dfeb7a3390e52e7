// Rules of the house that no other tool checks: headers, names of passes, samples of operators, docstrings of the
// public API, and the catalogue of messages.

// ts-morph narrows its nodes by interfaces it implements with mixins, which this rule takes for other classes.
/* eslint-disable @typescript-eslint/no-unsafe-class-instance-assignment */

import { readFileSync } from 'node:fs';
import { basename, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Node, Project, SyntaxKind } from 'ts-morph';
import type { ExportedDeclarations, JSDocableNode, SourceFile } from 'ts-morph';
import { expect, test } from 'vitest';
import * as catalogue from '../passes/catalogue.js';
import { CODES } from '../src/diagnostics/index.js';
import { allOps } from '../src/ops/index.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const project = new Project({
  tsConfigFilePath: `${root}tsconfig.json`,
  skipAddingFilesFromTsConfig: true,
});
project.addSourceFilesAtPaths(['src', 'passes', 'runtime'].map((at) => `${root}${at}/**/*.ts`));
const sources = project.getSourceFiles();
const place = (file: SourceFile): string => relative(root, file.getFilePath());

test('every file opens with a comment that says what it is', () => {
  const bare = sources.filter((file) => !/^(#!.*\n)?(\/\/|\/\*)/.test(file.getFullText()));
  expect(bare.map(place)).toEqual([]);
});

test('every pass is named after its file and is in the catalogue', () => {
  const listed = new Set(
    Object.values(catalogue)
      .flat()
      .map((pass) => pass.name),
  );
  const found: string[] = [];
  const wrong: string[] = [];
  for (const file of sources)
    for (const call of file.getDescendantsOfKind(SyntaxKind.CallExpression)) {
      if (call.getExpression().getText() !== 'definePass') continue;
      if (!place(file).startsWith('passes/') || place(file) === 'passes/state.ts') continue;
      const [argument] = call.getArguments();
      const name = Node.isObjectLiteralExpression(argument)
        ? argument.getPropertyOrThrow('name').getLastChildByKind(SyntaxKind.StringLiteral)
        : undefined;
      const text = name?.getLiteralValue() ?? '?';
      found.push(text);
      if (text !== basename(place(file), '.ts') || !listed.has(text))
        wrong.push(`${place(file)}: ${text}`);
    }
  expect(wrong).toEqual([]);
  // Neither is there a pass in the catalogue that this test does not see.
  expect([...listed].filter((name) => !found.includes(name))).toEqual([]);
});

test('every operator with a gradient has samples to check it with', () => {
  const untested = allOps()
    .filter((op) => op.gradient && !op.samples)
    .map((op) => op.type);
  expect(untested).toEqual([]);
});

test.each(['src/index.ts', 'passes/index.ts', 'runtime/index.ts'])(
  'every function and class that %s exports has a docstring',
  (entry) => {
    const silent: string[] = [];
    for (const [name, declarations] of project
      .getSourceFileOrThrow(root + entry)
      .getExportedDeclarations())
      for (const declaration of declarations) {
        const holder = documented(declaration);
        if (holder && holder.getJsDocs().length === 0)
          silent.push(`${place(declaration.getSourceFile())}: ${name}`);
      }
    expect(silent).toEqual([]);
  },
);

/** Where the docstring of a function or class would stand; undefined for anything else. */
function documented(declaration: ExportedDeclarations): JSDocableNode | undefined {
  if (Node.isFunctionDeclaration(declaration) || Node.isClassDeclaration(declaration))
    return declaration;
  if (!Node.isVariableDeclaration(declaration)) return undefined;
  const value = declaration.getInitializer();
  return Node.isArrowFunction(value) || Node.isFunctionExpression(value)
    ? declaration.getVariableStatementOrThrow()
    : undefined;
}

test('every code of the catalogue is used', () => {
  const text = sources
    .filter((file) => place(file) !== 'src/diagnostics/index.ts')
    .map((file) => file.getFullText())
    .join('\n');
  // Codes reach the constructor as literals, some by way of a helper or a conditional.
  expect(CODES.filter((code) => !text.includes(`'${code}'`))).toEqual([]);
});

test('every literal code of a DiagnosticError is in the catalogue', () => {
  const known: ReadonlySet<string> = new Set(CODES);
  const unknown: string[] = [];
  for (const file of sources)
    for (const made of file.getDescendantsOfKind(SyntaxKind.NewExpression)) {
      if (made.getExpression().getText() !== 'DiagnosticError') continue;
      const [code] = made.getArguments();
      if (Node.isStringLiteral(code) && !known.has(code.getLiteralValue()))
        unknown.push(`${place(file)}: ${code.getText()}`);
    }
  expect(unknown).toEqual([]);
});

test('exit codes of the help text are those of the catalogue', async () => {
  const { EXIT } = await import('../src/diagnostics/index.js');
  const help = readFileSync(`${root}src/cli/main.ts`, 'utf8');
  for (const code of Object.values(EXIT)) expect(help).toMatch(new RegExp(`[\\n :]${code} `));
});
