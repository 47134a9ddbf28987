/**
 * `--json` on every verb, as docs/reference/cli.md promises it: exactly one object on standard output and nothing else, errors with a
 * code of the table and its exit status. Each verb of the program has to be in both tables here.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { type ErrorCode, errorCodes } from '../src/base/error-codes.ts';
import { loadVerbs } from '../src/cli/verbs/index.ts';
import { type CliOutcome, helvino, type JsonAnswer, launcher } from './cli.ts';
import {
  extendConfig,
  identity,
  type JsonLab,
  keepDatabases,
  loseMessages,
  startJsonLab,
  untilFound,
} from './json-lab.ts';

type Words = readonly string[];

interface Case {
  readonly verb: string;
  /** What has to happen before it. */
  readonly first?: () => Promise<unknown>;
  /** A function where earlier answers are needed. */
  readonly words: Words | (() => Words);
  /** 0 unless the verb documents another: a verdict that is not good. */
  readonly exit?: number;
  /** Lines that the verb documents before the object. */
  readonly events?: number;
  /** Ended by SIGTERM when this has resolved; `stdout` is what it has printed so far. */
  readonly up?: (stdout: () => string) => Promise<unknown>;
}

interface Failure extends Case {
  readonly code: ErrorCode;
}

let lab: JsonLab;
let stream: Promise<CliOutcome> | undefined;
const stopStream = new AbortController();
let accident = '';
/** The result of each verb's last success. */
const results = new Map<string, Record<string, unknown>>();

before(async () => {
  lab = await startJsonLab();
});

after(async () => {
  stopStream.abort();
  await stream;
  await lab[Symbol.asyncDispose]();
});

const given = (verb: string, name: string) => String(results.get(verb)?.[name]);
const newest = () => (results.get('list')!.backups as { id: string }[]).at(-1)!.id;
const record = () => (results.get('drill report')!.files as string[]).find((name) => name.endsWith('.json'))!;
const there = async (path: string) => {
  while (
    !(await access(path).then(
      () => true,
      () => false,
    ))
  )
    await sleep(20);
};

const copied = ['--config', 'copied.yaml'];
const plan = ['--root', 'organizations', '--key', 'demo'];
const organization = ['--root', 'organizations', '--org', 'other', '--plain'];

async function beginStream(): Promise<void> {
  await extendConfig(lab.home);
  const words = ['wal', 'stream', '--every', '100ms', '--json'];
  stream = helvino(words, { cwd: lab.home, signal: stopStream.signal });
  const ended = stream.then(({ stdout }) => assert.fail(stdout));
  await Promise.race([untilFound(lab.server, 'pg_stat_replication'), ended]);
}

async function makeAccident(): Promise<void> {
  accident = await loseMessages(lab.server);
}

