/**
 * `helvino restore`: the procedure. Everything that can be refused is refused before anything is written; the control
 * file comes last; a restore that was stopped is run again with the same words and goes on.
 */
import { chmod, chown, rm } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import { HelvinoError, systemCode } from '../../base/errors.ts';
import type { Progress } from '../../base/progress.ts';
import { syncPath } from '../../base/sync-path.ts';
import { type BackupFacts, backupFacts } from '../../catalog/index.ts';
import { parseLsn } from '../../postgres/index.ts';
import type { Identities, Manifest, Repository } from '../../repository/index.ts';
import { describeFiles } from '../relation-names.ts';
import type { StoredLog } from '../wal/log-bytes.ts';
import { needsLog } from './find-recovery.ts';
import { type AfterRecovery, type FinishOptions, finishRestore } from './finish.ts';
import { lastRecord } from './last-record.ts';
import { controlFile, layOut } from './lay-out.ts';
import { restoringProcess, writeMarker } from './marker.ts';
import { chooseOwner, type Owner } from './owner.ts';
import { placeWal, proveWal, walBytes } from './place-wal.ts';
import { removeExtra } from './remove-extra.ts';
import type { ResolvedTarget } from './resolve-target.ts';
import { RestoreIndex } from './restore-index.ts';
import { assertApart, assertOwnPlace, mapTablespaces, type TablespaceTarget } from './tablespaces.ts';
import { assertRoom, inspectTarget, makeDirectory, type TargetState, targetError } from './target.ts';
import { writePacks } from './write-packs.ts';

/** By their ids. */
type DataKeys = ReadonlyMap<string, Uint8Array>;

