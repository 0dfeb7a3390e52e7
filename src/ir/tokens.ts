// Text → tokens, and the small reading steps the parser is made of. Invariant: whatever does not fit is refused with
// its line.

import { DiagnosticError } from '../diagnostics/index.js';

interface Token {
  readonly kind: 'name' | 'string' | 'number' | 'mark' | 'end';
  readonly text: string;
  readonly line: number;
}

const TOKEN =
  /(?<space>\s+|#(?!!)[^\n]*)|(?<string>"(?:[^"\\\n]|\\.)*")|(?<number>-?(?:Infinity|\d[\d.]*(?:e[+-]?\d+)?)|NaN)(?![\w/])|(?<name>[A-Za-z_/][\w./]*)|(?<mark>=>|#!|[<>(){}[\],:=.?@…])/y;

export class TokenReader {
  private readonly tokens: Token[] = [];
  private at = 0;

  constructor(text: string) {
    let line = 1;
    for (TOKEN.lastIndex = 0; TOKEN.lastIndex < text.length;) {
      const from = TOKEN.lastIndex;
      const groups = TOKEN.exec(text)?.groups;
      if (!groups) throw invalid(line, `unexpected "${text.slice(from, from + 10)}"`);
      for (const kind of ['name', 'string', 'number', 'mark'] as const) {
        const found = groups[kind];
        if (found !== undefined) this.tokens.push({ kind, text: found, line });
      }
      line += text.slice(from, TOKEN.lastIndex).split('\n').length - 1;
    }
    this.tokens.push({ kind: 'end', text: 'the end', line });
  }

  /** Items with commas between them, up to a closing mark. */
  protected until(close: string, item: () => void): void {
    if (this.accept(close)) return;
    do item();
    while (this.accept(','));
    this.expect(close);
  }

  /** The same in a list of its own. */
  protected several<T>(open: string, close: string, read: () => T): T[] {
    const items: T[] = [];
    this.expect(open);
    this.until(close, () => items.push(read()));
    return items;
  }

  protected peek(): Token {
    const token = this.tokens[this.at];
    if (!token) throw new Error('internal error: read past the end of the text');
    return token;
  }

  private take(): Token {
    const token = this.peek();
    if (token.kind === 'end') throw this.unexpected();
    this.at++;
    return token;
  }

  protected accept(text: string): boolean {
    const token = this.peek();
    if (token.text !== text || token.kind === 'string') return false;
    this.at++;
    return true;
  }

  protected expect(text: string): void {
    if (!this.accept(text)) throw this.unexpected(`"${text}"`);
  }

  protected unexpected(wanted?: string): DiagnosticError {
    const { text, line } = this.peek();
    return invalid(line, `unexpected ${text}${wanted === undefined ? '' : `, not ${wanted}`}`);
  }

  protected name(): string {
    const { kind } = this.peek();
    if (kind === 'string') return this.string();
    if (kind !== 'name') throw this.unexpected('a name');
    return this.take().text;
  }

  protected string(): string {
    if (this.peek().kind !== 'string') throw this.unexpected('a quoted string');
    const { text, line } = this.take();
    try {
      return JSON.parse(text) as string;
    } catch {
      throw invalid(line, `${text} is not a valid string`);
    }
  }

  protected number(): number {
    if (this.peek().kind !== 'number') throw this.unexpected('a number');
    return Number(this.take().text);
  }
}

export function invalid(line: number, why: string): DiagnosticError {
  return new DiagnosticError('model/invalid', `line ${line}`, why, 'correct the text');
}