/** Successes, in the order in which they run; those of a group at the same time. */
const successes: readonly (readonly Case[])[] = [
  [{ verb: 'init', words: () => ['--url', lab.server.url, '--path', 'repository'] }],
  [
    { verb: 'config check', words: [] },
    { verb: 'config show', words: [] },
    { verb: 'version', words: [] },
    { verb: 'completion', words: ['bash'] },
  ],
  [{ verb: 'backup', words: ['--label', 'first', '--note', 'by=json'], first: beginStream }],
  [{ verb: 'backup', words: [] }],
  [
    { verb: 'find', words: () => ['--xid', accident, ...identity], first: makeAccident },
    { verb: 'list', words: [] },
    { verb: 'show', words: ['--files', '--tables'] },
    { verb: 'doctor', words: [] },
    { verb: 'wal status', words: [] },
  ],
  [
    { verb: 'find', words: ['--truncates'], exit: 1 },
    { verb: 'drill', words: ['--no-fetch', ...identity] },
  ],
  [
    { verb: 'drill list', words: [] },
    { verb: 'drill report', words: ['--output', 'out', '--format', 'json', 'html', 'md'] },
    { verb: 'drill key', words: ['--output', 'drill-key.pem'] },
    { verb: 'drill plans', words: [] },
    { verb: 'drill predict', words: [] },
    { verb: 'verify', words: [] },
  ],
  [
    { verb: 'drill verify-report', words: () => [record(), '--key', 'drill-key.pem'] },
    { verb: 'drill evidence', words: ['--from', 'today'] },
    { verb: 'status', words: [] },
    { verb: 'health', words: [] },
    { verb: 'health', words: ['--max-age', '1s'], exit: 2 },
  ],
  [
    { verb: 'restore', words: () => ['--to-directory', join(lab.restored, 'data'), ...identity] },
    {
      verb: 'open',
      words: ['--to', 'latest', ...identity],
      events: 1,
      up: async (stdout) => {
        while (!stdout().includes('\n')) await sleep(20);
      },
    },
    {
      verb: 'rescue plan',
      words: () => [...plan, '--before', `xid:${accident}`, '--out', 'a.plan', ...identity],
    },
  ],
  [
    { verb: 'rescue show', words: ['a.plan', '--sql', '--show-values'] },
    { verb: 'export', words: [...organization, '--out', 'exported'] },
  ],
  [
    { verb: 'rescue apply', words: ['a.plan', '--confirm', 'demo'] },
    { verb: 'retention preview', words: [] },
  ],
  [
    { verb: 'rescue undo', words: ['a.plan.undo', '--confirm', 'demo'] },
    { verb: 'retention apply', words: () => ['--plan', given('retention preview', 'id')] },
  ],
  [
    { verb: 'import', words: ['exported', '--confirm', 'other'] },
    { verb: 'hold add', words: ['latest', '--reason', 'a test'] },
  ],
  [
    { verb: 'swap list', words: [], first: () => keepDatabases(lab.server) },
    { verb: 'hold list', words: [] },
  ],
  [
    { verb: 'swap undo', words: ['back_before', '--confirm', 'back'] },
    { verb: 'hold remove', words: () => [given('hold add', 'id'), '--confirm', given('hold add', 'id')] },
  ],
  [
    { verb: 'swap confirm', words: ['gone_before', '--confirm', 'gone_before'] },
    { verb: 'lifecycle plan', words: [] },
  ],
  [{ verb: 'remove', words: () => [newest(), '--confirm', newest(), '--last-proven'] }],
  [{ verb: 'collect', words: ['--apply'] }],
  [{ verb: 'copy', words: copied }],
  [
    { verb: 'heal', words: copied },
    { verb: 'key new', words: ['--output', 'second.txt'] },
    { verb: 'wal client', words: () => ['--folder', join(lab.home, 'meet'), '--output', 'client'] },
  ],
  [{ verb: 'key add', words: () => [given('key new', 'recipient'), ...identity] }],
  [
    { verb: 'key list', words: [] },
    { verb: 'key kit', words: [] },
    { verb: 'key catalog', words: identity },
  ],
  [
    {
      verb: 'key remove',
      words: () => [given('key new', 'recipient'), '--confirm', given('key new', 'recipient'), ...identity],
    },
  ],
  [
    { verb: 'key rotate', words: ['--output', 'rotated.txt', ...identity] },
    {
      verb: 'wal receive',
      words: () => ['--folder', join(lab.home, 'meet')],
      up: () => there(join(lab.home, 'meet')),
    },
  ],
];

/** Why a verb's success is not here. */
const elsewhere: Readonly<Record<string, string>> = {
  demo: 'takes long; demo.e2e.test.ts runs it with --json',
  'wal stream': 'runs beside all others',
  lock: 'needs an object lock: s3-attack.e2e.test.ts',
  'lifecycle apply': 'needs a bucket: s3-archive.e2e.test.ts',
  'lifecycle thaw': 'needs a bucket: s3-archive.e2e.test.ts',
};

const nowhere = ['--config', 'nowhere.yaml'];
const unknown = ['--database', 'nope'];

