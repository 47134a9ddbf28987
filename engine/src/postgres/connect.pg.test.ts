import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeCertificate } from '../../test/certificates.ts';
import { serverFolder, startTestServer, type TestServer } from '../../test/pg-server.ts';
import { receiveBackup } from '../../test/receive-backup.ts';
import type { ErrorCode } from '../base/error-codes.ts';
import { HelvinoError } from '../base/errors.ts';
import { connectSql } from './connect.ts';
import { type ConnectionParams, resolveConnection } from './conninfo.ts';
import { openReplication } from './replication/replication-connection.ts';

const hba = [
  'local   all         postgres                trust',
  'host    all         scram    127.0.0.1/32   scram-sha-256',
  'hostssl all         tlsonly  127.0.0.1/32   scram-sha-256',
  'hostnossl all       plain    127.0.0.1/32   scram-sha-256',
  'host    all         old      127.0.0.1/32   md5',
  'host    all         clear    127.0.0.1/32   password',
  'host    replication scram    127.0.0.1/32   scram-sha-256',
  'hostssl replication tlsonly  127.0.0.1/32   scram-sha-256',
  'host    replication weak     127.0.0.1/32   trust',
  'host    all         weak     127.0.0.1/32   trust',
  'host    all         nohba    127.0.0.1/32   trust',
  'local   all         all                     reject',
  'host    all         all      127.0.0.1/32   reject',
  'host    replication all      127.0.0.1/32   reject',
  'local   replication all                     reject',
];

let secure: TestServer;
let plain: TestServer;
let home: string;
let cert: string;
const sql = `create role scram login replication password 'pass word';
  create role tlsonly login replication password 'pass word';
  create role plain login password 'pass word';
  create role clear login password 'pass word';
  create role weak login;
  create role nohba login replication;
  set password_encryption = md5;
  create role old login password 'pass word'`;

before(async () => {
  home = await serverFolder();
  await chmod(home, 0o755);
  await mkdir(join(home, 'tls'));
  const made = await makeCertificate(join(home, 'tls'));
  cert = made.cert;
  const config = { ssl: 'on', ssl_cert_file: made.cert, ssl_key_file: made.key, max_wal_senders: 3 };
  [secure, plain] = await Promise.all([
    startTestServer({ templates: true, major: 17, config, hba }),
    startTestServer({ major: 14, hba }),
  ]);
  for (const server of [secure, plain]) {
    const client = await connectSql(
      await resolve(`host=${server.socketDir} port=${server.port} user=postgres`),
    );
    for (const statement of sql.split(';')) await client.query(statement);
    await client.end();
  }
});

after(async () => {
  await secure?.[Symbol.asyncDispose]();
  await plain?.[Symbol.asyncDispose]();
  await rm(home, { recursive: true, force: true });
});

function resolve(url: string, env: Record<string, string> = {}): Promise<ConnectionParams> {
  return resolveConnection({ url }, { HOME: home, ...env });
}

const to = (server: TestServer, rest: string) =>
  resolve(`host=127.0.0.1 port=${server.port} dbname=postgres ${rest}`);
const password = "password='pass word'";

async function facts(params: ConnectionParams): Promise<{ name: string; ssl: boolean; app: string }> {
  const client = await connectSql(params);
  const { rows } = await client.query(
    `select session_user as name, application_name as app, ssl from pg_stat_activity join pg_stat_ssl using (pid) where pid = pg_backend_pid()`,
  );
  await client.end();
  return rows[0] as { name: string; ssl: boolean; app: string };
}

async function refused(work: Promise<unknown>, code: ErrorCode, text: RegExp): Promise<void> {
  await assert.rejects(work, (thrown) => {
    assert.ok(thrown instanceof HelvinoError, String(thrown));
    const shown = `${thrown.message}\n${thrown.hint}`;
    assert.equal(thrown.code, code, shown);
    assert.match(shown, text);
    assert.doesNotMatch(JSON.stringify(thrown), /pass word|wrong pw/);
    return true;
  });
}

test('SCRAM over TCP – logs in, over TLS when the server has it', async () => {
  assert.deepEqual(await facts(await to(secure, `user=scram ${password}`)), {
    name: 'scram',
    ssl: true,
    app: 'helvino',
  });
  assert.deepEqual(await facts(await to(plain, `user=scram ${password}`)), {
    name: 'scram',
    ssl: false,
    app: 'helvino',
  });
  assert.equal(
    (await facts(await to(secure, `user=scram sslmode=disable application_name=mine ${password}`))).app,
    'mine',
  );
});

test('MD5 and clear-text passwords – log in', async () => {
  assert.equal((await facts(await to(plain, `user=old ${password}`))).name, 'old');
  assert.equal((await facts(await to(plain, `user=clear ${password}`))).name, 'clear');
});

test('a password file – is used, for replication under its own name', async () => {
  const file = join(home, 'pgpass');
  await writeFile(file, `127.0.0.1:*:replication:scram:pass word\n127.0.0.1:*:postgres:scram:pass word\n`, {
    mode: 0o600,
  });
  const params = await resolve(`host=127.0.0.1 port=${plain.port} user=scram dbname=postgres`, {
    PGPASSFILE: file,
  });
  assert.equal((await facts(params)).name, 'scram');
  await (await openReplication(params)).close();
});

