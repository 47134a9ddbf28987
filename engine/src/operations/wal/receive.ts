/**
 * `helvino wal receive`: stays resident and stores what PostgreSQL's archive_command hands over through the archive client.
 * The client's exit status is 0 only once the file is durable in the repository and was read back.
 */
import { readFile } from 'node:fs/promises';
import { isAbsolute } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import { HelvinoError } from '../../base/errors.ts';
import type { Progress } from '../../base/progress.ts';
import type { ConnectionParams } from '../../postgres/index.ts';
import type { Repository } from '../../repository/index.ts';
import { ArchiveIndex } from './archive-index.ts';
import { ArchiveIntake } from './archive-intake.ts';
import { servePipes } from './archive-pipes.ts';
import { knownCluster } from './known-cluster.ts';

export interface ReceiveOptions {
  readonly repository: Repository;
  readonly recipients: readonly string[];
  readonly database: string;
  /** Used only while there is no backup that says which cluster this is. */
  readonly connection: () => Promise<ConnectionParams>;
  /** Absolute; where the pipes are. */
  readonly folder: string;
  /** Name or number; its members may hand over files. */
  readonly group?: string;
  readonly clock: Clock;
  readonly progress: Progress;
  readonly signal: AbortSignal;
  /** Called when the first client may come. */
  readonly onListening?: () => void;
}

export interface ReceiveResult {
  /** Files that were stored, or had been stored before with the same content. */
  readonly files: number;
  /** Name of the last one. */
  readonly last: string | undefined;
}

/** Runs until the signal. Throws what keeps it from beginning. */
export async function receiveWal(options: ReceiveOptions): Promise<ReceiveResult> {
  const { folder, group, clock, progress, signal } = options;
  checkFolder(folder);
  const groupId = group === undefined ? undefined : await groupIdOf(group);
  const index = new ArchiveIndex(options);
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => index.close());
  const intake = await ArchiveIntake.open({
    ...options,
    known: () => knownCluster(options),
    onSegment: (segment) => index.add(segment),
  });
  let files = 0;
  let last: string | undefined;
  await servePipes({
    folder,
    groupId,
    clock,
    signal,
    onListening: () => {
      progress.phase(`receiving WAL in ${folder}`, undefined, 'bytes');
      options.onListening?.();
    },
    admit: (file) => intake.admit(file),
    store: async (file, bytes) => {
      await intake.store(file, bytes);
      files++;
      last = file.name;
      progress.advance(bytes.length);
    },
    onRefused: (name, error) =>
      progress.note('warn', `${name ?? 'a client'} was refused: ${error.message} [${error.code}]`),
  });
  return { files, last };
}

/** The client is a shell script that has it as a word. */
export function checkFolder(folder: string): void {
  if (isAbsolute(folder) && !folder.includes('\n')) return;
  throw new HelvinoError('USAGE', `the folder ${JSON.stringify(folder)} is not an absolute path`);
}

async function groupIdOf(group: string): Promise<number> {
  if (/^\d{1,10}$/.test(group)) return Number(group);
  const lines = (await readFile('/etc/group', 'utf8').catch(() => '')).split('\n');
  const found = lines.map((line) => line.split(':')).find(([name]) => name === group);
  if (found) return Number(found[2]);
  throw new HelvinoError('USAGE', `there is no group ${JSON.stringify(group)} in /etc/group`, {
    hint: 'give its number, or the group of the account that PostgreSQL runs as (`postgres`)',
  });
}
