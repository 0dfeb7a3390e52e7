// External data: weights in a file of their own beside the model. In: the location a TensorProto records. Out:
// its bytes, read by position. Invariant: nothing outside the model's folder is ever read, whatever the model
// says, symbolic links included.

import { realpathSync } from 'node:fs';
import { join, sep } from 'node:path';
import { DiagnosticError } from '../diagnostics/index.js';
import { FileSource } from './files.js';

export interface ExternalLocation {
  readonly location: string;
  readonly offset: number;
  /** undefined = as many bytes as the tensor has. */
  readonly length: number | undefined;
}

const refuse = (where: string, why: string): DiagnosticError =>
  new DiagnosticError('model/external-data', where, why);

/** The entries of external_data. @throws DiagnosticError model/external-data */
export function parseLocation(
  entries: readonly { key?: string | null; value?: string | null }[],
  where: string,
): ExternalLocation {
  const get = (key: string): string | undefined =>
    entries.find((e) => e.key === key)?.value ?? undefined;
  const count = (key: string): number | undefined => {
    const value = get(key);
    if (value === undefined || value === '') return undefined;
    const n = /^\d+$/.test(value) ? Number(value) : NaN;
    if (!Number.isSafeInteger(n)) throw refuse(where, `its ${key} is "${value}"`);
    return n;
  };
  const location = get('location');
  if (!location) throw refuse(where, 'no location is recorded');
  return { location, offset: count('offset') ?? 0, length: count('length') };
}

/** Why a location may not be used, going by its text alone. */
function unsafeLocation(location: string): string | undefined {
  if (location.includes('\0')) return 'the location holds a null character';
  if (/^([\\/]|[A-Za-z]:)/.test(location)) return `the location "${location}" is an absolute path`;
  if (location.split(/[\\/]/).includes('..'))
    return `the location "${location}" leaves the folder of the model`;
  return undefined;
}

/** The data files of one model, each opened once. */
export class ExternalFiles {
  private readonly sources = new Map<string, FileSource>();

  /** @param folder of the model file; undefined if the model did not come from a file */
  constructor(readonly folder: string | undefined) {}

  /** @throws DiagnosticError model/external-data */
  source(location: string, where: string): FileSource {
    const known = this.sources.get(location);
    if (known) return known;
    const unsafe = unsafeLocation(location);
    if (unsafe !== undefined) throw refuse(where, unsafe);
    if (this.folder === undefined)
      throw refuse(where, `its data is in "${location}", but the model was not read from a folder`);
    let path: string;
    let folder: string;
    try {
      folder = realpathSync(this.folder);
      path = realpathSync(join(this.folder, location));
    } catch {
      throw refuse(where, `the file "${location}" is missing`);
    }
    if (!path.startsWith(folder.endsWith(sep) ? folder : folder + sep))
      throw refuse(where, `"${location}" is a link that leaves the folder of the model`);
    try {
      const source = new FileSource(path);
      this.sources.set(location, source);
      return source;
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw refuse(where, `the file "${location}" cannot be read: ${why}`);
    }
  }

  /** The range of a tensor of `bytes` bytes (undefined = not known). @throws as source */
  range(
    at: ExternalLocation,
    bytes: number | undefined,
    where: string,
  ): { source: FileSource; start: number; end: number } {
    const source = this.source(at.location, where);
    const length = at.length ?? bytes ?? source.size - at.offset;
    const end = at.offset + length;
    if (end > source.size)
      throw refuse(
        where,
        `"${at.location}" has ${source.size} bytes, the tensor lies at ${at.offset} to ${end}`,
      );
    return { source, start: at.offset, end };
  }
}
