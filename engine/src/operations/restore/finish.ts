/**
 * The end of a restore. Order: everything else durable, then the control file under its name, then that durable, then the
 * marker gone. Until the control file has its name no server starts on the directory.
 */
import { spawn } from 'node:child_process';
import { appendFile, chown, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { randomHex } from '../../base/ids.ts';
import { syncPath } from '../../base/sync-path.ts';
import { formatLsn } from '../../postgres/index.ts';
import { controlFile, controlFileAside } from './lay-out.ts';
import { markerName } from './marker.ts';
import type { Owner } from './owner.ts';
import { targetError } from './target.ts';

export interface FinishOptions {
  readonly directory: string;
  /** Tablespace folders. */
  readonly elsewhere: readonly string[];
  readonly owner: Owner | 'recorded' | undefined;
  /** Become a new timeline when the WAL of the backup is replayed. */
  readonly newTimeline: boolean;
  /** The timeline to recover along; undefined: that of the backup. */
  readonly timeline?: number;
  /** What the server does at the end of recovery, if not open. */
  readonly stop?: RecoveryStop;
}

/** At the end of recovery. `promote`: open on a new timeline; `pause`: stay, read-only, until told; `shutdown`: end. */
export type AfterRecovery = 'promote' | 'pause' | 'shutdown';

interface RecoveryStop {
  readonly action: Exclude<AfterRecovery, 'promote'>;
  /** Where the last record begins. */
  readonly at: bigint;
}

export async function finishRestore(options: FinishOptions): Promise<void> {
  const { directory } = options;
  try {
    await nameServer(options);
    if (options.newTimeline) await askForNewTimeline(options);
    for (const place of [directory, ...options.elsewhere]) await syncTree(place);
    await rename(join(directory, controlFileAside), join(directory, controlFile));
    await syncPath(join(directory, 'global'));
    await rm(join(directory, markerName), { force: true });
    await syncPath(directory);
  } catch (thrown) {
    throw targetError(thrown, directory);
  }
}

/**
 * A server restored from a backup goes on from there, as the source did. When both, or two restores of it, are backed up
 * into one repository, system identifier, timeline and WAL position do not tell them apart, and pages that only one of them
 * changed would be taken for those of the other. This name does: see backup/transfer.ts.
 */
async function nameServer({ directory, owner }: FinishOptions): Promise<void> {
  const conf = join(directory, 'postgresql.auto.conf');
  const line = `# Added by helvino restore: which restore this server comes from.\nhelvino.restored = '${randomHex(16)}'\n`;
  await appendFile(conf, line, { mode: 0o600 });
  if (owner !== undefined && owner !== 'recorded') await chown(conf, owner.uid, owner.gid);
}

/**
 * Archive recovery without an archive: the server replays the WAL that came with the backup, then starts a new timeline,
 * so that its WAL can never be taken for that of the server the backup is from.
 * https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-TIMELINES
 */
async function askForNewTimeline({ directory, owner, timeline, stop }: FinishOptions): Promise<void> {
  const conf = join(directory, 'postgresql.auto.conf');
  const signal = join(directory, 'recovery.signal');
  const lines = [
    '# Added by helvino restore: recover from the WAL in pg_wal alone.',
    "restore_command = 'false'",
    `recovery_target_timeline = '${timeline ?? 'current'}'`,
    ...targetLines(stop),
  ];
  await appendFile(conf, `${lines.join('\n')}\n`, { mode: 0o600 });
  await writeFile(signal, '', { mode: 0o600 });
  // Of a backup of a standby: with it the restored server would follow the primary, not recover and open.
  await rm(join(directory, 'standby.signal'), { force: true });
  if (owner === undefined || owner === 'recorded') return;
  for (const file of [conf, signal]) await chown(file, owner.uid, owner.gid);
}

/**
 * Without a target a server opens at the end of its WAL. Targets that the source was restored with are taken back, before one
 * is set: a server refuses two. https://www.postgresql.org/docs/current/runtime-config-wal.html#RUNTIME-CONFIG-WAL-RECOVERY-TARGET
 */
function targetLines(stop: RecoveryStop | undefined): string[] {
  const none = ['', '_lsn', '_name', '_time', '_xid'].map((kind) => `recovery_target${kind} = ''`);
  if (!stop) return none;
  return [
    ...none,
    // A server that takes no queries in recovery cannot pause: it would open.
    'hot_standby = on',
    `recovery_target_lsn = '${formatLsn(stop.at)}'`,
    'recovery_target_inclusive = on',
    `recovery_target_action = '${stop.action}'`,
  ];
}

/** Flushes the file system that holds `place`: one call instead of one for each of a hundred thousand files. */
async function syncTree(place: string): Promise<void> {
  const done = await new Promise<boolean>((resolve) => {
    const child = spawn('sync', ['-f', place], { stdio: 'ignore' });
    child.on('error', () => resolve(false));
    child.on('exit', (status) => resolve(status === 0));
  });
  if (!done) await syncEach(place);
}

async function syncEach(place: string): Promise<void> {
  for (const entry of await readdir(place, { withFileTypes: true })) {
    const path = join(place, entry.name);
    if (entry.isDirectory()) await syncEach(path);
    else if (entry.isFile()) await syncPath(path);
  }
  await syncPath(place);
}
