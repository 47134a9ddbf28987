/** A backup's facts for people, whatever its kind. */
import { formatBytes, formatTime, plural } from '../../base/format.ts';
import { backupFacts, logicalFacts, methodOf, volumeFacts } from '../../catalog/index.ts';
import type { Manifest, ManifestSummary } from '../../repository/index.ts';
import { facts } from './table.ts';

type Lines = [string, string | undefined][];

/** What it is of, in a few words. */
export function sourceLine(manifest: ManifestSummary): string {
  switch (methodOf(manifest)) {
    case 'physical': {
      const { serverVersionText, walEnd } = backupFacts(manifest);
      return `PG ${serverVersionText} ${walEnd}`;
    }
    case 'logical': {
      const { serverVersionText, databases, format } = logicalFacts(manifest);
      return `PG ${serverVersionText} ${format}: ${databases.map((d) => d.name).join(', ')}`;
    }
    case 'volume': {
      const { volume, postgres } = volumeFacts(manifest);
      return `volume ${volume}${postgres ? ` (PG ${postgres.major})` : ''}`;
    }
  }
}

export function factLines(manifest: Manifest): string[] {
  const { totals } = manifest;
  const notes = Object.entries(manifest.notes).map(([name, value]) => `${name}=${value}`);
  const special = { physical: physicalLines, logical: logicalLines, volume: volumeLines }[methodOf(manifest)];
  return facts([
    ['backup', manifest.id],
    ['database', manifest.database],
    ['kind', kindLine(manifest)],
    ['label', manifest.label],
    ['notes', notes.length > 0 ? notes.join(', ') : undefined],
    ['started', formatTime(new Date(manifest.started))],
    ['finished', formatTime(new Date(manifest.finished))],
    ...special(manifest),
    [
      'stored',
      `${formatBytes(totals.stored)} new, ${formatBytes(totals.referenced)} in ${manifest.packs.length} packs in all`,
    ],
    ['made by', `Helvino ${manifest.program}`],
    ...(manifest.facts.warnings as string[]).map((warning): [string, string] => ['warning', warning]),
  ]);
}

function kindLine(manifest: Manifest): string {
  const method = methodOf(manifest);
  if (method === 'logical')
    return 'logical: a dump, which restores into a server of the same or a newer version';
  if (method === 'volume') return 'volume: a Docker volume';
  if (!manifest.parent) return 'full';
  const { transfer } = backupFacts(manifest);
  return `incremental on ${manifest.parent} (${transfer}); needs no other backup to restore`;
}

function physicalLines(manifest: Manifest): Lines {
  const source = backupFacts(manifest);
  return [
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
    ['cluster', `${formatBytes(manifest.totals.bytes)} in ${manifest.totals.files} files`],
    ['content', contentLine(source.fingerprint)],
  ];
}

function logicalLines(manifest: Manifest): Lines {
  const source = logicalFacts(manifest);
  return [
    [
      'server',
      `${source.server}, PostgreSQL ${source.serverVersionText}${source.fromStandby ? ', a standby' : ''}`,
    ],
    ['dump', `${source.format} format, by ${source.tool}`],
    ['globals', source.globals === 'none' ? 'not in it' : `roles ${source.globals}, and tablespaces`],
    ...source.databases.map((d): [string, string] => [
      'dumped',
      `${d.name}, ${formatBytes(d.bytes)}, as of ${formatTime(new Date(d.snapshot))}`,
    ]),
    ['content', contentLine(source.fingerprint)],
  ];
}

function volumeLines(manifest: Manifest): Lines {
  const source = volumeFacts(manifest);
  const used = source.containers.map((c) => `${c.name} (${c.image}${c.running ? ', running' : ''})`);
  return [
    [
      'volume',
      `${source.volume}, ${formatBytes(manifest.totals.bytes)}, ${plural(source.entries, 'entry', 'entries')}`,
    ],
    ['engine', `Docker ${source.engine}`],
    ['containers', used.join(', ') || undefined],
    ['PostgreSQL', source.postgres && `${source.postgres.major}, in ${source.postgres.path}`],
    ['written to', source.quiet ? 'by nobody while it was read' : 'perhaps, while it was read'],
  ];
}

function contentLine(fingerprint: { state: string; tables: number; reason?: string }): string {
  return fingerprint.state === 'taken'
    ? `recorded for ${plural(fingerprint.tables, 'table')}`
    : `not recorded: ${fingerprint.reason}`;
}
