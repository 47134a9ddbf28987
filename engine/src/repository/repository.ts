/**
 * Opening a repository and its objects: descriptor, manifests, blocks, keys.
 */
import { type Clock, systemClock } from '../base/clock.ts';
import { HelvinoError } from '../base/errors.ts';
import { randomHex } from '../base/ids.ts';
import { NumberSet } from '../base/number-set.ts';
import type { StorageDriver } from '../storage/index.ts';
import { mapParallel } from '../streams/index.ts';
import { newKey } from './crypto.ts';
import { damagedObject, openEnvelope, sealEnvelope } from './envelope.ts';
import { putRemovedBackup, type RemovedBackup } from './evidence.ts';
import type { FileEntry } from './extents.ts';
import { decodeFileBlock } from './file-block.ts';
import { assertNotHeld } from './holds.ts';
import { type CatalogRing, catalogRing, type Identities, openKey, openKeyLike, sealKey } from './keys.ts';
import {
  backupsPrefix,
  catalogKeysPrefix,
  dataKeysPrefix,
  descriptorName,
  ledgerName,
  ledgerPrefix,
  manifestName,
  packName,
  packsPrefix,
  proofPrefix,
  proofsPrefix,
} from './layout.ts';
import { liveLeases } from './lease.ts';
import {
  type BlockRef,
  decodeManifest,
  decodeSummary,
  encodeManifest,
  type Manifest,
  type ManifestDraft,
  type ManifestSummary,
  type StructureRef,
} from './manifest.ts';
import type { PackFacts } from './manifest-packs.ts';
import { PackList, type SizedPack } from './pack-list.ts';
import { putOnce } from './put-once.ts';
import { retainNeeds } from './retain-backup.ts';
import { readStructure, readStructures } from './structure.ts';

/** The newest repository format that this version reads and writes. */
const repositoryFormat = 1;
const keysAtOnce = 8;

export interface BackupName {
  readonly database: string;
  readonly id: string;
  /** By the store's clock: when the backup was committed. */
  readonly committed: Date;
}

interface Descriptor {
  readonly format: number;
  /** 32 hexadecimal digits. */
  readonly id: string;
  readonly created: string;
}

/**
 * Makes an empty repository with a new catalog key, sealed to the recipients. `onSealed`: from now on there may be one, also when this
 * fails; before, nothing that counts is sealed to them. Throws REPOSITORY_EXISTS.
 */
export async function createRepository(
  driver: StorageDriver,
  {
    recipients,
    clock = systemClock,
    onSealed,
  }: { recipients: readonly string[]; clock?: Clock; onSealed?: () => void },
): Promise<Repository> {
  if (recipients.length === 0)
    throw new HelvinoError('KEY_MISSING', 'a repository needs at least one recovery recipient');
  const descriptor: Descriptor = {
    format: repositoryFormat,
    id: randomHex(16),
    created: clock.now().toISOString(),
  };
  if ((await driver.head(descriptorName)) !== undefined) throw exists(driver);
  const key = newKey();
  // The sealed key first: a repository must never exist whose catalog key is nowhere.
  await sealKey(driver, { prefix: catalogKeysPrefix, key, repositoryId: descriptor.id, recipients });
  onSealed?.();
  try {
    await driver.put(descriptorName, [Buffer.from(`${JSON.stringify(descriptor)}\n`)], { ifAbsent: true });
  } catch (thrown) {
    if (thrown instanceof HelvinoError && thrown.code === 'STORAGE_EXISTS') throw exists(driver);
    throw thrown;
  }
  return new Repository(driver, descriptor, catalogRing([key]));
}

function exists(driver: StorageDriver): HelvinoError {
  return new HelvinoError('REPOSITORY_EXISTS', `there is a repository at ${driver.capabilities.place}`, {
    hint: 'choose an empty place; to use it, write helvino.yaml by hand, with its catalog key (`helvino key catalog`); if `helvino init` was cut off, it is empty: move it away',
  });
}

/**
 * Opens a repository with the host's catalog ring, or with recovery identities, or both.
 * Throws REPOSITORY_NOT_FOUND, REPOSITORY_TOO_NEW, KEY_MISSING, KEY_WRONG.
 */
