/** What a reader of a report could take for checked, and was not. Pure. */
import type { DrillReport } from '../report.ts';

/** Of a Docker volume. */
const contentNotKnown =
  'Row counts, content and schema were not compared with the source, which had not been asked for them; constraints and sequences were not checked.';

const othersNotCompared =
  'Unlogged tables, which the recovery of a physical backup empties, and foreign tables, whose rows are elsewhere, were not compared.';

export function notChecked(report: DrillReport): string[] {
  const open = report.checks
    .filter(({ state }) => state === 'unproven')
    .map(({ name, detail }) => `${name}: ${detail}`);
  const has = (wanted: string) => report.checks.some(({ name }) => name === wanted);
  const asserted = report.checks.some(({ name }) => name.startsWith('assertion: '));
  return [
    ...open,
    ...(has('row counts') ? [othersNotCompared] : has('target') ? [] : [contentNotKnown]),
    ...(has('application') ? [] : ['The application was not started against the restored database.']),
    ...(asserted ? [] : ['No assertions on the business data were configured.']),
    ...(report.measured?.rpoSeconds === undefined ? ['The recovery point was not measured.'] : []),
    `Other copies of the repository than ${report.copy ?? 'the one that was read'} were not read.`,
    'People and access: whether the recovery identity is reachable without the usual key holder, the loss of a whole region or provider, and the steps outside of the database (DNS, certificates, secrets) are not part of this drill.',
  ];
}
