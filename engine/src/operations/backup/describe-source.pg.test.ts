import assert from 'node:assert/strict';
import { test } from 'node:test';
import { query } from '../../../test/backup-fixture.ts';
import { startTestServer } from '../../../test/pg-server.ts';
import { resolveConnection } from '../../postgres/index.ts';
import { describeSource } from './describe-source.ts';

test('a role that may connect once at a time – every database is described, in the order asked for', async () => {
  await using server = await startTestServer({ templates: true, major: 17 });
  const databases = ['postgres', 'template1', 'one', 'two', 'three'];
  await query(server, 'create role narrow login connection limit 1');
  for (const name of databases.slice(2)) await query(server, `create database ${name}`);
  const url = server.url.replace('postgres@', 'narrow@');
  const connection = await resolveConnection({ url }, {});
  const { signal } = new AbortController();
  const { schemas, relations } = await describeSource({ connection, signal }, databases);
  assert.deepEqual(
    schemas.map((schema) => [schema.database, 'unproven' in schema ? schema.unproven : 'described']),
    databases.map((database) => [database, 'described']),
  );
  assert.deepEqual(new Set(relations.map(({ database }) => database)), new Set(databases));
});

test('a database that is not there – is unproven, with the reason; the others are described', async () => {
  await using server = await startTestServer({ major: 17 });
  const connection = await resolveConnection({ url: server.url }, {});
  const { signal } = new AbortController();
  const { schemas } = await describeSource({ connection, signal }, ['nowhere', 'postgres']);
  assert.match('unproven' in schemas[0]! ? schemas[0].unproven : '', /"nowhere" does not exist/);
  assert.ok(!('unproven' in schemas[1]!));
});
