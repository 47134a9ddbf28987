/** A PostgreSQL with seeded databases, and the application on them: in this process, or started as a user starts it. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { FastifyInstance } from 'fastify';
import pg from 'pg';
import { startTestServer, type TestServer } from '../../engine/test/pg-server.ts';
import { buildApp } from '../src/app.ts';

export const folder = fileURLToPath(new URL('..', import.meta.url));
export const internalKey = 'KEY';

export interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A server whose database `seeded` has two organizations; the others are copies of it. */
export async function startDatabases(): Promise<TestServer> {
  const server = await startTestServer({ templates: true, major: 18 });
  await sql(server, 'postgres', 'create database seeded');
  const env = { DATABASE_URL: urlOf(server, 'seeded') };
  for (const program of [['migrate'], ['seed', '--organizations', '2', '--messages', '300']]) {
    const done = await runProgram(program, env);
    assert.equal(done.status, 0, done.stderr);
  }
  return server;
}

export function urlOf(server: TestServer, database: string): string {
  return server.url.replace(/[^/]*$/, database);
}

export async function copySeeded(server: TestServer, database: string): Promise<string> {
  await sql(server, 'postgres', `create database ${database} template seeded`);
  return urlOf(server, database);
}

export async function sql<T>(server: TestServer, database: string, text: string): Promise<T[]> {
  const client = new pg.Client({ connectionString: urlOf(server, database) });
  await client.connect();
  try {
    return (await client.query(text)).rows as T[];
  } finally {
    await client.end();
  }
}

/** One of the programs in src/. */
export function runProgram(
  [name, ...args]: readonly string[],
  env: Record<string, string>,
): Promise<Outcome> {
  return finish(spawn(process.execPath, [`src/${name}.ts`, ...args], inFolder(env)));
}

/** A line as one types it. */
export function runShell(line: string, env: Record<string, string>): Promise<Outcome> {
  return finish(spawn('/bin/sh', ['-c', line], inFolder(env)));
}

const inFolder = (env: Record<string, string>) => ({ cwd: folder, env: { ...process.env, ...env } });

async function finish(child: ChildProcess): Promise<Outcome> {
  let stdout = '';
  let stderr = '';
  child.stdout?.on('data', (chunk) => (stdout += chunk));
  child.stderr?.on('data', (chunk) => (stderr += chunk));
  const [status] = (await once(child, 'close')) as [number | null];
  return { status, stdout, stderr };
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: the bodies are what the tests are about
  readonly body: any;
}

/** The application in this process, listening. */
export class RunningApp implements AsyncDisposable {
  readonly #app: FastifyInstance;
  readonly url: string;

  private constructor(app: FastifyInstance, url: string) {
    this.#app = app;
    this.url = url;
  }

  static async start(databaseUrl: string, options: { writeEnabled?: boolean } = {}): Promise<RunningApp> {
    const config = { databaseUrl, internalKey, writeEnabled: true, logLevel: 'silent', ...options };
    const app = await buildApp({ ...config, host: '127.0.0.1', port: 0 });
    return new RunningApp(app, await app.listen({ host: '127.0.0.1', port: 0 }));
  }

  /** With the key of the organization `demo`, as JSON, unless `headers` say otherwise. */
  async ask(
    path: string,
    { method = 'GET', body, headers = { 'x-org-key': 'demo' } }: AskOptions = {},
  ): Promise<Answer> {
    const answer = await fetch(`${this.url}${path}`, {
      method,
      headers: { ...headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      body: body === undefined || typeof body === 'string' ? body : JSON.stringify(body),
    });
    const text = await answer.text();
    const json = answer.headers.get('content-type')?.startsWith('application/json');
    return { status: answer.status, headers: answer.headers, body: json ? JSON.parse(text) : text };
  }

  post(path: string, body: unknown): Promise<Answer> {
    return this.ask(path, { method: 'POST', body });
  }

  setWriteEnabled(writeEnabled: boolean): Promise<Answer> {
    const headers = { 'x-internal-key': internalKey };
    return this.ask('/api/org/demo/settings', { method: 'PATCH', body: { writeEnabled }, headers });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#app.close();
  }
}

interface AskOptions {
  readonly method?: string;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  assert.ok(address !== null && typeof address === 'object');
  return address.port;
}
