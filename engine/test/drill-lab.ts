/** A database with a repository, a stream of WAL and a drill plan: everything that a drill by plan needs, on the real CLI. */
import assert from 'node:assert/strict';
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DrillReport } from '../src/operations/drill/index.ts';
import { query } from './backup-fixture.ts';
import { helvinoJson } from './cli.ts';
import { startTestServer, type TestServer } from './pg-server.ts';
import { type RunningStream, streamByCli } from './wal-stream-cli.ts';

const identity = 'helvino-recovery-identity.txt';

export interface DrillLab extends AsyncDisposable {
  readonly home: string;
  readonly server: TestServer;
  readonly stream: RunningStream;
  backup(...more: string[]): Promise<string>;
  /** Replaces the plans of helvino.yaml; `backup`: how backups are taken. */
  plans(yaml: string, backup?: string): Promise<void>;
  /** A drill by plan, and what it found. */
  drill(plan: string, ...more: string[]): Promise<{ status: number | null; report: DrillReport }>;
}

/** Organizations and messages, in 1 MiB segments. */
const tables = [
  'create table organizations (id int primary key, key text unique not null)',
  'create table messages (id bigserial primary key, org int not null references organizations, body text not null, check (length(body) > 0))',
  'create index on messages (body)',
  'create table heartbeat (at timestamptz not null)',
  `insert into organizations select i, 'org-' || i from generate_series(1, 20) i`,
  `insert into messages (org, body) select 1 + i % 20, md5(i::text) from generate_series(1, 5000) i`,
  'insert into heartbeat values (now())',
  'create table plain as select 1 as i',
];

/** `fill`: makes other content than the usual. */
export async function startDrillLab(fill?: (server: TestServer) => Promise<void>): Promise<DrillLab> {
  await using cleanup = new AsyncDisposableStack();
  const home = await mkdtemp(join(tmpdir(), 'hv-drill-'));
  await chmod(home, 0o755);
  cleanup.defer(() => rm(home, { recursive: true, force: true }));
  const server = await startTestServer({
    major: 18,
    templates: true,
    initdbArgs: ['-k', '--wal-segsize=1'],
    config: { autovacuum: 'off', shared_preload_libraries: '' },
  });
  cleanup.use(server);
  await (fill?.(server) ?? query(server, ...tables));
  const init = await helvinoJson(['init', '--url', server.url, '--path', 'repository'], { cwd: home });
  assert.ok(init.ok, JSON.stringify(init));
  const plain = await readFile(join(home, 'helvino.yaml'), 'utf8');
  const stream = cleanup.use(await streamByCli(home, server));
  const owned = cleanup.move();
  return {
    home,
    server,
    stream,
    async backup(...more) {
      const made = await helvinoJson(['backup', ...more], { cwd: home });
      assert.ok(made.ok, JSON.stringify(made));
      return made.result!.id as string;
    },
    plans: (yaml, backup = '{}') =>
      writeFile(join(home, 'helvino.yaml'), `${plain.trimEnd()}\n    backup: ${backup}\ndrills:\n${yaml}`),
    async drill(plan, ...more) {
      const scratch = join(home, 'scratch');
      const words = ['drill', '--plan', plan, '--identity', identity, '--directory', scratch, ...more];
      const answer = await helvinoJson(words, { cwd: home });
      assert.ok(answer.ok, JSON.stringify(answer));
      assert.deepEqual(await readdir(scratch), [], 'something was left behind');
      return { status: answer.status, report: answer.result as unknown as DrillReport };
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** `state: detail` of a check, and all its findings. */
export function said(report: DrillReport, name: string): string {
  const check = report.checks.find((one) => one.name === name);
  assert.ok(check, `no check ${name} in ${report.checks.map((one) => one.name).join(', ')}`);
  return [`${check.state}: ${check.detail}`, ...(check.findings ?? [])].join('\n');
}

/** All that is not as wanted, for messages. */
export function notPassed(report: DrillReport): string[] {
  return report.checks
    .filter(({ state }) => state !== 'passed')
    .map(({ name, state, detail, findings = [] }) =>
      [`${name}: ${state}: ${detail}`, ...findings].join(' | '),
    );
}