export interface RestoreOptions {
  readonly repository: Repository;
  readonly identities: Identities;
  /** Of the backup, where they are open already. */
  readonly keys?: DataKeys;
  readonly manifest: Manifest;
  /** Absolute path of the data directory. */
  readonly directory: string;
  /** Into a directory that has a cluster: rewrite only what differs, remove what is not in the backup. */
  readonly delta: boolean;
  /** Old location or oid of a tablespace to its new location; `*` for all. */
  readonly tablespaces: ReadonlyMap<string, string>;
  /** `user` or `user:group`; only for root. */
  readonly owner?: string;
  /** Start a new timeline after recovery (the default for a restored server). */
  readonly newTimeline: boolean;
  /** Recover further than the backup's own WAL: the end, and where the WAL comes from. */
  readonly recovery?: { readonly target: ResolvedTarget; readonly log: StoredLog };
  /** What the server does at the end of recovery; without a new timeline it can only open. */
  readonly after?: AfterRecovery;
  readonly clock: Clock;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export interface RestorePlan {
  readonly state: TargetState;
  readonly facts: BackupFacts;
  readonly tablespaces: readonly TablespaceTarget[];
  readonly owner: Owner | 'recorded' | undefined;
  /** Bytes that the restored cluster takes. */
  readonly bytes: number;
}

export interface RestoreResult {
  readonly backup: string;
  readonly directory: string;
  readonly files: number;
  /** Bytes of the restored cluster. */
  readonly bytes: number;
  /** Bytes written. */
  readonly written: number;
  /** Entries removed that the backup does not have. */
  readonly removed: number;
  readonly tablespaces: readonly TablespaceTarget[];
  readonly seconds: number;
}

/**
 * Looks and refuses; writes nothing. With the keys: a wrong identity is known before anything is written, and before anything is
 * asked. `restore` takes them, and does not fetch them again.
 */
export async function planRestore(
  options: RestoreOptions,
): Promise<{ readonly plan: RestorePlan; readonly keys: DataKeys }> {
  const { repository, manifest, directory, delta } = options;
  if (!isAbsolute(directory))
    throw new HelvinoError('USAGE', `the directory "${directory}" is not an absolute path`);
  if (!options.newTimeline) assertOneTimeline(options);
  const facts = backupFacts(manifest);
  const owner = await chooseOwner(options.owner);
  const tablespaces = mapTablespaces(facts.tablespaces, options.tablespaces);
  const state = await inspectTarget(directory, { backupId: manifest.id, delta });
  await assertApart(directory, tablespaces);
  for (const tablespace of tablespaces) await assertOwnPlace(directory, tablespace);
  await assertRoom(await needs(options, tablespaces), { reuse: state !== 'empty' });
  const keys = options.keys ?? (await repository.dataKeys(manifest, options.identities));
  const plan: RestorePlan = { state, facts, tablespaces, owner, bytes: manifest.totals.bytes };
  return { plan, keys };
}

/** A server that is not told to recover replays the timeline of its backup alone, and opens. */
function assertOneTimeline({ after, recovery }: RestoreOptions): void {
  if (after !== undefined && after !== 'promote')
    throw new HelvinoError('USAGE', `without a new timeline a server cannot ${after} after recovery`, {
      hint: 'leave out --same-timeline, or --after',
    });
  const timelines = recovery && needsLog(recovery) ? recovery.target.path.map((step) => step.timeline) : [];
  if (timelines.length < 2) return;
  throw new HelvinoError(
    'USAGE',
    `without a new timeline a server stays on timeline ${timelines[0]}; ${recovery!.target.description} is on timeline ${timelines.at(-1)}`,
    { hint: 'leave out --same-timeline', context: { timelines } },
  );
}

/** Bytes per place: tablespaces may be on other disks. */
async function needs(
  { repository, manifest, directory, recovery }: RestoreOptions,
  tablespaces: readonly TablespaceTarget[],
) {
  const wal = recovery ? walBytes(recovery.target) : 0;
  const sums = new Map<string, number>([[directory, wal]]);
  if (tablespaces.length === 0) return [{ directory, bytes: wal + manifest.totals.bytes }];
  for await (const file of repository.files(manifest)) {
    const oid = file.path.startsWith('pg_tblspc/') ? file.path.split('/')[1] : undefined;
    const place = tablespaces.find((t) => t.oid === oid)?.to ?? directory;
    sums.set(place, (sums.get(place) ?? 0) + file.size);
  }
  return [...sums].map(([place, bytes]) => ({ directory: place, bytes }));
}

export async function restore(options: RestoreOptions): Promise<RestoreResult> {
  const { repository, manifest, directory, progress, signal, clock } = options;
  const begun = clock.monotonic();
  // 1. Refuse what must be refused. Where a cluster would be given up, WAL that turns out to be damaged half-way is too late.
  const { plan, keys } = await planRestore(options);
  const { recovery } = options;
  const log = recovery && needsLog(recovery) ? { ...options, ...recovery, owner: plan.owner } : undefined;
  if (log && plan.state === 'existing') await proveWal(log);

  // 2. From the marker on, the directory is known to be half-restored.
  await makeDirectory(directory, 0o700);
  await mark(options, plan);
  if (plan.state !== 'empty') await makeUnstartable(directory);

  const index = new RestoreIndex();
  try {
    // 3. The tree, then the content, pack by pack.
    const existing = plan.state !== 'empty';
    await layOut({ ...options, tablespaces: plan.tablespaces, owner: plan.owner, existing, index });
    const removed = existing ? await removeExtra(directory, index) : 0;
    const describe = (paths: readonly string[]) =>
      describeFiles(
        repository,
        manifest,
        paths.map((path) => path.slice(directory.length + 1)),
      );
    const written = await writePacks({
      repository,
      keys,
      index,
      compare: existing,
      progress,
      signal,
      describe,
    });

    // 4. The WAL up to the recovery target, if it is not the backup's own end.
    if (log) await placeWal(log);

    // 5. Durable, then startable.
    progress.phase('flushing to disk');
    const timeline = options.recovery?.target.path.at(-1)?.timeline;
    await finishRestore({
      ...options,
      timeline,
      stop: await stopOf(options, plan.facts),
      owner: plan.owner,
      elsewhere: plan.tablespaces.map((t) => t.to),
    });
    const { files, bytes } = manifest.totals;
    const seconds = (clock.monotonic() - begun) / 1000;
    return {
      backup: manifest.id,
      directory,
      files,
      bytes,
      written,
      removed,
      tablespaces: plan.tablespaces,
      seconds,
    };
  } finally {
    index.close();
  }
}

/** Where to stop and what to do there; undefined: the server opens. */
async function stopOf(
  { directory, after = 'promote', recovery }: RestoreOptions,
  facts: BackupFacts,
): Promise<FinishOptions['stop']> {
  if (after === 'promote') return undefined;
  const own = { path: [{ timeline: facts.timeline, until: undefined }], end: parseLsn(facts.walEnd) };
  const { path, end } = recovery && needsLog(recovery) ? recovery.target : own;
  return {
    action: after,
    at: await lastRecord({ directory, path, end, segmentSize: facts.walSegmentSize }),
  };
}

/** Durably, before anything else is changed: after a power cut no server may start on half of a restore. */
async function makeUnstartable(directory: string): Promise<void> {
  try {
    await rm(join(directory, controlFile), { force: true });
    for (const folder of [dirname(join(directory, controlFile)), directory]) await syncFolder(folder);
  } catch (thrown) {
    throw targetError(thrown, directory);
  }
}

async function syncFolder(folder: string): Promise<void> {
  await syncPath(folder).catch((thrown: unknown) => {
    if (systemCode(thrown) !== 'ENOENT') throw thrown;
  });
}

async function mark(
  { directory, manifest, clock }: RestoreOptions,
  { owner, facts, state }: RestorePlan,
): Promise<void> {
  const marker = {
    backup: manifest.id,
    database: manifest.database,
    begun: clock.now().toISOString(),
    version: facts.serverVersionText,
    ...restoringProcess(),
  };
  try {
    await writeMarker(directory, marker, { first: state === 'empty' });
    await chmod(directory, 0o700);
    if (owner !== undefined && owner !== 'recorded') await chown(directory, owner.uid, owner.gid);
  } catch (thrown) {
    throw targetError(thrown, directory);
  }
}
