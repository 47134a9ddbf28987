/**
 * Holds: someone says that a backup, or all backups of a database, must not go.
 *
 *     holds/<database>/<backupId or "all">/<holdId>            an envelope with JSON: reason, by, from, until
 *     holds/<database>/<backupId or "all">/<holdId>.lifted     the same with JSON: by, at
 *
 * Retention removes nothing that is held; `remove` refuses it. Lifting a hold leaves a word that it was lifted and removes its
 * object: so a copy that was away does not bring it back. Where both are there it holds: a credential that may only write
 * lifts nothing.
 */
import * as z from 'zod';
import { HelvinoError } from '../base/errors.ts';
import { randomHex } from '../base/ids.ts';
import type { StorageDriver } from '../storage/index.ts';
import { openEnvelope, sealEnvelope } from './envelope.ts';
import type { CatalogRing } from './keys.ts';
import { holdsPrefix } from './layout.ts';
import { putOnce } from './put-once.ts';
import type { Repository } from './repository.ts';

const holdSchema = z.object({
  reason: z.string(),
  /** Who put it: `user@host`. */
  by: z.string(),
  /** ISO 8601, UTC. */
  from: z.string(),
  /** It ends by itself then; ISO 8601, UTC. */
  until: z.string().optional(),
  /** A pin holds against retention only; `helvino remove` takes the backup all the same. */
  pin: z.boolean(),
});

type HoldFacts = z.infer<typeof holdSchema>;

export interface Hold extends HoldFacts {
  readonly id: string;
  readonly database: string;
  /** Undefined: every backup of the database, also those to come. */
  readonly backup: string | undefined;
}

const allBackups = 'all';
const liftedSuffix = '.lifted';
const magic = 'HVHOLD1\n';

/** Durable when it resolves. */
export async function addHold(repository: Repository, hold: Omit<Hold, 'id'>): Promise<Hold> {
  const id = randomHex(4);
  const { database, backup, ...facts } = hold;
  const name = `${holdsPrefix}${database}/${backup ?? allBackups}/${id}`;
  const body = sealEnvelope(Buffer.from(JSON.stringify(facts)), { ring: repository.ring, name, magic });
  await repository.driver.put(name, [body], { ifAbsent: true });
  return { ...hold, id };
}

/** Those of a database that are in force at `now`; of all databases without one. */
export async function listHolds(
  repository: Repository,
  { database, now }: { database?: string; now: Date },
): Promise<Hold[]> {
  const holds: Hold[] = [];
  const prefix = database === undefined ? holdsPrefix : `${holdsPrefix}${database}/`;
  for await (const { name } of repository.driver.list(prefix)) {
    if (name.endsWith(liftedSuffix)) continue;
    const hold = await readHold(repository, name);
    if (hold && (hold.until === undefined || new Date(hold.until) > now)) holds.push(hold);
  }
  return holds;
}

/** Undefined when it was lifted since it was listed. */
async function readHold(repository: Repository, name: string): Promise<Hold | undefined> {
  let sealed: Uint8Array;
  try {
    sealed = await repository.driver.get(name);
  } catch (thrown) {
    if (thrown instanceof HelvinoError && thrown.code === 'STORAGE_NOT_FOUND') return undefined;
    throw thrown;
  }
  const [, database = '', backup = '', id = ''] = name.split('/');
  const facts = openHold(sealed, { ring: repository.ring, name });
  return { ...facts, id, database, backup: backup === allBackups ? undefined : backup };
}

/** A hold that is damaged still holds. Throws KEY_WRONG. */
function openHold(sealed: Uint8Array, { ring, name }: { ring: CatalogRing; name: string }): HoldFacts {
  try {
    const plain = openEnvelope(sealed, { ring, name, magic });
    const parsed = holdSchema.safeParse(JSON.parse(Buffer.from(plain).toString('utf8')));
    if (parsed.success) return parsed.data;
  } catch (thrown) {
    if (!(thrown instanceof HelvinoError) || thrown.code !== 'REPOSITORY_DAMAGED') throw thrown;
  }
  return {
    reason: 'this hold is damaged and holds all the same',
    by: 'unknown',
    from: new Date(0).toISOString(),
    pin: false,
  };
}

/** `at`: ISO 8601, UTC. */
export async function liftHold(
  { driver, ring }: Repository,
  { database, backup, id }: Hold,
  lifted: { readonly by: string; readonly at: string },
): Promise<void> {
  const hold = `${holdsPrefix}${database}/${backup ?? allBackups}/${id}`;
  const name = `${hold}${liftedSuffix}`;
  await putOnce(driver, name, [sealEnvelope(Buffer.from(JSON.stringify(lifted)), { ring, name, magic })]);
  await driver.remove(hold);
}

export interface HoldChanges {
  /** Objects that the target lacks: holds, and words that one was lifted. */
  readonly bring: readonly string[];
  /** Holds at the target that were lifted at the source. */
  readonly lift: readonly string[];
}

/** What a copy of the holds of a database has to do: what was lifted in either store is not brought to the other. */
export async function compareHolds(
  source: StorageDriver,
  target: StorageDriver,
  database: string,
): Promise<HoldChanges> {
  const [ours, theirs] = [new Set<string>(), new Set<string>()];
  for await (const { name } of source.list(`${holdsPrefix}${database}/`)) ours.add(name);
  for await (const { name } of target.list(`${holdsPrefix}${database}/`)) theirs.add(name);
  const bring: string[] = [];
  const lift: string[] = [];
  for (const name of ours) {
    const word = name.endsWith(liftedSuffix);
    const hold = word ? name.slice(0, -liftedSuffix.length) : name;
    // Not lifted while it is there.
    if (word && ours.has(hold)) continue;
    if (word && theirs.has(hold)) lift.push(hold);
    const liftedThere = !word && theirs.has(`${hold}${liftedSuffix}`);
    if (!theirs.has(name) && !liftedThere) bring.push(name);
  }
  return { bring, lift };
}

/** Throws BACKUP_HELD. */
export async function assertNotHeld(
  repository: Repository,
  { database, id, pinsToo }: { database: string; id: string; pinsToo: boolean },
): Promise<void> {
  const now = await repository.driver.now();
  const holds = await listHolds(repository, { database, now });
  const hold = holds.find(({ backup, pin }) => (backup === undefined || backup === id) && (pinsToo || !pin));
  if (!hold) return;
  throw new HelvinoError('BACKUP_HELD', `backup ${id} is held: ${hold.reason} (${hold.by})`, {
    hint: `\`helvino hold remove ${hold.id}\` lifts the hold`,
    context: { hold: hold.id, backup: id },
  });
}
