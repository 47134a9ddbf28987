/** A drill's report for people. */
import { formatBytes, formatDuration, formatTime, printable } from '../../base/format.ts';
import type { DrillReport } from '../../operations/drill/index.ts';
import { table } from './table.ts';

export function drillText(report: DrillReport): string[] {
  const rows = report.checks.map((check) => [
    check.state,
    printable(check.name),
    check.seconds > 0 ? formatDuration(check.seconds) : '',
    printable(check.detail),
  ]);
  const lines = table(
    [{ title: '' }, { title: 'check' }, { title: 'time', align: 'right' }, { title: '' }],
    rows,
  ).slice(1);
  const found = report.checks.flatMap((check) =>
    (check.findings ?? []).map((finding) => printable(`  ${check.name}: ${finding}`)),
  );
  const recovery =
    report.recoverySeconds === undefined
      ? ''
      : `, ${formatDuration(report.recoverySeconds)} from nothing to a server that takes connections`;
  return [
    ...lines,
    ...found,
    ...targetLine(report),
    `${report.verdict.toUpperCase()}: backup ${report.backup} of ${report.database} (${formatBytes(report.bytes)})${recovery}`,
  ];
}

function targetLine({ plan, target, phases = [] }: DrillReport): string[] {
  if (plan === undefined) return [];
  const where = [target?.time && formatTime(new Date(target.time)), target?.lsn].filter((one) => one);
  const times = phases.map(({ name, seconds }) => `${name} ${formatDuration(seconds)}`).join(', ');
  return [`plan ${plan}, target ${target?.asked ?? 'unknown'}: ${where.join(', ') || 'not reached'}`, times];
}
