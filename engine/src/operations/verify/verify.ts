/**
 * `helvino verify`: is what the repository holds what was written? Structure always; with `readData` every byte. Damage is
 * named by object, and by the backups, files and tables that it touches.
 */
import { HelvinoError } from '../../base/errors.ts';
import { formatBytes } from '../../base/format.ts';
import type { Progress } from '../../base/progress.ts';
import {
  checkObject,
  evidencePrefix,
  type FileEntry,
  holdsPrefix,
  type Identities,
  type Manifest,
  PackList,
  proofPrefix,
  type Repository,
  runsPrefix,
  verificationsPrefix,
} from '../../repository/index.ts';
import { tablesOf } from '../relation-names.ts';
import { type CheckedKeys, checkKeys } from './check-keys.ts';
import { checkLog, type LogDamage } from './check-log.ts';
import { checkPacks, type PackFault } from './check-packs.ts';
import { ChunkPlaces, foreignKey, wrongPlace } from './chunk-places.ts';

export interface VerifyOptions {
  readonly repository: Repository;
  /** Only the backups of this database. */
  readonly database?: string;
  /** Only this backup. */
  readonly backupId?: string;
  readonly readData: boolean;
  readonly identities?: Identities;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export interface Damage {
  /** The object that is damaged or missing. */
  readonly object: string;
  readonly why: string;
  /** Files that it touches: the first twenty. */
  readonly files: readonly { path: string; table?: string }[];
  readonly moreFiles: number;
}

export interface VerifiedBackup {
  readonly database: string;
  readonly id: string;
  readonly state: 'good' | 'damaged';
  readonly damage: readonly Damage[];
}

export interface VerifyReport {
  readonly verdict: 'passed' | 'failed';
  /** What was looked at: `structure`; `stored bytes` (hashes of what is stored); `every byte` (decrypted too). */
  readonly depth: 'structure' | 'stored bytes' | 'every byte';
  readonly backups: readonly VerifiedBackup[];
  /** Objects that are damaged or missing although every backup may restore: sealed catalog keys, results of drills, WAL. */
  readonly others: readonly { readonly object: string; readonly why: string }[];
  /** Entries of the ledger that were missing; they are there again. */
  readonly entered: readonly string[];
  readonly packs: number;
  /** How many of them are in an archive class: unproven. */
  readonly archived: number;
  readonly bytesRead: number;
}

const shownFiles = 20;

export async function verify(options: VerifyOptions): Promise<VerifyReport> {
  const { repository, identities, readData } = options;
  const { lost, entered, changed } = await repository.reconcileLedger();
  const opened = await openManifests(options);
  const { keys, dataFaults, catalogFaults } = await checkKeys(repository, {
    manifests: opened.good,
    identities,
  });
  const { packs } = opened;
  const { backups, archived, bytesRead } = await verifyBackups(options, { opened, keys, dataFaults });
  for (const { database, id } of lost.filter((entry) => wanted(options, entry))) {
    const object = `backups/${database}/${id}`;
    backups.push(
      damaged({ database, id }, [
        {
          object,
          why: 'the manifest is missing: the ledger says that this backup was made',
          files: [],
          moreFiles: 0,
        },
      ]),
    );
  }
  const log = await logOf(options);
  const others = [
    ...[...catalogFaults].map(([keyId, why]) => ({ object: `keys/catalog/${keyId}`, why })),
    ...(await checkOthers(options, opened.good)),
    ...changed
      .filter((entry) => wanted(options, entry))
      .map((entry) => ({
        object: ledgerEntry(entry),
        why: `it holds ${formatBytes(entry.size)} and should be empty: remove it, and verify makes it again`,
      })),
    ...log.damage,
  ];
  backups.sort((a, b) => (a.id < b.id ? -1 : 1));
  const depth = !readData ? 'structure' : identities ? 'every byte' : 'stored bytes';
  const good = backups.every((backup) => backup.state === 'good') && others.length === 0;
  return {
    verdict: good ? 'passed' : 'failed',
    depth,
    backups,
    others,
    entered: entered.filter((entry) => wanted(options, entry)).map(ledgerEntry),
    packs: packs.length,
    archived,
    bytesRead: bytesRead + log.bytesRead,
  };
}

/** Every pack once, then what each backup says of them. */
async function verifyBackups(
  options: VerifyOptions,
  { opened, keys, dataFaults }: { opened: OpenedManifests } & Pick<CheckedKeys, 'keys' | 'dataFaults'>,
): Promise<{ backups: VerifiedBackup[]; archived: number; bytesRead: number }> {
  const { repository } = options;
  const { packs } = opened;
  const places = new ChunkPlaces(packs);
  try {
    const { faults, archived, bytesRead } = await checkPacks({ ...options, packs, places, keys });
    const backups: VerifiedBackup[] = [...opened.bad];
    for (const { database, id } of opened.good) {
      const manifest = await manifestIfThere(repository, { database, id });
      if (manifest)
        backups.push(await judge(repository, manifest, { faults, keyFaults: dataFaults, places }));
    }
    return { backups, archived, bytesRead };
  } finally {
    places.close();
  }
}

/** WAL is read with everything else, not for a single backup. */
async function logOf(options: VerifyOptions): Promise<{ damage: LogDamage[]; bytesRead: number }> {
  if (!options.readData || options.backupId !== undefined) return { damage: [], bytesRead: 0 };
  const all = (await options.repository.backups(options.database)).map((backup) => backup.database);
  return checkLog({ ...options, databases: [...new Set(all)] });
}

function ledgerEntry({ database, id }: { database: string; id: string }): string {
  return `ledger/${database}/${id}`;
}

function wanted({ database, backupId }: VerifyOptions, name: { database: string; id: string }): boolean {
  return (
    (database === undefined || name.database === database) && (backupId === undefined || name.id === backupId)
  );
}

/** What is needed of a manifest until its turn comes: many large ones would not fit into memory. */
type OpenedBackup = Pick<Manifest, 'database' | 'id' | 'keys'>;

interface OpenedManifests {
  readonly good: readonly OpenedBackup[];
  readonly bad: readonly VerifiedBackup[];
  readonly packs: PackList;
}

async function manifestIfThere(
  repository: Repository,
  { database, id }: { database: string; id: string },
): Promise<Manifest | undefined> {
  try {
    return await repository.manifest(database, id);
  } catch (thrown) {
    // Removed since it was listed.
    if (thrown instanceof HelvinoError && thrown.code === 'BACKUP_NOT_FOUND') return undefined;
    throw thrown;
  }
}

async function openManifests(options: VerifyOptions): Promise<OpenedManifests> {
  const packs = new PackList();
  const good: OpenedBackup[] = [];
  const bad: VerifiedBackup[] = [];
  for (const name of await options.repository.backups(options.database)) {
    if (!wanted(options, name)) continue;
    try {
      const { database, id } = name;
      const { keys } = await options.repository.summary(database, id, (pack) => packs.add(pack));
      good.push({ database, id, keys });
    } catch (thrown) {
      // Removed since it was listed.
      if (thrown instanceof HelvinoError && thrown.code === 'BACKUP_NOT_FOUND') continue;
      if (
        !(thrown instanceof HelvinoError) ||
        !['REPOSITORY_DAMAGED', 'STORAGE_IO', 'STORAGE_SHORT_READ'].includes(thrown.code)
      )
        throw thrown;
      bad.push(
        damaged(name, [
          { object: `backups/${name.database}/${name.id}`, why: thrown.message, files: [], moreFiles: 0 },
        ]),
      );
    }
  }
  return { good, bad, packs };
}

function damaged(
  { database, id }: { database: string; id: string },
  damage: readonly Damage[],
): VerifiedBackup {
  return { database, id, state: 'damaged', damage };
}

/** What no restore reads, and what is worth keeping all the same: results of drills and verifications, holds, evidence. */
async function checkOthers(
  { repository, database = '' }: VerifyOptions,
  opened: readonly OpenedBackup[],
): Promise<VerifyReport['others']> {
  const of = database && `${database}/`;
  const prefixes = [
    evidencePrefix,
    `${holdsPrefix}${of}`,
    `${verificationsPrefix}${of}`,
    `${runsPrefix}${of}`,
  ];
  const others: { object: string; why: string }[] = [];
  for (const prefix of [...opened.map(({ id }) => proofPrefix(id)), ...prefixes])
    for await (const { name } of repository.driver.list(prefix)) {
      try {
        await checkObject(name, await repository.driver.get(name), repository.ring);
      } catch (thrown) {
        // Lifted or tidied away since it was listed.
        if (thrown instanceof HelvinoError && thrown.code === 'STORAGE_NOT_FOUND') continue;
        if (!(thrown instanceof HelvinoError) || !['REPOSITORY_DAMAGED', 'KEY_WRONG'].includes(thrown.code))
          throw thrown;
        others.push({ object: name, why: thrown.message });
      }
    }
  return others;
}

async function judge(
  repository: Repository,
  manifest: Manifest,
  {
    faults,
    keyFaults,
    places,
  }: { faults: ReadonlyMap<string, PackFault>; keyFaults: ReadonlyMap<string, string>; places: ChunkPlaces },
): Promise<VerifiedBackup> {
  const touched = new Map<string, { why: string; files: string[]; count: number }>();
  // Of a million packs few are bad.
  for (const [id, fault] of faults)
    if (manifest.packs.withId(id)) touched.set(objectOf(id), { why: fault.why, files: [], count: 0 });
  for (const keyId of manifest.keys) {
    const keyFault = keyFaults.get(keyId);
    if (keyFault) touched.set(`keys/data/${keyId}`, { why: keyFault, files: [], count: 0 });
  }
  await walkBlocks(repository, manifest, {
    touched,
    visit: (file) => touch(file, { touched, faults, keyFaults, places, manifest }),
  });
  if (touched.size === 0) return { database: manifest.database, id: manifest.id, state: 'good', damage: [] };
  const paths = new Set([...touched.values()].flatMap((entry) => entry.files));
  const tables = await tablesOf(repository, manifest, paths).catch(() => new Map<string, string>());
  const damage = [...touched].map(([object, { why, files, count }]) => ({
    object,
    why,
    files: files.map((path) => ({ path, table: tables.get(path) })),
    moreFiles: count - files.length,
  }));
  return damaged(manifest, damage);
}

/** Reads every block; one that cannot be read is damage of its own. */
async function walkBlocks(
  repository: Repository,
  manifest: Manifest,
  {
    touched,
    visit,
  }: {
    touched: Map<string, { why: string; files: string[]; count: number }>;
    visit: (file: FileEntry) => void;
  },
): Promise<void> {
  const sections = Object.values(manifest.sections).flat();
  for (const block of manifest.blocks) {
    try {
      for await (const file of repository.block(manifest, block)) visit(file);
    } catch (thrown) {
      note(touched, block.pack, thrown, `${block.files} files from ${block.first} on`);
    }
  }
  for (const ref of sections) {
    await repository.structure(manifest, ref).catch((thrown: unknown) => note(touched, ref.pack, thrown));
  }
}

function note(
  touched: Map<string, { why: string; files: string[]; count: number }>,
  pack: string,
  thrown: unknown,
  files?: string,
): void {
  if (!(thrown instanceof HelvinoError)) throw thrown;
  const known = touched.get(objectOf(pack)) ?? { why: thrown.message, files: [], count: 0 };
  if (files !== undefined) {
    known.files.push(files);
    known.count++;
  }
  touched.set(objectOf(pack), known);
}

function touch(
  file: FileEntry,
  context: {
    touched: Map<string, { why: string; files: string[]; count: number }>;
    faults: ReadonlyMap<string, PackFault>;
    keyFaults: ReadonlyMap<string, string>;
    places: ChunkPlaces;
    manifest: Manifest;
  },
): void {
  const objects = new Set<string>();
  for (const { chunk } of file.extents) {
    if (!chunk) continue;
    if (!context.manifest.keys.includes(chunk.keyId))
      note(context.touched, chunk.pack, foreignKey(chunk), file.path);
    else if (!context.places.matches(chunk)) note(context.touched, chunk.pack, wrongPlace(chunk), file.path);
    const fault = context.faults.get(chunk.pack);
    if (fault && (fault.chunks === undefined || fault.chunks.has(chunk.index)))
      objects.add(objectOf(chunk.pack));
    if (context.keyFaults.has(chunk.keyId)) objects.add(`keys/data/${chunk.keyId}`);
  }
  for (const object of objects) {
    const entry = context.touched.get(object)!;
    entry.count++;
    if (entry.files.length < shownFiles) entry.files.push(file.path);
  }
}

function objectOf(pack: string): string {
  return `packs/${pack.slice(0, 2)}/${pack}`;
}
