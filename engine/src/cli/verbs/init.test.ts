import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { CliContext } from '../context.ts';
import { initVerb } from './init.ts';

for (const [from, wrong] of [
  [{ passwordEnv: 'NOPE' }, /the environment variable NOPE, which is not set/],
  [{ passwordFile: '/no/such/file' }, /cannot be read from \/no\/such\/file/],
] as const) {
  test(`init with ${Object.keys(from)} that is not there – all is made and said, what is missing is a finding`, async (t) => {
    const cwd = await mkdtemp(join(tmpdir(), 'hv-init-verb-'));
    t.after(() => rm(cwd, { recursive: true }));
    const options = { url: 'postgresql://backup@127.0.0.1:1/x', path: 'repository', ...from };
    const { exit, text } = await initVerb.run({ cwd, env: {} } as CliContext, options, []);
    assert.equal(exit, 1);
    const shown = text.join('\n');
    for (const name of (await readdir(cwd)).filter((one) => one !== 'repository'))
      assert.ok(shown.includes(`wrote ${join(cwd, name)}`), name);
    assert.match(shown, /KEEP .*helvino-recovery-identity\.txt SAFE/);
    const missing = text.find((line) => line.startsWith('MISSING  connection: the password'));
    assert.match(missing ?? '', wrong);
    assert.match(shown, /Not ready: see MISSING above; then `helvino doctor`/);
  });
}
