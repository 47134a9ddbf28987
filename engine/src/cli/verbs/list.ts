import { formatBytes, formatTime } from '../../base/format.ts';
import { kindOf, methodOf } from '../../catalog/index.ts';
import { CurrentFacts, type ProofState, proofState, proofText } from '../../operations/drill/proof/index.ts';
import { type ListedBackup, listBackups } from '../../operations/index.ts';
import {
  copyOption,
  databaseOption,
  identityOption,
  openToRead,
  type ReadAccess,
  repositoryOption,
} from '../open.ts';
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
    const shown = await withProofs(backups, access);
    return { data: { backups: shown.map(listData) }, text: listText(shown) };
  },
};

interface ShownBackup extends ListedBackup {
  readonly proven: ProofState;
}

/** Each proof, compared with what there is now. */
async function withProofs(
  backups: readonly ListedBackup[],
  { repository, loaded }: ReadAccess,
): Promise<ShownBackup[]> {
  const now = await repository.driver.now();
  const facts = new Map<string, CurrentFacts>();
  const shown: ShownBackup[] = [];
  for (const backup of backups) {
    const { database, manifest, proof } = backup;
    const current = facts.get(database) ?? new CurrentFacts({ repository, database, loaded, now });
    facts.set(database, current);
    const state =
      manifest && proof
        ? proofState(proof, await current.of(methodOf(manifest)))
        : proofState(undefined, { now, every: 0, fingerprint: {} });
    shown.push({ ...backup, proven: state });
  }
  return shown;
}

function listData({
  manifest,
  damaged,
  proof,
  database,
  id,
  committed,
  proven,
}: ShownBackup): Record<string, unknown> {
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
    proof: { ...(proof ?? { verdict: 'unproven' }), state: proven.state, staleBecause: proven.reasons },
  };
}

function listText(backups: readonly ShownBackup[]): string[] {
  if (backups.length === 0) return ['no backups yet: make one with `helvino backup`'];
  const rows = backups.map(({ manifest, damaged, proven, database, id }) => {
    if (!manifest) return [database, id, 'damaged', '', '', '', '', damaged ?? ''];
    return [
      database,
      id,
      kindOf(manifest),
      formatTime(new Date(manifest.finished)),
      formatBytes(manifest.totals.bytes),
      formatBytes(manifest.totals.stored),
      proven.on === undefined ? 'unproven' : proofText(proven),
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
