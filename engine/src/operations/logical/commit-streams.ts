/** The end of a backup that is made of streams (a dump, a volume): everything durable, then the manifest. */
import type { Clock } from '../../base/clock.ts';
import type { Progress } from '../../base/progress.ts';
import {
  type EncoderPool,
  type Lease,
  type Manifest,
  type Repository,
  StructureWriter,
  type WorkIndex,
  writeBlocks,
} from '../../repository/index.ts';
import type { StreamTarget } from './stored-stream.ts';

/** What every backup that is made of streams is told. */
export interface StreamBackupOptions {
  readonly repository: Repository;
  readonly recipients: readonly string[];
  /** The name of the protected database in the configuration. */
  readonly database: string;
  readonly label?: string;
  readonly notes: Readonly<Record<string, string>>;
  /** zstd level. */
  readonly level: number;
  readonly program: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export interface CommitStreams extends Omit<StreamBackupOptions, 'recipients' | 'level' | 'env'> {
  readonly id: string;
  readonly started: Date;
  readonly pool: EncoderPool;
  readonly index: WorkIndex;
  readonly target: StreamTarget;
  readonly lease: Lease;
  readonly sections: Readonly<Record<string, Iterable<unknown>>>;
  readonly facts: Record<string, unknown>;
}

export async function commitStreams(options: CommitStreams): Promise<Manifest> {
  const { repository, pool, index, target, lease, signal } = options;
  target.feeder.flush();
  await pool.finish();
  signal.throwIfAborted();
  const writer = new StructureWriter(repository.driver, repository.ring);
  const written = await writeBlocks(repository, writer, { files: index.files() });
  const sections: Manifest['sections'] = {};
  for (const [name, values] of Object.entries(options.sections))
    sections[name] = await writer.addSection(values);
  await writer.flush();
  const packs = [
    ...pool.stored.filter((pack) => written.dataPacks.has(pack.id)),
    ...writer.stored.map((pack) => ({ ...pack, structure: true })),
  ].sort((a, b) => (a.id < b.id ? -1 : 1));
  const stored = packs.reduce((sum, pack) => sum + pack.size, 0);
  const manifest = {
    id: options.id,
    database: options.database,
    kind: 'full' as const,
    lastFull: options.started.toISOString(),
    label: options.label,
    notes: { ...options.notes },
    started: options.started.toISOString(),
    finished: options.clock.now().toISOString(),
    program: options.program,
    hashKeyId: repository.ring.currentId,
    packs,
    keys: [...written.keys].sort(),
    blocks: written.blocks,
    sections,
    totals: {
      files: written.files,
      bytes: written.bytes,
      received: written.bytes,
      fresh: target.feeder.fresh,
      stored,
      referenced: stored,
    },
    facts: options.facts,
  };
  // The last moment: from the manifest on the backup exists, and collection must have known of this run until now.
  lease.assertLive();
  await repository.commit(manifest);
  return await repository.manifest(options.database, options.id);
}
