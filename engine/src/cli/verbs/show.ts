import { formatBytes, formatTime } from '../../base/format.ts';
import { backupFacts } from '../../catalog/index.ts';
import type { DrillReport } from '../../operations/index.ts';
import type { FileEntry, Manifest } from '../../repository/index.ts';
import { chosenManifest, databaseOption, identityOption, openToRead, repositoryOption } from '../open.ts';
import { facts, table } from '../output/table.ts';
import type { Verb } from '../verb.ts';

export const showVerb: Verb = {
  name: 'show',
  summary: 'show one backup: facts, proofs, and on request files and tables',
  arguments: [{ name: '[backup]', description: 'id, the beginning of one, or latest (the default)' }],
  options: [
    databaseOption,
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
      packs: packs.length,
      proofs,
      ...(options.files ? { fileList: listing } : {}),
      ...(options.tables ? { tables } : {}),
    };
    return {
      data,
      text: [...factLines(manifest), ...proofLines(proofs), ...fileLines(files), ...tableLines(tables)],
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

function factLines(manifest: Manifest): string[] {
  const source = backupFacts(manifest);
  const { totals } = manifest;
  const notes = Object.entries(manifest.notes).map(([name, value]) => `${name}=${value}`);
  return facts([
    ['backup', manifest.id],
    ['database', manifest.database],
    [
      'kind',
      manifest.parent
        ? `incremental on ${manifest.parent} (${source.transfer}); needs no other backup to restore`
        : 'full',
    ],
    ['label', manifest.label],
    ['notes', notes.length > 0 ? notes.join(', ') : undefined],
    ['started', formatTime(new Date(manifest.started))],
    ['finished', formatTime(new Date(manifest.finished))],
    [
      'server',
      `${source.server}, PostgreSQL ${source.serverVersionText}${source.fromStandby ? ', a standby' : ''}`,
    ],
    ['system id', source.systemId],
    [
      'WAL',
      `${source.startLsn} to ${source.walEnd}, consistent from ${source.stopLsn}, timeline ${source.timeline}`,
    ],
    [
      'checksums',
      source.checksumsVerified
        ? 'every page was verified by the server'
        : source.dataChecksums
          ? 'on, but not verified'
          : 'the cluster has none',
    ],
    ['tablespaces', source.tablespaces.map((t) => `${t.oid} at ${t.location}`).join(', ') || undefined],
    ['cluster', `${formatBytes(totals.bytes)} in ${totals.files} files`],
    [
      'stored',
      `${formatBytes(totals.stored)} new, ${formatBytes(totals.referenced)} in ${manifest.packs.length} packs in all`,
    ],
    [
      'content',
      source.fingerprint.state === 'taken'
        ? `recorded for ${source.fingerprint.tables} tables`
        : `not recorded: ${source.fingerprint.reason}`,
    ],
    ['made by', `Helvino ${manifest.program}`],
    ...source.warnings.map((warning): [string, string] => ['warning', warning]),
  ]);
}

function proofLines(proofs: readonly DrillReport[]): string[] {
  if (proofs.length === 0) return ['restore    unproven: no drill of this backup yet'];
  return proofs.map((proof) => `drill      ${proof.verdict}, ${formatTime(new Date(proof.finished))}`);
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
