/**
 * Lays the WAL that recovery needs beyond the backup's own into pg_wal, before the server starts: so recovery cannot end
 * early because the store was away. What lies after the end is zero: recovery ends exactly there.
 */
import { chown, mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Progress } from '../../base/progress.ts';
import { backupFacts } from '../../catalog/index.ts';
import { parseLsn, walFileName, walSegmentBegin } from '../../postgres/index.ts';
import type { StoredLog } from '../wal/log-bytes.ts';
import type { Owner } from './owner.ts';
import type { ResolvedTarget } from './resolve-target.ts';
import { targetError } from './target.ts';

export interface PlaceWalOptions {
  readonly directory: string;
  readonly target: ResolvedTarget;
  readonly log: StoredLog;
  readonly owner: Owner | 'recorded' | undefined;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/** Bytes that will be written; for the check of free space. */
export function walBytes({ manifest, end }: ResolvedTarget): number {
  const facts = backupFacts(manifest);
  const begin = parseLsn(facts.walEnd);
  return end > begin ? Number(end - begin) + 2 * facts.walSegmentSize : 0;
}

export async function placeWal(options: PlaceWalOptions): Promise<void> {
  const { directory, target, progress } = options;
  const folder = join(directory, 'pg_wal');
  try {
    await mkdir(join(folder, 'archive_status'), { recursive: true, mode: 0o700 });
    for (const [name, bytes] of target.histories) await placeFile(options, name, bytes);
    progress.phase('placing WAL', walBytes(target), 'bytes');
    const facts = backupFacts(target.manifest);
    const size = BigInt(facts.walSegmentSize);
    let at = walSegmentBegin(parseLsn(facts.walEnd), facts.walSegmentSize);
    for (const { timeline, until } of target.path) {
      const to = until !== undefined && until < target.end ? until : target.end;
      for (; at < to; at += size)
        await placeSegment(options, {
          timeline,
          begin: at,
          end: at + size < to ? at + size : to,
          size: facts.walSegmentSize,
        });
      at = walSegmentBegin(to, facts.walSegmentSize);
    }
  } catch (thrown) {
    throw targetError(thrown, folder);
  }
}

async function placeSegment(
  options: PlaceWalOptions,
  segment: { timeline: number; begin: bigint; end: bigint; size: number },
): Promise<void> {
  const { log, signal, progress } = options;
  signal.throwIfAborted();
  const name = walFileName(segment.timeline, segment.begin, segment.size);
  const path = join(options.directory, 'pg_wal', name);
  const handle = await open(path, 'w', 0o600);
  try {
    await handle.truncate(segment.size);
    let at = 0;
    for await (const bytes of log.bytes({ line: segment.timeline, from: segment.begin, to: segment.end })) {
      await handle.write(bytes, 0, bytes.length, at);
      at += bytes.length;
      progress.advance(bytes.length);
    }
  } finally {
    await handle.close();
  }
  await own(options, path);
  await placeFile(options, `archive_status/${name}.done`, new Uint8Array(0));
}

async function placeFile(options: PlaceWalOptions, name: string, bytes: Uint8Array): Promise<void> {
  const path = join(options.directory, 'pg_wal', name);
  await writeFile(path, bytes, { mode: 0o600 });
  await own(options, path);
}

async function own({ owner }: PlaceWalOptions, path: string): Promise<void> {
  if (owner !== undefined && owner !== 'recorded') await chown(path, owner.uid, owner.gid);
}
