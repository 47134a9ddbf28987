/** What `helvino rescue` prints. */
import { formatBytes, formatDuration, plural, printable, shellWord } from '../../base/format.ts';
import type { ApplyResult, PlanSummary, ShownFile, ShownRow } from '../../operations/rescue/index.ts';
import { type Column, table } from './table.ts';

type Shown = Pick<
  PlanSummary,
  'tables' | 'conflicts' | 'problems' | 'sideEffects' | 'seconds' | 'moments' | 'database' | 'made'
>;

const right = (title: string): Column => ({ title, align: 'right' });

export function planText(plan: Shown & Pick<PlanSummary, 'root' | 'file' | 'bytes' | 'sha256'>): string[] {
  const rows = plan.tables.reduce((sum, one) => sum + one.insert + one.revert + one.remove, 0);
  return [
    `database ${printable(plan.database)} as of ${printable(plan.made)}, against ${printable(plan.moments.before)}`,
    ...(plan.moments.accident === undefined ? [] : [`the accident: ${printable(plan.moments.accident)}`]),
    `whose rows: ${rootText(plan.root)}`,
    '',
    ...countsText(plan),
    ...sampleText(plan),
    ...conflictText(plan),
    ...listText('side effects', plan.sideEffects),
    ...listText('PROBLEMS: it cannot be applied as it is', plan.problems),
    '',
    `${plural(rows, 'row')} would be written; about ${formatDuration(plan.seconds)}`,
    `${plan.file}: ${formatBytes(plan.bytes)}, SHA-256 ${plan.sha256}`,
  ];
}

export function rootText({ table: name, where }: PlanSummary['root']): string {
  const values = Object.entries(where).map(([column, value]) => `${column}=${value}`);
  return printable(`${name} ${values.join(', ')}`);
}

function countsText({ tables, moments }: Shown): string[] {
  const accident = moments.accident !== undefined;
  const columns = [
    { title: 'table' },
    right('equal'),
    right('missing'),
    right('changed'),
    right('added'),
    ...(accident ? [right('since')] : []),
    right('insert'),
    right('revert'),
    right('remove'),
    { title: '' },
  ];
  const rows = tables.map((one) => {
    const { equal, missing, changed, added, missingSince, changedSince, changedBoth, addedSince } = one.rows;
    const notes = [
      one.parents > 0 ? `${one.parents} only because others refer to them` : '',
      one.skipped > 0 ? `${one.skipped} stay away` : '',
      one.keyed ? '' : 'no key',
    ];
    return [
      printable(one.table),
      ...[equal, missing, changed, added].map(String),
      ...(accident ? [String(missingSince + changedSince + changedBoth + addedSince)] : []),
      ...[one.insert, one.revert, one.remove].map(String),
      notes.filter(Boolean).join(', '),
    ];
  });
  return table(columns, rows);
}

function sampleText({ tables }: Shown): string[] {
  const lines = tables.flatMap((one) => {
    const kinds = Map.groupBy(one.samples, ({ kind }) => kind);
    return [...kinds].map(
      ([kind, samples]) =>
        `  ${printable(one.table)} ${kindText[kind] ?? kind}: ${printable(samples.map(({ key }) => key).join('; '))}`,
    );
  });
  return lines.length === 0 ? [] : ['', 'for example', ...lines];
}

const kindText: Readonly<Record<string, string>> = {
  missingSince: 'deleted since the accident',
  changedSince: 'changed since the accident',
  changedBoth: 'changed by the accident and again since',
  addedSince: 'added since the accident',
};

function conflictText({ conflicts }: Shown): string[] {
  if (conflicts.length === 0) return [];
  const lines = conflicts.flatMap(({ table: name, index, rows, samples }) => [
    `  ${printable(name)}: ${plural(rows, 'row')} with a value of ${printable(index)} that another row has now`,
    ...samples.map(
      ({ before, now }) => `    ${printable(before)} would come back; now it is ${printable(now)}`,
    ),
  ]);
  return ['', 'conflicts', ...lines];
}

function listText(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : ['', title, ...lines.map((line) => `  ${printable(line)}`)];
}

export function showText(file: ShownFile, sql: boolean): string[] {
  return [
    `${file.kind} ${file.id}`,
    ...(file.kind === 'plan' ? planText({ ...file, ...file.summary }) : changesText(file)),
    ...rowsText(file.rows),
    ...(sql
      ? listText(
          'what apply runs',
          file.statements.map((one) => one.replace(/\s+/g, ' ')),
        )
      : []),
  ];
}

function changesText(file: Extract<ShownFile, { kind: 'undo' }>): string[] {
  const rows = file.tables.map((one) => [
    printable(`${one.schema}.${one.name}`),
    ...[one.insert, one.revert, one.remove].map(String),
  ]);
  return [
    `database ${printable(file.database)}, ${printable(file.made)}`,
    `undoes ${file.undoes.id}, transaction ${file.undoes.xid}`,
    '',
    ...table([{ title: 'table' }, right('insert'), right('revert'), right('remove')], rows),
    '',
    `${file.file}: ${formatBytes(file.bytes)}, SHA-256 ${file.sha256}`,
  ];
}

function rowsText(rows: readonly ShownRow[]): string[] {
  const lines = rows.map(({ table: name, change, values }) => {
    const pairs = Object.entries(values).map(([column, value]) => `${column}=${shorten(value)}`);
    return `  ${change} ${printable(`${name}: ${pairs.join(', ')}`)}`;
  });
  return lines.length === 0 ? [] : ['', 'rows', ...lines];
}

function shorten(value: string | null): string {
  if (value === null) return 'NULL';
  return value.length > 60 ? `${value.slice(0, 60)}… (${value.length})` : value;
}

/** `place`: where it was done. */
export function appliedText(result: ApplyResult, undo: boolean, place: readonly string[]): string[] {
  const what = undo ? 'undo' : 'rescue';
  const rows = result.tables.map((one) => [
    printable(one.table),
    ...[one.inserted, one.reverted, one.removed, one.done, one.moved].map(String),
  ]);
  const columns = [
    { title: 'table' },
    ...['inserted', 'reverted', 'removed', 'already', 'left alone'].map(right),
  ];
  const ends = {
    applied: `the ${what} is done, in ${formatDuration(result.seconds)}`,
    'nothing-to-do': 'nothing was to do',
    'dry-run': `it would work: all was done, checked and rolled back, in ${formatDuration(result.seconds)}`,
  };
  return [
    ...table(columns, rows),
    '',
    ends[result.state],
    ...result.sequences.map((name) => `the sequence ${printable(name)} was moved forward`),
    ...result.warnings.map(printable),
    ...(result.undoFile === undefined
      ? []
      : [
          `${['helvino rescue undo', shellWord(result.undoFile), ...place].join(' ')} puts back what was there before`,
        ]),
  ];
}
