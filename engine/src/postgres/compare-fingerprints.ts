/** What two fingerprints of a database say about each other. Pure. */
import type { TableFingerprint } from './fingerprint.ts';

/** `unproven`: one side could not be read, or was not asked for. */
type Comparison = 'equal' | 'different' | 'unproven';

export interface ComparedTable {
  readonly schema: string;
  readonly table: string;
  /** `equal` needs equal row counts; see `content` for whether content was compared, too. */
  readonly state: Comparison;
  readonly reason?: string;
  readonly rows: Comparison;
  readonly content: Comparison;
  readonly source?: TableFingerprint;
  readonly restored?: TableFingerprint;
}

/** Every table of either side, in order of name. */
export function compareFingerprints(
  source: readonly TableFingerprint[],
  restored: readonly TableFingerprint[],
): ComparedTable[] {
  const left = byName(source);
  const right = byName(restored);
  const names = [...new Set([...left.keys(), ...right.keys()])].sort();
  return names.map((name) => compareTable(left.get(name), right.get(name)));
}

function byName(tables: readonly TableFingerprint[]): Map<string, TableFingerprint> {
  return new Map(tables.map((table) => [JSON.stringify([table.schema, table.table]), table]));
}

function compareTable(
  source: TableFingerprint | undefined,
  restored: TableFingerprint | undefined,
): ComparedTable {
  const { schema, table } = (source ?? restored)!;
  const base = { schema, table, source, restored };
  if (!source || !restored) {
    const reason = source ? 'it is missing in the restored server' : 'the source did not have it';
    return { ...base, state: 'different', rows: 'different', content: 'different', reason };
  }
  if (restored.damaged && !source.damaged) {
    return { ...base, state: 'different', rows: 'different', content: 'different', reason: restored.skipped };
  }
  const rows = compareValue(source.rows, restored.rows);
  const content = compareValue(source.hash, restored.hash);
  const reason = source.skipped ?? restored.skipped;
  const state = rows === 'different' || content === 'different' ? 'different' : rows;
  return { ...base, state, rows, content, reason };
}

function compareValue(a: string | null, b: string | null): Comparison {
  if (a === null || b === null) return 'unproven';
  return a === b ? 'equal' : 'different';
}
