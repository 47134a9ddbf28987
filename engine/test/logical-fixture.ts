/** Tests of dumps: whether they can run here, and the operations with everything filled in that a test does not care about. */
import type { Client } from 'pg';
import { systemClock } from '../src/base/clock.ts';
import { silentProgress } from '../src/base/progress.ts';
import { noApplication } from '../src/operations/logical/application.ts';
import { dumpInBackup } from '../src/operations/logical/dump-source.ts';
import { type LogicalBackupOptions, logicalBackup } from '../src/operations/logical/logical-backup.ts';
import {
  type RestoreDatabaseOptions,
  type RestoreDatabaseResult,
  restoreDatabase,
} from '../src/operations/logical/restore-database.ts';
import { findClientPrograms, resolveConnection } from '../src/postgres/index.ts';
import type { Manifest } from '../src/repository/index.ts';
import { type Fixture, withClient } from './backup-fixture.ts';
import type { TestServer } from './pg-server.ts';

/** The npm packages of the servers bring no pg_dump: Debian 12 has that of this version. */
export const dumpMajor = 15;

/** For `test(…, { skip })`: false where pg_dump of the version is installed, else the word which package to install. */
export async function withoutPgDump(): Promise<string | false> {
  return findClientPrograms(dumpMajor, { env: process.env, extraDirs: [] }).then(
    () => false as const,
    (thrown: Error) => `${thrown.message}: apt-get install postgresql-client-${dumpMajor}`,
  );
}

const common = () => ({
  binDirs: [],
  env: process.env,
  clock: systemClock,
  progress: silentProgress,
  signal: new AbortController().signal,
});

export async function takeDump(
  fixture: Fixture,
  server: TestServer,
  overrides: Partial<LogicalBackupOptions> = {},
): Promise<Manifest> {
  return logicalBackup({
    ...common(),
    repository: fixture.repository,
    recipients: [fixture.recipient],
    database: 'main',
    connection: await resolveConnection({ url: server.url }, {}),
    format: 'custom',
    jobs: 2,
    globals: true,
    fingerprint: 'full',
    fingerprintMaxBytes: Number.MAX_SAFE_INTEGER,
    notes: {},
    level: 1,
    program: 'test',
    ...overrides,
  });
}

export async function restoreDump(
  fixture: Fixture,
  { server, manifest, dbname }: { server: TestServer; manifest: Manifest; dbname?: string },
  overrides: Partial<RestoreDatabaseOptions> & { database: string },
): Promise<RestoreDatabaseResult> {
  const { repository, identities } = fixture;
  return restoreDatabase({
    ...common(),
    source: await dumpInBackup(repository, { manifest, identities, name: dbname }),
    connection: await resolveConnection({ url: server.url }, {}),
    selection: { schemas: [], tables: [] },
    jobs: 1,
    owners: true,
    rights: true,
    globals: false,
    application: noApplication,
    ...overrides,
  });
}

/** Rows of one query in a database. */
export async function rowsOf<T>(server: TestServer, database: string, text: string): Promise<T[]> {
  return withClient(server, async (client: Client) => (await client.query(text)).rows as T[], database);
}

/** A database `shop` with what a dump has to bring over, rights and settings included. */
export async function makeShop(server: TestServer): Promise<void> {
  await rowsOf(server, 'postgres', 'create role keeper login');
  await rowsOf(server, 'postgres', 'create database shop owner keeper');
  await rowsOf(server, 'postgres', "alter database shop set search_path = shop_stuff, 'public'");
  await rowsOf(server, 'postgres', 'revoke connect on database shop from public');
  await rowsOf(
    server,
    'shop',
    `create schema shop_stuff; create type public.mood as enum ('good', 'bad');
     create table public.organizations (id serial primary key, name text unique, mood public.mood default 'good');
     create table public.messages (id bigint generated always as identity primary key,
       organization int references public.organizations, body text);
     create index messages_body on public.messages (body); create table shop_stuff."odd Name" (x int);
     create materialized view public.stale as select count(*) as n from public.organizations;
     alter table public.organizations owner to keeper; grant select on public.messages to keeper;
     insert into public.organizations (name) select 'org ' || i from generate_series(1, 500) i;
     insert into public.messages (organization, body) select 1 + i % 500, md5(i::text) from generate_series(1, 20000) i;
     insert into shop_stuff."odd Name" values (1), (null); select lo_from_bytea(0, 'a large object');`,
  );
}
