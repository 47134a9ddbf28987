/** From configuration to things: driver, repository, connection. */
import { resolve } from 'node:path';
import { systemClock } from '../base/clock.ts';
import {
  type DatabaseConfig,
  type Environment,
  type LoadedConfig,
  type RepositoryConfig,
  readSecret,
} from '../config/index.ts';
import { type ConnectionParams, resolveConnection } from '../postgres/index.ts';
import {
  type CatalogRing,
  type Identities,
  openRepository,
  parseCatalogRing,
  type Repository,
} from '../repository/index.ts';
import { openFsDriver, type StorageDriver, withLimit, withRetry } from '../storage/index.ts';

interface Surroundings {
  readonly env: Environment;
  /** What relative paths are relative to. */
  readonly directory: string;
}

export async function openStorage(
  storage: RepositoryConfig['storage'],
  { directory }: Surroundings,
): Promise<StorageDriver> {
  return decorate(await openFsDriver({ root: resolve(directory, storage.path) }));
}

function decorate(driver: StorageDriver): StorageDriver {
  return withLimit(withRetry(driver, { attempts: 5, baseMs: 250, clock: systemClock }), { concurrency: 8 });
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

/** Without any configuration: a place and an identity, as after the loss of the host. */
export async function openWithIdentity(path: string, identities: Identities): Promise<Repository> {
  return openRepository(decorate(await openFsDriver({ root: resolve(path) })), { identities });
}

export async function connectionOf(
  database: DatabaseConfig,
  { env, directory }: Surroundings,
): Promise<ConnectionParams> {
  const { url, service, password } = database.connection;
  const secret =
    password &&
    (await readSecret(password, { env, directory, what: 'the password' })).text.replace(/\r?\n$/, '');
  return resolveConnection({ url, service, overrides: { password: secret } }, env);
}

export function surroundingsOf(loaded: LoadedConfig, env: Environment): Surroundings {
  return { env, directory: loaded.directory };
}