test('a wrong or missing password – SERVER_AUTH that says so', async () => {
  await refused(
    connectSql(await to(plain, "user=scram password='wrong pw'")),
    'SERVER_AUTH',
    /password authentication failed for user "scram"\n.*~\/\.pgpass/,
  );
  await refused(
    connectSql(await to(plain, 'user=scram')),
    'SERVER_AUTH',
    /asks for a password of scram, and none was given/,
  );
  await refused(
    openReplication(await to(secure, "user=scram password='wrong pw'")),
    'SERVER_AUTH',
    /password authentication failed/,
  );
});

test('no line in pg_hba.conf – SERVER_AUTH with the line that is missing', async () => {
  const line =
    /pg_hba\.conf rejects replication connection[\s\S]*host replication "nohba" 127\.0\.0\.1\/32 scram-sha-256/;
  await refused(openReplication(await to(plain, 'user=nohba')), 'SERVER_AUTH', line);
  const overTls = /hostssl replication "nohba" 127\.0\.0\.1\/32/;
  await refused(openReplication(await to(secure, 'user=nohba sslmode=require')), 'SERVER_AUTH', overTls);
  const socket = await resolve(`host=${plain.socketDir} port=${plain.port} user=nohba`);
  await refused(openReplication(socket), 'SERVER_AUTH', /local replication "nohba" scram-sha-256/);
  await refused(
    connectSql(await to(plain, 'user=nobody')),
    'SERVER_AUTH',
    /host postgres "nobody" 127\.0\.0\.1\/32/,
  );
});

test('a role without REPLICATION – SERVER_AUTH with the command that gives it', async () => {
  for (const server of [plain, secure]) {
    await refused(
      openReplication(await to(server, 'user=weak')),
      'SERVER_AUTH',
      /ALTER ROLE "weak" REPLICATION/,
    );
  }
});

/** Those of earlier tests end a moment after their connection is closed. */
async function noSenders(): Promise<void> {
  const client = await connectSql(await to(secure, `user=scram ${password}`), { database: 'postgres' });
  for (let i = 0; i < 100; i++) {
    const { rows } = await client.query(
      `select count(*)::int as n from pg_stat_activity where backend_type = 'walsender'`,
    );
    if (rows[0].n === 0) break;
    await sleep(50);
  }
  await client.end();
}

test('all WAL senders taken – SERVER_SETTING that names max_wal_senders', async () => {
  const params = await to(secure, `user=scram ${password}`);
  await noSenders();
  const taken = await Promise.all([
    openReplication(params),
    openReplication(params),
    openReplication(params),
  ]);
  await refused(openReplication(params), 'SERVER_SETTING', /max_wal_senders/);
  await Promise.all(taken.map((connection) => connection.close()));
});

test('a database that is not there – named', async () => {
  await refused(
    connectSql(await to(plain, 'user=weak'), { database: 'absent' }),
    'SERVER_ERROR',
    /database "absent" does not exist/,
  );
});

test('sslmode require and verify-full – encrypted, and the name is checked', async () => {
  assert.equal((await facts(await to(secure, `user=tlsonly sslmode=require ${password}`))).ssl, true);
  const verified = await resolve(
    `host=localhost hostaddr=127.0.0.1 port=${secure.port} dbname=postgres user=tlsonly sslmode=verify-full sslrootcert=${cert} ${password}`,
  );
  assert.equal((await facts(verified)).ssl, true);
  const byAddress = `user=tlsonly sslrootcert=${cert} ${password}`;
  assert.equal((await facts(await to(secure, `sslmode=verify-ca ${byAddress}`))).ssl, true);
  await refused(
    connectSql(await to(secure, `sslmode=verify-full ${byAddress}`)),
    'SERVER_TLS',
    /127\.0\.0\.1/,
  );
  const wrongName = await resolve(
    `host=db.example hostaddr=127.0.0.1 port=${secure.port} sslmode=verify-full ${byAddress}`,
  );
  await refused(connectSql(wrongName), 'SERVER_TLS', /db\.example/);
});

test('an authority that did not sign the certificate – SERVER_TLS', async () => {
  await mkdir(join(home, 'other'));
  const other = await makeCertificate(join(home, 'other'));
  await refused(
    connectSql(await to(secure, `user=tlsonly sslmode=verify-ca sslrootcert=${other.cert} ${password}`)),
    'SERVER_TLS',
    /self-signed certificate/,
  );
});

test('a server without TLS – require refuses, prefer and allow go on', async () => {
  await refused(
    connectSql(await to(plain, `user=scram sslmode=require ${password}`)),
    'SERVER_TLS',
    /does not offer TLS/,
  );
  assert.equal((await facts(await to(plain, `user=scram sslmode=prefer ${password}`))).ssl, false);
  assert.equal((await facts(await to(plain, `user=scram sslmode=allow ${password}`))).ssl, false);
});

