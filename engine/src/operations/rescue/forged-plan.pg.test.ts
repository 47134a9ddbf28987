/** Plans and undo files by someone else's hand, with a right SHA-256, against a real server. */
import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import type pg from 'pg';
import { startTestServer, type TestServer } from '../../../test/pg-server.ts';
import { HelvinoError } from '../../base/errors.ts';
import { showChanges } from './show.ts';
import { forgeChanges, type OpenedChanges, openChanges } from './testing/forge.ts';
import { assertNoCanary, assertRefused, canary, hostileValue, replaceOne } from './testing/hostile.ts';
import { type Lab, makeLab, same } from './testing/rescue-lab.ts';
import type { ApplyResult } from './types.ts';

let server: TestServer;

before(async () => {
  server = await startTestServer({
    templates: true,
    major: 18,
    config: { fsync: 'off', max_connections: '300' },
  });
});

after(() => server[Symbol.asyncDispose]());

const all = { insert: true, revert: true, remove: true };

/** Rows missing, changed and added, with a key, without, and partitioned. */
async function accident(lab: Lab): Promise<{ plan: string; live: pg.Client }> {
  const live = await lab.client('live');
  await live.query(`
    delete from conversations where id in (2, 4);
    update messages set body = 'changed' where conversation = 6;
    delete from log where ctid in (select ctid from log where org = 1 limit 2);
    insert into log values (1, 'new');
    insert into users (org, email) values (1, 'new');
    delete from events where org = 1 and id < 5`);
  const { file, problems } = await lab.plan({
    policies: { all, onConflict: 'stop', onSchemaChange: 'stop' },
  });
  assert.deepEqual(problems, []);
  return { plan: file, live };
}

type Change = (opened: OpenedChanges) => OpenedChanges;

/** Changes what the header says of a table, and what people are shown of it. */
function table(name: string, change: object): Change {
  return ({ header, blocks }) => {
    // biome-ignore lint/suspicious/noExplicitAny: what is made of it is no header any more
    const one = (each: any) => (each.name === name ? { ...each, ...change } : each);
    return { header: { ...header, tables: header.tables.map(one) }, blocks };
  };
}

/** Only these rows of one table, and counts that fit. */
function only(of: string, lines: string | Buffer, facts: Record<string, unknown>): Change {
  return ({ header }) => {
    const found = header.tables.find((each: { name: string }) => each.name === of);
    const seen = header.summary.tables.find((each: { table: string }) => each.table === `public.${of}`);
    const forged = { ...found, fixed: [], insert: 0, revert: 0, remove: 0, ...facts };
    const { insert, revert, remove, key } = forged;
    const name = `${forged.schema}.${forged.name}`;
    const shown = { ...seen, table: name, insert, revert, remove, keyed: key !== null };
    return {
      header: { ...header, tables: [forged], summary: { ...header.summary, tables: [shown] } },
      blocks: [{ table: 0, lines: Buffer.from(lines) }],
    };
  };
}

