/**
 * How long archive_command takes for a segment, from the start of the client to its exit, with the segment durable and read back
 * in a repository in a folder; and what of that is the client alone (a name that the receiver refuses at once).
 *     node bench/archive-command.ts [folder for the repository]
 */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { ArchiveLab } from '../engine/test/archive-lab.ts';
import { makeFixture, query } from '../engine/test/backup-fixture.ts';
import { startTestServer } from '../engine/test/pg-server.ts';
import { say } from './tools.ts';

const segments = 32;
const rows = 6_000_000;

const root = await mkdtemp(join(process.argv[2] ?? '/var/tmp', 'helvino-archive-'));
try {
  await using fixture = await makeFixture({ root });
  await using lab = await ArchiveLab.open({ fixture });
  const config = { max_wal_size: '4GB', wal_keep_size: '4GB' };
  await using server = await startTestServer({ major: 18, config });
  await query(server, `create table t as select g, md5(g::text) from generate_series(1, ${rows}) g`);
  await query(server, 'select pg_switch_wal()');
  const folder = join(server.dataDir, 'pg_wal');
  const last = (await query<{ name: string }>(server, 'select pg_walfile_name(pg_current_wal_lsn()) as name'))
    .rows[0]!.name;
  const names = (await readdir(folder)).filter((name) => /^[0-9A-F]{24}$/.test(name) && name < last).sort();
  await lab.receive(server);
  const measure = async (
    what: string,
    work: (name: string) => Promise<{ status: number | null; milliseconds: number }>,
    status: number,
  ) => {
    const times: number[] = [];
    for (const name of names.slice(0, segments)) {
      const outcome = await work(name);
      if (outcome.status !== status) throw new Error(`${what}: ${JSON.stringify(outcome)}`);
      times.push(outcome.milliseconds);
    }
    times.sort((a, b) => a - b);
    const at = (share: number) =>
      times[Math.min(times.length - 1, Math.floor(times.length * share))]!.toFixed(0);
    say(
      `${what}: ${times.length} files, fastest ${at(0)} ms, median ${at(0.5)} ms, nine of ten within ${at(0.9)} ms`,
    );
  };
  const cwd = server.dataDir;
  const tiny = await lab.file('tiny', Buffer.from('x'));
  say(
    `load average ${loadavg()
      .map((load) => load.toFixed(1))
      .join(' ')}`,
  );
  await measure('16 MiB segment, stored', (name) => lab.archive(join(folder, name), name, { cwd }), 0);
  await measure('the same again, compared', (name) => lab.archive(join(folder, name), name, { cwd }), 0);
  await measure('refused by its name', () => lab.archive(tiny, 'x', { cwd }), 64);
} finally {
  await rm(root, { recursive: true, force: true });
}
