/**
 * `helvino init`: configuration, keys, repository. Nothing that exists is overwritten. Order: the identity is on disk
 * before anything is sealed to it, the catalog key before the configuration that names it. What is made on this host
 * without the repository comes before it: a repository is not begun where its keys, or its name in a configuration that
 * is there, cannot be written. When it fails before anything is sealed, what was made is removed; after that all stays,
 * as somebody may need it.
 */
import { lstat, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { HelvinoError, systemCode } from '../../base/errors.ts';
import { makeFolders } from '../../base/make-folders.ts';
import { type FileChange, prepareChange, replaceFile } from '../../base/replace-file.ts';
import { syncFolder } from '../../base/sync-path.ts';
import {
  addDatabase,
  addRepository,
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
import { createSigningKey, readSigningKey, signingKeyFile } from '../drill/report/index.ts';
import { openStorage } from '../open.ts';
import { chooseRepository, firstName, type RepositoryWishes } from './choose-repository.ts';

/** Without `recipients` a new identity is made, written to `identityFile`, else to a file in `cwd`. */
export interface InitOptions extends RepositoryWishes {
  /** As in the configuration. */
  readonly connection: Readonly<Record<string, unknown>>;
  readonly cwd: string;
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
  const { file, storage } = options;
  const text = await readFile(file, 'utf8').catch((thrown: unknown) => {
    if (systemCode(thrown) === 'ENOENT') return undefined;
    throw new HelvinoError('CONFIG_INVALID', `${file} cannot be read: ${(thrown as Error).message}`, {
      cause: thrown,
    });
  });
  if (text !== undefined) return extend(options, text);
  if (storage === undefined)
    throw new HelvinoError('USAGE', 'no place for the repository was given', {
      hint: '--path FOLDER or s3://bucket/prefix: where backups are kept',
    });
  return create(options, { name: options.repositoryName ?? firstName, storage, text });
}

/** One more database in a configuration that is there. */
async function extend(options: InitOptions, text: string): Promise<InitResult> {
  const { file, database, connection } = options;
  const config = parseConfigText(text, file);
  const { name, storage } = chooseRepository(config, options);
  if (storage !== undefined) return create(options, { name, storage, text });
  const added = addDatabase(text, { name: database, connection, repository: name });
  parseConfigText(added, file);
  await replaceFile(file, added);
  const { recipients } = config.repositories[name]!;
  return { file, repository: name, recipients, written: [file], identityFile: undefined };
}

/** `text`: of the configuration that is there. */
interface NewRepository {
  readonly name: string;
  readonly storage: StorageInput;
  readonly text: string | undefined;
}

async function create(options: InitOptions, { name, storage, text }: NewRepository): Promise<InitResult> {
  const { file, env } = options;
  const directory = dirname(file);
  const keyFile = join(directory, text === undefined ? 'helvino.catalog.key' : `helvino.catalog.${name}.key`);
  const drillKeyFile = signingKeyFile(file);
  const identity = options.recipients.length > 0 ? undefined : await newIdentity(options, { name, text });
  const recipients = identity ? [identity.recipient] : options.recipients;
  const added = { name, storage, recipients, catalogKeyFile: `./${basename(keyFile)}` };
  const configuration = configText(options, { repository: added, text });
  if (identity && [file, keyFile, drillKeyFile].includes(identity.file))
    throw new HelvinoError('USAGE', `--identity-out: ${identity.file} is for something else`, {
      hint: 'name another file; it is to be kept away from this host',
    });
  const drillKeyThere = text === undefined ? undefined : await readSigningKey(drillKeyFile);
  const files = [...(identity ? [identity.file] : []), ...(drillKeyThere ? [] : [drillKeyFile]), keyFile];
  await refuseLeftovers(files, options, text);
  const driver = await openStorage(withDefaults(storage), { env, directory });
  const made = new Made();
  let change: FileChange | undefined;
  try {
    await made.folder(directory);
    if (text !== undefined)
      change = await prepareChange(file, (there) => configText(options, { repository: added, text: there }));
    if (identity) await made.file(identity.file, () => write(identity.file, identity.text));
    const drillKey = drillKeyThere ?? (await made.file(drillKeyFile, () => createSigningKey(drillKeyFile)));
    const onSealed = () => made.keep();
    const repository = await createRepository(driver, { recipients, onSealed });
    await write(
      keyFile,
      `# Catalog key of ${driver.capabilities.place}. It opens structure, not data. Keep it on this host only.\n${formatCatalogRing(repository.ring.keys)}`,
    );
    await putPublicKey(repository, drillKey);
    await (change ? change.commit() : write(file, configuration));
  } catch (thrown) {
    if (await made.removed()) throw thrown;
    throw cutOff(thrown, driver.capabilities.place, options);
  } finally {
    await change?.[Symbol.asyncDispose]();
  }
  return { file, repository: name, recipients, written: [file, ...files], identityFile: identity?.file };
}

/** What this run has made, until it is to stay. */
class Made {
  readonly #undo: (() => Promise<void>)[] = [];
  #stays = false;

  async folder(path: string): Promise<void> {
    const first = await makeFolders(path, 0o777).catch((cause: unknown) => {
      throw cannotWrite(path, cause);
    });
    if (first === undefined) return;
    const folders = [path];
    while (folders[0] !== first) folders.unshift(dirname(folders[0]!));
    this.#undo.push(...folders.map((one) => () => rmdir(one)));
  }

  async file<Result>(path: string, work: () => Promise<Result>): Promise<Result> {
    try {
      const result = await work();
      this.#undo.push(() => rm(path));
      return result;
    } catch (thrown) {
      // Half of it may be there, unless it is that of another.
      if (systemCode((thrown as Error).cause) !== 'EEXIST') await rm(path, { force: true });
      throw thrown;
    }
  }

  keep(): void {
    this.#stays = true;
  }

  /** False when it is to stay. Best effort: the error that is on its way says more. */
  async removed(): Promise<boolean> {
    if (this.#stays) return false;
    for (const undo of this.#undo.reverse()) await undo().catch(() => undefined);
    return true;
  }
}

/** The text of the configuration, checked before anything is made. */
function configText(
  { file, database: name, connection }: InitOptions,
  {
    repository,
    text,
  }: { readonly repository: Parameters<typeof addRepository>[1]; readonly text: string | undefined },
): string {
  const database = { name, connection, repository: repository.name };
  const changed =
    text === undefined
      ? newConfigText({ repository, database })
      : addDatabase(addRepository(text, repository), database);
  parseConfigText(changed, file);
  return changed;
}

/** Keys that no configuration names: those of a run that was cut off, or all that is left of one whose configuration is gone. */
async function refuseLeftovers(
  files: readonly string[],
  { file }: InitOptions,
  text: string | undefined,
): Promise<void> {
  const there: string[] = [];
  for (const one of files) if (await exists(one)) there.push(one);
  if (there.length === 0) return;
  const why = text === undefined ? `there is no ${file}` : `the new repository is not in ${file} yet`;
  throw new HelvinoError(
    'CONFIG_INVALID',
    `${there.join(' and ')} ${there.length === 1 ? 'exists' : 'exist'}, though ${why}; nothing is overwritten`,
    {
      hint: 'if `helvino init` was cut off, move them away, with the repository if it was begun, and run it again; if backups were made with them, keep them, and bring helvino.yaml back',
    },
  );
}

/** The repository is there, or may be, and the keys: nothing of them is removed. */
function cutOff(thrown: unknown, place: string, { file }: InitOptions): unknown {
  // Another has made one there in the same moment.
  if (!(thrown instanceof HelvinoError) || thrown.code === 'REPOSITORY_EXISTS') return thrown;
  const { code, message, hint, context } = thrown;
  return new HelvinoError(code, `${message}; the repository at ${place} was begun, but is not in ${file}`, {
    cause: thrown,
    context,
    hint: `${hint}; it is empty: move it and the keys that were written away, and run init again`,
  });
}

async function exists(file: string): Promise<boolean> {
  return lstat(file).then(
    () => true,
    () => false,
  );
}

async function newIdentity(
  { cwd, identityFile }: InitOptions,
  { name, text }: Pick<NewRepository, 'name' | 'text'>,
): Promise<{ recipient: string; file: string; text: string }> {
  const identity = await createIdentity();
  const recipient = await recipientOf(identity);
  const usual =
    text === undefined ? 'helvino-recovery-identity.txt' : `helvino-recovery-identity-${name}.txt`;
  return {
    recipient,
    file: resolve(cwd, identityFile ?? usual),
    text: `# Helvino recovery identity. Whoever has it can read every backup. Keep it off this host.\n# recipient: ${recipient}\n${identity}\n`,
  };
}

/** Durable, with its name. */
async function write(file: string, text: string): Promise<void> {
  try {
    await writeFile(file, text, { mode: 0o600, flag: 'wx', flush: true });
    // A file system that cannot do this keeps its folders by itself.
    await syncFolder(dirname(file)).catch(() => undefined);
  } catch (cause) {
    throw cannotWrite(file, cause);
  }
}

function cannotWrite(file: string, cause: unknown): HelvinoError {
  return new HelvinoError('CONFIG_INVALID', `${file} cannot be written: ${(cause as Error).message}`, {
    cause,
    hint: 'run in a folder that you may write to',
  });
}