test('pg_hba.conf wants it the other way – prefer and allow try that', async () => {
  assert.equal((await facts(await to(secure, `user=tlsonly sslmode=allow ${password}`))).ssl, true);
  assert.equal((await facts(await to(secure, `user=plain sslmode=prefer ${password}`))).ssl, false);
  await refused(
    connectSql(await to(secure, `user=tlsonly sslmode=disable ${password}`)),
    'SERVER_AUTH',
    /no encryption/,
  );
  await refused(
    connectSql(await to(secure, `user=plain sslmode=require ${password}`)),
    'SERVER_AUTH',
    /SSL encryption/,
  );
});

test('TLS from the first byte – works from version 17 on', async () => {
  assert.equal(
    (await facts(await to(secure, `user=tlsonly sslmode=require sslnegotiation=direct ${password}`))).ssl,
    true,
  );
});

test('channel binding – used when required, and refused without TLS or SCRAM', async () => {
  const need = `channel_binding=require ${password}`;
  assert.equal((await facts(await to(secure, `user=scram sslmode=require ${need}`))).ssl, true);
  await refused(
    connectSql(await to(secure, `user=scram sslmode=disable ${need}`)),
    'SERVER_TLS',
    /SCRAM-SHA-256-PLUS/,
  );
  await refused(connectSql(await to(secure, `user=old ${need}`)), 'SERVER_TLS', /SCRAM-SHA-256-PLUS/);
  await refused(connectSql(await to(secure, `user=weak ${need}`)), 'SERVER_TLS', /SCRAM-SHA-256-PLUS/);
});

test('replication over TLS – a whole base backup arrives', async () => {
  const connection = await openReplication(await to(secure, `user=tlsonly sslmode=require ${password}`));
  let paused = 0;
  const backup = await receiveBackup(
    connection,
    {},
    { ready: () => (paused++ % 50 === 0 ? new Promise((done) => setTimeout(done, 1)) : undefined) },
  );
  await connection.close();
  assert.ok(backup.entries.size > 900, String(backup.entries.size));
  assert.ok(backup.entries.has('global/pg_control'));
});

test('several hosts – the first that answers, or the kind that was asked for', async () => {
  const hosts = await resolve(`host=127.0.0.1,127.0.0.1 port=1,${plain.port} user=weak dbname=postgres`);
  assert.equal((await facts(hosts)).name, 'weak');
  const standby = await resolve(
    `host=127.0.0.1 port=${plain.port} user=weak dbname=postgres target_session_attrs=standby`,
  );
  await refused(connectSql(standby), 'SERVER_SETTING', /is a primary, not a standby/);
  await refused(
    connectSql(await resolve('host=127.0.0.1,127.0.0.1 port=1,2 user=weak')),
    'SERVER_UNREACHABLE',
    /none of the 2 hosts.*:1: .*refused.*:2: .*refused/,
  );
});

test('nothing listens, no such socket, unknown name – SERVER_UNREACHABLE with a hint', async () => {
  await refused(
    connectSql(await resolve('host=127.0.0.1 port=1')),
    'SERVER_UNREACHABLE',
    /127\.0\.0\.1:1: the connection was refused\n.*listen_addresses/,
  );
  await refused(
    connectSql(await resolve('host=/nowhere port=5')),
    'SERVER_UNREACHABLE',
    /\/nowhere\/\.s\.PGSQL\.5: there is no such socket/,
  );
  await refused(
    connectSql(await resolve('host=no.such.invalid')),
    'SERVER_UNREACHABLE',
    /no\.such\.invalid:5432/,
  );
});

async function withListener(
  answer: (socket: Socket) => void,
  use: (port: number) => Promise<void>,
): Promise<void> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    answer(socket);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  await use((server.address() as { port: number }).port);
  for (const socket of sockets) socket.destroy();
  server.close();
}

test('a server that never answers – SERVER_UNREACHABLE after connect_timeout', async () => {
  for (const mode of ['disable', 'prefer', 'require']) {
    await withListener(
      (socket) => socket.resume(),
      async (port) =>
        refused(
          connectSql(await resolve(`host=127.0.0.1 port=${port} connect_timeout=1 sslmode=${mode}`)),
          'SERVER_UNREACHABLE',
          /no answer within 1 s/,
        ),
    );
  }
});

test('something else than PostgreSQL – a clear error', async () => {
  const speak = (socket: Socket) =>
    socket.once('data', () => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'));
  await withListener(speak, async (port) => {
    await refused(
      connectSql(await resolve(`host=127.0.0.1 port=${port} sslmode=require`)),
      'SERVER_TLS',
      /did not answer the request for TLS/,
    );
    await refused(
      openReplication(await resolve(`host=127.0.0.1 port=${port} sslmode=disable`)),
      'PROTOCOL',
      /this is not PostgreSQL/,
    );
  });
});

test('plain text smuggled in after the answer to the TLS request – SERVER_TLS', async () => {
  await withListener(
    (socket) => socket.once('data', () => socket.write('Sx')),
    async (port) =>
      refused(
        connectSql(await resolve(`host=127.0.0.1 port=${port} sslmode=require`)),
        'SERVER_TLS',
        /did not answer/,
      ),
  );
});
