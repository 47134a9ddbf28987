import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { appendFile, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import pg from 'pg';
import { helvino, helvinoJson } from './cli.ts';
import { startTestServer, type TestServer } from './pg-server.ts';

const execute = promisify(execFile);
const dayMs = 86_400_000;
let server: TestServer;
let home: string;
const here = () => ({ cwd: home });

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'hv-retention-'));
  server = await startTestServer({ major: 18, config: { summarize_wal: 'on' } });
  await sql('create table shop as select i, md5(i::text) from generate_series(1, 5000) i');
  const made = await helvino(
    ['init', '--url', server.url, '--path', 'repository', '--database', 'shop'],
    here(),
  );
  assert.equal(made.status, 0, made.stderr);
});
after(async () => {
  await server[Symbol.asyncDispose]();
  await rm(home, { recursive: true, force: true });
});

async function sql(text: string): Promise<void> {
  const client = new pg.Client(server.url);
  await client.connect();
  await client.query(text);
  await client.end();
}

async function backup(...args: string[]): Promise<string> {
  const answer = await helvinoJson(['backup', '--fingerprint', 'counts', ...args], here());
  assert.equal(answer.status, 0, JSON.stringify(answer));
  return String(answer.result?.id);
}

/** As if the store had had it for so many days. */
async function age(id: string, days: number): Promise<void> {
  const at = new Date(Date.now() - days * dayMs);
  await utimes(join(home, 'repository/backups/shop', id), at, at);
}

interface Plan {
  readonly id: string;
  readonly kinds: readonly {
    readonly decisions: readonly {
      id: string;
      action: string;
      reasons: readonly { rule: string }[];
      until?: string;
    }[];
    readonly calendar: readonly { month: string; kept: number }[];
  }[];
}

async function preview(): Promise<Plan> {
  const answer = await helvinoJson(['retention', 'preview'], here());
  assert.equal(answer.status, 0, JSON.stringify(answer));
  return answer.result as unknown as Plan;
}

test('health before there is a backup – critical, exit 2, and retention has nothing to plan', async () => {
  const outcome = await helvino(['health'], here());
  assert.equal(outcome.status, 2);
  assert.match(
    outcome.stdout,
    /^HELVINO CRITICAL - shop: physical age: there is no backup; verification: never verified/,
  );
  const status = await helvino(['status'], here());
  assert.match(status.stdout, /^NOT SAFE {2}shop\n {2}back to +nowhere: there is no good backup/);
  assert.match((await helvino(['retention', 'preview'], here())).stdout, /there is no backup yet/);
});

test('preview, apply, and what a hold does – through the command line', async () => {
  const ids: string[] = [];
  for (let i = 0; i < 5; i++) ids.push(await backup(...(i === 1 ? ['--label', 'pre-deploy-1.4'] : [])));
  for (const [i, days] of [80, 78, 77, 40].entries()) await age(ids[i]!, days);
  await appendFile(
    join(home, 'helvino.yaml'),
    '    retention: { keep: { last: 1, deployments: 1 }, minimum: 2, timeZone: Europe/Berlin }\n',
  );
  const held = await helvinoJson(
    ['hold', 'add', ids[2]!, '--reason', 'case 4711', '--until', '2099-12-31'],
    here(),
  );
  assert.equal(held.status, 0, JSON.stringify(held));
  const plan = await preview();
  assert.deepEqual(
    plan.kinds[0]!.decisions.map(({ action, reasons }) => [action, reasons[0]!.rule]),
    [
      ['remove', 'no rule'],
      ['keep', 'deployment'],
      ['keep', 'hold'],
      ['keep', 'minimum'],
      ['keep', 'minimum'],
    ],
  );
  assert.ok(plan.kinds[0]!.calendar.length >= 12);
  const text = (await helvino(['retention', 'preview'], here())).stdout;
  assert.match(text, /days, weeks, months and years are those of Europe\/Berlin/);
  assert.match(text, /REMOVE {2}\S+ .* no rule: it is not one of the newest 1/);
  assert.match(text, /deployment: made before a deployment, until the next/);
  assert.match(text, /hold: hold [0-9a-f]{8}: case 4711 \(.*@.*, until 2099-12-31\)/);
  assert.match(text, /physical, the months ahead in Europe\/Berlin/);

  assert.equal((await helvinoJson(['retention', 'apply'], here())).error?.code, 'CONFIRMATION_NEEDED');
  const wrong = await helvinoJson(['retention', 'apply', '--plan', '0123456789ab'], here());
  assert.deepEqual([wrong.status, wrong.error?.code], [75, 'PLAN_CHANGED']);
  const dry = await helvino(['retention', 'apply', '--plan', plan.id, '--dry-run'], here());
  assert.match(dry.stdout, /nothing was done/);
  assert.equal((await readdir(join(home, 'repository/backups/shop'))).length, 5);
  const refused = await helvinoJson(['remove', ids[2]!, '--confirm', ids[2]!], here());
  assert.deepEqual([refused.status, refused.error?.code], [73, 'BACKUP_HELD']);

  const script = fileURLToPath(new URL('../../scripts/apply-retention.sh', import.meta.url));
  const done = await execute(script, ['--database', 'shop'], { cwd: home });
  assert.match(done.stdout, new RegExp(`^plan ${plan.id}: nothing was done`, 'm'));
  assert.match(done.stdout, /removed: 1 backup, 0 pieces of WAL/);
  assert.deepEqual(await readdir(join(home, 'repository/backups/shop')), ids.slice(1));
  assert.match((await helvino(['hold', 'list'], here())).stdout, /case 4711/);
  const hold = String(held.result?.id);
  assert.equal((await helvino(['hold', 'remove', hold, '--confirm', hold], here())).status, 0);
  const next = await preview();
  assert.deepEqual(
    next.kinds[0]!.decisions.map(({ action }) => action),
    ['keep', 'remove', 'keep', 'keep'],
  );
});

