import { resolve } from 'node:path';
import { HelvinoError } from '../../base/errors.ts';
import { chooseDatabase, loadConfig, parseStorage, type StorageInput, secretIn } from '../../config/index.ts';
import { connectionOf, surroundingsOf } from '../../operations/index.ts';
import { checkConfigured, init } from '../../operations/setup/index.ts';
import { parseConnectionString } from '../../postgres/index.ts';
import { findingsText } from '../output/findings-text.ts';
import { listOption, type OptionValues, textOption, type Verb } from '../verb.ts';

export const initVerb: Verb = {
  name: 'init',
  summary: 'write helvino.yaml, make the keys and the repository, check the server',
  details: [
    'Nothing is overwritten. Without --recipient a recovery identity is made: move its file away from this host, it is the only thing',
    'that can read the backups.',
    '',
    'In a folder that has a helvino.yaml, adds one more database to it: to a repository that it has (the only one, main, or the one that',
    '--repository or --path names), or with another --path to a new one, which gets its own keys.',
  ],
  options: [
    { flags: '-d, --database <name>', description: 'a name for the database', default: 'main' },
    {
      flags: '--url <url>',
      description: 'PostgreSQL URL or keyword=value string (without it: the PG* variables)',
    },
    { flags: '--service <name>', description: 'a service of pg_service.conf' },
    { flags: '--password-env <name>', description: 'the environment variable that has the password' },
    { flags: '--password-file <file>', description: 'the file that has the password' },
    {
      flags: '--path <place>',
      description: 'where the repository is made: a folder, or s3://bucket/prefix?region=…',
    },
    {
      flags: '--repository <name>',
      description: 'a name for the repository (default: main; for a further one the name of the database)',
    },
    {
      flags: '--recipient <age1...>',
      description: 'who can restore (may be repeated); no identity is made then',
    },
    {
      flags: '--identity-out <file>',
      description:
        'where the new recovery identity is written (default: helvino-recovery-identity.txt; for a further repository with its name)',
    },
    { flags: '--no-check', description: 'do not connect to the server' },
  ],
  examples: [
    'helvino init --url postgresql://backup@db.internal/postgres --path /var/backups/helvino',
    'helvino init --database shop --service shop --path /srv/backups --recipient age1...',
    'helvino init --service shop --path "s3://backups/helvino?region=eu-central-1"',
  ],
  exits: [{ status: 1, meaning: 'all was made, but the server is not ready for backups' }],
  async run(context, options) {
    const file = resolve(
      context.cwd,
      textOption(options, 'config') ?? context.env.HELVINO_CONFIG ?? 'helvino.yaml',
    );
    const database = textOption(options, 'database') ?? 'main';
    const made = await init({
      file,
      database,
      connection: connectionFrom(options),
      repositoryName: textOption(options, 'repository'),
      storage: storageFrom(options, context.cwd),
      recipients: listOption(options, 'recipient'),
      identityFile: textOption(options, 'identityOut'),
      cwd: context.cwd,
      env: context.env,
    });
    const text = [...made.written.map((path) => `wrote ${path}`)];
    if (made.identityFile)
      text.push(
        `KEEP ${made.identityFile} SAFE AND AWAY FROM THIS HOST: without it no backup can be restored.`,
      );
    if (options.check === false) return { data: { ...made, check: undefined }, text };
    const loaded = await loadConfig({ file, env: context.env, cwd: context.cwd });
    const check = await checkConfigured(() =>
      connectionOf(chooseDatabase(loaded, database).database, surroundingsOf(loaded, context.env)),
    );
    text.push(
      '',
      ...findingsText(check.findings),
      '',
      check.ready
        ? 'Ready. Next: helvino backup'
        : 'Not ready: see MISSING above; then `helvino doctor` checks again',
    );
    return { data: { ...made, check }, text, exit: check.ready ? 0 : 1 };
  },
};

function storageFrom(options: OptionValues, cwd: string): StorageInput | undefined {
  const path = textOption(options, 'path');
  const storage = path === undefined ? undefined : parseStorage(path);
  return storage?.type === 'fs' ? { ...storage, path: resolve(cwd, storage.path) } : storage;
}

function connectionFrom(options: OptionValues): Record<string, unknown> {
  const [url, service] = [textOption(options, 'url'), textOption(options, 'service')];
  const secret = url === undefined ? undefined : secretIn(url);
  if (secret === 'password')
    throw new HelvinoError('USAGE', 'the URL has a password: helvino.yaml holds no secrets', {
      hint: 'leave it out, and give --password-env NAME, --password-file FILE, or use ~/.pgpass',
    });
  if (secret !== undefined)
    throw new HelvinoError('USAGE', `the URL has a secret, ${secret}: helvino.yaml holds none`, {
      hint: 'leave it out: put it into a service of pg_service.conf, and give --service NAME',
    });
  // Before anything is written, also with --no-check.
  if (url !== undefined) parseConnectionString(url);
  const [env, file] = [textOption(options, 'passwordEnv'), textOption(options, 'passwordFile')];
  const password = env !== undefined ? { env } : file !== undefined ? { file } : undefined;
  return {
    ...(url === undefined ? {} : { url }),
    ...(service === undefined ? {} : { service }),
    ...(password ? { password } : {}),
  };
}
