/** The closure of random schemas, against a plain one in memory. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTestServer } from '../../../test/pg-server.ts';
import { closure, readSchema } from './index.ts';
import { declaredReferences, makeMoments, plainName } from './testing/moments.ts';
import { tenants } from './testing/population.ts';
import { Random } from './testing/random.ts';
import { randomSchema } from './testing/random-schema.ts';
import { nameOf, rootKey } from './testing/schema.ts';
import { connect, connectRaw, keyOf, type Row, readState, tenantRows } from './testing/state.ts';

for (const [major, seeds] of [
  [18, [1, 2]],
  [14, [3]],
] as const) {
  test(`random schemas on PostgreSQL ${major} – the closure of each tenant is what a search in memory finds`, async (t) => {
    await using server = await startTestServer({ templates: true, major, config: { fsync: 'off' } });
    for (const seed of seeds) {
      t.diagnostic(`seed ${seed}`);
      await using stack = new AsyncDisposableStack();
      const random = new Random(seed);
      const schema = randomSchema(random, major, seed % 2 === 0);
      const names = await makeMoments({ url: server.url, seed, major, random, schema }, stack);
      const raw = await connectRaw(server.url, names.now);
      stack.defer(() => raw.end());
      const state = await readState(raw, schema);
      const client = await connect(server.url, names.now);
      stack.defer(() => client.end());
      for (const tenant of tenants) {
        await client.query('begin isolation level repeatable read');
        const model = await readSchema(client, { references: declaredReferences(schema) });
        const { signal } = new AbortController();
        const root = { table: plainName(schema.root), where: { [rootKey]: tenant } };
        const found = await closure(client, model, { root, signal });
        const own = tenantRows(schema, state, tenant);
        for (const table of schema.tables) {
          const wanted = state.get(table)!.filter((row) => own.has(row));
          const { key = [] } = model.tables.get(nameOf(table))!;
          const columns = key.map((_, index) => `k${index}`);
          const number = found.numbers.get(nameOf(table));
          const isDown = found.down.includes(nameOf(table));
          const list = columns.map((name) => `${name}::text`).join(', ');
          const rows = isDown ? (await client.query(`select ${list} from pg_temp.hv_c_${number}`)).rows : [];
          const message = `seed ${seed}, ${table.name} of ${tenant}`;
          assert.equal(rows.length, wanted.length, message);
          if (key.length === 0) continue;
          const texts = (all: readonly Row[], names: readonly string[]) =>
            all.map((row) => keyOf(row, names)).sort();
          assert.deepEqual(texts(rows, columns), texts(wanted, key), message);
        }
        await client.query('rollback');
      }
    }
  });
}
