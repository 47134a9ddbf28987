/** `helvino wal stream` in a process of its own, beside a test. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { query } from './backup-fixture.ts';

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url));

export interface RunningStream extends AsyncDisposable {
  /** Waits until all that the server has now is confirmed as stored. */
  upToNow(): Promise<void>;
}

/** Resolves when it streams. `cwd` has a helvino.yaml with one database. */
export async function streamByCli(
  cwd: string,
  server: { readonly url: string },
  env: Readonly<Record<string, string>> = {},
): Promise<RunningStream> {
  const words = [
    '--disable-warning=ExperimentalWarning',
    main,
    'wal',
    'stream',
    '--every',
    '100ms',
    '--quiet',
  ];
  const child = spawn(process.execPath, words, {
    cwd,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let output = '';
  child.stderr.on('data', (chunk: Buffer) => (output += chunk));
  const closed = once(child, 'close');
  const until = async (condition: string) => {
    const sql = `select count(*)::int as count from pg_stat_replication r join pg_replication_slots s on s.active_pid = r.pid where ${condition}`;
    for (let waited = 0; waited < 60_000; waited += 50) {
      if (child.exitCode !== null) throw new Error(`the stream has ended: ${output}`);
      if ((await query<{ count: number }>(server, sql)).rows[0]!.count > 0) return;
      await sleep(50);
    }
    throw new Error(`did not happen: ${condition}; ${output}`);
  };
  await until('true');
  return {
    async upToNow() {
      const { rows } = await query<{ lsn: string }>(server, 'select pg_current_wal_flush_lsn()::text as lsn');
      await until(`r.flush_lsn >= '${rows[0]!.lsn}'`);
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM');
      await closed;
    },
  };
}
