/** One home with a server, a configuration and what the verbs need of both, for the test of `--json` on every verb. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { query } from './backup-fixture.ts';
import { serverFolder, startTestServer, type TestServer } from './pg-server.ts';

export const identity = ['--identity', 'helvino-recovery-identity.txt'];

export interface JsonLab extends AsyncDisposable {
  readonly server: TestServer;
  readonly home: string;
  /** Where a verb restores to; the server's account may use it. */
  readonly restored: string;
}

export async function startJsonLab(): Promise<JsonLab> {
  await using cleanup = new AsyncDisposableStack();
  const home = await mkdtemp(join(tmpdir(), 'hv-json-'));
  cleanup.defer(() => rm(home, { recursive: true, force: true }));
  const restored = await serverFolder('hv-json-restored-');
  cleanup.defer(() => rm(restored, { recursive: true, force: true }));
  const server = cleanup.use(
    await startTestServer({ templates: true, major: 18, initdbArgs: ['--wal-segsize=1'] }),
  );
  await query(
    server,
    'create table organizations (id int primary key, key text unique)',
    'create table messages (id int primary key, org int not null references organizations)',
    `insert into organizations values (1, 'demo'), (2, 'other')`,
    'insert into messages select i, 1 + i % 2 from generate_series(1, 100) i',
  );
  await writeFile(join(home, 'broken.yaml'), 'databases: 1\n');
  await writeFile(join(home, 'other.txt'), 'something else');
  await mkdir(join(home, 'empty'));
  const owned = cleanup.move();
  return { server, home, restored, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** As restores of dumps leave the databases that they have replaced: a comment says what each was. */
export async function keepDatabases(server: TestServer): Promise<void> {
  for (const name of ['back', 'gone', 'asked']) {
    const mark = { helvino: 'replaced', name, by: 'backup x', at: '2026-11-25T15:33:01Z', comment: null };
    await query(
      server,
      `create database ${name}_before`,
      `comment on database ${name}_before is '${JSON.stringify(mark)}'`,
    );
  }
}

/** A drill plan into helvino.yaml; and copied.yaml, the same with a copy of the repository. */
export async function extendConfig(home: string): Promise<void> {
  const made = await readFile(join(home, 'helvino.yaml'), 'utf8');
  const text = `${made.trimEnd()}\ndrills:\n  monthly: { target: latest, schedule: '0 5 1 * *' }\n`;
  await writeFile(join(home, 'helvino.yaml'), text);
  const [, first = ''] = /repositories:\n {2}main:\n((?: {4}.*\n)+)/.exec(text) ?? [];
  const second = first.replace(/(path: .*)repository/, '$1second');
  const copied = text
    .replace(first, `${first}  second:\n${second}`)
    .replace(/(\n {4}repository: .*)/, '$1\n    copies: [second]');
  await writeFile(join(home, 'copied.yaml'), copied);
}

/** All messages of one organization are deleted. Resolves to the transaction when its WAL is stored. */
export async function loseMessages(server: TestServer): Promise<string> {
  const { rows } = await query<{ xid: string }>(
    server,
    'with gone as (delete from messages where org = 1 returning id) select pg_current_xact_id()::text as xid, count(*) from gone',
  );
  const now = await query<{ lsn: string }>(server, 'select pg_current_wal_flush_lsn()::text as lsn');
  await untilFound(server, `pg_stat_replication where flush_lsn >= '${now.rows[0]!.lsn}'`);
  return rows[0]!.xid;
}

/** Waits until a view of the server has such a row: `pg_stat_replication`. */
export async function untilFound(server: TestServer, what: string): Promise<void> {
  while ((await query(server, `select from ${what}`)).rows.length === 0) await sleep(50);
}
