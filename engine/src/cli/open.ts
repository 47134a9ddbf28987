/** What most verbs begin with: which database, which repository, which keys. */
import { HelvinoError } from '../base/errors.ts';
import { type BackupMethod, chooseBackup, methodOf } from '../catalog/index.ts';
import { type ChosenDatabase, chooseDatabase, type LoadedConfig, readSecret } from '../config/index.ts';
import {
  connectionOf,
  openConfigured,
  openMirrors,
  openWithIdentity,
  surroundingsOf,
} from '../operations/index.ts';
import type { ConnectionParams } from '../postgres/index.ts';
import {
  type BackupName,
  type CopyState,
  type Identities,
  type Manifest,
  type Mirrors,
  openIdentities,
  type Repository,
} from '../repository/index.ts';
import type { CliContext } from './context.ts';
import { type OptionValues, textOption, type VerbOption } from './verb.ts';

export const databaseOption: VerbOption = {
  flags: '-d, --database <name>',
  description: 'the database, when the configuration has several',
};
export const identityOption: VerbOption = {
  flags: '-i, --identity <file>',
  description: 'the recovery identity (or the variables HELVINO_IDENTITY, HELVINO_IDENTITY_FILE)',
};
export const repositoryOption: VerbOption = {
  flags: '--repository-path <place>',
  description: 'a repository without a configuration (a folder, or s3://…); needs the recovery identity',
};

export const copyOption: VerbOption = {
  flags: '--copy <name>',
  description: 'another copy of the repository, by its name in helvino.yaml',
};

export interface HostAccess extends ChosenDatabase {
  readonly loaded: LoadedConfig;
  readonly repositoryHandle: Repository;
  /** With several copies, for verbs that write to all. */
  readonly mirrors: Mirrors | undefined;
  connection(): Promise<ConnectionParams>;
}

/** As the host: configuration and catalog key. `everywhere`: what is written goes to every copy. */
export async function openAsHost(
  context: CliContext,
  options: OptionValues,
  { everywhere = false } = {},
): Promise<HostAccess> {
  const loaded = await context.config();
  const chosen = chooseDatabase(loaded, textOption(options, 'database'), textOption(options, 'copy'));
  const surroundings = surroundingsOf(loaded, context.env, chosen.database);
  const first = await openConfigured(chosen.repository, surroundings);
  const onBehind = ({ name, why }: CopyState) =>
    context.progress.note(
      'warn',
      `the copy ${name} is left behind (${why}); helvino copy brings it up to date`,
    );
  const mirrors =
    everywhere && chosen.others.length > 0
      ? await openMirrors(first, chosen.others, { ...surroundings, onBehind })
      : undefined;
  return {
    ...chosen,
    loaded,
    repositoryHandle: mirrors?.repository ?? first,
    mirrors,
    connection: () => connectionOf(chosen.database, surroundings),
  };
}

/** The copies beside the one that is open; each is opened when it is looked at. */
export function otherCopies(
  context: CliContext,
  { others, loaded }: Pick<HostAccess, 'others' | 'loaded'>,
): { name: string; open: () => Promise<Repository> }[] {
  const surroundings = surroundingsOf(loaded, context.env);
  return others.map(({ name, config }) => ({ name, open: () => openConfigured(config, surroundings) }));
}

/** Undefined when none was given. */
export async function identitiesOf(
  context: CliContext,
  options: OptionValues,
): Promise<Identities | undefined> {
  const file = textOption(options, 'identity') ?? context.env.HELVINO_IDENTITY_FILE;
  const source = file !== undefined ? { file } : { env: 'HELVINO_IDENTITY' };
  if (file === undefined && !context.env.HELVINO_IDENTITY) return undefined;
  const { text, place } = await readSecret(source, {
    env: context.env,
    directory: context.cwd,
    what: 'the recovery identity',
  });
  return openIdentities(text, place);
}

