import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { HelvinoError } from '../base/errors.ts';
import {
  addDatabase,
  chooseDatabase,
  configWarnings,
  drillPlans,
  loadConfig,
  newConfigText,
  parseDuration,
  parseSize,
  readSecret,
  setRecipients,
  showableConfig,
} from './index.ts';
import { parseConfig } from './load.ts';

const recipient = 'age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq';
const text = newConfigText({
  repository: {
    name: 'main',
    storage: { type: 'fs', path: '/var/backups/helvino' },
    recipients: [recipient],
    catalogKeyFile: './helvino.catalog.key',
  },
  database: {
    name: 'shop',
    connection: { url: 'postgresql://backup@db/postgres', password: { env: 'SHOP_PASSWORD' } },
    repository: 'main',
  },
});

function message(wrong: string): string {
  try {
    parseConfig(wrong, 'helvino.yaml');
  } catch (thrown) {
    assert.ok(thrown instanceof HelvinoError);
    assert.equal(thrown.code, 'CONFIG_INVALID');
    return `${thrown.message} | ${thrown.hint}`;
  }
  throw new Error('was accepted');
}

test('a new file – is valid and has the defaults', () => {
  const config = parseConfig(text, 'helvino.yaml');
  assert.equal(config.databases.shop?.backup.checkpoint, 'fast');
  assert.equal(config.databases.shop?.backup.fingerprintMaxBytes, 20 * 1024 ** 3);
  assert.equal(config.databases.shop?.drill.readyTimeout, 3600);
  assert.equal(config.repositories.main?.compression.level, 1);
});

test('an unknown key – named with its place and what was meant', () => {
  assert.match(
    message(text.replace('catalogKey:', 'catalogkey:')),
    /helvino\.yaml:11:17: repositories\.main: unknown "catalogkey".*did you mean "catalogKey"/s,
  );
});

test('a wrong value – named with its path and place', () => {
  assert.match(
    message(text.replace('type: fs', 'type: ftp')),
    /helvino\.yaml:6:22: repositories\.main\.storage\.type/,
  );
  assert.match(
    message(text.replace('repository: main', 'repository: other')),
    /no repository "other" \| repositories: main/,
  );
  assert.match(message(`${text}    backup: { maxRate: fast }\n`), /"fast" is not a size/);
  assert.match(message('version: 1'), /repositories: is missing/);
  assert.match(message(''), /the file: is empty/);
  assert.match(message(text.replace('shop:', 'Shop 2:')), /databases\.Shop 2: names are lower-case letters/);
});

test('a password in the URL – refused, and not shown', () => {
  for (const url of [
    'postgresql://backup:hunter2@db/x',
    'postgresql://backup:hunter2/x@db/x',
    'host=db password=hunter2',
    'postgresql://db/x?password=hunter2',
    'postgresql://db/x?pass%77ord=hunter2',
    'postgresql://db/x&password=hunter2',
    'postgresql://db/x password = hunter2',
    'postgresql://db/x?sslpassword=x&password=hunter2',
    "host=db options='-c a=1' password='hunter2'",
  ]) {
    const shown = message(text.replace('postgresql://backup@db/postgres', url));
    assert.match(shown, /databases\.shop\.connection\.url: holds a password/);
    assert.doesNotMatch(shown, /hunter2/);
  }
});

const withUrl = (url: string) => text.replace('"postgresql://backup@db/postgres"', JSON.stringify(url));

test('another secret in the connection – goes on to work, with a warning by keyword; it is not shown', () => {
  for (const [keyword, urls] of Object.entries({
    sslpassword: [
      'postgresql://u@h/db?sslpassword=geheim',
      'postgresql://u@h/db?sslmode=require&ssl%70assword=geheim&x=geheim',
      'postgres://u@h?%20sslpassword%20=geheim',
      'host=h sslpassword=geheim',
      "sslpassword  =  'geheim' host=h",
      'host=h sslpassword=ge geheim',
      "host=h ' sslpassword=geheim",
    ],
    scram_client_key: ['host=h scram_client_key=geheim'],
    scram_server_key: ['postgresql://h/?scram_server_key=geheim'],
    oauth_client_secret: ['postgresql://h/?oauth_client_secret=geheim'],
  }))
    for (const url of urls) {
      const config = parseConfig(withUrl(url), 'f');
      assert.equal(config.databases.shop!.connection.url, url);
      const [warning, ...more] = configWarnings(config);
      assert.deepEqual(
        [warning?.path, warning?.problem, more],
        ['databases.shop.connection.url', `holds a secret (${keyword}), which this file should not`, []],
        url,
      );
      const shown = showableConfig(config).databases.shop!.connection.url!;
      assert.doesNotMatch(JSON.stringify([warning, shown]), /geheim/, url);
      assert.equal(shown, `${url.slice(0, shown.length - '=***'.length)}=***`);
    }
  for (const url of [
    'host=h passfile=/etc/pgpass sslkey=/etc/key',
    "host=h application_name='my password = x'",
    'postgresql://h/sslpassword?application_name=password',
  ]) {
    const config = parseConfig(withUrl(url), 'f');
    assert.deepEqual([configWarnings(config), showableConfig(config)], [[], config], url);
  }
});

test('broken YAML – line and column', () => {
  assert.match(
    message('version: 1\nrepositories: [\n'),
    /helvino\.yaml:\d+:\d+: (?!.* at line).*not valid YAML/,
  );
});

