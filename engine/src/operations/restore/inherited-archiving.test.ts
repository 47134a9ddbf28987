import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { inheritedArchiving } from './inherited-archiving.ts';

test('the archive_command of a restored directory – the last one that counts, or none', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'hv-conf-'));
  const of = async (conf: string, auto: string | undefined) => {
    await writeFile(join(directory, 'postgresql.conf'), conf);
    if (auto !== undefined) await writeFile(join(directory, 'postgresql.auto.conf'), auto);
    return inheritedArchiving(directory);
  };
  assert.equal(await inheritedArchiving(directory), undefined);
  assert.equal(await of("#archive_command = 'no'\n", undefined), undefined);
  assert.equal(await of("archive_command = 'a %p'\narchive_command 'b %p'  # c\n", undefined), 'b %p');
  assert.equal(await of("archive_command = 'a %p'\n", "# x\narchive_command = ''\n"), undefined);
  assert.equal(await of('', 'archive_command = \'x "%p"\'\n'), 'x "%p"');
  await rm(directory, { recursive: true });
});
