import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { HelvinoError } from '../base/errors.ts';
import { describeConnection, passwordFor, resolveConnection } from './conninfo.ts';
import { parseConnectionString } from './conninfo-parse.ts';

const home = await mkdtemp(join(tmpdir(), 'hv-home-'));
after(() => rm(home, { recursive: true, force: true }));
const env = { HOME: home };

const resolve = (url: string, more: Record<string, string> = {}) =>
  resolveConnection({ url }, { ...env, ...more });
const refuses = (work: Promise<unknown>, message: RegExp) =>
  assert.rejects(
    work,
    (thrown) =>
      thrown instanceof HelvinoError && thrown.code === 'CONFIG_INVALID' && message.test(thrown.message),
  );

test('a URL – every part is used, %-codes decoded', async () => {
  const params = await resolve(
    'postgresql://us%20er:p%40ss@db.example:5433/my%2Fdb?application_name=x&connect_timeout=7&options=-c%20a%3Db',
  );
  assert.deepEqual(params.hosts, [{ host: 'db.example', address: undefined, port: 5433 }]);
  assert.deepEqual(
    [
      params.user,
      params.password,
      params.database,
      params.applicationName,
      params.connectTimeout,
      params.options,
    ],
    ['us er', 'p@ss', 'my/db', 'x', 7, '-c a=b'],
  );
});

test('several hosts – in order, with their ports; one port for all', async () => {
  const params = await resolve('postgres://u@a:1,[::1]:2,c/db?target_session_attrs=primary');
  assert.deepEqual(
    params.hosts.map(({ host, port }) => [host, port]),
    [
      ['a', 1],
      ['::1', 2],
      ['c', 5432],
    ],
  );
  assert.equal(params.targetSession, 'primary');
  const pairs = await resolve('host=a,b port=6000 user=u');
  assert.deepEqual(
    pairs.hosts.map(({ port }) => port),
    [6000, 6000],
  );
  await refuses(resolve('host=a,b,c port=1,2'), /2 ports for 3 hosts/);
});

test('a unix socket in a URL – as host parameter or encoded', async () => {
  for (const url of ['postgresql:///db?host=/run/pg&port=5433', 'postgresql://%2Frun%2Fpg:5433/db']) {
    assert.deepEqual((await resolve(url)).hosts, [{ host: '/run/pg', address: undefined, port: 5433 }]);
  }
});

test('keyword and value pairs – quotes, escapes and empty values', async () => {
  const settings = parseConnectionString(
    "host = localhost  password='it\\'s' user=a\\ b dbname='' options=x",
  );
  assert.deepEqual(
    [...settings],
    [
      ['host', 'localhost'],
      ['password', "it's"],
      ['user', 'a b'],
      ['dbname', ''],
      ['options', 'x'],
    ],
  );
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (value) => {
      const quoted = value.replace(/[\\']/g, '\\$&');
      assert.equal(parseConnectionString(`user=x password='${quoted}'`).get('password'), value);
    }),
  );
});

test('anything as connection string – parsed or CONFIG_INVALID, and the text is never in the message', () => {
  const part = fc.oneof(
    fc.string(),
    fc.constantFrom('postgresql://', 'host=', "'", '\\', ':', '@', '/', '?', '&', '%', '[', ']', ',', ' '),
  );
  fc.assert(
    fc.property(fc.array(part, { maxLength: 8 }), (parts) => {
      try {
        parseConnectionString(parts.join(''));
      } catch (thrown) {
        assert.ok(thrown instanceof HelvinoError && thrown.code === 'CONFIG_INVALID', String(thrown));
      }
    }),
    { numRuns: 1000 },
  );
  assert.throws(
    () => parseConnectionString('postgresql://u:secret%zz@h/'),
    (thrown) => !String(thrown).includes('secret'),
  );
});

