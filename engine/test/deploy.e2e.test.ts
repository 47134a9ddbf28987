import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const execute = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');
const found = await execute('systemd-analyze', ['--version']).catch(() => undefined);

test('the systemd units – systemd takes every line, and what they start is there', {
  skip: found ? false : 'no systemd-analyze: apt-get install systemd',
}, async () => {
  const home = await mkdtemp(join(tmpdir(), 'hv-units-'));
  try {
    const units: string[] = [];
    for (const name of await readdir(join(root, 'deploy'))) {
      if (!/\.(service|timer)$/.test(name)) continue;
      const text = (await readFile(join(root, 'deploy', name), 'utf8')).replaceAll('/opt/helvino', root);
      for (const kind of name.includes('@') ? ['physical', 'logical', 'volume'] : ['']) {
        const unit = join(home, name.replace('@', `@${kind}`));
        await writeFile(unit, text);
        units.push(unit);
      }
    }
    assert.ok(units.length >= 9, units.join());
    const { stdout, stderr } = await execute('systemd-analyze', ['verify', '--man=no', ...units]);
    assert.equal(`${stdout}${stderr}`, '');
    // That a wrong line is noticed at all.
    await writeFile(units[0]!, '[Service]\nExecStart=/nowhere/program\nNonsense=1\n');
    const wrong = await execute('systemd-analyze', ['verify', '--man=no', units[0]!]).catch(
      (error: unknown) => error,
    );
    assert.match((wrong as { stderr: string }).stderr, /Nonsense|not executable/);
  } finally {
    await rm(home, { recursive: true });
  }
});