test('a hold that says nothing, on nothing, or that ends before now – USAGE', async () => {
  for (const args of [
    ['latest'],
    ['--reason', 'x'],
    ['latest', '--all', '--reason', 'x'],
    ['latest', '--reason', 'x', '--until', '2001-01-01'],
  ])
    assert.equal((await helvinoJson(['hold', 'add', ...args], here())).error?.code, 'USAGE', args.join(' '));
});

test('health of a verified and proven backup – OK, exit 0; for machines, too; status says SAFE', async () => {
  const identity = 'helvino-recovery-identity.txt';
  assert.equal((await helvino(['verify', '--read-data'], here())).status, 0);
  const drill = await helvino(['drill', 'latest', '--identity', identity], here());
  assert.notEqual(drill.status, 1, drill.stdout);
  // Counts alone prove in part: a warning.
  const warned = await helvino(['health'], here());
  assert.equal(warned.status, 1, warned.stdout);
  assert.match(
    warned.stdout,
    /^HELVINO WARNING - shop: physical drill: the last drill, \d+ min ago, proved backup \S+ partly \|/,
  );
  await backup('--fingerprint', 'full');
  assert.equal((await helvino(['drill', 'latest', '--identity', identity], here())).status, 0);
  const good = await helvino(['health'], here());
  assert.equal(good.status, 0, good.stdout);
  assert.match(
    good.stdout,
    /^HELVINO OK - shop: physical backup \d+ min old, [\d.]+ MiB \| 'physical_age'=\d+s;;129600 'physical_size'=\d+B\n/,
  );
  const json = await helvinoJson(['health'], here());
  assert.deepEqual([json.status, json.result?.state], [0, 'ok']);
  const status = (await helvino(['status'], here())).stdout;
  assert.match(status, /^SAFE {2}shop\n {2}back to +the end of each backup, from .* to .* \(\d+ min ago\)/);
  assert.match(status, /restore takes +about [\d.]+ s \((?:one|\d+) drills? of /);
  assert.match(status, /verified +passed \d+ min ago, stored bytes/);
});

test('health of what is old, too small, cut – critical, each with its reason', async () => {
  const [newest] = (await readdir(join(home, 'repository/backups/shop'))).reverse();
  const critical = async (...args: string[]) => {
    const outcome = await helvino(['health', ...args], here());
    assert.equal(outcome.status, 2, outcome.stdout);
    return outcome.stdout.split('\n')[0]!;
  };
  assert.match(
    await critical('--max-age', '0.001s'),
    /physical age: the newest backup is \d+ min old, the objective is 0 min/,
  );
  await age(newest!, 3);
  await age((await readdir(join(home, 'repository/backups/shop'))).at(-2)!, 3);
  assert.match(await critical(), /physical age: the newest backup is 3 d old, the objective is 36 h/);
  const frozen = await helvino(['retention', 'preview'], here());
  assert.match(frozen.stdout, /NOTHING is removed: the newest backup is 3 d old/);
  const packs = (await readdir(join(home, 'repository/packs'), { recursive: true })).filter(
    (name) => name.length > 30,
  );
  for (const pack of packs) await writeFile(join(home, 'repository/packs', pack), 'cut');
  assert.match(
    await critical('--max-age', '9d'),
    /physical stored: packs\/\S+ and \d+ more objects of \S+ is missing or cut/,
  );
  assert.equal((await helvino(['verify'], here())).status, 1);
  assert.match(await critical('--max-age', '9d'), /verification: failed \d+ min ago, structure/);
});

test('health of a repository that is not there – unknown, exit 3, in one line', async () => {
  const config = await readFile(join(home, 'helvino.yaml'), 'utf8');
  await writeFile(join(home, 'other.yaml'), config.replace(/path: [^,}\n]+/, 'path: nowhere '));
  const outcome = await helvino(['health', '--config', 'other.yaml'], here());
  assert.equal(outcome.status, 3, outcome.stdout + outcome.stderr);
  assert.match(outcome.stdout, /^HELVINO UNKNOWN - shop: repository: it cannot be looked at: /);
  const none = await helvinoJson(['health', '--config', 'none.yaml'], here());
  assert.deepEqual([none.status, none.result?.state], [3, 'unknown']);
  assert.match(JSON.stringify(none.result), /"name":"configuration"/);
});
