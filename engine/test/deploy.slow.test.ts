/** What is in deploy/, with a real engine and a real systemd: scripts/deploy-test.sh. Ten minutes and more. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { withoutEngine } from './docker-engine.ts';

const script = fileURLToPath(new URL('../../scripts/deploy-test.sh', import.meta.url));

async function missing(): Promise<string | false> {
  const engine = await withoutEngine();
  if (engine !== false) return engine;
  const has = (program: string, ...args: string[]) => spawnSync(program, args).status === 0;
  if (!has('debootstrap', '--version')) return 'no debootstrap: apt-get install debootstrap';
  if (!has('docker', 'compose', 'version') && !has('docker-compose', 'version'))
    return 'no docker compose: apt-get install docker-compose';
  return has('npm', '--version') ? false : 'no npm for the image';
}

const skip = await missing();

test('deploy/ – the image, the compose file and the systemd units run, fail and stop as they should', {
  skip,
}, async () => {
  const child = spawn('bash', [script], { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (said += chunk));
  const status = await new Promise((resolve) => child.on('close', resolve));
  assert.equal(status, 0, said);
  assert.match(said, /all of deploy\/ ran\n$/);
});
