/** `helvino init` where a helvino.yaml is: which of its repositories is meant, or where a new one is made. What cannot be honoured is refused. */
import { dirname, resolve } from 'node:path';
import { HelvinoError } from '../../base/errors.ts';
import { type Config, type RepositoryConfig, type StorageInput, withDefaults } from '../../config/index.ts';

export interface RepositoryWishes {
  /** Absolute path of helvino.yaml. */
  readonly file: string;
  readonly database: string;
  readonly repositoryName: string | undefined;
  readonly storage: StorageInput | undefined;
  readonly recipients: readonly string[];
  readonly identityFile: string | undefined;
}

/** `storage`: where one is to be made; undefined: it is in the configuration. */
export interface RepositoryChoice {
  readonly name: string;
  readonly storage: StorageInput | undefined;
}

/** Throws USAGE, naming the option and what the file has. */
export function chooseRepository(config: Config, wishes: RepositoryWishes): RepositoryChoice {
  const { storage } = wishes;
  if (storage !== undefined) return chooseByPlace(config, wishes, storage);
  const name = chooseByName(config, wishes);
  refuseKeys(config, wishes, name);
  return { name, storage: undefined };
}

function chooseByName({ repositories }: Config, { file, repositoryName }: RepositoryWishes): string {
  const names = Object.keys(repositories);
  const [only] = names.length === 1 ? names : [];
  const name = repositoryName ?? (names.includes(firstName) ? firstName : only);
  if (name !== undefined && names.includes(name)) return name;
  const message =
    name === undefined
      ? `${file} has ${names.length} repositories: say which one`
      : `--repository: ${file} has no repository "${name}"`;
  throw new HelvinoError('USAGE', message, {
    hint: `${names.length > 0 ? `--repository ${names.join(' | ')}; ` : ''}to make a new one give --path, its place`,
  });
}

/** What the first repository is named. */
export const firstName = 'main';

function chooseByPlace(config: Config, wishes: RepositoryWishes, storage: StorageInput): RepositoryChoice {
  const { file, repositoryName } = wishes;
  const directory = dirname(file);
  const places = Object.entries(config.repositories).map(([name, repository]) => ({
    name,
    place: placeOf(repository.storage, directory),
  }));
  const place = placeOf(withDefaults(storage), directory);
  const there = places.filter((one) => one.place === place).map(({ name }) => name);
  const name = repositoryName ?? there[0] ?? wishes.database;
  if (there.includes(name)) {
    refuseKeys(config, wishes, name);
    return { name, storage: undefined };
  }
  const taken = places.find((one) => one.name === name);
  if (!taken) return { name, storage };
  throw new HelvinoError(
    'USAGE',
    `--path: the repository "${name}" of ${file} is at ${taken.place}, not at ${place}`,
    {
      hint: 'leave --path out to use it, or give the new one another name with --repository',
    },
  );
}

/** What two repositories cannot share. */
function placeOf(storage: RepositoryConfig['storage'], directory: string): string {
  if (storage.type === 'fs') return resolve(directory, storage.path);
  const { bucket, prefix, endpoint } = storage;
  return `s3://${bucket}/${prefix}${endpoint === undefined ? '' : ` of ${endpoint}`}`;
}

/** Those of a repository that is there stay as they are. */
function refuseKeys(config: Config, wishes: RepositoryWishes, name: string): void {
  const { recipients: wanted, file } = wishes;
  const { recipients } = config.repositories[name]!;
  const hint =
    'leave it out; for a repository with its own keys give --path and a new name with --repository';
  if (wanted.length > 0 && !isSameSet(wanted, recipients))
    throw new HelvinoError(
      'USAGE',
      `--recipient: the repository "${name}" of ${file} is for ${recipients.join(', ')}`,
      { hint: `${hint}; \`helvino key add\` and \`key remove\` change who can restore` },
    );
  if (wishes.identityFile !== undefined)
    throw new HelvinoError(
      'USAGE',
      `--identity-out: the repository "${name}" of ${file} has its recipients, so no identity is made`,
      { hint },
    );
}

function isSameSet(some: readonly string[], others: readonly string[]): boolean {
  return some.every((one) => others.includes(one)) && others.every((one) => some.includes(one));
}
