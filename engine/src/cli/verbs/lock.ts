import { formatTime, plural } from '../../base/format.ts';
import { extendLocks } from '../../operations/lock/index.ts';
import { copyOption, databaseOption, openAsHost } from '../open.ts';
import { table } from '../output/table.ts';
import type { Verb } from '../verb.ts';

export const lockVerb: Verb = {
  name: 'lock',
  summary: 'extend the object lock over everything that kept backups need',
  details: [
    'New objects are locked when they are stored (`objectLock.keep`). This extends the lock of every backup that retention keeps, with all',
    'packs and keys that it shares with others, until retention lets it go, at most 13 months ahead; and of all WAL that the recovery',
    'window needs (`retention.pitr`). Run it once a week. A lock can be extended and not shortened: look with --dry-run first.',
  ],
  options: [databaseOption, copyOption, { flags: '--dry-run', description: 'show until when, lock nothing' }],
  examples: ['helvino lock --dry-run', 'helvino lock'],
  async run(context, options) {
    const host = await openAsHost(context, options);
    const { backups, log } = await extendLocks({
      repository: host.repositoryHandle,
      database: host.name,
      settings: host.database,
      dryRun: options.dryRun === true,
      progress: context.progress,
      signal: context.signal,
    });
    const rows = backups.map(({ id, until, objects }) => [id, formatTime(until), String(objects)]);
    return {
      data: { applied: options.dryRun !== true, backups, wal: log },
      text: [
        ...table(
          [{ title: 'backup' }, { title: 'locked until' }, { title: 'objects', align: 'right' }],
          rows,
        ),
        ...(log.until ? [`WAL     ${plural(log.pieces, 'piece')}, until ${formatTime(log.until)}`] : []),
        options.dryRun ? 'nothing was done' : `${plural(backups.length, 'backup')} locked`,
      ],
    };
  },
};