export async function neededIdentities(context: CliContext, options: OptionValues): Promise<Identities> {
  const identities = await identitiesOf(context, options);
  if (identities) return identities;
  throw new HelvinoError('KEY_MISSING', 'the recovery identity is needed and was not given', {
    hint: 'give it with --identity FILE, or in the variable HELVINO_IDENTITY; the recovery kit says where it is kept',
  });
}

export interface ReadAccess {
  readonly repository: Repository;
  readonly identities: Identities | undefined;
  /** Undefined without a configuration, when the repository has several databases and none was named. */
  readonly database: string | undefined;
  /** Its backups, if they were listed to find it out. */
  readonly backups?: readonly BackupName[];
  readonly chosen: ChosenDatabase | undefined;
  readonly loaded: LoadedConfig | undefined;
}

/** As someone who reads: by configuration, or by place and identity alone. */
export async function openToRead(
  context: CliContext,
  options: OptionValues,
  { all = false } = {},
): Promise<ReadAccess> {
  const identities = await identitiesOf(context, options);
  const path = textOption(options, 'repositoryPath');
  const named = textOption(options, 'database');
  if (path !== undefined) {
    const repository = await openWithIdentity(
      path,
      { env: context.env, directory: context.cwd },
      identities ?? (await neededIdentities(context, options)),
    );
    if (named !== undefined)
      return { repository, identities, database: named, chosen: undefined, loaded: undefined };
    const backups = await repository.backups();
    const [database, ...more] = new Set(backups.map((backup) => backup.database));
    const only = more.length === 0 ? { database, backups } : { database: undefined };
    return { repository, identities, ...only, chosen: undefined, loaded: undefined };
  }
  const loaded = await context.config();
  const single = Object.keys(loaded.config.databases).length === 1 || options.copy !== undefined;
  if (all && named === undefined && !single) {
    const [config] = Object.values(loaded.config.repositories);
    if (!config) throw new HelvinoError('CONFIG_INVALID', `${loaded.file} has no repository`);
    const repository = await openConfigured(config, surroundingsOf(loaded, context.env), identities);
    return { repository, identities, database: undefined, chosen: undefined, loaded };
  }
  const chosen = chooseDatabase(loaded, named, textOption(options, 'copy'));
  const surroundings = surroundingsOf(loaded, context.env, chosen.database);
  const repository = await openConfigured(chosen.repository, surroundings, identities);
  return { repository, identities, database: chosen.name, chosen, loaded };
}

/** Throws USAGE when the repository holds several databases and none was named. */
export function neededDatabase({ database }: ReadAccess): string {
  if (database !== undefined) return database;
  throw new HelvinoError('USAGE', 'the repository holds several databases: say which one', {
    hint: '--database NAME',
  });
}

/**
 * The manifest that the user means; `latest` if he says nothing. With a method, `latest` is the newest backup of that method.
 */
export async function chosenManifest(
  { repository, database, backups }: ReadAccess,
  wanted = 'latest',
  method?: BackupMethod,
): Promise<Manifest> {
  if (database === undefined) {
    const names = [...new Set((await repository.backups()).map((backup) => backup.database))];
    throw new HelvinoError(
      'USAGE',
      `the repository holds backups of ${names.length} databases: say which one`,
      {
        hint: names.length > 0 ? `--database ${names.join(' | ')}` : 'it holds no backup yet',
      },
    );
  }
  const names = [...(backups ?? (await repository.backups(database)))];
  const name = chooseBackup(names, wanted, database);
  if (wanted !== 'latest' || method === undefined) return repository.manifest(database, name.id);
  for (const { id } of names.reverse()) {
    const manifest = await repository.manifest(database, id);
    if (methodOf(manifest) === method) return manifest;
  }
  throw new HelvinoError('BACKUP_NOT_FOUND', `there is no ${method} backup of ${database}`, {
    hint: '`helvino list` shows the backups and their kinds',
  });
}
