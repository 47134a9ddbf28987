/** What the manifests of backups say that are not physical: dumps (`logical`) and Docker volumes (`volume`). */
import * as z from 'zod';
import { HelvinoError } from '../base/errors.ts';
import type { ManifestSummary } from '../repository/index.ts';

const fingerprint = z.object({
  state: z.enum(['taken', 'unproven']),
  reason: z.string().optional(),
  tables: z.number().int(),
  skipped: z.number().int(),
  hiddenDatabases: z.array(z.string()).default([]),
});

const dumpedDatabase = z.object({
  name: z.string(),
  /** The folder in the backup that holds the dump. */
  folder: z.string(),
  /** When its snapshot was taken; ISO 8601, UTC. */
  snapshot: z.string(),
  owner: z.string(),
  encoding: z.string(),
  collate: z.string(),
  ctype: z.string(),
  /** `c`: libc; `i`: ICU; `b`: built in. */
  localeProvider: z.string().optional(),
  locale: z.string().optional(),
  /** Bytes of the dump. */
  bytes: z.number().int(),
});

const logicalSchema = z.object({
  method: z.literal('logical'),
  serverVersion: z.number().int(),
  serverVersionText: z.string(),
  server: z.string(),
  fromStandby: z.boolean(),
  /** What made the dump: `pg_dump 15.14`. */
  tool: z.string(),
  format: z.enum(['custom', 'directory', 'plain']),
  /** Roles and tablespaces: `without passwords` where the role may not read them. */
  globals: z.enum(['with passwords', 'without passwords', 'none']),
  databases: z.array(dumpedDatabase),
  fingerprint,
  warnings: z.array(z.string()),
});

const volumeSchema = z.object({
  method: z.literal('volume'),
  volume: z.string(),
  driver: z.string(),
  labels: z.record(z.string(), z.string()),
  /** The engine that the volume was read from: `20.10.24 at unix:///var/run/docker.sock`. */
  engine: z.string(),
  /** Containers that used the volume, and whether they ran while it was read. */
  containers: z.array(
    z.object({
      name: z.string(),
      image: z.string(),
      running: z.boolean(),
      /** Where it had the volume. */
      destination: z.string(),
    }),
  ),
  /** True when no container wrote while it was read. */
  quiet: z.boolean(),
  /** Where a PostgreSQL data directory lies in it, and its major version (`PG_VERSION`). */
  postgres: z
    .object({
      path: z.string(),
      major: z.number().int(),
      /** The superuser's name, where a container says it (`POSTGRES_USER`). */
      superuser: z.string().optional(),
    })
    .optional(),
  /** Entries of the archive, and the SHA-256 of their names, types and content in order. */
  entries: z.number().int(),
  digest: z.string(),
  warnings: z.array(z.string()),
});

export type LogicalFacts = z.infer<typeof logicalSchema>;
export type VolumeFacts = z.infer<typeof volumeSchema>;
export type BackupMethod = 'physical' | 'logical' | 'volume';
/** What a user calls it. */
type BackupKind = 'full' | 'incremental' | 'logical' | 'volume';

/** Throws REPOSITORY_DAMAGED for a method that this version does not know. */
export function methodOf(manifest: ManifestSummary): BackupMethod {
  const { method } = manifest.facts;
  if (method === 'physical' || method === 'logical' || method === 'volume') return method;
  throw new HelvinoError(
    'REPOSITORY_DAMAGED',
    `backup ${manifest.id} was made by the method ${JSON.stringify(method)}, which this version does not know`,
    { hint: 'a newer Helvino may have made it; use that version' },
  );
}

export function kindOf(manifest: ManifestSummary): BackupKind {
  const method = methodOf(manifest);
  return method === 'physical' ? manifest.kind : method;
}

/** Throws USAGE for another kind of backup, REPOSITORY_DAMAGED. */
export function logicalFacts(manifest: ManifestSummary): LogicalFacts {
  assertMethod(manifest, 'logical');
  return parsed(logicalSchema, manifest);
}

/** Throws USAGE for another kind of backup, REPOSITORY_DAMAGED. */
export function volumeFacts(manifest: ManifestSummary): VolumeFacts {
  assertMethod(manifest, 'volume');
  return parsed(volumeSchema, manifest);
}

const ways: Readonly<Record<BackupMethod, { readonly name: string; readonly restore: string }>> = {
  physical: { name: 'a physical backup', restore: 'restore it with --to-directory FOLDER' },
  logical: { name: 'a logical backup (a dump)', restore: 'restore it with --to-database NAME' },
  volume: { name: 'a backup of a Docker volume', restore: 'restore it with --to-volume NAME' },
};

/** Throws USAGE, with what can be done with a backup of its kind. */
export function assertMethod(manifest: ManifestSummary, wanted: BackupMethod): void {
  const method = methodOf(manifest);
  if (method === wanted) return;
  throw new HelvinoError(
    'USAGE',
    `backup ${manifest.id} is ${ways[method].name}, and ${ways[wanted].name} is needed here`,
    { hint: `${ways[method].restore}, or choose another backup: \`helvino list\` shows their kinds` },
  );
}

function parsed<T>(schema: z.ZodType<T>, manifest: ManifestSummary): T {
  const result = schema.safeParse(manifest.facts);
  if (result.success) return result.data;
  throw new HelvinoError(
    'REPOSITORY_DAMAGED',
    `the facts in backup ${manifest.id} are not those of a ${methodOf(manifest)} backup`,
    { cause: result.error, hint: 'a newer Helvino may have made it; use that version' },
  );
}