test('an @ in a password that is not written as %40 – refused, its rest is not shown as a host', () => {
  for (const url of [
    'postgresql://u:se@cret@h:1/d',
    'postgres://u:p@h:cret@h/d',
    'postgres://u:cret/et%40@h/d',
    'postgres://u@[cret@h]/d',
  ])
    assert.throws(
      () => parseConnectionString(url),
      (thrown: HelvinoError) =>
        thrown.code === 'CONFIG_INVALID' && /%40/.test(thrown.hint ?? '') && !/cret/.test(String(thrown)),
    );
});

test('a URL of another kind – refused, not taken for a database on this machine', async () => {
  for (const url of ['http://h/', 'postgress://u@h/d', 'jdbc:postgresql://h/d', 'mysql://h/d?x=y'])
    await refuses(resolve(url), /does not begin with postgresql:\/\//);
  assert.equal((await resolve("dbname='postgres://x' host=h")).database, 'postgres://x');
});

test('order – override, string, service, environment', async () => {
  const file = join(home, 'services');
  await writeFile(
    file,
    '# comment\n[other]\nhost=o\n[prod]\nhost=from-service\nport=1\nuser=from-service\ndbname=from-service\n\n[last]\nhost=l\n',
  );
  const variables = {
    ...env,
    PGSERVICEFILE: file,
    PGHOST: 'from-env',
    PGPORT: '2',
    PGUSER: 'from-env',
    PGDATABASE: 'from-env',
    PGAPPNAME: 'from-env',
  };
  const params = await resolveConnection(
    { url: 'host=from-url user=from-url', service: 'prod', overrides: { host: 'from-override' } },
    variables,
  );
  assert.deepEqual(
    [params.hosts[0]!.host, params.user, params.hosts[0]!.port, params.database, params.applicationName],
    ['from-override', 'from-url', 1, 'from-service', 'from-env'],
  );
  await refuses(resolveConnection({ service: 'absent' }, variables), /no service "absent"/);
  assert.equal((await resolve('service=last', { PGSERVICEFILE: file })).hosts[0]!.host, 'l');
  await mkdir(join(home, 'sys'));
  await writeFile(join(home, 'sys/pg_service.conf'), '[everyone]\nhost=s\n');
  assert.equal(
    (await resolve('service=everyone', { PGSERVICEFILE: file, PGSYSCONFDIR: join(home, 'sys') })).hosts[0]!
      .host,
    's',
  );
});

test('nothing given – defaults, with our name', async () => {
  const params = await resolve('host=h');
  assert.deepEqual(
    [params.hosts[0]!.port, params.applicationName, params.tls.mode, params.targetSession],
    [5432, 'helvino', 'prefer', 'any'],
  );
  assert.equal(params.database, params.user);
});

test('a password file – first line that fits, * and escapes, replication as database', async () => {
  const file = join(home, 'pass');
  const lines = [
    '# no',
    'h1:5432:replication:u:for-replication',
    'h1:*:db:u:a\\:b\\\\c',
    '*:*:*:other:no',
    'localhost:*:*:u:local',
    'h:short',
  ];
  await writeFile(file, lines.join('\n'), { mode: 0o600 });
  const params = await resolve('host=h1,/run/pg user=u', { PGPASSFILE: file });
  const [tcp, socket] = params.hosts;
  assert.equal(passwordFor(params, tcp!, 'db'), 'a:b\\c');
  assert.equal(passwordFor(params, tcp!, 'replication'), 'for-replication');
  assert.equal(passwordFor(params, tcp!, 'elsewhere'), undefined);
  assert.equal(passwordFor(params, socket!, 'any'), 'local');
  assert.deepEqual(params.warnings, []);
  assert.equal(
    passwordFor(await resolve('host=h1 user=u password=given', { PGPASSFILE: file }), tcp!, 'db'),
    'given',
  );
});

test('load_balance_hosts=random – every host in any order; else in the order given', async () => {
  const orders = new Set<string>();
  for (let i = 0; i < 100; i++) {
    const { hosts } = await resolve('host=a,b,c port=1,2,3 user=u load_balance_hosts=random');
    assert.deepEqual(hosts.map(({ host, port }) => `${host}${port}`).toSorted(), ['a1', 'b2', 'c3']);
    orders.add(hosts.map(({ host }) => host).join(''));
  }
  assert.ok(orders.size > 3, [...orders].join());
  const { hosts } = await resolve('host=a,b,c user=u');
  assert.deepEqual(hosts.map(({ host }) => host).join(''), 'abc');
  await assert.rejects(resolve('host=a user=u load_balance_hosts=some'), { code: 'CONFIG_INVALID' });
});

test('TLS versions, and no certificate – as they are given', async () => {
  const { tls } = await resolve(
    'host=h user=u ssl_min_protocol_version=TLSv1.2 ssl_max_protocol_version=TLSv1.2',
  );
  assert.deepEqual([tls.minVersion, tls.maxVersion], ['TLSv1.2', 'TLSv1.2']);
  assert.equal((await resolve('host=h user=u')).tls.maxVersion, undefined);
  const cert = join(home, 'client.crt');
  await writeFile(cert, 'x');
  assert.equal((await resolve(`host=h user=u sslcert=${cert}`)).tls.cert, cert);
  assert.equal((await resolve(`host=h user=u sslcert=${cert} sslcertmode=disable`)).tls.cert, undefined);
  await rm(cert);
});

test('a password file that others may read – is ignored with a warning', async () => {
  const file = join(home, '.pgpass');
  await writeFile(file, '*:*:*:*:secret');
  await chmod(file, 0o640);
  const params = await resolve('host=h user=u');
  assert.equal(passwordFor(params, params.hosts[0]!, 'db'), undefined);
  assert.match(params.warnings.join(), /\.pgpass was ignored: others may read it/);
  await rm(file);
});

test('describe – shows no password', async () => {
  const params = await resolve('postgresql://u:secret@a:1,[::1]:2/db');
  assert.equal(describeConnection(params), 'postgresql://u@a:1,[::1]:2/db');
  assert.equal(
    describeConnection(await resolve('host=/run/pg password=secret user=u dbname=d')),
    'postgresql://u@/d?host=/run/pg&port=5432',
  );
});

test('TLS settings – checked before anything connects', async () => {
  await refuses(resolve('host=h sslmode=verify-full'), /needs trusted certificates/);
  await refuses(resolve('host=h sslmode=sure'), /sslmode is "sure"/);
  await refuses(resolve('host=h sslmode=require sslrootcert=/none/here'), /cannot be read/);
  await refuses(resolve('host=h sslmode=require sslrootcert=system'), /may not be used/);
  await refuses(resolve('host=h sslnegotiation=direct'), /may not be used/);
  assert.equal((await resolve('host=h sslrootcert=system')).tls.mode, 'verify-full');
  assert.equal((await resolve('postgresql://h/?ssl=true')).tls.mode, 'require');
  assert.equal((await resolve('host=h requiressl=1')).tls.mode, 'require');
  await mkdir(join(home, '.postgresql'));
  await writeFile(join(home, '.postgresql/root.crt'), 'x');
  assert.equal((await resolve('host=h sslmode=verify-ca')).tls.rootCert, join(home, '.postgresql/root.crt'));
});

test('parameters that are unknown, or that protect and are not supported – CONFIG_INVALID', async () => {
  await refuses(resolve('host=h colour=red'), /unknown connection parameter "colour"/);
  await refuses(resolve('host=h sslcertmode=require'), /sslcertmode=require is not supported/);
  await refuses(resolve('host=h require_auth=scram-sha-256'), /require_auth is not supported/);
  await refuses(resolve('host=h port=99999'), /out of range/);
  await refuses(resolve('host=h connect_timeout=soon'), /not a whole number/);
  await refuses(
    resolveConnection({ overrides: { database: 'x' } }, env),
    /unknown connection parameter "database"/,
  );
});
