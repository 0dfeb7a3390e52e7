// Long lines of Python. In: a line. Out: the same in as many lines as it takes. Invariant: broken at the outermost
// bracket, as black does it; a line without one stays as it is.

const WIDTH = 100;

/** Code wrapped, docstrings as they are. */
export function wrappedAll(lines: readonly string[]): string[] {
  let inDoc = false;
  return lines.flatMap((line) => {
    const quotes = line.split('"""').length - 1;
    const isDoc = inDoc || quotes > 0;
    if (quotes % 2 === 1) inDoc = !inDoc;
    return isDoc ? [line] : wrapped(line);
  });
}

/** The line, or its parts if it is too long. */
function wrapped(line: string): string[] {
  if (line.length <= WIDTH || line.trimStart().startsWith('#')) return [line];
  const indent = line.length - line.trimStart().length;
  const found = outermost(line);
  if (!found) return [line];
  const { open, close } = found;
  const inner = ' '.repeat(indent + 4);
  const content = line.slice(open + 1, close).trim();
  const [head, tail] = [line.slice(0, open + 1), ' '.repeat(indent) + line.slice(close)];
  if (content === '') return [line];
  if (inner.length + content.length <= WIDTH && !content.endsWith(','))
    return [head, inner + content, tail];
  const parts = splitTop(content);
  const isCall = !/\bfor\b/.test(content);
  return [head, ...parts.flatMap((part) => wrapped(`${inner}${part}${isCall ? ',' : ''}`)), tail];
}

const PAIRS: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}' };

/** The last bracket that is open at no depth: that of the call the line ends with. */
function outermost(line: string): { open: number; close: number } | undefined {
  const stack: number[] = [];
  let best: { open: number; close: number } | undefined;
  scan(line, (c, i) => {
    if (c in PAIRS) stack.push(i);
    else if (c === ')' || c === ']' || c === '}') {
      const open = stack.pop();
      if (open !== undefined && stack.length === 0 && (!best || i - open >= best.close - best.open))
        best = { open, close: i };
    }
  });
  return best;
}

/** At the commas of no depth. */
function splitTop(text: string): string[] {
  const parts: string[] = [];
  let [depth, from] = [0, 0];
  scan(text, (c, i) => {
    if (c in PAIRS) depth++;
    else if (c === ')' || c === ']' || c === '}') depth--;
    else if (c === ',' && depth === 0) {
      parts.push(text.slice(from, i).trim());
      from = i + 1;
    }
  });
  const rest = text.slice(from).trim();
  return rest === '' ? parts : [...parts, rest];
}

/** Characters outside of strings. */
function scan(text: string, visit: (c: string, i: number) => void): void {
  let quote = '';
  for (let i = 0; i < text.length; i++) {
    const c = text.charAt(i);
    if (quote !== '') {
      if (c === '\\') i++;
      else if (c === quote) quote = '';
    } else if (c === "'" || c === '"') quote = c;
    else visit(c, i);
  }
}
