/** What a newcomer types: the README's own blocks, in order, against a server that asks for a password as production does. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { query, serverContents, startRestored } from './backup-fixture.ts';
import { helvino } from './cli.ts';
import { commandsOf } from './page-commands.ts';
import { serverFolder, startTestServer } from './pg-server.ts';

const identity = 'helvino-recovery-identity.txt';

test('your own database in five minutes – each command of the README as it is written ends with a restore that is proven', async () => {
  const text = await readFile(fileURLToPath(new URL('../../README.md', import.meta.url)), 'utf8');
  const section = text.slice(text.indexOf('## Your own database'), text.indexOf('## What it does'));
  const [, role = ''] = /```sql\n([\s\S]*?)```/.exec(section) ?? [];
  const [, access = ''] = /`(host all,replication [^`]*)`/.exec(section) ?? [];
  assert.match(access, /^host all,replication backup 10\.0\.0\.0\/8 scram-sha-256$/);

  const begun = performance.now();
  const home = await mkdtemp(join(tmpdir(), 'hv-readme-'));
  const restored = join(await serverFolder('hv-readme-'), 'restored');
  await using server = await startTestServer({
    templates: true,
    major: 18,
    hba: [access.replace('10.0.0.0/8', '127.0.0.0/8')],
    config: { password_encryption: 'scram-sha-256' },
  });
  try {
    await query(server, 'create table shop as select i, md5(i::text) from generate_series(1, 5000) i', role);
    const before = await serverContents(server);
    const run: string[] = [];
    for (const command of commandsOf(section)) {
      const words = command
        .replace('db.internal', `127.0.0.1:${server.port}`)
        .replace('/var/backups/helvino', join(home, 'repository'))
        .replace('/srv/restored', restored)
        .split(' ')
        .slice(2);
      const outcome = await helvino(words, { cwd: home, env: { BACKUP_PASSWORD: '...' } });
      assert.equal(outcome.status, 0, `${command}\n${outcome.stdout}${outcome.stderr}`);
      run.push(words[0]!);
      if (words[0] === 'drill') assert.match(outcome.stdout, /^PROVEN: /m, outcome.stdout);
    }
    assert.deepEqual(run, ['init', 'backup', 'list', 'drill', 'restore']);
    {
      await using copy = await startRestored(restored, 18);
      assert.deepEqual(await serverContents(copy), before);
    }
    assert.ok(performance.now() - begun < 300_000, 'five minutes');

    // The machine that takes the backups does not need the identity.
    await rename(join(home, identity), join(tmpdir(), `${identity}-${process.pid}`));
    const backup = await helvino(['backup'], { cwd: home, env: { BACKUP_PASSWORD: '...' } });
    assert.equal(backup.status, 0, backup.stdout + backup.stderr);
  } finally {
    await rm(join(tmpdir(), `${identity}-${process.pid}`), { force: true });
    await rm(home, { recursive: true, force: true });
    await rm(join(restored, '..'), { recursive: true, force: true });
  }
});
