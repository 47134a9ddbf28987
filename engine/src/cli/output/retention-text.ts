/** A retention plan for people. */
import { formatBytes, formatTime, plural } from '../../base/format.ts';
import type { KindPlan, RetentionPlan } from '../../operations/retention/index.ts';
import { formatLsn } from '../../postgres/index.ts';
import { table } from './table.ts';

export function retentionText(plan: RetentionPlan): string[] {
  const zone = plan.kinds[0]?.policy.timeZone ?? 'UTC';
  const lines = [
    `retention of ${plan.database} at ${formatTime(plan.now)}; days, weeks, months and years are those of ${zone}`,
  ];
  if (plan.kinds.length === 0) lines.push('there is no backup yet');
  for (const kind of plan.kinds) lines.push('', ...kindText(kind));
  lines.push('', ...logText(plan));
  for (const kind of plan.kinds) if (kind.calendar.length > 0) lines.push('', ...calendarText(kind));
  return lines;
}

function kindText({ kind, decisions, trouble, frees, over, policy }: KindPlan): string[] {
  const gone = decisions.filter(({ action }) => action === 'remove').length;
  const lines = [
    `${kind}: ${plural(decisions.length - gone, 'backup')} to keep, ${gone} to remove${gone > 0 ? ` (${formatBytes(frees)} become free)` : ''}`,
  ];
  for (const why of trouble) lines.push(`  NOTHING is removed: ${why}`);
  if (over !== undefined && policy.maxBytes !== undefined)
    lines.push(
      `  the size limit of ${formatBytes(policy.maxBytes)} cannot be kept: what has to stay takes ${formatBytes(over)}`,
    );
  const rows = decisions.map(({ id, action, made, label, bytes, reasons, until }) => [
    action === 'keep' ? 'keep' : 'REMOVE',
    label === undefined ? id : `${id} (${label})`,
    formatTime(made),
    formatBytes(bytes),
    until ? formatTime(until).slice(0, 10) : '',
    reasons.map(({ rule, detail }) => `${rule}: ${detail}`).join('; '),
  ]);
  const columns = [
    { title: '' },
    { title: 'backup' },
    { title: 'made' },
    { title: 'size', align: 'right' as const },
    { title: 'goes' },
    { title: 'why' },
  ];
  return [...lines, ...table(columns, rows).map((line) => `  ${line}`)];
}

function logText({ log }: RetentionPlan): string[] {
  if (log.remove.length === 0)
    return [`WAL: nothing to remove, ${plural(log.keptPieces, 'piece')} kept; ${log.reason}`];
  const last = log.remove.reversed().next().value!;
  return [
    `WAL: ${plural(log.remove.length, 'piece')} to remove (${formatBytes(log.bytes)}), up to ${formatLsn(last.end)} on timeline ${last.line}; ${log.keptPieces} kept; ${log.reason}`,
  ];
}

function calendarText({ kind, calendar, policy }: KindPlan): string[] {
  const rows = calendar.map(({ month, kept, bytes, removed, others }) => [
    month,
    String(kept),
    formatBytes(bytes),
    String(removed.length + others),
    removed.map(({ id, on }) => `${id.split('-')[0]} on ${formatTime(on).slice(0, 10)}`).join(', '),
  ]);
  return [
    `${kind}, the months ahead in ${policy.timeZone}, if backups go on as they did and no further one is proven:`,
    ...table(
      [
        { title: 'month' },
        { title: 'kept at its end', align: 'right' },
        { title: 'size', align: 'right' },
        { title: 'removed', align: 'right' },
        { title: 'of those there are today' },
      ],
      rows,
    ).map((line) => `  ${line}`),
  ];
}
