import { formatBytes, formatTime } from '../../base/format.ts';
import { kindOf } from '../../catalog/index.ts';
import { type ListedBackup, listBackups } from '../../operations/index.ts';
import { copyOption, databaseOption, identityOption, openToRead, repositoryOption } from '../open.ts';
import { sourceLine } from '../output/backup-text.ts';
import { table } from '../output/table.ts';
import type { Verb } from '../verb.ts';

export const listVerb: Verb = {
  name: 'list',
  summary: 'list the backups',
  options: [databaseOption, copyOption, identityOption, repositoryOption],
  examples: [
    'helvino list',
    'helvino list --json',
    'helvino list --repository-path /mnt/copy --identity identity.txt',
  ],
  async run(context, options) {
    const access = await openToRead(context, options, { all: true });
    const backups = await listBackups(access.repository, access.database);
    return { data: { backups: backups.map(listData) }, text: listText(backups) };
  },
};

function listData({
  manifest,
  damaged,
  proof,
  database,
  id,
  committed,
}: ListedBackup): Record<string, unknown> {
  const base = { database, id, committed: committed.toISOString() };
  if (!manifest) return { ...base, damaged };
  const { parent, label, notes, started, finished, totals, facts } = manifest;
  return {
    ...base,
    kind: kindOf(manifest),
    parent,
    label,
    notes,
    started,
    finished,
    totals,
    source: facts,
    proof: proof ?? { verdict: 'unproven' },
  };
}

function listText(backups: readonly ListedBackup[]): string[] {
  if (backups.length === 0) return ['no backups yet: make one with `helvino backup`'];
  const rows = backups.map(({ manifest, damaged, proof, database, id }) => {
    if (!manifest) return [database, id, 'damaged', '', '', '', '', damaged ?? ''];
    const proven = proof
      ? `${proof.verdict} ${formatTime(new Date(proof.finished)).slice(0, 10)}`
      : 'unproven';
    return [
      database,
      id,
      kindOf(manifest),
      formatTime(new Date(manifest.finished)),
      formatBytes(manifest.totals.bytes),
      formatBytes(manifest.totals.stored),
      proven,
      [sourceLine(manifest), manifest.label].filter(Boolean).join(' '),
    ];
  });
  return table(
    [
      { title: 'database' },
      { title: 'backup' },
      { title: 'kind' },
      { title: 'finished' },
      { title: 'size', align: 'right' },
      { title: 'stored', align: 'right' },
      { title: 'restore' },
      { title: '' },
    ],
    rows,
  );
}
