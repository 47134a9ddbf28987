/** Is WAL stored without a gap from the backup on? A recovery that ends before a gap looks like one to the end. */
import { backupFacts } from '../../catalog/index.ts';
import { parseLsn } from '../../postgres/index.ts';
import type { Manifest, Repository } from '../../repository/index.ts';
import type { ResolvedTarget } from '../restore/resolve-target.ts';
import { walStatus } from '../wal/status.ts';
import { type Check, findings } from './report.ts';

export async function checkStoredWal(
  { repository, manifest }: { repository: Repository; manifest: Manifest },
  target: ResolvedTarget,
): Promise<Omit<Check, 'name' | 'seconds'>> {
  const status = await walStatus(repository, manifest.database);
  const { walEnd, timeline } = backupFacts(manifest);
  const after = status.gaps.filter((gap) => gap.timeline >= timeline && parseLsn(gap.to) > parseLsn(walEnd));
  const lines = after.map(
    ({ timeline: line, from, to, why, closedBy }) =>
      `timeline ${line} from ${from} to ${to} is missing: ${why}${closedBy === undefined ? '' : `; backup ${closedBy} begins after it`}`,
  );
  const open = after.filter(({ closedBy }) => closedBy === undefined);
  if (open.length > 0) {
    const [gap] = open;
    return {
      state: 'failed',
      detail: `WAL of timeline ${gap!.timeline} is missing from ${gap!.from} to ${gap!.to}: nothing after it can be recovered`,
      findings: findings(lines),
    };
  }
  if (status.pieces === 0)
    return { state: 'unproven', detail: 'no WAL is stored: only backups can be recovered' };
  const last = status.ranges.at(-1)!;
  return {
    state: 'passed',
    detail: `without a gap from the backup's end at ${walEnd} to ${last.to} of timeline ${last.timeline} (${target.description})`,
    findings: findings(lines),
  };
}
