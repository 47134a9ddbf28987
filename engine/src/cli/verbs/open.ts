import { HelvinoError } from '../../base/errors.ts';
import { formatDuration } from '../../base/format.ts';
import { parseDuration } from '../../config/index.ts';
import { type OpenedServer, openServer } from '../../operations/throw-away/index.ts';
import {
  chosenManifest,
  copyOption,
  databaseOption,
  identityOption,
  neededIdentities,
  openToRead,
  repositoryOption,
} from '../open.ts';
import { recoveryOf, recoveryOptions } from '../recovery.ts';
import { temporaryServer, temporaryServerOptions } from '../temporary-server.ts';
import { thawFirst, thawFirstOptions } from '../thaw.ts';
import { textOption, type Verb } from '../verb.ts';

export const openVerb: Verb = {
  name: 'open',
  summary: 'start a throw-away server as of a moment, print its URL, and remove it at the end',
  details: [
    'Restores to a temporary place and starts a server there, on a local port, with a password of its own. It is removed on Ctrl-C, or when',
    '--for is over. Nothing done on it reaches the source. Unless --writable is given, nothing can be written there, not even a temporary',
    'table, whatever the session sets: it stays in recovery, and the URL is of a role of its own that reads everything in every database',
    'and is no superuser. Unlogged tables, which are empty in every backup, cannot be read then. With --writable the URL is of the superuser.',
    'With --json the first line is {"event":"open","url":…}, the last the result.',
  ],
  arguments: [{ name: '[backup]', description: 'id, the beginning of one, or latest (the default)' }],
  options: [
    databaseOption,
    copyOption,
    identityOption,
    repositoryOption,
    ...recoveryOptions,
    { flags: '--for <duration>', description: 'remove it after this time', default: '1h' },
    { flags: '--writable', description: 'allow writes, as the superuser' },
    { flags: '--port <number>', description: 'the local port (default: any free one)' },
    ...temporaryServerOptions,
    ...thawFirstOptions,
  ],
  examples: [
    'helvino open --to "10 minutes ago" --identity identity.txt',
    'helvino open --to latest --for 15m --writable --identity identity.txt',
  ],
  async run(context, options, [wanted]) {
    const opened = await openToRead(context, options);
    const access = { ...opened, identities: opened.identities ?? (await neededIdentities(context, options)) };
    const seconds = parseDuration(textOption(options, 'for') ?? '1h');
    const recovery = await recoveryOf(context, options, { access, wanted });
    const manifest = recovery?.target.manifest ?? (await chosenManifest(access, wanted, 'physical'));
    await thawFirst(context, options, { access, manifest });
    let server: OpenedServer | undefined;
    const request = {
      ...context,
      ...access,
      manifest,
      recovery,
      writable: options.writable === true,
      port: portOf(textOption(options, 'port')),
      ...temporaryServer(context, options, access),
    };
    await openServer(request, async (running) => {
      server = running;
      const until = recovery?.target.description ?? `the end of backup ${manifest.id}`;
      context.progress.phase('open');
      const event = { event: 'open', url: running.url, version: running.version, until, seconds };
      context.tell(event, [
        running.url,
        `PostgreSQL ${running.version}: ${until}; ${request.writable ? 'writable' : 'read-only'}; for ${formatDuration(seconds)}, or until Ctrl-C`,
      ]);
      // The signal ends the waiting early: that is how one closes it, not a failure.
      await context.clock.sleep(seconds * 1000, context.signal).catch(() => undefined);
    });
    return {
      data: { server: server?.version, backup: manifest.id },
      text: ['removed; nothing was left behind'],
    };
  },
};

function portOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const port = Number(text);
  if (Number.isInteger(port) && port > 0 && port < 65536) return port;
  throw new HelvinoError('USAGE', `"${text}" is not a port`);
}
