// One S3 server for all test files that need one: starting it takes longer than many a test. See engine/src/storage/testing.
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('s3-server.sh', import.meta.url));

/** Until this process ends. Where it does not start, each file tries for itself, and says why it skips, or fails. */
export async function shareS3Server() {
  const folder = mkdtempSync(join(tmpdir(), 'hv-s3-'));
  process.once('exit', () => spawnSync(script, ['stop', folder]));
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => process.exit(130));
  const started = spawnSync(script, ['start', folder, ...(await freePorts(2))], { encoding: 'utf8' });
  const endpoint = /^ready (\S+)/m.exec(started.stdout ?? '')?.[1];
  if (started.status === 0 && endpoint !== undefined)
    process.env.HELVINO_TEST_S3_SERVER = `${folder} ${endpoint}`;
}

async function freePorts(count) {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => String(server.address().port));
  for (const server of servers) server.close();
  return ports;
}
