import { formatBytes } from '../../base/format.ts';
import { kindOf, methodOf } from '../../catalog/index.ts';
import type { DrillReport } from '../../operations/drill/index.ts';
import { CurrentFacts, type ProofState, proofState, proofText } from '../../operations/drill/proof/index.ts';
import type { FileEntry } from '../../repository/index.ts';
import {
  chosenManifest,
  copyOption,
  databaseOption,
  identityOption,
  openToRead,
  repositoryOption,
} from '../open.ts';
import { factLines } from '../output/backup-text.ts';
import { table } from '../output/table.ts';
import type { Verb } from '../verb.ts';

export const showVerb: Verb = {
  name: 'show',
  summary: 'show one backup: facts, proofs, and on request files and tables',
  arguments: [{ name: '[backup]', description: 'id, the beginning of one, or latest (the default)' }],
  options: [
    databaseOption,
    copyOption,
    identityOption,
    repositoryOption,
    { flags: '--files', description: 'list the files' },
    { flags: '--tables', description: 'list the tables with row counts' },
  ],
  examples: ['helvino show', 'helvino show 20261125T120302Z --tables'],
  async run(context, options, [wanted]) {
    const access = await openToRead(context, options);
    const manifest = await chosenManifest(access, wanted);
    const proofs = (await access.repository.proofs(manifest.id)).map(({ proof }) => proof as DrillReport);
    const now = await access.repository.driver.now();
    const { repository, loaded } = access;
    const current = new CurrentFacts({ repository, database: manifest.database, loaded, now });
    const facts = await current.of(methodOf(manifest));
    const states = proofs.map((proof) => proofState(proof, facts));
    const files: FileEntry[] = [];
    if (options.files) for await (const file of access.repository.files(manifest)) files.push(file);
    const tables: TableLine[] = [];
    if (options.tables)
      for await (const value of access.repository.section(manifest, 'tables'))
        tables.push(value as TableLine);
    const { blocks, sections, packs, ...shown } = manifest;
    const listing = files.map(({ path, type, size, mode, mtime }) => ({ path, type, size, mode, mtime }));
    const data = {
      ...shown,
      kind: kindOf(manifest),
      packs: packs.length,
      proofs: proofs.map((proof, i) => ({
        ...proof,
        state: states[i]!.state,
        staleBecause: states[i]!.reasons,
      })),
      ...(options.files ? { fileList: listing } : {}),
      ...(options.tables ? { tables } : {}),
    };
    return {
      data,
      text: [
        ...factLines(manifest),
        ...proofLines(proofs, states),
        ...fileLines(files),
        ...tableLines(tables),
      ],
    };
  },
};

interface TableLine {
  readonly database: string;
  readonly schema: string;
  readonly table: string;
  readonly rows: string | null;
  readonly hash: string | null;
  readonly skipped?: string;
}

function proofLines(proofs: readonly DrillReport[], states: readonly ProofState[]): string[] {
  if (proofs.length === 0) return ['restore    unproven: no drill of this backup yet'];
  return states.map((state, i) => `drill      ${proofText(state)} (${proofs[i]!.id})`);
}

function fileLines(files: readonly FileEntry[]): string[] {
  if (files.length === 0) return [];
  const rows = files.map((file) => [
    file.mode.toString(8).padStart(4, '0'),
    file.type === 'file' ? formatBytes(file.size) : file.type,
    file.target ? `${file.path} -> ${file.target}` : file.path,
  ]);
  return ['', ...table([{ title: 'mode' }, { title: 'size', align: 'right' }, { title: 'path' }], rows)];
}

function tableLines(tables: readonly TableLine[]): string[] {
  if (tables.length === 0) return [];
  const rows = tables.map((t) => [
    t.database,
    `${t.schema}.${t.table}`,
    t.rows ?? '?',
    t.hash ?? t.skipped ?? '',
  ]);
  return [
    '',
    ...table(
      [
        { title: 'database' },
        { title: 'table' },
        { title: 'rows', align: 'right' },
        { title: 'content hash' },
      ],
      rows,
    ),
  ];
}
