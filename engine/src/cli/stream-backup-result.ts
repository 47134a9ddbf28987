/** What `helvino backup` answers for the kinds that store one stream: dumps and volumes. */
import type { Manifest } from '../repository/index.ts';
import type { CliContext } from './context.ts';
import { copiesExit, copiesText } from './copies.ts';
import type { HostAccess } from './open.ts';
import type { VerbResult } from './verb.ts';

export function streamBackupResult(
  { clock }: CliContext,
  { mirrors }: HostAccess,
  backup: {
    readonly kind: 'logical' | 'volume';
    readonly manifest: Manifest;
    /** When it began, by the monotonic clock. */
    readonly begun: number;
    readonly text: (manifest: Manifest, seconds: number) => string[];
  },
): VerbResult {
  const { kind, manifest } = backup;
  const seconds = (clock.monotonic() - backup.begun) / 1000;
  const { id, database, label, notes, started, finished, totals, facts: source } = manifest;
  const copies = mirrors?.states;
  return {
    data: { id, database, kind, label, notes, started, finished, seconds, totals, source, copies },
    text: [...backup.text(manifest, seconds), ...copiesText(mirrors)],
    exit: copiesExit(mirrors),
  };
}