const failures: readonly Failure[] = [
  { verb: 'demo', words: ['extra'], code: 'USAGE' },
  { verb: 'init', words: ['--url', 'postgresql://a:secret@host/db'], code: 'USAGE' },
  { verb: 'init', words: ['--no-check'], code: 'CONFIG_INVALID' },
  { verb: 'doctor', words: unknown, code: 'USAGE' },
  { verb: 'status', words: ['--no-such-option'], code: 'USAGE' },
  { verb: 'status', words: nowhere, code: 'CONFIG_NOT_FOUND' },
  { verb: 'health', words: ['--max-age'], code: 'USAGE' },
  { verb: 'backup', words: unknown, code: 'USAGE' },
  { verb: 'backup', words: ['--checkpoint', 'slow'], code: 'USAGE' },
  { verb: 'backup', words: ['--label', ''], code: 'USAGE' },
  {
    verb: 'backup',
    words: ['--full', '--max-rate', '1 MiB'],
    up: () => untilFound(lab.server, 'pg_stat_progress_basebackup where backup_streamed > 0'),
    code: 'INTERRUPTED',
  },
  { verb: 'wal stream', words: ['--every', '1ms'], code: 'USAGE' },
  { verb: 'wal status', words: nowhere, code: 'CONFIG_NOT_FOUND' },
  { verb: 'wal receive', words: ['--group', 'no such group'], code: 'USAGE' },
  { verb: 'wal client', words: ['--output', '/no/such/folder/client'], code: 'TARGET_IO' },
  { verb: 'list', words: ['--copy', 'nope'], code: 'USAGE' },
  { verb: 'show', words: ['nope'], code: 'BACKUP_NOT_FOUND' },
  { verb: 'drill', words: [], code: 'KEY_MISSING' },
  { verb: 'drill list', words: unknown, code: 'USAGE' },
  { verb: 'drill report', words: ['--format', 'docx'], code: 'USAGE' },
  {
    verb: 'drill verify-report',
    words: () => ['other.txt', '--signature', record().replace('.json', '.sig'), '--key', 'drill-key.pem'],
    code: 'REPOSITORY_DAMAGED',
  },
  { verb: 'drill key', words: ['--output', '/no/such/folder/key.pem'], code: 'TARGET_IO' },
  { verb: 'drill evidence', words: [], code: 'USAGE' },
  { verb: 'drill predict', words: ['--size', 'large'], code: 'USAGE' },
  { verb: 'drill plans', words: nowhere, code: 'CONFIG_NOT_FOUND' },
  { verb: 'restore', words: () => ['--to-directory', lab.home, ...identity], code: 'TARGET_NOT_EMPTY' },
  { verb: 'swap list', words: ['--url', 'postgresql://postgres@127.0.0.1:1/x'], code: 'SERVER_UNREACHABLE' },
  { verb: 'swap undo', words: ['asked_before'], code: 'CONFIRMATION_NEEDED' },
  { verb: 'swap confirm', words: ['nope'], code: 'USAGE' },
  { verb: 'open', words: ['--to', '0/1', ...identity], code: 'TARGET_UNREACHABLE' },
  { verb: 'find', words: ['--limit', 'many'], code: 'USAGE' },
  { verb: 'rescue plan', words: identity, code: 'USAGE' },
  { verb: 'rescue show', words: ['other.txt'], code: 'PLAN_INVALID' },
  { verb: 'rescue apply', words: ['a.plan'], code: 'CONFIRMATION_NEEDED' },
  { verb: 'rescue undo', words: ['a.plan.undo', '--sha256', '0'.repeat(64)], code: 'PLAN_CHANGED' },
  { verb: 'export', words: [...organization, '--recipient', 'age1x'], code: 'USAGE' },
  { verb: 'import', words: ['empty'], code: 'EXPORT_INVALID' },
  { verb: 'verify', words: ['--read-data', '--identity', 'second.txt'], code: 'KEY_WRONG' },
  { verb: 'retention preview', words: ['--copy', 'nope'], code: 'USAGE' },
  { verb: 'retention apply', words: ['--plan', '000000000000'], code: 'PLAN_CHANGED' },
  { verb: 'hold add', words: ['latest'], code: 'USAGE' },
  { verb: 'hold list', words: unknown, code: 'USAGE' },
  { verb: 'hold remove', words: ['nope'], code: 'USAGE' },
  { verb: 'copy', words: ['nope'], code: 'USAGE' },
  { verb: 'heal', words: ['--from', 'nope'], code: 'USAGE' },
  { verb: 'lock', words: [], code: 'CONFIG_INVALID' },
  { verb: 'lifecycle plan', words: ['--copy', 'nope'], code: 'USAGE' },
  { verb: 'lifecycle apply', words: [], code: 'CONFIG_INVALID' },
  { verb: 'lifecycle thaw', words: [], code: 'CONFIG_INVALID' },
  { verb: 'collect', words: ['--grace', 'soon'], code: 'USAGE' },
  { verb: 'remove', words: ['nope'], code: 'BACKUP_NOT_FOUND' },
  { verb: 'key new', words: ['--output', '/no/such/folder/key.txt'], code: 'TARGET_IO' },
  { verb: 'key list', words: unknown, code: 'USAGE' },
  { verb: 'key add', words: ['nobody'], code: 'KEY_WRONG' },
  { verb: 'key remove', words: ['nobody'], code: 'USAGE' },
  { verb: 'key rotate', words: [], code: 'KEY_MISSING' },
  { verb: 'key kit', words: ['--output', '/no/such/folder/kit.html'], code: 'TARGET_IO' },
  { verb: 'key catalog', words: [], code: 'KEY_MISSING' },
  { verb: 'config check', words: ['--config', 'broken.yaml'], code: 'CONFIG_INVALID' },
  { verb: 'config show', words: nowhere, code: 'CONFIG_NOT_FOUND' },
  { verb: 'completion', words: ['tcsh'], code: 'USAGE' },
  { verb: 'version', words: ['extra'], code: 'USAGE' },
];

