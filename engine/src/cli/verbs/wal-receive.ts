import { resolve } from 'node:path';
import { shellWord } from '../../base/format.ts';
import { chooseDatabase, parseDuration } from '../../config/index.ts';
import { archiveClient, archiveCommand, receiveWal, writeArchiveClient } from '../../operations/wal/index.ts';
import { keepCopiesUp } from '../copies.ts';
import { databaseOption, openAsHost } from '../open.ts';
import { placeWords } from '../place-words.ts';
import { type OptionValues, textOption, type Verb, type VerbOption } from '../verb.ts';

const folderOption: VerbOption = {
  flags: '--folder <folder>',
  description: 'where receiver and client meet (default: /run/helvino/ and the name of the database)',
};

function folderOf(options: OptionValues, cwd: string, database: string): string {
  return resolve(cwd, textOption(options, 'folder') ?? `/run/helvino/${database}`);
}

const receive: Verb = {
  name: 'wal receive',
  summary: 'store WAL that archive_command hands over, until stopped',
  details: [
    'For those who want archive_command instead of, or beside, `helvino wal stream`. Runs beside the server, as a service; the server calls',
    'a small shell script (`helvino wal client`), whose exit status is 0 only when the file is stored. The same name with other content, WAL',
    'of another cluster and WAL of another version are refused.',
  ],
  options: [
    databaseOption,
    folderOption,
    {
      flags: '--group <name>',
      description: 'whose members may hand over WAL, besides the user who runs this: that of the server',
    },
  ],
  examples: ['helvino wal receive --group postgres'],
  async run(context, options) {
    const host = await openAsHost(context, options, { everywhere: true });
    const folder = folderOf(options, context.cwd, host.name);
    const keepingUp = keepCopiesUp(host, context);
    const result = await receiveWal({
      repository: host.repositoryHandle,
      recipients: host.repository.recipients,
      database: host.name,
      connection: () => host.connection(),
      folder,
      group: textOption(options, 'group'),
      clock: context.clock,
      progress: context.progress,
      signal: context.signal,
    });
    await keepingUp;
    return {
      data: { folder, ...result, copies: host.mirrors?.states },
      text: [
        result.last === undefined
          ? 'stopped; nothing came'
          : `stopped; ${result.files} files came, the last ${result.last}`,
      ],
    };
  },
};

const client: Verb = {
  name: 'wal client',
  summary: 'write the small client that archive_command runs, and print the settings',
  details: [
    'The client is a shell script: it needs neither Node.js nor Helvino where it runs, only that the receiver runs on the same machine.',
  ],
  options: [
    databaseOption,
    folderOption,
    {
      flags: '--output <file>',
      description:
        'where to write it (default: /usr/local/bin/helvino-archive- and the name of the database); the server must be able to run it',
    },
    { flags: '--timeout <duration>', description: 'how long it waits for an answer', default: '60s' },
  ],
  examples: ['helvino wal client', 'helvino wal client --output /var/lib/postgresql/helvino-archive'],
  async run(context, options) {
    const { name } = chooseDatabase(await context.config(), textOption(options, 'database'));
    const folder = folderOf(options, context.cwd, name);
    const file = resolve(
      context.cwd,
      textOption(options, 'output') ?? `/usr/local/bin/helvino-archive-${name}`,
    );
    const seconds = parseDuration(textOption(options, 'timeout') ?? '60s');
    const command = archiveCommand(file);
    const place = placeWords(context, options, ['database']);
    const receiver = ['helvino wal receive', ...place, `--folder ${shellWord(folder)}`];
    await writeArchiveClient(file, await archiveClient({ folder, seconds }));
    return {
      data: { file, folder, settings: { archive_mode: 'on', archive_command: command } },
      text: [
        `wrote ${file}. In postgresql.conf (archive_mode needs a restart of the server):`,
        '',
        'archive_mode = on',
        `archive_command = '${command}'`,
        '',
        `and keep the receiver running: ${receiver.join(' ')} --group postgres`,
      ],
    };
  },
};

export const walReceiveVerbs: readonly Verb[] = [receive, client];
