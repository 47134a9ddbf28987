import { formatBytes, plural } from '../../base/format.ts';
import { chooseBackup } from '../../catalog/index.ts';
import { recordVerification, type VerifyReport, verify } from '../../operations/verify/index.ts';
import { copyOption, databaseOption, identityOption, openToRead, repositoryOption } from '../open.ts';
import type { Verb } from '../verb.ts';

export const verifyVerb: Verb = {
  name: 'verify',
  summary: 'check that the repository holds what was written',
  details: [
    'Structure always: manifests, file lists, packs, keys. With --read-data every byte: the hash of all that is stored, and with',
    'the recovery identity every byte decrypted, too. Damage is named by object, backup, file and table. The result is kept for `helvino health`.',
  ],
  arguments: [{ name: '[backup]', description: 'only this backup' }],
  options: [
    databaseOption,
    copyOption,
    identityOption,
    repositoryOption,
    { flags: '--read-data', description: 'read every byte' },
  ],
  examples: ['helvino verify', 'helvino verify --read-data --identity identity.txt'],
  exits: [{ status: 1, meaning: 'damage was found' }],
  async run(context, options, [wanted]) {
    const access = await openToRead(context, options, { all: true });
    const { repository, database, identities } = access;
    const names = await repository.backups(database);
    const backupId =
      wanted === undefined ? undefined : chooseBackup(names, wanted, database ?? 'any database').id;
    const report = await verify({
      repository,
      database,
      backupId,
      readData: options.readData === true,
      identities,
      progress: context.progress,
      signal: context.signal,
    });
    if (backupId === undefined) {
      const all = database === undefined ? names.map((name) => name.database) : [database];
      await recordVerification(repository, report, { ...context, databases: [...new Set(all)] });
    }
    return { data: report, text: verifyText(report), exit: report.verdict === 'passed' ? 0 : 1 };
  },
};

const depths: Readonly<Record<VerifyReport['depth'], string>> = {
  structure: 'structure only: --read-data reads every byte',
  'stored bytes': 'the hash of every stored byte; decryption is unproven without --identity',
  'every byte': 'every byte, decrypted, and every hash',
};

function verifyText(report: VerifyReport): string[] {
  const lines: string[] = [];
  for (const backup of report.backups) {
    lines.push(`${backup.state === 'good' ? 'good    ' : 'DAMAGED '} ${backup.id} of ${backup.database}`);
    for (const damage of backup.damage) {
      lines.push(`  ${damage.object}: ${damage.why}`);
      for (const file of damage.files)
        lines.push(`    touches ${file.path}${file.table ? ` (${file.table})` : ''}`);
      if (damage.moreFiles > 0) lines.push(`    and ${damage.moreFiles} more files`);
    }
  }
  for (const { object, why } of report.others) lines.push(`DAMAGED  ${object}: ${why}`);
  for (const object of report.entered)
    lines.push(
      `mended   ${object} was missing (a backup that was cut off at its very end, or a loss): made again`,
    );
  if (report.archived > 0)
    lines.push(
      `unproven: ${plural(report.archived, 'pack')} in an archive class; helvino lifecycle thaw gets a backup back`,
    );
  const read = report.bytesRead > 0 ? `, ${formatBytes(report.bytesRead)} read` : '';
  lines.push(
    `${report.verdict}: ${report.backups.length} backups, ${report.packs} packs${read} (${depths[report.depth]})`,
  );
  return lines;
}
