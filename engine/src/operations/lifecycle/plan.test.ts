import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type MemoryRepository, memoryRepository } from '../../../test/repository-fixture.ts';
import { parseConfigText } from '../../config/index.ts';
import type { RetentionSettings } from '../retention/plan.ts';
import { planLifecycle } from './plan.ts';

const weekMs = 7 * 86_400_000;

function settings(retention: string): RetentionSettings {
  const text = `version: 1
repositories: { r: { storage: { type: fs, path: . }, recipients: [age1a], catalogKey: { file: key } } }
databases: { db: { connection: {}, repository: r, health: { minSize: 1 }, retention: ${retention} } }`;
  return parseConfigText(text, 'test').databases.db!;
}

/** A backup a week, each with a pack of its own and one that all share. */
async function weekly(weeks: number): Promise<MemoryRepository> {
  const memory = await memoryRepository();
  const shared = await memory.pack('f');
  for (let n = 0; n < weeks; n++) {
    if (n > 0) memory.clock.advance(weekMs);
    const time = memory.clock.now().toISOString();
    const id = `${time.replace(/[-:]|\.\d+/g, '')}-0000000${n}`;
    await memory.commit(id, [await memory.pack(String(n)), shared], {
      finished: time,
      totals: { files: 1, bytes: 1000, received: 0, fresh: 0, stored: 6, referenced: 12 },
      facts: { method: 'logical' },
    });
  }
  return memory;
}

const packsOf = (digits: string) => [...digits].map((digit) => digit.repeat(32));

test('backups kept for years – the packs that only old ones need may be archived, shared and recent ones stay', async () => {
  const memory = await weekly(9);
  const request = { database: 'db', settings: settings('{ keep: { last: 200 } }') };
  const plan = await planLifecycle(memory.repository, request);
  // The last is of today; 30 days are four weeks and two days.
  assert.deepEqual([...plan.packs].map(({ id }) => id).sort(), packsOf('0123'));
  assert.deepEqual(
    plan.backups.map(({ archive }) => archive),
    [true, true, true, true, false, false, false, false, false],
  );
  assert.match(plan.backups[4]?.why ?? '', /recent/);
});

test('the last proven backup – stays, however old', async () => {
  const memory = await weekly(9);
  const [{ id } = { id: '' }] = await memory.repository.backups('db');
  await memory.repository.putProof(id, 'drill-1', { verdict: 'proven' });
  const request = { database: 'db', settings: settings('{ keep: { last: 200 } }') };
  const plan = await planLifecycle(memory.repository, request);
  assert.deepEqual([...plan.packs].map(({ id: pack }) => pack).sort(), packsOf('123'));
  assert.match(plan.backups[0]?.why ?? '', /last proven/);
});

test('backups that retention lets go within three months – are not worth moving', async () => {
  const memory = await weekly(9);
  const request = { database: 'db', settings: settings('{ keep: { within: 90d }, minimum: 1 }') };
  const plan = await planLifecycle(memory.repository, request);
  assert.deepEqual([...plan.packs], []);
  assert.match(plan.backups[0]?.why ?? '', /lets it go soon/);
});

test('structure – is never archived: every look at a backup reads it', async () => {
  const memory = await weekly(1);
  const structure = await memory.pack('e');
  memory.clock.advance(-weekMs);
  const time = memory.clock.now().toISOString();
  await memory.commit(`${time.replace(/[-:]|\.\d+/g, '')}-00000009`, [], {
    finished: time,
    totals: { files: 1, bytes: 1000, received: 0, fresh: 0, stored: 6, referenced: 12 },
    facts: { method: 'logical' },
    packs: [{ id: structure, keyId: '0'.repeat(16), size: 6, structure: true }],
  });
  memory.clock.advance(20 * weekMs);
  for (let n = 0; n < 3; n++) {
    memory.clock.advance(1000);
    const id = `${memory.clock
      .now()
      .toISOString()
      .replace(/[-:]|\.\d+/g, '')}-0000000a`;
    await memory.commit(id, [], { finished: memory.clock.now().toISOString(), facts: { method: 'logical' } });
  }
  const request = { database: 'db', settings: settings('{ keep: { last: 200 } }') };
  const plan = await planLifecycle(memory.repository, request);
  assert.ok(plan.backups.filter(({ archive }) => archive).length >= 1, JSON.stringify(plan));
  assert.ok(![...plan.packs].some(({ id }) => id === structure));
});