async function run({ verb, words, up }: Case): Promise<CliOutcome> {
  const stop = new AbortController();
  let printed = '';
  const running = helvino(
    [...verb.split(' '), ...(typeof words === 'function' ? words() : words), '--json'],
    {
      cwd: lab.home,
      signal: stop.signal,
      onOutput: (stdout) => (printed = stdout),
    },
  );
  if (up) await Promise.race([up(() => printed), running]);
  if (up) stop.abort();
  return running;
}

/** The one object; before it only the lines that are documented. */
function onlyObject(
  { stdout, stderr }: Omit<CliOutcome, 'status'>,
  events = 0,
): JsonAnswer & { warnings?: string[] } {
  const lines = stdout.split('\n');
  assert.equal(lines.pop(), '', `${stdout}${stderr}`);
  assert.equal(lines.length, events + 1, `${stdout}${stderr}`);
  for (const line of lines) assert.equal(typeof JSON.parse(line), 'object', line);
  return JSON.parse(lines.at(-1)!);
}

function assertGood(outcome: CliOutcome, { verb, exit = 0, events }: Case): void {
  const answer = onlyObject(outcome, events);
  assert.deepEqual([outcome.status, answer.ok, answer.command], [exit, true, verb], JSON.stringify(answer));
  assert.deepEqual(Object.keys(answer), ['ok', 'command', 'result', 'warnings']);
  assert.ok(answer.result !== null && typeof answer.result === 'object');
  assert.deepEqual(outcome.stderr, (answer.warnings ?? []).map((text) => `warning: ${text}\n`).join(''));
  results.set(verb, answer.result!);
}

function assertFailed(outcome: CliOutcome, { verb, code }: Failure): void {
  const answer = onlyObject(outcome);
  assert.deepEqual(
    [answer.ok, answer.command, answer.error?.code],
    [false, verb, code],
    JSON.stringify(answer),
  );
  assert.deepEqual(Object.keys(answer), ['ok', 'command', 'error']);
  assert.equal(outcome.status, errorCodes[code].exit);
  assert.ok(answer.error?.message && answer.error.hint, JSON.stringify(answer));
  assert.doesNotMatch(outcome.stderr, /^(?!warning: )./m);
}

test('the verbs of the program – each is in both tables, and nothing else is', async () => {
  const names = (await loadVerbs()).map(({ name }) => name).sort();
  const covered = (cases: readonly Case[]) => [...new Set(cases.map(({ verb }) => verb))];
  const good = [...covered(successes.flat()), ...Object.keys(elsewhere)];
  assert.deepEqual(good.sort(), names);
  assert.deepEqual(covered(failures).sort(), names);
});

for (const group of successes)
  describe(group.map(({ verb }) => verb).join(', '), { concurrency: 2 }, () => {
    for (const one of group)
      test(`${one.verb} – one object, exit status ${one.exit ?? 0}`, async () => {
        await one.first?.();
        assertGood(await run(one), one);
      });
  });

test('an answer that is larger than a pipe, and a reader that takes its time – nothing is cut off', async () => {
  const slowly = ['-c', '"$0" "$@" | (sleep 1; cat)', process.execPath, launcher];
  const words = ['show', '--files', '--json'];
  const outcome = await promisify(execFile)('sh', [...slowly, ...words], { cwd: lab.home });
  assert.ok(outcome.stdout.length > 64 * 1024, `${outcome.stdout.length} bytes`);
  assert.ok(Array.isArray(onlyObject(outcome).result?.fileList));
});

describe('errors', { concurrency: 2 }, () => {
  for (const one of failures)
    test(`${one.verb} – one object, ${one.code}, its exit status and a hint`, async () =>
      assertFailed(await run(one), one));
});

test('wal stream – one object when SIGTERM has ended it', async () => {
  stopStream.abort();
  assertGood(await stream!, { verb: 'wal stream', words: [] });
});
