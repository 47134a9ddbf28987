/** What a proof rests on, as hashes: a drill keeps it, and whoever asks later compares it with what there is then. */
import { HelvinoError } from '../../../base/errors.ts';
import { methodOf, physicalFacts } from '../../../catalog/index.ts';
import type { ChosenDatabase, Config } from '../../../config/index.ts';
import type { Manifest, Repository } from '../../../repository/index.ts';
import { canonicalJson, sha256 } from '../canonical-json.ts';
import type { DrillFingerprint } from '../report.ts';

export interface FingerprintSource {
  readonly repository: Repository;
  /** The backup that is drilled; later: the newest of its kind. */
  readonly manifest: Manifest;
  /** Undefined where there is no configuration: then it, and who can restore, are not known. */
  readonly configured?: Configured;
}

export interface Configured {
  readonly config: Config;
  readonly chosen: ChosenDatabase;
}

/** Parts that cannot be told are left out. */
export async function fingerprintOf(source: FingerprintSource): Promise<Partial<DrillFingerprint>> {
  const { repository, manifest, configured } = source;
  // What cannot be read is not known: whether it can be is the question of others.
  const schema = await schemaOf(repository, manifest).catch((thrown: unknown) => {
    if (!(thrown instanceof HelvinoError) || thrown.code === 'INTERNAL') throw thrown;
    return undefined;
  });
  const server = physicalFacts(manifest)?.serverVersionText ?? serverOf(manifest);
  return {
    ...(configured ? { config: configHash(configured), keys: keysHash(repository, configured) } : {}),
    ...(schema === undefined ? {} : { schema }),
    ...(server === undefined ? {} : { server }),
  };
}

/** What bears on how backups are made, restored and checked; not what is kept, watched, planned for when and by whom. */
function configHash({ config, chosen }: Configured): string {
  const { retention, health, wal, copies, ...rest } = chosen.database;
  const only = Object.keys(config.databases).length === 1 ? chosen.name : undefined;
  const plans = Object.entries(config.drills)
    .filter(([, plan]) => (plan.database ?? only) === chosen.name)
    .map(([name, { schedule, timeZone, objectives, operator, approver, copy, ...plan }]) => [name, plan]);
  const first = config.repositories[chosen.database.repository]?.storage;
  return sha256(canonicalJson({ ...rest, slot: wal.slot, storage: first, plans }));
}

function keysHash({ ring }: Repository, { config, chosen }: Configured): string {
  // Of the first repository, whichever copy is read.
  const recipients = config.repositories[chosen.database.repository]?.recipients ?? [];
  return sha256(canonicalJson({ recipients: [...recipients].sort(), catalog: ring.currentId }));
}

/** Of the names of all tables, and of their structure where the backup recorded it. */
async function schemaOf(repository: Repository, manifest: Manifest): Promise<string | undefined> {
  const lines: string[] = [];
  for await (const value of repository.section(manifest, 'tables')) {
    const { database, schema, table } = value as { database: string; schema: string; table: string };
    lines.push(canonicalJson([database, schema, table]));
  }
  for await (const value of repository.section(manifest, 'schema')) lines.push(canonicalJson(value));
  return lines.length === 0 ? undefined : sha256(lines.sort().join('\n'));
}

function serverOf(manifest: Manifest): string | undefined {
  if (methodOf(manifest) !== 'logical') return undefined;
  const version = manifest.facts.serverVersionText;
  return typeof version === 'string' ? version : undefined;
}
