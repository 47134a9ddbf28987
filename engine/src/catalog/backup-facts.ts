/** What a manifest's `facts` say of the PostgreSQL server: one schema, written by a physical backup, read by everything else. */
import * as z from 'zod';
import { HelvinoError } from '../base/errors.ts';
import type { ManifestSummary } from '../repository/index.ts';
import { assertMethod, methodOf } from './other-facts.ts';

const lsn = z.string().regex(/^[0-9A-F]{1,8}\/[0-9A-F]{1,8}$/);

const factsSchema = z.object({
  /** `physical`; other kinds of backup come with other facts. */
  method: z.literal('physical'),
  /** Unsigned 64-bit integer in decimal. */
  systemId: z.string(),
  /** `server_version_num`, e.g. 180004. */
  serverVersion: z.number().int(),
  /** e.g. `18.4`. */
  serverVersionText: z.string(),
  /** A place for people, without secrets: `db.internal:5432`. */
  server: z.string(),
  fromStandby: z.boolean(),
  /** The bootstrap superuser's name: a drill logs in as this role. */
  superuser: z.string(),
  /** A database that there was: the one that the backup was connected to. Older backups do not say. */
  connectedTo: z.string().optional(),
  timeline: z.number().int(),
  startLsn: lsn,
  stopLsn: lsn,
  /** The WAL that is stored with the backup ends here: what a restore of this backup alone recovers to. */
  walEnd: lsn,
  /** The server's clock when that WAL had been written: no transaction in it is later. ISO 8601. */
  ended: z.string().optional(),
  /** Bytes. */
  walSegmentSize: z.number().int(),
  dataChecksums: z.boolean(),
  tablespaces: z.array(z.object({ oid: z.string(), location: z.string() })),
  /** How the data came: `changed-pages` (WAL summaries), `changed-chunks` (all was read), `all`. */
  transfer: z.enum(['all', 'changed-chunks', 'changed-pages']),
  /** Who read it: the server, or Helvino from the server's files. */
  read: z.enum(['replication', 'files']).default('replication'),
  checksumsVerified: z.boolean(),
  fingerprint: z.object({
    state: z.enum(['taken', 'unproven']),
    reason: z.string().optional(),
    tables: z.number().int(),
    skipped: z.number().int(),
    /** Databases that the role could not look into: their content is not recorded. */
    hiddenDatabases: z.array(z.string()).default([]),
  }),
  /** Which restore the server came from (`helvino.restored`); undefined when it was never restored by Helvino. */
  restored: z.string().optional(),
  warnings: z.array(z.string()),
});

export type BackupFacts = z.infer<typeof factsSchema>;

/** Undefined for another kind of backup. Throws REPOSITORY_DAMAGED. */
export function physicalFacts(manifest: ManifestSummary): BackupFacts | undefined {
  return methodOf(manifest) === 'physical' ? backupFacts(manifest) : undefined;
}

/** Throws USAGE for another kind of backup, REPOSITORY_DAMAGED when the facts are not those of a physical backup. */
export function backupFacts(manifest: ManifestSummary): BackupFacts {
  assertMethod(manifest, 'physical');
  const parsed = factsSchema.safeParse(manifest.facts);
  if (parsed.success) return parsed.data;
  throw new HelvinoError(
    'REPOSITORY_DAMAGED',
    `the facts in backup ${manifest.id} are not those of a physical backup`,
    {
      cause: parsed.error,
      hint: 'a newer Helvino may have made it; use that version',
    },
  );
}

/** `serverVersion` without the minor part: 18 for 180004. */
export function majorOf(serverVersion: number): number {
  return Math.floor(serverVersion / 10000);
}
