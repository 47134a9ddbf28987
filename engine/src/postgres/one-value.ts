/** The one value of a query that someone else wrote: one statement, and no more rows are read than needed to know. */
import pg from 'pg';
import { queryError } from './sql.ts';

export interface OneValue {
  /** Undefined where there is not one row of one column. */
  readonly value?: unknown;
  /** Why there is no value. */
  readonly problem?: string;
}

/**
 * Prepared, since that takes one statement only: a second one could end the transaction that the first is in. A time without
 * a zone is one of UTC, whatever the zone of this machine. The connection is not to be used afterwards. Throws as `query` does.
 */
export async function oneValue(client: pg.Client, sql: string): Promise<OneValue> {
  try {
    return await new Promise<OneValue>((resolve, reject) => {
      const config = { text: sql, name: 'helvino', rowMode: 'array', types };
      const asked = client.query(new pg.Query<unknown[]>(config));
      let first: unknown[] | undefined;
      asked.on('error', reject);
      asked.on('row', (row) => {
        // However many more there are: they end with the connection.
        if (first) resolve({ problem: 'it answers more than one row, not one value' });
        first ??= row;
      });
      asked.on('end', ({ fields = [] }) => {
        if (first && fields.length === 1) resolve({ value: first[0] });
        else
          resolve({
            problem: `it answers ${first ? 'one row' : 'no row'} of ${fields.length} columns, not one value`,
          });
      });
    });
  } catch (thrown) {
    throw queryError(client, thrown);
  }
}

const withoutZone: readonly number[] = [pg.types.builtins.TIMESTAMP, pg.types.builtins.DATE];

const types: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: 'text') =>
    withoutZone.includes(oid)
      ? (text: string) => timeOf(text) ?? text
      : pg.types.getTypeParser(oid, format)) as pg.CustomTypesConfig['getTypeParser'],
};

/** Of a text as PostgreSQL and ISO 8601 write it; without a zone it is one of UTC. Undefined when it is none. */
export function timeOf(text: string): Date | undefined {
  const parts = /^(\d{4,}-\d\d-\d\d)(?:[ T](\d\d:\d\d(?::\d\d(?:\.\d+)?)?))? ?(Z|[+-]\d\d(?::?\d\d)?)?$/.exec(
    text.trim(),
  );
  if (!parts) return undefined;
  const [, day, clock = '00:00:00', zone = 'Z'] = parts;
  const time = new Date(`${day}T${clock}${/^[+-]\d\d$/.test(zone) ? `${zone}:00` : zone}`);
  return Number.isNaN(time.getTime()) ? undefined : time;
}
