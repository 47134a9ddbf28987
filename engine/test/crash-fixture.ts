/**
 * For tests that kill and damage: a small PostgreSQL 18 server, repositories that are copied cheaply from a template, a
 * reading of whole directory trees, and what must hold of a repository whatever happened to it.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { hash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { cp, mkdtemp, readdir, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../src/base/clock.ts';
import { silentProgress } from '../src/base/progress.ts';
import { type DatabaseConfig, parseConfigText } from '../src/config/index.ts';
import { type BackupOptions, backup } from '../src/operations/backup/backup.ts';
import { type RestoreOptions, type RestoreResult, restore } from '../src/operations/restore/restore.ts';
import { applyRetention } from '../src/operations/retention/apply.ts';
import { planRetentionOf } from '../src/operations/retention/plan.ts';
import { type VerifyOptions, type VerifyReport, verify } from '../src/operations/verify/verify.ts';
import { resolveConnection } from '../src/postgres/index.ts';
import {
  applyCollect,
  createIdentity,
  createRepository,
  formatCatalogRing,
  type Identities,
  type Manifest,
  openIdentities,
  openRepository,
  planCollect,
  type Repository,
  recipientOf,
} from '../src/repository/index.ts';
import { openFsDriver, type StorageDriver } from '../src/storage/index.ts';
import { type FaultPlan, faultPlanToEnv } from '../src/storage/testing/faulty-driver.ts';
import { startTestServer, type TestServer } from './pg-server.ts';

/** Path to what it is: type, mode, owner and content. */
export type Tree = ReadonlyMap<string, string>;

/** A repository in a folder with what opens it. */
export class Case {
  readonly root: string;
  readonly keys: CaseKeys;
  readonly repository: Repository;
  readonly url: string;

  constructor(options: { root: string; keys: CaseKeys; repository: Repository; url: string }) {
    this.root = options.root;
    this.keys = options.keys;
    this.repository = options.repository;
    this.url = options.url;
  }

  async backup(overrides: Partial<BackupOptions> = {}): Promise<Manifest> {
    return backup({
      ...common(),
      repository: this.repository,
      recipients: [this.keys.recipient],
      database: 'main',
      connection: await resolveConnection({ url: this.url }, {}),
      kind: 'auto',
      checkpoint: 'fast',
      verifyChecksums: true,
      read: 'replication',
      fingerprint: 'off',
      fingerprintMaxBytes: 0,
      notes: {},
      newCluster: false,
      level: 1,
      ...overrides,
    });
  }

  restore(
    manifest: Manifest,
    directory: string,
    overrides: Partial<RestoreOptions> = {},
  ): Promise<RestoreResult> {
    return restore({
      ...common(),
      repository: this.repository,
      identities: this.keys.identities,
      manifest,
      directory,
      delta: false,
      tablespaces: new Map(),
      newTimeline: true,
      ...overrides,
    });
  }

  /** Restores into a new folder beside the repository, reads it, and removes it. */
  async restoredTree(manifest: Manifest): Promise<Tree> {
    const directory = await mkdtemp(`${this.root}-restored-`);
    try {
      await this.restore(manifest, directory);
      return treeOf(directory);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }

  verify(overrides: Partial<VerifyOptions> = {}): Promise<VerifyReport> {
    const { identities } = this.keys;
    return verify({ ...common(), repository: this.repository, readData: true, identities, ...overrides });
  }

  async collect(): Promise<void> {
    const plan = await planCollect(this.repository, { graceMs: 0 });
    await applyCollect(this.repository, plan, { graceMs: 0 });
  }

  /** Plans retention and applies the plan. */
  async retain(): Promise<void> {
    const { repository } = this;
    const settings = testRetention();
    const { id } = await planRetentionOf(repository, 'main', settings);
    await applyRetention({
      ...common(),
      repository,
      database: 'main',
      settings,
      planId: id,
      others: [],
      graceMs: 0,
    });
  }

  async names(prefix = ''): Promise<string[]> {
    return namesOf(this.repository.driver, prefix);
  }
}

interface CaseKeys {
  readonly identity: string;
  readonly identities: Identities;
  readonly recipient: string;
  /** The catalog ring as text. */
  readonly ring: string;
}

/** Keeps the newest two, and that with which the window of two weeks begins. */
function testRetention(): DatabaseConfig {
  return parseConfigText(
    `version: 1
repositories: { r: { storage: { type: fs, path: . }, recipients: [age1a], catalogKey: { file: key } } }
databases: { main: { connection: {}, repository: r, retention: { keep: { last: 2 }, minimum: 1, pitr: 14d } } }`,
    'test',
  ).databases.main!;
}

function common() {
  return {
    program: 'test',
    clock: systemClock,
    progress: silentProgress,
    signal: new AbortController().signal,
  };
}

/** A server and a folder; cases are repositories in that folder. */
export class CrashLab implements AsyncDisposable {
  readonly home: string;
  readonly server: TestServer;
  #cases = 0;

  private constructor(home: string, server: TestServer) {
    this.home = home;
    this.server = server;
  }

  /** A server whose cluster is as small as it gets. */
  static async open(): Promise<CrashLab> {
    const server = await startTestServer({
      major: 18,
      initdbArgs: ['--wal-segsize=1'],
      config: { summarize_wal: 'on', autovacuum: 'off', min_wal_size: '2MB' },
    });
    return new CrashLab(await quickFolder(), server);
  }