export async function openRepository(
  driver: StorageDriver,
  access: { ring?: CatalogRing; identities?: Identities },
): Promise<Repository> {
  const descriptor = await readDescriptor(driver);
  if (access.ring) return new Repository(driver, descriptor, access.ring);
  if (!access.identities) {
    throw new HelvinoError('KEY_MISSING', 'neither a catalog key nor a recovery identity was given', {
      hint: 'give the catalog key file of this host, or the recovery identity (--identity FILE)',
    });
  }
  const { ring, sealing } = await recoverCatalogRing(driver, descriptor.id, access.identities);
  return new Repository(driver, descriptor, ring, sealing);
}

async function readDescriptor(driver: StorageDriver): Promise<Descriptor> {
  let text: string;
  try {
    text = Buffer.from(await driver.get(descriptorName)).toString('utf8');
  } catch (cause) {
    if (!(cause instanceof HelvinoError && cause.code === 'STORAGE_NOT_FOUND')) throw cause;
    throw new HelvinoError('REPOSITORY_NOT_FOUND', `there is no repository at ${driver.capabilities.place}`, {
      cause,
      hint: 'check the path in helvino.yaml, or make the repository with `helvino init`',
    });
  }
  const descriptor = parseDescriptor(text, driver.capabilities.place);
  if (descriptor.format > repositoryFormat) {
    throw new HelvinoError(
      'REPOSITORY_TOO_NEW',
      `the repository at ${driver.capabilities.place} has format ${descriptor.format}; this version reads up to ${repositoryFormat}`,
      { hint: 'use a newer Helvino', context: { format: descriptor.format } },
    );
  }
  return descriptor;
}

function parseDescriptor(text: string, place: string): Descriptor {
  try {
    const json = JSON.parse(text) as Partial<Descriptor>;
    if (Number.isInteger(json.format) && json.format! >= 1 && /^[0-9a-f]{32}$/.test(json.id ?? ''))
      return json as Descriptor;
  } catch {
    // reported below, like a wrong content
  }
  throw new HelvinoError('REPOSITORY_DAMAGED', `${descriptorName} at ${place} is damaged`, {
    hint: 'it is a small text that can be copied from another copy of the repository',
    context: { object: descriptorName },
  });
}

/** Newest key first, by the store's clock; and a sealing that was opened. */
async function recoverCatalogRing(
  driver: StorageDriver,
  repositoryId: string,
  identities: Identities,
): Promise<{ ring: CatalogRing; sealing: string | undefined }> {
  const found = new Map<string, { written: number; sealings: string[] }>();
  for await (const { name, modified } of driver.list(catalogKeysPrefix)) {
    const keyId = name.slice(catalogKeysPrefix.length).split('/')[0]!;
    const { written, sealings } = found.get(keyId) ?? { written: Number.POSITIVE_INFINITY, sealings: [] };
    found.set(keyId, { written: Math.min(written, modified.getTime()), sealings: [...sealings, name] });
  }
  const keys: Buffer[] = [];
  let sealing: string | undefined;
  for (const [keyId, { sealings }] of [...found].sort((a, b) => b[1].written - a[1].written)) {
    const request = { prefix: catalogKeysPrefix, keyId, repositoryId, identities, sealings };
    const opened = await openKey(driver, request);
    sealing ??= opened.sealing;
    keys.push(opened.key);
  }
  return { ring: catalogRing(keys), sealing };
}

interface LedgerEntry {
  readonly database: string;
  readonly id: string;
  /** Bytes. */
  readonly size: number;
}

export class Repository {
  readonly driver: StorageDriver;
  readonly ring: CatalogRing;
  readonly id: string;
  readonly #descriptor: Descriptor;
  /** A sealing that an identity has opened. */
  #sealing: string | undefined;

  constructor(driver: StorageDriver, descriptor: Descriptor, ring: CatalogRing, sealing?: string) {
    this.#sealing = sealing;
    this.driver = driver;
    this.#descriptor = descriptor;
    this.ring = ring;
    this.id = descriptor.id;
  }

