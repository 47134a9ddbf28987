/** From configuration to things: driver, repository, connection. */
import { resolve } from 'node:path';
import { systemClock } from '../base/clock.ts';
import { HelvinoError } from '../base/errors.ts';
import {
  type DatabaseConfig,
  type Environment,
  type LoadedConfig,
  parseStorage,
  type RepositoryConfig,
  readSecret,
  type SecretSource,
  withDefaults,
} from '../config/index.ts';
import type { ConnectionParams } from '../postgres/index.ts';
import {
  type CatalogRing,
  type CopyState,
  type Identities,
  Mirrors,
  openRepository,
  parseCatalogRing,
  type Repository,
} from '../repository/index.ts';
import {
  loadS3,
  openFsDriver,
  type S3Archive,
  type S3Options,
  type StorageDriver,
  withLimit,
  withRetention,
  withRetry,
} from '../storage/index.ts';

export interface Surroundings {
  readonly env: Environment;
  /** What relative paths are relative to. */
  readonly directory: string;
  /** How long new objects are locked where object lock is on and no other time is said. */
  readonly lockSeconds?: number;
}

export async function openStorage(
  storage: RepositoryConfig['storage'],
  surroundings: Surroundings,
): Promise<StorageDriver> {
  if (storage.type === 's3') {
    const options = await s3OptionsOf(storage, surroundings);
    const { firstVersionsOf, openS3Driver } = await loadS3();
    const current = await openS3Driver(options);
    const driver = storage.versions === 'first' ? firstVersionsOf(current, options) : current;
    const keepMs = (storage.objectLock?.keep ?? surroundings.lockSeconds ?? defaultLockSeconds) * 1000;
    // Leases, marks, holds and notes of runs come and go.
    const except = ['leases/', 'trash/', 'holds/', 'runs/'];
    return withRetention(decorate(driver, storage.connections), { keepMs, except, clock: systemClock });
  }
  return decorate(await openFsDriver({ root: resolve(surroundings.directory, storage.path) }), 8);
}

const defaultLockSeconds = 14 * 86_400;
/** All but packs and WAL, and what comes and goes. */
const smallOnes = [
  'backups/',
  'evidence/',
  'holds/',
  'keys/',
  'ledger/',
  'log-',
  'proofs/',
  'runs/',
  'verifications/',
];

function decorate(driver: StorageDriver, concurrency: number): StorageDriver {
  return withLimit(withRetry(driver, { attempts: 5, baseMs: 250, clock: systemClock }), { concurrency });
}

type S3Storage = Extract<RepositoryConfig['storage'], { type: 's3' }>;

export async function s3OptionsOf(storage: S3Storage, surroundings: Surroundings): Promise<S3Options> {
  const { storageClass, encryption, credentials } = storage;
  const read = async (source: SecretSource, what: string) =>
    (await readSecret(source, { ...surroundings, what })).text.trim();
  const packs = storageClass.packs ?? (storage.endpoint === undefined ? 'STANDARD_IA' : undefined);
  const classes = [
    { prefix: 'packs/', storageClass: packs },
    { prefix: 'wal/', storageClass: storageClass.wal },
    ...smallOnes.map((prefix) => ({
      prefix,
      storageClass: storageClass.other,
    })),
  ];
  return {
    ...storage,
    storageClasses: classes.flatMap(({ prefix, storageClass: name }) =>
      name === undefined ? [] : [{ prefix, storageClass: name }],
    ),
    lock: storage.objectLock && (storage.objectLock.mode === 'compliance' ? 'COMPLIANCE' : 'GOVERNANCE'),
    encryption: encryption && { kind: encryption.type, keyId: encryption.keyId },
    credentials: credentials && {
      accessKeyId: await read(credentials.accessKeyId, 'the access key'),
      secretAccessKey: await read(credentials.secretAccessKey, 'the secret access key'),
      sessionToken: credentials.sessionToken && (await read(credentials.sessionToken, 'the session token')),
    },
  };
}

async function readCatalogRing(
  config: RepositoryConfig,
  { env, directory }: Surroundings,
): Promise<CatalogRing> {
  const { text, place } = await readSecret(config.catalogKey, { env, directory, what: 'the catalog key' });
  return parseCatalogRing(text, place);
}

/** With the host's catalog key; with identities also without one. */
export async function openConfigured(
  config: RepositoryConfig,
  surroundings: Surroundings,
  identities?: Identities,
): Promise<Repository> {
  const driver = await openStorage(config.storage, surroundings);
  const ring = await readCatalogRing(config, surroundings).catch((thrown: unknown) => {
    if (identities) return undefined;
    throw thrown;
  });
  return openRepository(driver, { ring, identities });
}

/** The other copies beside the first. One that cannot be opened is left behind, and `onBehind` hears of it. */
export async function openMirrors(
  first: Repository,
  others: readonly { readonly name: string; readonly config: RepositoryConfig }[],
  { onBehind, ...surroundings }: Surroundings & { readonly onBehind: (copy: CopyState) => void },
): Promise<Mirrors> {
  const copies = await Promise.all(
    others.map(async ({ name, config }) => {
      const open = () => openConfigured(config, surroundings);
      const opened = await open().catch((thrown: unknown) => {
        if (thrown instanceof HelvinoError) return thrown;
        throw thrown;
      });
      const place = opened instanceof HelvinoError ? name : opened.driver.capabilities.place;
      return { name, place, opened, open };
    }),
  );
  return new Mirrors(first, copies, onBehind);
}

/** As `--repository-path` takes it. */
export function parsePlace(place: string): RepositoryConfig['storage'] {
  return withDefaults(parseStorage(place));
}

/** Throws CONFIG_INVALID when the store is none with archive classes. */
export async function openArchive(
  storage: RepositoryConfig['storage'],
  surroundings: Surroundings,
): Promise<S3Archive> {
  if (storage.type === 's3') {
    const { S3Archive } = await loadS3();
    return new S3Archive(await s3OptionsOf(storage, surroundings));
  }
  throw new HelvinoError(
    'CONFIG_INVALID',
    `${storage.path} is a folder: only buckets on S3 have archive classes`,
    {
      hint: 'name a copy on S3 with --copy',
    },
  );
}

/** Without any configuration: a place and an identity, as after the loss of the host. */
export async function openWithIdentity(
  place: string,
  surroundings: Surroundings,
  identities: Identities,
): Promise<Repository> {
  return openRepository(await openStorage(parsePlace(place), surroundings), { identities });
}

export async function connectionOf(
  database: DatabaseConfig,
  { env, directory }: Surroundings,
): Promise<ConnectionParams> {
  const { url, service, password } = database.connection;
  const secret =
    password &&
    (await readSecret(password, { env, directory, what: 'the password' })).text.replace(/\r?\n$/, '');
  // Who only reads the repository starts without what speaks to servers.
  const { resolveConnection } = await import('../postgres/index.ts');
  return resolveConnection({ url, service, overrides: { password: secret } }, env);
}

/** `database`: whose retention says for how long new objects are locked. */
export function surroundingsOf(
  loaded: LoadedConfig,
  env: Environment,
  database?: DatabaseConfig,
): Surroundings {
  const here = { env, directory: loaded.directory };
  if (database === undefined) return here;
  const { keep, pitr } = database.retention;
  return { ...here, lockSeconds: Math.max(keep.within ?? 0, pitr) };
}