test('an alias to nothing – not valid YAML, not a bug of ours', () => {
  assert.match(message('version: *nothing'), /helvino\.yaml: .*nothing.*not valid YAML/);
});

test('adding a database and changing recipients – comments stay', () => {
  const added = addDatabase(text, { name: 'other', connection: { service: 'other' }, repository: 'main' });
  assert.match(added, /# Who can restore/);
  assert.deepEqual(Object.keys(parseConfig(added, 'f').databases), ['shop', 'other']);
  assert.throws(() => addDatabase(added, { name: 'other', connection: {}, repository: 'main' }), {
    code: 'CONFIG_INVALID',
  });
  const second = recipient.replace('qqq', 'ppp');
  assert.deepEqual(
    parseConfig(setRecipients(text, 'main', [recipient, second]), 'f').repositories.main?.recipients,
    [recipient, second],
  );
});

test('choosing a database – the only one, the named one, or an error with the names', () => {
  const two = {
    config: parseConfig(addDatabase(text, { name: 'other', connection: {}, repository: 'main' }), 'f'),
    file: 'f',
    directory: '/',
  };
  assert.equal(
    chooseDatabase({ config: parseConfig(text, 'f'), file: 'f', directory: '/' }, undefined).name,
    'shop',
  );
  assert.equal(chooseDatabase(two, 'other').name, 'other');
  assert.throws(() => chooseDatabase(two, undefined), { code: 'USAGE', hint: '--database shop | other' });
  assert.throws(() => chooseDatabase(two, 'nope'), { code: 'USAGE' });
});

test('no file – both places are named', async () => {
  await assert.rejects(loadConfig({ env: {}, cwd: '/nonexistent' }), {
    code: 'CONFIG_NOT_FOUND',
    message: /\/nonexistent\/helvino\.yaml and \/etc\/helvino\/helvino\.yaml/,
  });
});

test('HELVINO_CONFIG and --config – found, the option wins', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'hv-config-'));
  t.after(() => rm(directory, { recursive: true }));
  await writeFile(join(directory, 'a.yaml'), text);
  await writeFile(join(directory, 'b.yaml'), text);
  assert.equal(
    (await loadConfig({ env: { HELVINO_CONFIG: join(directory, 'a.yaml') }, cwd: '/' })).file,
    join(directory, 'a.yaml'),
  );
  assert.equal(
    (await loadConfig({ file: 'b.yaml', env: { HELVINO_CONFIG: join(directory, 'a.yaml') }, cwd: directory }))
      .file,
    join(directory, 'b.yaml'),
  );
});

test('a secret that is missing – its place is named', async () => {
  const options = { env: { GOOD: 'x' }, directory: '/nonexistent', what: 'the password' };
  assert.equal((await readSecret({ env: 'GOOD' }, options)).text, 'x');
  await assert.rejects(readSecret({ env: 'BAD' }, options), { code: 'KEY_MISSING', message: /variable BAD/ });
  await assert.rejects(readSecret({ file: 'key' }, options), {
    code: 'KEY_MISSING',
    message: /\/nonexistent\/key/,
  });
});

test('sizes and durations – as people write them', () => {
  assert.equal(parseSize('50 MiB/s'), 50 * 1024 ** 2);
  assert.equal(parseSize('1.5GB'), 1_500_000_000);
  assert.equal(parseSize('4096'), 4096);
  assert.equal(parseDuration('15m'), 900);
  assert.equal(parseDuration('7 d'), 604_800);
  for (const wrong of ['', 'fast', '5 parsecs', '-3 MiB', '1e9'])
    assert.throws(() => parseSize(wrong), { code: 'USAGE' });
  for (const wrong of ['', '5', 'soon', '3 y']) assert.throws(() => parseDuration(wrong), { code: 'USAGE' });
});

test('any text as configuration – a clear error or a configuration, never anything else', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.json(),
        fc.nat(text.length).map((cut) => text.slice(0, cut)),
      ),
      (wrong) => {
        try {
          parseConfig(wrong, 'f');
        } catch (thrown) {
          assert.ok(thrown instanceof HelvinoError && thrown.code === 'CONFIG_INVALID', String(thrown));
        }
      },
    ),
    { numRuns: 500 },
  );
});

test('a drill plan that cannot be run – refused when the file is read, with what is wrong', () => {
  const plan = (words: string) => `${text}\ndrills:\n  monthly: ${words}\n`;
  assert.deepEqual(
    drillPlans({ config: parseConfig(plan('{}'), 'f'), file: 'f', directory: '/' })[0]!.database,
    'shop',
  );
  for (const [words, wanted] of [
    ['{ database: nope }', /there is no database "nope" \| databases: shop/],
    ['{ copy: nope }', /there is no copy "nope" of shop \| copies: main/],
    ['{ kind: logical, target: random }', /a logical backup has one state/],
    ["{ schedule: '0 25 * * *' }", /"25" in a schedule is not in 0 to 23/],
    ['{ timeZone: Mars }', /is no time zone/],
    ['{ heartbeat: { table: t, maxAge: 1h } }', /give `table` and `column`, or `sql`/],
    ['{ skip: [restore] }', /skip/],
    ['{ assertions: [{ name: a, sql: select 1, expect: {} }] }', /give `min`, `max`, or both/],
    ['{ assertions: [{ name: a, sql: select 1, expect: { min: 2, max: 1 } }] }', /`min` not above `max`/],
    ['{ application: { command: x, http: [{ path: health }] } }', /a path begins with \//],
  ] as const)
    assert.match(message(plan(words)), wanted, words);
});