  /** The same repository through another driver: one that decorates its own. */
  on(driver: StorageDriver): Repository {
    return new Repository(driver, this.#descriptor, this.ring, this.#sealing);
  }

  /** Names only, in order of database and time; reads nothing else. */
  async backups(database?: string): Promise<BackupName[]> {
    const names: BackupName[] = [];
    for await (const object of this.driver.list(
      database === undefined ? backupsPrefix : `${backupsPrefix}${database}/`,
    )) {
      const [, owner, id] = object.name.split('/');
      if (owner !== undefined && id !== undefined)
        names.push({ database: owner, id, committed: object.modified });
    }
    return names;
  }

  /** Throws BACKUP_NOT_FOUND, REPOSITORY_DAMAGED. */
  manifest(database: string, id: string): Promise<Manifest> {
    return this.#manifest(database, id, (bytes, name) => decodeManifest(bytes, this.ring, name));
  }

  /** A manifest without what it names, each pack of which goes to `visit`. Throws as `manifest`. */
  summary(
    database: string,
    id: string,
    visit: (pack: PackFacts) => void = () => undefined,
  ): Promise<ManifestSummary> {
    return this.#manifest(database, id, (bytes, name) =>
      decodeSummary(bytes, { ring: this.ring, name }, visit),
    );
  }

