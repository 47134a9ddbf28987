import { resolve } from 'node:path';
import { HelvinoError } from '../../base/errors.ts';
import type { BackupMethod } from '../../catalog/index.ts';
import { drill } from '../../operations/index.ts';
import type { Manifest } from '../../repository/index.ts';
import { evidenceOf } from '../evidence.ts';
import {
  chosenManifest,
  copyOption,
  databaseOption,
  identityOption,
  neededIdentities,
  openToRead,
  type ReadAccess,
  repositoryOption,
} from '../open.ts';
import { drillText } from '../output/drill-text.ts';
import { temporaryServer, temporaryServerOptions } from '../temporary-server.ts';
import { thawFirst, thawFirstOptions } from '../thaw.ts';
import { type OptionValues, textOption, type Verb } from '../verb.ts';

export const drillVerb: Verb = {
  name: 'drill',
  summary: 'prove that a backup restores',
  details: [
    'Restores to a temporary place, starts a server of the same major version on it, lets it recover, compares row counts and the',
    'content of every table with what the source had, runs amcheck on every table and index, checks the checksum of every page, and',
    'removes everything. What did not run is "unproven", never "passed". The result is kept with the backup. A dump is loaded into an',
    'empty server of its version, with its roles, and compared in the same way. A Docker volume is unpacked, and a server started on it.',
  ],
  arguments: [{ name: '[backup]', description: 'id, the beginning of one, or latest (the default)' }],
  options: [
    databaseOption,
    copyOption,
    identityOption,
    repositoryOption,
    {
      flags: '--kind <kind>',
      description:
        'what `latest` means: the newest backup of this kind (default: physical, where there is one)',
      choices: ['physical', 'logical', 'volume'],
    },
    ...temporaryServerOptions,
    { flags: '--no-fetch', description: 'do not fetch a server from npm' },
    ...thawFirstOptions,
  ],
  examples: [
    'helvino drill --identity identity.txt',
    'helvino drill latest --json',
    'helvino drill --kind logical --identity identity.txt',
  ],
  exits: [
    { status: 1, meaning: 'failed: the backup does not restore as it should' },
    { status: 2, meaning: 'partly proven: nothing failed, but something could not be checked' },
  ],
  async run(context, options, [wanted]) {
    const access = await openToRead(context, options);
    const identities = access.identities ?? (await neededIdentities(context, options));
    const manifest = await toProve(options, { ...access, identities }, wanted);
    const thawed = await thawFirst(context, options, { access, manifest });
    const report = await drill({
      repository: access.repository,
      identities,
      manifest,
      ...temporaryServer(context, options, access),
      clientDirs: clientDirs(access),
      env: context.env,
      program: context.program,
      evidence: await evidenceOf(context, access),
      clock: context.clock,
      progress: context.progress,
      signal: context.signal,
    });
    return {
      data: thawed ? { ...report, thaw: thawed.data } : report,
      text: [...(thawed?.text ?? []), ...drillText(report)],
      exit: { proven: 0, failed: 1, 'partly proven': 2 }[report.verdict],
    };
  },
};

/** A schedule of drills goes on proving physical backups when dumps are taken, too: unless there are none. */
async function toProve(
  options: OptionValues,
  access: ReadAccess,
  wanted: string | undefined,
): Promise<Manifest> {
  const kind = textOption(options, 'kind') as BackupMethod | undefined;
  if (kind !== undefined) return chosenManifest(access, wanted, kind);
  try {
    return await chosenManifest(access, wanted, 'physical');
  } catch (thrown) {
    if (!(thrown instanceof HelvinoError) || thrown.code !== 'BACKUP_NOT_FOUND') throw thrown;
    return chosenManifest(access, wanted);
  }
}

function clientDirs({ chosen, loaded }: ReadAccess): string[] {
  const folder = chosen?.database.logical.binDir;
  return folder === undefined ? [] : [resolve(loaded?.directory ?? '', folder)];
}
