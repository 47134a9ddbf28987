/** A drill's report for people. */
import { formatBytes, formatDuration } from '../../base/format.ts';
import type { DrillReport } from '../../operations/index.ts';
import { table } from './table.ts';

export function drillText(report: DrillReport): string[] {
  const rows = report.checks.map((check) => [
    check.state,
    check.name,
    check.seconds > 0 ? formatDuration(check.seconds) : '',
    check.detail,
  ]);
  const lines = table(
    [{ title: '' }, { title: 'check' }, { title: 'time', align: 'right' }, { title: '' }],
    rows,
  ).slice(1);
  const found = report.checks.flatMap((check) =>
    (check.findings ?? []).map((finding) => `  ${check.name}: ${finding}`),
  );
  const recovery =
    report.recoverySeconds === undefined
      ? ''
      : `, ${formatDuration(report.recoverySeconds)} from nothing to a server that takes connections`;
  return [
    ...lines,
    ...found,
    `${report.verdict.toUpperCase()}: backup ${report.backup} of ${report.database} (${formatBytes(report.bytes)})${recovery}`,
  ];
}
