import { HelvinoError } from '../../base/errors.ts';
import { formatBytes } from '../../base/format.ts';
import { chooseBackup, methodOf } from '../../catalog/index.ts';
import { bytesOfAlone, type ListedBackup, listBackups } from '../../operations/index.ts';
import { copyOption, databaseOption, openAsHost } from '../open.ts';
import { textOption, type Verb } from '../verb.ts';

export const removeVerb: Verb = {
  name: 'remove',
  summary: 'remove one backup; its space comes back with `helvino collect`',
  details: [
    'Also one that is damaged, or whose manifest is missing. The last backup of its kind that a drill has proven is kept unless',
    '--last-proven is given.',
  ],
  arguments: [{ name: '<backup>', description: 'id, or the beginning of one' }],
  options: [
    databaseOption,
    copyOption,
    { flags: '--dry-run', description: 'only say what would be removed' },
    { flags: '--last-proven', description: 'also if no other backup is proven' },
    { flags: '--confirm <backup>', description: 'the full id, instead of typing it' },
  ],
  examples: ['helvino remove 20261125T120302Z-9f3a01bc --dry-run'],
  async run(context, options, [wanted = '']) {
    const { repositoryHandle: repository, name: database } = await openAsHost(context, options);
    const all = await listBackups(repository, database);
    const backup = chooseBackup(all, wanted, database);
    const frees = backup.manifest ? await bytesOfAlone(repository, backup) : 0;
    const plan = planRemoval(backup, all, frees);
    const what = `Remove backup ${backup.id} of ${database} (${plan.says.join('; ')})`;
    const data = {
      backup: backup.id,
      database,
      frees,
      last: plan.last,
      lastProven: plan.lastProven,
    };
    if (options.dryRun) return { data: { ...data, removed: false }, text: [what, 'nothing was done'] };
    if (plan.lastProven && !options.lastProven) {
      throw new HelvinoError(
        'CONFIRMATION_NEEDED',
        `backup ${backup.id} is the only one of its kind that a drill has proven`,
        {
          hint: 'prove another one first (helvino drill), or give --last-proven',
        },
      );
    }
    await context.confirm(what, backup.id, textOption(options, 'confirm'));
    await repository.remove(database, backup.id);
    return {
      data: { ...data, removed: true },
      text: [`backup ${backup.id} was removed; \`helvino collect --apply\` frees its space`],
    };
  },
};

function planRemoval(backup: ListedBackup, all: readonly ListedBackup[], frees: number) {
  const others = all.filter((other) => other.id !== backup.id);
  // A proven dump does not stand in for a proven physical backup, nor the other way round.
  const method = backup.manifest && methodOf(backup.manifest);
  const alike = others.filter((other) => other.manifest && methodOf(other.manifest) === method);
  const last = method === undefined ? others.length === 0 : alike.length === 0;
  const lastProven =
    backup.proof?.verdict === 'proven' && alike.every((other) => other.proof?.verdict !== 'proven');
  const says = [backup.manifest ? `${formatBytes(frees)} become free` : `it is damaged: ${backup.damaged}`];
  if (last) says.push(`it is the LAST ${method ?? ''} backup`.replace('  ', ' '));
  if (lastProven) says.push(`no other ${method} backup is proven`);
  return { last, lastProven, says };
}
