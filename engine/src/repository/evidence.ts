/**
 * What auditors ask for and what must outlive the backups: signed reports of drills, notes of the backups that were removed,
 * and the public keys of the reports. Written once; no operation of Helvino removes them. What is kept of a proof with its
 * backup (`proofs/`) goes with the backup.
 */
import { createHash, createPublicKey } from 'node:crypto';
import { HelvinoError } from '../base/errors.ts';
import { damagedObject, type Magic, openEnvelope, sealEnvelope } from './envelope.ts';
import { evidenceKeysPrefix, removedPrefix, reportsPrefix } from './layout.ts';
import { putOnce } from './put-once.ts';
import type { Repository } from './repository.ts';

/** One report, as it was signed. */
export interface StoredReport {
  /** Id of the drill. */
  readonly id: string;
  /** The text that the signature is over. */
  readonly document: string;
  /** Base64; undefined where the host had no signing key. */
  readonly signature?: string;
}

/** A backup that is no longer there. */
export interface RemovedBackup {
  readonly id: string;
  /** `physical`, `logical`, `volume`; `unknown` when its manifest could not be read. */
  readonly method: string;
  readonly label?: string;
  /** ISO 8601, UTC; undefined when its manifest could not be read. */
  readonly started?: string;
  readonly finished?: string;
  /** Bytes of the content. */
  readonly bytes?: number;
  /** By the store's clock; ISO 8601, UTC. */
  readonly removed: string;
}

export async function putReport(
  repository: Repository,
  database: string,
  report: StoredReport,
): Promise<void> {
  await putSealed(repository, `${reportsPrefix}${database}/${report.id}`, {
    magic: 'HVREPT1\n',
    value: report,
  });
}

export interface ReportQuery {
  /** Of the id. */
  readonly wanted?: (id: string) => boolean;
  /** Of these the newest so many. */
  readonly newest?: number;
  /** Told of each that is damaged, which then is left out; without it the first is thrown. */
  readonly onDamaged?: (damage: HelvinoError) => void;
}

/** Oldest first. Throws REPOSITORY_DAMAGED, KEY_WRONG. */
export async function listReports(
  repository: Repository,
  database: string,
  query: ReportQuery = {},
): Promise<StoredReport[]> {
  const prefix = `${reportsPrefix}${database}/`;
  return (await readSealed(repository, { prefix, magic: 'HVREPT1\n', ...query })) as StoredReport[];
}

/** `report` is undefined when it is damaged. */
export async function newestReport(
  repository: Repository,
  database: string,
  wanted: (id: string) => boolean,
): Promise<{ id: string; report: StoredReport | undefined } | undefined> {
  const prefix = `${reportsPrefix}${database}/`;
  let id: string | undefined;
  for await (const { name } of repository.driver.list(prefix)) {
    const found = name.slice(prefix.length);
    if (wanted(found) && (id === undefined || found > id)) id = found;
  }
  if (id === undefined) return undefined;
  try {
    return { id, report: (await listReports(repository, database, { wanted: (one) => one === id }))[0] };
  } catch (thrown) {
    if (!(thrown instanceof HelvinoError) || thrown.code !== 'REPOSITORY_DAMAGED') throw thrown;
    return { id, report: undefined };
  }
}

export async function putRemovedBackup(
  repository: Repository,
  database: string,
  backup: RemovedBackup,
): Promise<void> {
  await putSealed(repository, `${removedPrefix}${database}/${backup.id}`, {
    magic: 'HVGONE1\n',
    value: backup,
  });
}

/** Oldest first. */
export async function listRemovedBackups(
  repository: Repository,
  database: string,
  wanted: (id: string) => boolean = () => true,
): Promise<RemovedBackup[]> {
  const prefix = `${removedPrefix}${database}/`;
  return (await readSealed(repository, { prefix, magic: 'HVGONE1\n', wanted })) as RemovedBackup[];
}

/** Reads names only. */
export async function hasRemovedBackup(
  { driver }: Repository,
  database: string,
  wanted: (id: string) => boolean,
): Promise<boolean> {
  const prefix = `${removedPrefix}${database}/`;
  for await (const { name } of driver.list(prefix)) if (wanted(name.slice(prefix.length))) return true;
  return false;
}

/** In plain, so that whoever reads the store finds them; what a report proves rests on a key that was got elsewhere. */
export async function putPublicKey(repository: Repository, key: { id: string; pem: string }): Promise<void> {
  await putOnce(repository.driver, `${evidenceKeysPrefix}${key.id}`, [Buffer.from(key.pem)]);
}

/** In order of id. One that is damaged is left out: what it signed then counts as wrongly signed, and `verify` names it. */
export async function listPublicKeys(repository: Repository): Promise<{ id: string; pem: string }[]> {
  const keys: { id: string; pem: string }[] = [];
  for await (const { name } of repository.driver.list(evidenceKeysPrefix)) {
    const bytes = Buffer.from(await repository.driver.get(name));
    if (!isPublicKey(name, bytes)) continue;
    keys.push({ id: name.slice(evidenceKeysPrefix.length), pem: bytes.toString('utf8') });
  }
  return keys;
}

function isPublicKey(name: string, bytes: Buffer): boolean {
  try {
    checkPublicKey(name, bytes);
    return true;
  } catch {
    return false;
  }
}

/** The name says what the key is. Throws REPOSITORY_DAMAGED. */
export function checkPublicKey(name: string, bytes: Buffer): void {
  let id: string;
  try {
    id = createHash('sha256')
      .update(createPublicKey(bytes).export({ type: 'spki', format: 'der' }))
      .digest('hex');
  } catch {
    throw damagedObject(name, 'it is no public key');
  }
  if (id !== name.slice(evidenceKeysPrefix.length)) throw damagedObject(name, 'it is another key');
}

async function putSealed(
  repository: Repository,
  name: string,
  { magic, value }: { magic: Magic; value: unknown },
): Promise<void> {
  const plain = Buffer.from(JSON.stringify(value));
  await putOnce(repository.driver, name, [sealEnvelope(plain, { ring: repository.ring, name, magic })]);
}

async function readSealed(
  { driver, ring }: Repository,
  { prefix, magic, wanted = () => true, newest, onDamaged }: ReportQuery & { prefix: string; magic: Magic },
): Promise<unknown[]> {
  const names: string[] = [];
  for await (const { name } of driver.list(prefix)) if (wanted(name.slice(prefix.length))) names.push(name);
  const values: unknown[] = [];
  const chosen = newest === undefined ? names.sort() : names.sort().slice(-newest);
  for (const name of chosen) {
    try {
      const plain = openEnvelope(await driver.get(name), { ring, name, magic });
      values.push(JSON.parse(Buffer.from(plain).toString('utf8')));
    } catch (thrown) {
      if (!onDamaged || !(thrown instanceof HelvinoError) || thrown.code !== 'REPOSITORY_DAMAGED')
        throw thrown;
      onDamaged(thrown);
    }
  }
  return values;
}
