import { resolve } from 'node:path';
import type { Client } from 'pg';
import { HelvinoError } from '../../base/errors.ts';
import { formatBytes, plural, printable, shellWord } from '../../base/format.ts';
import { idStamp } from '../../base/ids.ts';
import { chooseDatabase } from '../../config/index.ts';
import { type ExportResult, exportOrganization } from '../../operations/rescue/export/index.ts';
import { resolveRoot } from '../../operations/rescue/index.ts';
import type { CliContext } from '../context.ts';
import { exportRecipientOptions, exportRecipients } from '../export-recipients.ts';
import { copyOption, databaseOption, identityOption, openToRead, repositoryOption } from '../open.ts';
import { table } from '../output/table.ts';
import { dbnameOption, modelOf } from '../rescue-options.ts';
import { onLive, withPastServer } from '../rescue-servers.ts';
import { serverOf, urlOptions } from '../server.ts';
import { temporaryServerOptions } from '../temporary-server.ts';
import { listOption, type OptionValues, textOption, type Verb } from '../verb.ts';

export const exportVerb: Verb = {
  name: 'export',
  summary: "write one organization's rows into a folder that people can read and psql can load",
  details: [
    'Which rows belong to it is found as by `helvino rescue`: what refers to the row of --root, and to that, over foreign keys and what',
    '`rescue.references` in the configuration says; rows of shared tables that they refer to come along, apart. From the live database (which',
    'must be a primary: temporary tables are made there), or with --at from a throw-away server as of a moment. The folder has a CSV file a',
    'table, a manifest with counts and SHA-256, and load.sql for psql. Its files are encrypted (age) to the recipients of the repository, or to',
    'those of --recipient: `helvino import` opens them with a recovery identity, and so does `age -d`. --plain leaves them in clear.',
  ],
  options: [
    databaseOption,
    { flags: '--root <table>', description: 'the table of the organizations: table or schema.table' },
    {
      flags: '--org <key...>',
      description: 'which one: a value of a unique column, or column=value (again for more columns)',
    },
    {
      flags: '--at <target>',
      description: 'from backups: what `restore --to` takes, e.g. latest or before:xid:N',
    },
    {
      flags: '--timeline <number>',
      description: 'with --at: the timeline to recover along (default: the newest)',
    },
    { flags: '-o, --out <folder>', description: 'must not exist (default: export-ROOT-ORG-TIME)' },
    ...exportRecipientOptions,
    ...urlOptions,
    dbnameOption,
    copyOption,
    identityOption,
    repositoryOption,
    ...temporaryServerOptions,
  ],
  examples: [
    'helvino export --root organizations --org demo --out demo',
    'helvino export --root organizations --org demo --at before:xid:4711 --identity identity.txt',
    'helvino export --root organizations --org demo --recipient age1… --out demo',
  ],
  async run(context, options) {
    const at = textOption(options, 'at');
    const recipients = await exportRecipients(context, options);
    const request = { options, recipients };
    const result = await (at === undefined ? fromLive(context, request) : fromPast(context, request, at));
    const { manifest, folder, bytes } = result;
    const tables = manifest.tables.map(({ schema, name, own, shared }) => ({
      table: `${schema}.${name}`,
      rows: own?.rows ?? 0,
      shared: shared?.rows ?? 0,
    }));
    const data = {
      folder,
      recipients: recipients ?? null,
      id: manifest.id,
      moment: manifest.moment,
      root: manifest.root,
      bytes,
      tables,
      notes: manifest.notes,
    };
    return { data, text: textOf(result, recipients) };
  },
};

interface Request {
  readonly options: OptionValues;
  readonly recipients: readonly string[] | undefined;
}

async function fromLive(context: CliContext, request: Request): Promise<ExportResult> {
  const { options } = request;
  const loaded = textOption(options, 'url') === undefined ? await context.config() : undefined;
  const chosen = loaded && chooseDatabase(loaded, textOption(options, 'database'));
  const connection = await serverOf(context, options, { chosen, loaded });
  const database = textOption(options, 'dbname') ?? connection.database;
  const settings = chosen?.database.rescue;
  return onLive(context, { connection, database }, (source) => write(context, request, { source, settings }));
}

async function fromPast(context: CliContext, request: Request, target: string): Promise<ExportResult> {
  const { options } = request;
  const access = await openToRead(context, options);
  const named = textOption(options, 'dbname');
  const database = named ?? (access.chosen ? (await serverOf(context, options, access)).database : undefined);
  if (database === undefined)
    throw new HelvinoError('USAGE', 'no database of the server was named', { hint: '--dbname NAME' });
  const settings = access.chosen?.database.rescue;
  return withPastServer(context, options, { access, target, database }, ({ client, moment }) =>
    write(context, request, { source: client, settings, moment }),
  );
}

interface Source {
  readonly source: Client;
  readonly settings: Parameters<typeof modelOf>[0];
  readonly moment?: string;
}

async function write(
  context: CliContext,
  { options, recipients }: Request,
  { source, settings, moment }: Source,
): Promise<ExportResult> {
  const name = textOption(options, 'root');
  const keys = listOption(options, 'org');
  if (name === undefined || keys.length === 0)
    throw new HelvinoError('USAGE', `--${name === undefined ? 'root' : 'org'} was not given`, {
      hint: '--root TABLE --org KEY say whose rows',
    });
  const root = await resolveRoot(source, { table: name, keys });
  const time = idStamp(context.clock.now());
  const words = [name, ...Object.values(root.where)].map((word) =>
    word.replace(/[^\w.]+/g, '-').slice(0, 40),
  );
  const folder = resolve(context.cwd, textOption(options, 'out') ?? `export-${words.join('-')}-${time}`);
  return exportOrganization({
    ...context,
    source,
    model: modelOf(settings),
    root,
    folder,
    recipients,
    moment,
  });
}

function textOf(
  { manifest, folder, bytes }: ExportResult,
  recipients: readonly string[] | undefined,
): string[] {
  const filled = manifest.tables.filter(({ own, shared }) => own !== null || shared !== null);
  const rows = filled.reduce((sum, { own }) => sum + (own?.rows ?? 0), 0);
  return [
    ...table(
      [{ title: 'table' }, { title: 'rows', align: 'right' }, { title: 'shared', align: 'right' }],
      filled.map(({ schema, name, own, shared }) => [
        printable(`${schema}.${name}`),
        String(own?.rows ?? 0),
        String(shared?.rows ?? 0),
      ]),
    ),
    '',
    ...manifest.notes.map((note) => `not in it: ${printable(note)}`),
    `${folder}: ${plural(rows, 'row')} as of ${manifest.moment}, ${formatBytes(bytes)}`,
    recipients === undefined
      ? 'they hold personal data, in clear: keep the folder as you keep the database'
      : `encrypted to ${recipients.map(printable).join(', ')}`,
    `next: helvino import ${shellWord(folder)}${recipients === undefined ? '' : ' --identity FILE'} --url postgresql://… --dry-run`,
  ];
}
