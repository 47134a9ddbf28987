/**
 * The table of contents of an archive, as `pg_restore --list --verbose` prints it, and which entries a restore of some
 * schemas or tables takes. Pure. https://www.postgresql.org/docs/current/app-pgrestore.html (--use-list)
 *
 *     3252; 2606 16400 CONSTRAINT public org org_pkey postgres
 *     ;       depends on: 217
 */
import { HelvinoError } from '../../base/errors.ts';

export interface TocEntry {
  readonly id: number;
  /** `TABLE`, `TABLE DATA`, `FK CONSTRAINT` … */
  readonly kind: string;
  /** `-` for what is in no schema. */
  readonly schema: string;
  /** Names, the owner last: `org org_pkey postgres`. */
  readonly rest: string;
  readonly needs: readonly number[];
  readonly line: string;
}

export interface Selection {
  readonly schemas: readonly string[];
  /** `schema.table`, or `table` in any schema. */
  readonly tables: readonly string[];
}

/** Kinds of two and more words; one word is the rule for the others. */
const longKinds = [
  'MATERIALIZED VIEW DATA',
  'MATERIALIZED VIEW',
  'SEQUENCE OWNED BY',
  'SEQUENCE SET',
  'TABLE ATTACH',
  'TABLE DATA',
  'INDEX ATTACH',
  'FK CONSTRAINT',
  'CHECK CONSTRAINT',
  'ROW SECURITY',
  'DEFAULT ACL',
  'DATABASE PROPERTIES',
  'EVENT TRIGGER',
  'FOREIGN DATA WRAPPER',
  'FOREIGN SERVER',
  'FOREIGN TABLE',
  'USER MAPPING',
  'ACCESS METHOD',
  'OPERATOR CLASS',
  'OPERATOR FAMILY',
  'TEXT SEARCH PARSER',
  'TEXT SEARCH DICTIONARY',
  'TEXT SEARCH TEMPLATE',
  'TEXT SEARCH CONFIGURATION',
  'SHELL TYPE',
  'PROCEDURAL LANGUAGE',
  'PUBLICATION TABLES IN SCHEMA',
  'PUBLICATION TABLE',
  'SUBSCRIPTION TABLE',
  'SECURITY LABEL',
  'BLOB METADATA',
  'STATISTICS DATA',
].sort((a, b) => b.length - a.length);

/** Always taken: they set up the session. */
const always = new Set(['ENCODING', 'STDSTRINGS', 'SEARCHPATH']);
/** Come along when all that they need is there, and not for their own sake: else half of the database would follow. */
const followers = new Set([
  'ACL',
  'CHECK CONSTRAINT',
  'COMMENT',
  'CONSTRAINT',
  'DEFAULT',
  'FK CONSTRAINT',
  'INDEX',
  'INDEX ATTACH',
  'MATERIALIZED VIEW DATA',
  'POLICY',
  'ROW SECURITY',
  'RULE',
  'SECURITY LABEL',
  'SEQUENCE',
  'SEQUENCE OWNED BY',
  'SEQUENCE SET',
  'STATISTICS',
  'STATISTICS DATA',
  'TABLE ATTACH',
  'TRIGGER',
]);

export function parseToc(text: string): TocEntry[] {
  const entries: TocEntry[] = [];
  for (const line of text.split('\n')) {
    const needs = /^;\s*depends on:((?: \d+)+)/.exec(line);
    const last = entries.at(-1);
    if (needs && last)
      entries[entries.length - 1] = { ...last, needs: needs[1]!.trim().split(' ').map(Number) };
    const match = /^(\d+); \d+ \d+ (.+)$/.exec(line);
    if (!match) continue;
    const what = match[2]!;
    const kind = longKinds.find((long) => what.startsWith(`${long} `)) ?? what.split(' ')[0]!;
    const [schema = '-', ...rest] = what.slice(kind.length + 1).split(' ');
    entries.push({ id: Number(match[1]), kind, schema, rest: rest.join(' '), needs: [], line });
  }
  return entries;
}

/**
 * The entries to take, in their order: what was selected, what that needs (types, schemas, parents), and what hangs on it
 * alone (indexes, constraints, sequences). Data only of what was selected. Throws USAGE for a name that is not there.
 */
export function selectEntries(entries: readonly TocEntry[], selection: Selection): TocEntry[] {
  const seeds = withPartitions(entries, seedsOf(entries, selection));
  const known = new Map(entries.map((entry) => [entry.id, entry]));
  const taken = new Set<number>();
  const take = (id: number) => {
    const entry = known.get(id);
    if (!entry || taken.has(id)) return;
    taken.add(id);
    for (const need of entry.needs) take(need);
  };
  for (const id of seeds) take(id);
  for (let before = -1; before !== taken.size; ) {
    before = taken.size;
    for (const entry of entries) {
      const needs = entry.needs.filter((id) => known.has(id));
      if (taken.has(entry.id) || needs.length === 0) continue;
      if (entry.kind === 'DEFAULT' && needs.some((id) => seeds.has(id))) take(entry.id);
      else if (
        entry.kind === 'TABLE DATA' ? needs.every((id) => seeds.has(id)) : follows(entry, needs, taken)
      )
        taken.add(entry.id);
    }
  }
  return entries.filter((entry) => always.has(entry.kind) || taken.has(entry.id));
}

/** `schema.table` of the tables whose data is taken. */
export function selectedTables(chosen: readonly TocEntry[]): Set<string> {
  const tables = chosen.filter((entry) => entry.kind === 'TABLE DATA');
  return new Set(tables.map((entry) => `${entry.schema}.${nameOf(entry)}`));
}

function follows(entry: TocEntry, needs: readonly number[], taken: ReadonlySet<number>): boolean {
  return followers.has(entry.kind) && needs.every((id) => taken.has(id));
}

/** All but the owner, who comes last. */
function nameOf(entry: TocEntry): string {
  return entry.rest.slice(0, entry.rest.lastIndexOf(' '));
}

function seedsOf(entries: readonly TocEntry[], { schemas, tables }: Selection): Set<number> {
  const seeds = new Set<number>();
  const need = (found: readonly TocEntry[], what: string) => {
    if (found.length === 0)
      throw new HelvinoError('USAGE', `the dump has no ${what}`, {
        hint: '`helvino show --tables` lists the tables',
      });
    for (const { id } of found) seeds.add(id);
  };
  for (const schema of schemas) {
    const own = entries.filter(
      (entry) =>
        (entry.schema === schema && !followers.has(entry.kind) && entry.kind !== 'TABLE DATA') ||
        (entry.kind === 'SCHEMA' && nameOf(entry) === schema),
    );
    need(own, `schema "${schema}"`);
  }
  for (const table of tables) {
    const own = entries.filter(
      (entry) =>
        (entry.kind === 'TABLE' || entry.kind === 'MATERIALIZED VIEW') &&
        (nameOf(entry) === table || `${entry.schema}.${nameOf(entry)}` === table),
    );
    need(own, `table "${table}"`);
  }
  return seeds;
}

/** A partitioned table holds its rows in its partitions. */
function withPartitions(entries: readonly TocEntry[], seeds: Set<number>): Set<number> {
  const attached = entries.filter((entry) => entry.kind === 'TABLE ATTACH' && entry.needs.length >= 2);
  for (let before = -1; before !== seeds.size; ) {
    before = seeds.size;
    for (const { needs } of attached) if (seeds.has(needs[1]!)) seeds.add(needs[0]!);
  }
  return seeds;
}
