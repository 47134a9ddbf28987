/**
 * `helvino init`: configuration, keys, repository. Nothing that exists is overwritten. Order: the identity is on disk
 * before anything is sealed to it, the catalog key before the configuration that names it.
 */
import { access, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { HelvinoError, systemCode } from '../../base/errors.ts';
import {
  addDatabase,
  type Environment,
  newConfigText,
  parseConfigText,
  type StorageInput,
  withDefaults,
} from '../../config/index.ts';
import {
  createIdentity,
  createRepository,
  formatCatalogRing,
  putPublicKey,
  recipientOf,
} from '../../repository/index.ts';
import { createSigningKey, signingKeyFile } from '../drill/report/index.ts';
import { openStorage } from '../open.ts';

export interface InitOptions {
  /** Absolute path of helvino.yaml. */
  readonly file: string;
  readonly database: string;
  /** As in the configuration. */
  readonly connection: Readonly<Record<string, unknown>>;
  readonly repositoryName: string;
  /** Where a new repository is made. */
  readonly storage: StorageInput | undefined;
  /** Recipients that are there already; a new identity is made if there is none. */
  readonly recipients: readonly string[];
  /** Where a new recovery identity is written. */
  readonly identityFile: string;
  readonly env: Environment;
}

export interface InitResult {
  readonly file: string;
  readonly repository: string;
  readonly recipients: readonly string[];
  /** Files that were written. */
  readonly written: readonly string[];
  /** The new recovery identity's file, if one was made. */
  readonly identityFile: string | undefined;
}

export async function init(options: InitOptions): Promise<InitResult> {
  const present = await readFile(options.file, 'utf8').catch((thrown: unknown) => {
    if (systemCode(thrown) === 'ENOENT') return undefined;
    throw new HelvinoError('CONFIG_INVALID', `${options.file} cannot be read: ${(thrown as Error).message}`, {
      cause: thrown,
    });
  });
  return present === undefined ? create(options) : extend(options, present);
}

/** One more database in a configuration that is there. */
async function extend(options: InitOptions, text: string): Promise<InitResult> {
  const config = parseConfigText(text, options.file);
  const [first] = Object.keys(config.repositories);
  const repository = config.repositories[options.repositoryName] ? options.repositoryName : first;
  if (repository === undefined) throw new HelvinoError('CONFIG_INVALID', `${options.file} has no repository`);
  const added = addDatabase(text, { name: options.database, connection: options.connection, repository });
  parseConfigText(added, options.file);
  await writeFile(options.file, added);
  return {
    file: options.file,
    repository,
    recipients: config.repositories[repository]!.recipients,
    written: [options.file],
    identityFile: undefined,
  };
}

async function create(options: InitOptions): Promise<InitResult> {
  const directory = dirname(options.file);
  const keyFile = join(directory, 'helvino.catalog.key');
  const drillKey = signingKeyFile(options.file);
  const { storage } = options;
  if (storage === undefined)
    throw new HelvinoError('USAGE', 'no place for the repository was given', {
      hint: '--path FOLDER or s3://bucket/prefix: where backups are kept',
    });
  for (const file of [keyFile, drillKey, ...(options.recipients.length === 0 ? [options.identityFile] : [])])
    await refuseExisting(file);
  await mkdir(directory, { recursive: true });
  const recipients =
    options.recipients.length > 0 ? options.recipients : [await newIdentity(options.identityFile)];
  const driver = await openStorage(withDefaults(storage), { env: options.env, directory });
  const repository = await createRepository(driver, { recipients });
  await write(
    keyFile,
    `# Catalog key of ${driver.capabilities.place}. It opens structure, not data. Keep it on this host only.\n${formatCatalogRing(repository.ring.keys)}`,
  );
  await putPublicKey(repository, await createSigningKey(drillKey));
  const text = newConfigText({
    repository: {
      name: options.repositoryName,
      storage,
      recipients,
      catalogKeyFile: './helvino.catalog.key',
    },
    database: { name: options.database, connection: options.connection, repository: options.repositoryName },
  });
  await write(options.file, text);
  const made = options.recipients.length === 0 ? options.identityFile : undefined;
  return {
    file: options.file,
    repository: options.repositoryName,
    recipients,
    written: [options.file, keyFile, drillKey, ...(made ? [made] : [])],
    identityFile: made,
  };
}

async function refuseExisting(file: string): Promise<void> {
  const there = await access(file).then(
    () => true,
    () => false,
  );
  if (there)
    throw new HelvinoError('CONFIG_INVALID', `${file} exists; nothing is overwritten`, {
      hint: 'move it away, or run init in another folder',
    });
}

async function newIdentity(file: string): Promise<string> {
  const identity = await createIdentity();
  const recipient = await recipientOf(identity);
  await write(
    file,
    `# Helvino recovery identity. Whoever has it can read every backup. Keep it off this host.\n# recipient: ${recipient}\n${identity}\n`,
  );
  return recipient;
}

async function write(file: string, text: string): Promise<void> {
  try {
    await writeFile(file, text, { mode: 0o600, flag: 'wx' });
  } catch (cause) {
    throw new HelvinoError('CONFIG_INVALID', `${file} cannot be written: ${(cause as Error).message}`, {
      cause,
      hint: 'run in a folder that you may write to',
    });
  }
}
