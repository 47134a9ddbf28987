/**
 * A server that nobody can write to: one in recovery, a standby that follows nobody. It takes no writes at all, no temporary
 * tables, no sequence goes on, and no session can change that, whatever the source has granted to everybody; only a superuser
 * could end the recovery, and who has the URL is none. https://www.postgresql.org/docs/current/hot-standby.html
 */
import { chown, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type LocalServer, makeReader, type StartOptions, startLocalServer } from '../../postgres/index.ts';

/**
 * The server, and a URL without a database. It is started twice: it recovers, gets the role that reads, and is stopped; then
 * it is a standby. Recovery that pauses at its end would not do: there is no role yet, and what was being changed is locked.
 */
export async function startReadOnly(
  options: StartOptions,
  port: number,
): Promise<{ server: LocalServer; url: string }> {
  const { role, password } = await recover(options);
  await followNobody(options.dataDir);
  const server = await startLocalServer({
    ...options,
    settings: {
      ...options.settings,
      listen_addresses: '127.0.0.1',
      port: String(port),
      hot_standby: 'on',
      // Of the recovery that is over.
      restore_command: '',
      recovery_target_timeline: 'current',
      // No role may read all large objects. None can be written.
      lo_compat_privileges: 'on',
    },
  });
  return { server, url: `postgresql://${role}:${password}@127.0.0.1:${port}` };
}

/** Not on the network: until it is a standby it takes writes. */
async function recover(options: StartOptions): Promise<{ role: string; password: string }> {
  // Hot standby needs that, whatever the source was set to last.
  const server = await startLocalServer({
    ...options,
    settings: { ...options.settings, wal_level: 'replica' },
  });
  try {
    return await makeReader(server);
  } finally {
    await server.stop('fast');
  }
}

async function followNobody(dataDir: string): Promise<void> {
  const { uid, gid } = await stat(dataDir);
  const signal = join(dataDir, 'standby.signal');
  await writeFile(signal, '', { mode: 0o600 });
  await chown(signal, uid, gid);
}