test('forged plans with a right SHA-256 – refused with a code, whatever they name; nothing is changed', async () => {
  await using lab = await makeLab(server);
  const { plan, live } = await accident(lab);
  const now = await lab.content('live');
  const opened = await openChanges(plan);
  const forged = join(lab.folder, 'forged.plan');
  const hashes = await live.query<{ h: string }>(
    `select '\\' || substr(sha256(convert_to(row(org)::text, 'UTF8')), 1, 16)::text as h from users where org = 2 limit 1`,
  );
  const org2 = hashes.rows[0]!.h;
  const cases: Record<string, [Change, string]> = {
    'another database': [
      ({ header, blocks }) => ({ header: { ...header, database: 'postgres' }, blocks }),
      'SERVER_WRONG_CLUSTER',
    ],
    'another cluster': [
      ({ header, blocks }) => ({ header: { ...header, system: '1' }, blocks }),
      'SERVER_WRONG_CLUSTER',
    ],
    'a table of the server itself': [
      only('users', 'd\t\\N\t\\N\t10\n', {
        schema: 'pg_catalog',
        name: 'pg_authid',
        key: ['oid'],
        columns: ['oid'],
        remove: 1,
      }),
      'PLAN_CHANGED',
    ],
    'a column that is none': [table('log', { columns: ['org', 'what', 'ctid'] }), 'PLAN_CHANGED'],
    'a column with SQL in it': [
      table('log', { columns: ['org', `what"; create table ${canary} (); --`] }),
      'PLAN_CHANGED',
    ],
    'a computed column': [table('messages', { columns: ['conversation', 'n', 'size'] }), 'PLAN_CHANGED'],
    // One row of the file, five rows of another tenant.
    'a key that is none': [
      only('events', `d\t${org2}\t\\N\t2\n`, { key: ['org'], columns: ['org'], remove: 1 }),
      'PLAN_CHANGED',
    ],
    'a key that may be empty': [
      only('users', `d\t${org2}\t\\N\tu2\n`, { key: ['email'], columns: ['email'], remove: 1 }),
      'PLAN_CHANGED',
    ],
    'more rows than it says': [
      only('log', 'i\t\\N\t1\t1\ta\ni\t\\N\t1\t1\tb\n', { insert: 1 }),
      'PLAN_INVALID',
    ],
    'fewer rows than it says': [only('log', 'i\t\\N\t1\t1\ta\n', { insert: 2 }), 'PLAN_INVALID'],
    'rows after the end of data': [
      only('log', 'i\t\\N\t1\t1\ta\n\\.\ni\t\\N\t1\t1\tb\n', { insert: 2 }),
      'PLAN_INVALID',
    ],
    'an action that is none': [only('log', 'x\t\\N\t1\t1\ta\n', { insert: 1 }), 'PLAN_INVALID'],
    'a row without its number': [only('log', 'i\t\\N\t\\N\t1\ta\n', { insert: 1 }), 'PLAN_INVALID'],
    'a field too many': [only('log', 'i\t\\N\t1\t1\ta\tb\n', { insert: 1 }), 'PLAN_INVALID'],
    'a field too few': [only('log', 'i\t\\N\t1\n', { insert: 1 }), 'PLAN_INVALID'],
    'bytes that are no text': [
      only('log', Buffer.from('69095c4e09310931 09ff0a'.replace(' ', ''), 'hex'), { insert: 1 }),
      'PLAN_INVALID',
    ],
    'a NUL': [only('log', 'i\t\\N\t1\t1\ta\0b\n', { insert: 1 }), 'PLAN_INVALID'],
    'a value that does not fit': [
      only('log', `i\t\\N\t1\t1; create table ${canary} ()\ta\n`, { insert: 1 }),
      'SERVER_ERROR',
    ],
    'the same row twice': [
      only('events', 'i\t\\N\t\\N\t900\t2020-02-02\t1\ni\t\\N\t\\N\t900\t2020-02-02\t1\n', { insert: 2 }),
      'SERVER_ERROR',
    ],
    'a parent that is not there': [only('log', 'i\t\\N\t1\t77\ta\n', { insert: 1 }), 'PLAN_CHANGED'],
  };
  for (const [what, [change, code]] of Object.entries(cases)) {
    await forgeChanges(forged, change(opened));
    await assert.rejects(lab.apply(forged, { now: live }), (thrown: unknown) => {
      assert.ok(thrown instanceof HelvinoError, `${what}: ${String(thrown)}`);
      assert.equal(thrown.code, code, `${what}: ${thrown.message}`);
      return true;
    });
    same(await lab.content('live'), now);
  }
  // Shown, and exchanged before it is applied.
  const { sha256 } = await showChanges(plan, 0);
  await forgeChanges(forged, only('log', 'i\t\\N\t1\t1\tforged\n', { insert: 1 })(opened));
  await assert.rejects(lab.apply(forged, { now: live, sha256 }), { code: 'PLAN_CHANGED' });
  same(await lab.content('live'), now);
});

