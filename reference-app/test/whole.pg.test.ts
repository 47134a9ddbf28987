/** What belongs together: schema, generated client and migrations; and the size of an example. */
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { Prisma } from '../generated/client.ts';
import { openDatabase } from '../src/database.ts';
import { folder, startDatabases, urlOf } from './fixture.ts';

test('the generated client – is that of prisma/schema.prisma (npm run generate)', async () => {
  const schema = await readFile(join(folder, 'prisma/schema.prisma'), 'utf8');
  const generated = await readFile(join(folder, 'generated/internal/class.ts'), 'utf8');
  const inline = /"inlineSchema": (".*"),$/m.exec(generated)?.[1];
  assert.equal(JSON.parse(inline!), schema);
});

test('the migrations – make every table and column that the schema names', async () => {
  await using server = await startDatabases();
  const database = openDatabase(urlOf(server, 'seeded'));
  try {
    for (const name of Object.values(Prisma.ModelName)) {
      const model = name[0]!.toLowerCase() + name.slice(1);
      const first = (database as unknown as Record<string, { findFirst(): Promise<object | null> }>)[model]!;
      assert.notEqual(await first.findFirst(), null, `${name} has no row`);
    }
  } finally {
    await database.$disconnect();
  }
});

test('it stays an example – at most 1,000 lines of TypeScript, without blank ones and comments', async () => {
  const names = await readdir(join(folder, 'src'), { recursive: true });
  const texts = await Promise.all(
    names.filter((name) => name.endsWith('.ts')).map((name) => readFile(join(folder, 'src', name), 'utf8')),
  );
  const lines = texts
    .flatMap((text) => text.split('\n'))
    .filter((line) => !/^\s*($|\/\/|\/\*|\*)/.test(line));
  assert.ok(lines.length <= 1000, `${lines.length} lines`);
});
