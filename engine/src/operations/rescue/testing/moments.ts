/** The moments of a random case, as databases of one server: before, at the accident, now. */
import type pg from 'pg';
import type { ModelOptions } from '../schema-model.ts';
import { accident, laterWork, reuseValues } from './accident.ts';
import { Counters, populate } from './population.ts';
import type { Random } from './random.ts';
import { ddl, type SchemaSpec, type TableSpec } from './schema.ts';
import { connectRaw, readState } from './state.ts';

export interface MomentNames {
  readonly before: string;
  readonly accident: string | undefined;
  readonly now: string;
}

interface Making {
  readonly url: string;
  readonly seed: number;
  readonly major: number;
  readonly random: Random;
  readonly schema: SchemaSpec;
  /** Rows of a tenant in a table, at most. */
  readonly most?: number | undefined;
}

/** They are dropped with the stack. */
export async function makeMoments(
  { url, seed, major, random, schema, most }: Making,
  stack: AsyncDisposableStack,
): Promise<MomentNames> {
  const admin = await connectRaw(url, 'postgres');
  stack.defer(() => admin.end());
  const names = {
    before: `before${seed}`,
    accident: random.chance(0.5) ? `accident${seed}` : undefined,
    now: `now${seed}`,
  };
  for (const name of Object.values(names))
    if (name !== undefined)
      stack.defer(async () => void (await admin.query(`drop database if exists ${name} with (force)`)));
  const strategy = major >= 15 ? `strategy = 'wal_log'` : '';
  const copy = (name: string) => admin.query(`create database ${name} template ${names.now} ${strategy}`);
  const counters = new Counters();
  const within = async (act: (client: pg.Client) => Promise<void>) => {
    const client = await connectRaw(url, names.now);
    await act(client);
    await client.end();
  };
  await admin.query(`create database ${names.now}`);
  await within(async (client) => {
    await client.query(ddl(schema));
    await populate({ client, schema, random, counters }, most);
  });
  await copy(names.before);
  await within((client) => accident({ client, schema, random, counters }));
  if (names.accident !== undefined) await copy(names.accident);
  await within((client) => laterWork({ client, schema, random, counters }));
  if (random.chance(0.3)) {
    const past = await connectRaw(url, names.before);
    const before = await readState(past, schema);
    await past.end();
    await within((client) => reuseValues({ client, schema, random, counters }, before));
  }
  return names;
}

export function plainName({ schema, name }: TableSpec): string {
  return `${schema}.${name}`;
}

/** What the configuration would say. */
export function declaredReferences(schema: SchemaSpec): NonNullable<ModelOptions['references']> {
  return schema.tables.flatMap((table) =>
    table.references
      .filter(({ enforced }) => !enforced)
      .map(({ columns, target, referenced, when }) => ({
        from: plainName(table),
        columns,
        to: plainName(target),
        toColumns: referenced,
        when: when && { [when.column]: when.value },
      })),
  );
}