test('equal rows without a key whose numbers are not those of now – what came goes again, and what went comes back', async () => {
  await using lab = await makeLab(server);
  const { plan, live } = await accident(lab);
  const opened = await openChanges(plan);
  const same16 = (content: string) =>
    live
      .query<{ h: string }>(
        `select '\\' || substr(sha256(convert_to(row(1, $1::text)::text, 'UTF8')), 1, 16)::text as h`,
        [content],
      )
      .then(({ rows }) => rows[0]!.h);
  await live.query(`insert into log select 1, 'twin' from generate_series(1, 3)`);
  const earlier = await lab.content('live');
  const hash = await same16('twin');
  const cases: Record<string, [lines: string, counts: Record<string, number>]> = {
    'one more than is missing': ['i\t\\N\t2\t1\talone\n', { insert: 1 }],
    'beyond the next': ['i\t\\N\t7\t1\ttwin\ni\t\\N\t9\t1\ttwin\n', { insert: 2 }],
    'the first of three': [`d\t${hash}\t1\t1\ttwin\n`, { remove: 1 }],
    'one goes, two come': [
      `d\t${hash}\t2\t1\ttwin\ni\t\\N\t5\t1\ttwin\ni\t\\N\t6\t1\ttwin\n`,
      { insert: 2, remove: 1 },
    ],
  };
  for (const [what, [lines, counts]] of Object.entries(cases)) {
    const file = join(lab.folder, `${what}.plan`);
    await forgeChanges(file, only('log', lines, counts)(opened));
    const applied = await lab.apply(file, { now: live });
    assert.equal(applied.state, 'applied', what);
    const present = await lab.content('live');
    assert.notDeepEqual(present, earlier, what);
    await lab.undo(`${file}.undo`, { now: live });
    same(await lab.content('live'), earlier);
    await lab.undo(`${file}.undo.redo`, { now: live });
    same(await lab.content('live'), present);
    await lab.undo(`${file}.undo.redo.redo`, { now: live });
    same(await lab.content('live'), earlier);
  }
});

/** Rows came and went as the result says, and no statement of the file ran. */
async function assertHonest(
  { lab, live }: { readonly lab: Lab; readonly live: pg.Client },
  result: ApplyResult,
  [earlier, present]: readonly [readonly string[], readonly string[]],
): Promise<void> {
  const sum = (pick: (one: ApplyResult['tables'][number]) => number) =>
    result.tables.reduce((total, one) => total + pick(one), 0);
  const came = difference(present, earlier);
  const went = difference(earlier, present);
  if (result.state !== 'applied') return same(present, earlier);
  assert.equal(
    came.length,
    sum((one) => one.inserted + one.reverted),
    JSON.stringify({ came, result }),
  );
  assert.equal(
    went.length,
    sum((one) => one.removed + one.reverted),
    JSON.stringify({ went, result }),
  );
  await lab.undo(result.undoFile!, { now: live });
  same(await lab.content('live'), earlier);
}

function difference(lines: readonly string[], others: readonly string[]): string[] {
  const left = new Map<string, number>();
  for (const line of others) left.set(line, (left.get(line) ?? 0) + 1);
  return lines.filter((line) => {
    const count = left.get(line) ?? 0;
    left.set(line, count - 1);
    return count <= 0;
  });
}

const mutation = fc.record({
  values: fc.array(fc.tuple(fc.nat(), hostileValue), { maxLength: 2 }),
  bytes: fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 2 }),
});

for (const kind of ['plan', 'undo'] as const)
  test(`any value and any byte of a ${kind} changed – refused with a code, or done as it says and undone; no SQL of it runs`, async (t) => {
    await using lab = await makeLab(server);
    const { plan, live } = await accident(lab);
    if (kind === 'undo') await lab.apply(plan);
    const opened = await openChanges(kind === 'undo' ? `${plan}.undo` : plan);
    const earlier = await lab.content('live');
    const file = join(lab.folder, 'forged');
    const counts = { refused: 0, done: 0 };
    await fc.assert(
      fc.asyncProperty(mutation, async ({ values, bytes }) => {
        const header = values.reduce((all, [place, value]) => replaceOne(all, place, value), opened.header);
        const blocks = opened.blocks.map(({ table: number, lines }) => ({
          table: number,
          lines: Buffer.from(lines),
        }));
        for (const [place, value] of bytes) {
          const { lines } = blocks[place % blocks.length]!;
          lines[place % lines.length] = value;
        }
        await forgeChanges(file, { header, blocks });
        for (const suffix of ['.undo', '.redo']) await rm(file + suffix, { force: true });
        for (const suffix of ['.undo.redo', '.redo.redo']) await rm(file + suffix, { force: true });
        try {
          await showChanges(file, 3);
          const result =
            kind === 'undo' ? await lab.undo(file, { now: live }) : await lab.apply(file, { now: live });
          counts.done++;
          await assertHonest({ lab, live }, result, [earlier, await lab.content('live')]);
        } catch (thrown) {
          assertRefused(thrown);
          counts.refused++;
          same(await lab.content('live'), earlier);
        }
      }),
      // The file as it is comes first. After a failure the database is another.
      { numRuns: 30, examples: [[{ values: [], bytes: [] }]], endOnFailure: true },
    );
    t.diagnostic(JSON.stringify(counts));
    assert.ok(counts.done > 0, JSON.stringify(counts));
    await assertNoCanary(live);
  });
