/** The end of a backup: structure, checks, manifest. */
import { HelvinoError } from '../../base/errors.ts';
import { describeConnection, formatLsn } from '../../postgres/index.ts';
import {
  type Compaction,
  compactSparsePacks,
  type EncoderPool,
  type FileEntry,
  type Lease,
  type Manifest,
  type PackFacts,
  readMarks,
  type StoredPack,
  StructureWriter,
  type WorkIndex,
  type WrittenBlocks,
  writeBlocks,
} from '../../repository/index.ts';
import type { BackupOptions } from './backup.ts';
import type { Parent } from './choose-parent.ts';
import type { Ingest } from './ingest.ts';
import type { SourceFacts } from './source.ts';
import type { SourceTables } from './source-fingerprint.ts';
import type { Transferred } from './transfer.ts';

export interface CommitContext {
  readonly options: BackupOptions;
  readonly id: string;
  readonly started: Date;
  readonly source: SourceFacts;
  readonly parent: Parent | undefined;
  readonly transferred: Transferred;
  readonly tables: SourceTables;
  readonly pool: EncoderPool;
  readonly ingest: Ingest;
  readonly index: WorkIndex;
  readonly lease: Lease;
  /** See `ended` of the facts. */
  readonly ended: string;
}

export async function commitBackup(context: CommitContext): Promise<Manifest> {
  const { options, parent, pool, lease } = context;
  const { repository } = options;
  const writer = new StructureWriter(repository.driver, repository.ring);
  const compaction =
    parent &&
    (await compactSparsePacks(repository, { files: context.index.files(), parent: parent.manifest }));
  const written = await writeBlocks(repository, writer, {
    files: filesOf(context, compaction),
    parent: parent?.manifest,
  });
  // Asked of the server meanwhile.
  const { relations, schemas } = await context.transferred.description;
  const sections = {
    relations: await writer.addSection(relations),
    tables: await writer.addSection(context.tables.tables),
    schema: await writer.addSection(schemas),
  };
  await writer.flush();
  const fresh = [...pool.stored, ...(compaction?.stored ?? [])];
  const packs = packsOf(written, { fresh, structure: writer.stored, parent: parent?.manifest });
  await assertNotMarked(context, packs);
  const stored = [...fresh, ...writer.stored].reduce((sum, pack) => sum + pack.size, 0);
  const manifest = {
    id: context.id,
    database: options.database,
    kind: parent ? ('incremental' as const) : ('full' as const),
    parent: parent?.manifest.id,
    lastFull: parent?.manifest.lastFull ?? context.started.toISOString(),
    label: options.label,
    notes: { ...options.notes },
    started: context.started.toISOString(),
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
      received: context.ingest.received,
      fresh: context.ingest.fresh,
      stored,
      referenced: packs.reduce((sum, pack) => sum + pack.size, 0),
    },
    facts: factsOf(context),
  };
  // The last moment: from the manifest on the backup exists, and collection must have known of this run until now.
  lease.assertLive();
  await repository.commit(manifest);
  return await repository.manifest(options.database, context.id);
}

function* filesOf({ index }: CommitContext, compaction: Compaction | undefined): Generator<FileEntry> {
  for (const file of index.files()) yield compaction ? compaction.relocate(file) : file;
}

function factsOf({ options, source, transferred, tables, ended }: CommitContext): Record<string, unknown> {
  const skipped = tables.tables.filter((table) => table.hash === null).length;
  return {
    method: 'physical',
    systemId: source.systemId,
    serverVersion: source.serverVersion,
    serverVersionText: source.serverVersionText,
    server: describeConnection(options.connection),
    fromStandby: source.inRecovery,
    superuser: source.superuser,
    connectedTo: source.database,
    timeline: transferred.timeline,
    startLsn: formatLsn(transferred.startLsn),
    stopLsn: formatLsn(transferred.stopLsn),
    walEnd: formatLsn(transferred.walEnd),
    ended,
    walSegmentSize: source.walSegmentSize,
    dataChecksums: source.dataChecksums,
    tablespaces: transferred.tablespaces,
    transfer: transferred.transfer,
    read: transferred.read,
    checksumsVerified: options.verifyChecksums && source.dataChecksums,
    fingerprint: {
      state: tables.state,
      reason: tables.reason,
      tables: tables.tables.length,
      skipped,
      hiddenDatabases: source.hiddenDatabases,
    },
    restored: source.restored,
    warnings: transferred.warnings,
  };
}

function packsOf(
  written: WrittenBlocks,
  {
    fresh,
    structure,
    parent,
  }: { fresh: readonly StoredPack[]; structure: readonly StoredPack[]; parent: Manifest | undefined },
): PackFacts[] {
  const known = new Map<string, PackFacts>();
  for (const pack of parent?.packs ?? []) known.set(pack.id, pack);
  for (const pack of fresh) known.set(pack.id, { ...pack });
  for (const pack of structure) known.set(pack.id, { ...pack, structure: true });
  const wanted = [...written.dataPacks, ...written.sharedPacks, ...structure.map((pack) => pack.id)];
  return [...new Set(wanted)].sort().map((id) => {
    const facts = known.get(id);
    if (facts === undefined)
      throw new HelvinoError('INTERNAL', `pack ${id} is referred to but neither new nor in the parent`);
    return facts;
  });
}

/** A pack of the parent that was marked as garbage may be removed any time: see repository/collect.ts. */
async function assertNotMarked({ options }: CommitContext, packs: readonly PackFacts[]): Promise<void> {
  const marks = await readMarks(options.repository.driver);
  const marked = packs.filter((pack) => marks.numberOf(pack.id) !== undefined);
  if (marked.length === 0) return;
  throw new HelvinoError(
    'REPOSITORY_BUSY',
    `${marked.length} packs that this backup shares with its parent are being collected`,
    {
      hint: 'run `helvino collect --apply`, then the backup again',
      context: { packs: marked.map((pack) => pack.id) },
    },
  );
}
