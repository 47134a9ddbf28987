/** Reports as Markdown. Pure. */
import type { SignedReport } from './document.ts';
import {
  type Block,
  type Cell,
  type Column,
  type Retest,
  reportView,
  type Section,
  visible,
} from './view.ts';

export function reportMarkdown(signed: SignedReport, retests: readonly Retest[] = []): string {
  const view = reportView(signed, retests);
  const figures: Block = {
    kind: 'table',
    head: view.figures.map(({ label }) => ({ title: label })),
    rows: [view.figures.map(({ value, note }) => ({ text: `${value} (${note})` }))],
  };
  return markdownOf({
    title: `${view.title}: ${view.verdict.word.toUpperCase()}`,
    lines: [view.subtitle, view.verdict.sentence],
    blocks: [figures],
    sections: view.sections,
  });
}

export interface MarkdownPage {
  readonly title: string;
  readonly lines: readonly string[];
  readonly blocks?: readonly Block[];
  readonly sections: readonly Section[];
}

export function markdownOf({ title, lines, blocks = [], sections }: MarkdownPage): string {
  const spaced = (all: readonly Block[]) => all.flatMap((block) => ['', ...blockLines(block)]);
  return `${[
    `# ${plain(title)}`,
    ...lines.flatMap((line) => ['', plain(line)]),
    ...spaced(blocks),
    ...sections.flatMap((section) => ['', `## ${plain(section.title)}`, ...spaced(section.blocks)]),
  ].join('\n')}\n`;
}

function blockLines(block: Block): string[] {
  switch (block.kind) {
    case 'text':
      return [plain(block.text)];
    case 'list':
      return block.items.map((item) => `- ${plain(item)}`);
    case 'code':
      return ['```sh', block.text, '```'];
    case 'facts':
      return table(
        [{ title: '' }, { title: '' }],
        block.rows.map(([name, value]) => [{ text: name }, value]),
      );
    case 'table':
      return table(block.head, block.rows);
  }
}

function table(head: readonly Column[], rows: readonly (readonly Cell[])[]): string[] {
  // A column that is only drawn says nothing in text.
  const kept = head.map((_, i) => !rows.every((row) => row[i]?.part !== undefined) || rows.length === 0);
  const only = <T>(values: readonly T[]) => values.filter((_, i) => kept[i]);
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [
    line(only(head).map(({ title }) => title)),
    line(only(head).map(({ right }) => (right ? '---:' : '---'))),
    ...rows.map((row) => line(only(row).map(shown))),
  ];
}

function shown({ text, code }: Cell): string {
  if (!code || text === '') return plain(text);
  const flat = visible(text).replace(/\s+/g, ' ').replaceAll('|', '\\|');
  const fence = '`'.repeat(Math.max(0, ...(flat.match(/`+/g) ?? []).map((run) => run.length)) + 1);
  return fence.length === 1 ? `\`${flat}\`` : `${fence} ${flat} ${fence}`;
}

/** What comes from a database must not become markup. */
function plain(text: string): string {
  return visible(text)
    .replace(/\s+/g, ' ')
    .replace(/[\\`*_{}[\]<>#|~]/g, (char) => `\\${char}`);
}
