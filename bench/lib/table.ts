// Results as Markdown. In: cells. Out: a table whose first column is text and whose others are numbers.

const MEGA = 1e6;

export const megabytes = (bytes: number): string => (bytes / MEGA).toFixed(1);
export const percent = (ratio: number): string => `${(100 * ratio).toFixed(1)} %`;
export const signedPercent = (ratio: number): string => `${ratio >= 0 ? '+' : ''}${percent(ratio)}`;

/** @param text how many leading columns are aligned left */
export function markdownTable(
  header: readonly string[],
  rows: readonly (readonly (string | number)[])[],
  text = 1,
): string {
  const line = (cells: readonly (string | number)[]): string => `| ${cells.join(' | ')} |`;
  const rule = header.map((_, index) => (index < text ? '---' : '---:'));
  return [line(header), line(rule), ...rows.map(line)].join('\n');
}