  /** An empty repository. */
  async newCase(): Promise<Case> {
    const root = join(this.home, `case-${++this.#cases}`);
    const identity = await createIdentity();
    const recipient = await recipientOf(identity);
    const repository = await createRepository(await openFsDriver({ root }), { recipients: [recipient] });
    const ring = formatCatalogRing(repository.ring.keys);
    const identities = await openIdentities(identity, 'the test');
    return new Case({
      root,
      keys: { identity, identities, recipient, ring },
      repository,
      url: this.server.url,
    });
  }

  /** The same repository in a folder of its own. */
  async copyOf(template: Case): Promise<Case> {
    const root = join(this.home, `case-${++this.#cases}`);
    await cp(template.root, root, { recursive: true, preserveTimestamps: true });
    return reopen({ ...template, root } as Case);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
    await rm(this.home, { recursive: true, force: true });
  }
}

/** In memory where that is large enough: these tests flush thousands of times, and nothing they show depends on a disk. */
async function quickFolder(): Promise<string> {
  const facts = await statfs('/dev/shm').catch(() => undefined);
  const large = facts !== undefined && facts.bavail * facts.bsize > 2 ** 31;
  return mkdtemp(join(large ? '/dev/shm' : tmpdir(), 'hv-crash-'));
}

/** As the next run finds it: the store is opened anew. */
export async function reopen(one: Case): Promise<Case> {
  const driver = await openFsDriver({ root: one.root });
  return new Case({ ...one, repository: await openRepository(driver, { ring: one.repository.ring }) });
}

export async function namesOf(driver: StorageDriver, prefix: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of driver.list(prefix)) names.push(name);
  return names;
}

export function treeOf(directory: string): Tree {
  const tree = new Map<string, string>();
  for (const path of readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort()) {
    const place = join(directory, path);
    const facts = lstatSync(place);
    const content = facts.isFile() ? contentHash(place) : facts.isSymbolicLink() ? readlinkSync(place) : '';
    tree.set(path, `${facts.mode.toString(8)} ${facts.uid}:${facts.gid} ${content}`);
  }
  return tree;
}

function contentHash(place: string): string {
  const bytes = readFileSync(place);
  if (!place.endsWith('/postgresql.auto.conf')) return hash('sha1', bytes);
  // Each restore gets a name of its own, so that restored servers are told apart.
  return hash('sha1', bytes.toString('latin1').replace(/^(helvino\.restored = )'[0-9a-f]{32}'$/gm, '$1'));
}

/** Compares by entries, so that a failure names paths and not everything. */
export function assertSameTree(actual: Tree, expected: Tree, where: string): void {
  const paths = new Set([...actual.keys(), ...expected.keys()]);
  const differing = [...paths].filter((path) => actual.get(path) !== expected.get(path));
  assert.deepEqual(differing.slice(0, 10), [], `${where}: ${differing.length} paths differ`);
}

/** No pack that no manifest names, no mark, no lease, nothing half-written. */
export async function assertNoGarbage(one: Case, where: string): Promise<void> {
  const named = new Set<string>();
  for (const { database, id } of await one.repository.backups()) {
    for (const pack of (await one.repository.manifest(database, id)).packs) named.add(pack.id);
  }
  const packs = (await one.names('packs/')).map((name) => name.split('/')[2]!);
  assert.deepEqual(packs.sort(), [...named].sort(), `${where}: exactly the packs that are named are there`);
  assert.deepEqual([await one.names('trash/'), await one.names('leases/')], [[], []], where);
  assert.deepEqual(
    await readdir(join(one.root, '.tmp')).catch(() => []),
    [],
    `${where}: nothing half-written`,
  );
}

export interface ChildWork {
  readonly action: 'backup' | 'collect' | 'retain' | 'restore';
  readonly root: string;
  readonly ring: string;
  readonly identity: string;
  readonly recipient: string;
  readonly url: string;
  /** For a backup. */
  readonly read?: BackupOptions['read'];
  /** For a restore. */
  readonly backupId?: string;
  readonly directory?: string;
  readonly delta?: boolean;
}

export interface ChildOutcome {
  /** `SIGKILL` when it killed itself. */
  readonly signal: NodeJS.Signals | null;
  /** `ok` or the error; empty when it was killed. */
  readonly outcome: string;
  /** The storage steps that it went through. */
  readonly points: readonly string[];
}

/** Works in a process of its own (crash-child.ts) that dies where `plan` says. */
export async function runChild(
  one: Case,
  work: Pick<ChildWork, 'action' | 'backupId' | 'directory' | 'delta'>,
  options: { plan?: FaultPlan; env?: Record<string, string>; nodeArgs?: readonly string[] } = {},
): Promise<ChildOutcome> {
  const script = fileURLToPath(new URL('./crash-child.ts', import.meta.url));
  const { ring, identity, recipient } = one.keys;
  const all: ChildWork = { ...work, root: one.root, ring, identity, recipient, url: one.url };
  const child = spawn(process.execPath, [...(options.nodeArgs ?? []), script, JSON.stringify(all)], {
    env: { ...process.env, ...faultPlanToEnv(options.plan ?? {}), ...options.env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (_, signal) => {
      const { outcome = '', points = [] } = JSON.parse(output || '{}') as Partial<ChildOutcome>;
      resolve({ signal, outcome, points });
    });
  });
}

/** At most `count` of the numbers 1 to `total`, evenly, with the first and the last. */
export function sample(total: number, count: number): number[] {
  if (total <= count) return Array.from({ length: total }, (_, i) => i + 1);
  const step = count > 1 ? (total - 1) / (count - 1) : 0;
  return Array.from({ length: count }, (_, i) => 1 + Math.round(i * step));
}