  async #manifest<Read>(
    database: string,
    id: string,
    decode: (bytes: Uint8Array, name: string) => Read,
  ): Promise<Read> {
    const name = manifestName(database, id);
    let bytes: Uint8Array;
    try {
      bytes = await this.driver.get(name);
    } catch (cause) {
      if (!(cause instanceof HelvinoError && cause.code === 'STORAGE_NOT_FOUND')) throw cause;
      throw new HelvinoError('BACKUP_NOT_FOUND', `there is no backup ${id} of ${database}`, {
        cause,
        hint: '`helvino list` shows the backups that are there',
      });
    }
    try {
      return decode(bytes, name);
    } catch (thrown) {
      throw await this.#unknownKey(thrown, name);
    }
  }

  /** A key that the repository never had is no key that someone forgot to give: the place where it is named was changed. */
  async #unknownKey(thrown: unknown, name: string): Promise<unknown> {
    if (!(thrown instanceof HelvinoError && thrown.code === 'KEY_WRONG')) return thrown;
    if ((await this.sealedKeys('catalog')).has(String(thrown.context.keyId))) return thrown;
    return damagedObject(name, `it names the catalog key ${thrown.context.keyId}, which never was`);
  }

  /** The backup exists once this resolves. */
  async commit(draft: ManifestDraft): Promise<void> {
    const name = manifestName(draft.database, draft.id);
    const body = encodeManifest(draft, this.ring, name);
    await this.#retain(draft);
    await this.driver.put(name, [body], { ifAbsent: true });
    // After the manifest: an entry without a manifest then means that the manifest was lost or taken away.
    await putOnce(this.driver, ledgerName(draft.database, draft.id), []);
  }

  /** With object lock: what the backup shares with earlier ones is locked as long as what is new of it, before it exists. */
  async #retain(draft: ManifestDraft): Promise<void> {
    const { keepMs } = this.driver.capabilities;
    if (keepMs === undefined) return;
    const took = new Date(draft.finished).getTime() - new Date(draft.started).getTime();
    await retainNeeds(this.driver, draft, new Date((await this.driver.now()).getTime() - took + keepMs));
  }

  /** Backups that the ledger has and that are not there, and entries that are not empty; enters what is there and was not entered. */
  async reconcileLedger(): Promise<{ lost: BackupName[]; entered: BackupName[]; changed: LedgerEntry[] }> {
    const { lost, unknown, changed } = await this.#compareLedger();
    // A run that died between manifest and ledger leaves these.
    const entered: BackupName[] = [];
    for (const backup of unknown) {
      const name = ledgerName(backup.database, backup.id);
      // Committed while we looked: its own run enters it.
      if ((await this.driver.head(name)) !== undefined) continue;
      await putOnce(this.driver, name, []);
      entered.push(backup);
    }
    return { lost, entered, changed };
  }

  /** Backups that the ledger has and that are not there; changes nothing. */
  async lostBackups(database?: string): Promise<BackupName[]> {
    const { lost } = await this.#compareLedger();
    return lost.filter((backup) => database === undefined || backup.database === database);
  }

  async #compareLedger(): Promise<{ lost: BackupName[]; unknown: BackupName[]; changed: LedgerEntry[] }> {
    // The ledger first: a backup that is committed meanwhile is then not taken for a lost one.
    const lost = new Map<string, BackupName>();
    const changed: LedgerEntry[] = [];
    for await (const object of this.driver.list(ledgerPrefix)) {
      const [, database = '', id = ''] = object.name.split('/');
      lost.set(`${database}/${id}`, { database, id, committed: object.modified });
      if (object.size > 0) changed.push({ database, id, size: object.size });
    }
    const unknown: BackupName[] = [];
    for (const backup of await this.backups()) {
      if (!lost.delete(`${backup.database}/${backup.id}`)) unknown.push(backup);
    }
    // Removed between the two lists: then the entry is gone by now.
    for (const [key, { database, id }] of lost) {
      if ((await this.driver.head(ledgerName(database, id))) === undefined) lost.delete(key);
    }
    return { lost: [...lost.values()], unknown, changed };
  }

  /** Removes a backup, also one whose manifest was lost; its packs become garbage unless others name them. Throws REPOSITORY_BUSY, BACKUP_NOT_FOUND, BACKUP_HELD. */
  async remove(database: string, id: string): Promise<void> {
    const name = manifestName(database, id);
    const known = await this.driver.head(ledgerName(database, id));
    if (known === undefined && (await this.driver.head(name)) === undefined) {
      throw new HelvinoError('BACKUP_NOT_FOUND', `there is no backup ${id} of ${database}`);
    }
    await assertNotHeld(this, { database, id, pinsToo: false });
    const holder = (await liveLeases(this.driver)).find((lease) => lease.uses.includes(id));
    if (holder) {
      throw new HelvinoError('REPOSITORY_BUSY', `backup ${id} is in use by a running ${holder.kind}`, {
        hint: 'wait until it has ended',
        context: { run: holder.run },
      });
    }
    // That it was there is told for ever, and before it goes.
    await putRemovedBackup(this, database, await this.#noteOf(database, id));
    // The ledger first: a removal that stops half-way must not look like a loss.
    await this.driver.remove(ledgerName(database, id));
    await this.driver.remove(name);
    for await (const proof of this.driver.list(proofPrefix(id))) await this.driver.remove(proof.name);
  }

  async #noteOf(database: string, id: string): Promise<RemovedBackup> {
    const removed = (await this.driver.now()).toISOString();
    try {
      const { facts, label, started, finished, totals } = await this.summary(database, id);
      return { id, method: String(facts.method), label, started, finished, bytes: totals.bytes, removed };
    } catch (thrown) {
      if (!(thrown instanceof HelvinoError)) throw thrown;
      return { id, method: 'unknown', removed };
    }
  }

  /** Keeps the result of a drill of a backup: what a later `list` shows and what retention protects. */
  async putProof(backupId: string, proofId: string, proof: unknown): Promise<void> {
    const name = `${proofPrefix(backupId)}${proofId}`;
    const body = sealEnvelope(Buffer.from(JSON.stringify(proof)), {
      ring: this.ring,
      name,
      magic: 'HVPROOF\n',
    });
    await this.driver.put(name, [body], { ifAbsent: true });
  }

  /** Results of the drills of a backup, oldest first. */
  async proofs(backupId: string): Promise<{ id: string; proof: unknown }[]> {
    const found: { id: string; proof: unknown }[] = [];
    for await (const { name } of this.driver.list(proofPrefix(backupId))) {
      const plain = openEnvelope(await this.driver.get(name), { ring: this.ring, name, magic: 'HVPROOF\n' });
      found.push({ id: name.split('/').at(-1)!, proof: JSON.parse(Buffer.from(plain).toString('utf8')) });
    }
    return found;
  }

  /** Proofs of backups that are neither there nor missed: a removal that stopped half-way leaves them. */
  async removeOrphanProofs(): Promise<void> {
    const proofs: string[] = [];
    for await (const { name } of this.driver.list(proofsPrefix)) proofs.push(name);
    // After the proofs: the backup of each of them was there when it was listed, or is gone.
    const known = new Set([...(await this.backups()), ...(await this.lostBackups())].map(({ id }) => id));
    for (const name of proofs) if (!known.has(name.split('/')[1]!)) await this.driver.remove(name);
  }

  /** Ids of the data keys that have at least one sealing. */
  async sealedKeys(kind: 'data' | 'catalog'): Promise<Set<string>> {
    const prefix = kind === 'data' ? dataKeysPrefix : catalogKeysPrefix;
    const keyIds = new Set<string>();
    for await (const object of this.driver.list(prefix))
      keyIds.add(object.name.slice(prefix.length).split('/')[0]!);
    return keyIds;
  }

  /** Plain bytes of a block or of a part of a section. */
  async structure(manifest: Manifest, ref: StructureRef): Promise<Uint8Array> {
    return readStructure(this.driver, this.#structureKey(manifest, ref), ref);
  }

  #structureKey(manifest: Manifest, ref: StructureRef): Uint8Array {
    const keyId = manifest.packs.withId(ref.pack)?.keyId ?? this.ring.currentId;
    const key = this.ring.find(keyId);
    if (key !== undefined) return key;
    throw new HelvinoError('KEY_WRONG', `the catalog key ${keyId} was not given`, { context: { keyId } });
  }

  #structures<Ref extends StructureRef>(manifest: Manifest, refs: readonly Ref[]) {
    const keys = new Map<string, Uint8Array>();
    const keyOf = (ref: Ref) => {
      const key = keys.get(ref.pack) ?? this.#structureKey(manifest, ref);
      keys.set(ref.pack, key);
      return key;
    };
    return readStructures(this.driver, keyOf, refs);
  }

  /** Every file of a backup, in order of path. */
  async *files(manifest: Manifest): AsyncGenerator<FileEntry> {
    for await (const { ref, plain } of this.#structures(manifest, manifest.blocks))
      yield* decodeFileBlock(plain, whatOf(manifest, ref));
  }

  async *block(manifest: Manifest, block: BlockRef): AsyncGenerator<FileEntry> {
    yield* decodeFileBlock(await this.structure(manifest, block), whatOf(manifest, block));
  }

  /** The values of a section; nothing when the backup has none of this name. */
  async *section(manifest: Manifest, name: string): AsyncGenerator<unknown> {
    for await (const { plain } of this.#structures(manifest, manifest.sections[name] ?? [])) {
      const text = Buffer.from(plain).toString('utf8');
      for (const line of text.split('\n')) if (line !== '') yield JSON.parse(line);
    }
  }

  /** A new data key, sealed to the recipients before it is used. */
  async newDataKey(recipients: readonly string[]): Promise<{ key: Buffer; keyId: string }> {
    const key = newKey();
    const keyId = await sealKey(this.driver, {
      prefix: dataKeysPrefix,
      key,
      repositoryId: this.id,
      recipients,
    });
    return { key, keyId };
  }

  /** The data keys that a backup needs. Throws KEY_WRONG, STORAGE_NOT_FOUND. */
  async dataKeys(manifest: Manifest, identities: Identities): Promise<Map<string, Buffer>> {
    const keys = new Map<string, Buffer>();
    const [first, ...others] = manifest.keys;
    // Where the first one is says where the others are.
    if (first !== undefined) keys.set(first, await this.dataKey(first, identities));
    const opening = mapParallel(others, keysAtOnce, async (keyId) => {
      keys.set(keyId, await this.dataKey(keyId, identities));
    });
    for await (const _ of opening);
    return keys;
  }

  /** Packs of a backup that are not there, or not of their size: their names. */
  async missingPacks({ packs }: { readonly packs: Iterable<SizedPack> }): Promise<string[]> {
    const wanted = new PackList();
    for (const pack of packs) wanted.add(pack);
    const there = new NumberSet();
    for await (const { name, size } of this.driver.list(packsPrefix)) {
      const number = wanted.numberOf(name.slice(name.lastIndexOf('/') + 1));
      if (number === undefined) continue;
      const pack = wanted.at(number);
      if (packName(pack.id) === name && pack.size === size) there.add(number);
    }
    return [...wanted.select((number) => !there.has(number))].map(({ id }) => packName(id));
  }

  /** Throws KEY_WRONG, STORAGE_NOT_FOUND, REPOSITORY_DAMAGED. */
  catalogKey(keyId: string, identities: Identities): Promise<Buffer> {
    return this.#key(catalogKeysPrefix, keyId, identities);
  }

  /** Throws KEY_WRONG, STORAGE_NOT_FOUND, REPOSITORY_DAMAGED. */
  dataKey(keyId: string, identities: Identities): Promise<Buffer> {
    return this.#key(dataKeysPrefix, keyId, identities);
  }

  async #key(prefix: string, keyId: string, identities: Identities): Promise<Buffer> {
    const request = { prefix, keyId, repositoryId: this.id, identities };
    const { key, sealing } = await openKeyLike(this.driver, request, this.#sealing);
    this.#sealing = sealing;
    return key;
  }
}

function whatOf(manifest: Manifest, block: BlockRef): string {
  return `block "${block.first}" of backup ${manifest.id}`;
}
