import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { systemClock } from '../base/clock.ts';
import { type StorageDriver, withRetry } from './index.ts';
import { openS3Driver } from './s3.ts';
import { hasCode, namesOf, patterned, pieces, text } from './testing/contract-tools.ts';
import { type Fate, type ProxiedRequest, S3Proxy, s3Refusal } from './testing/s3-proxy.ts';
import { type S3TestServer, startS3Server } from './testing/s3-server.ts';

const server = await startS3Server();

if (typeof server === 'string') test('faults of S3', { skip: server }, () => undefined);
else describe('faults of S3', { concurrency: 1 }, () => registerTests(server));

const once = { ifAbsent: true };
const pass: Fate = { kind: 'pass' };

/** The first request that fits gets the fate, all others pass. */
function first(fits: (request: ProxiedRequest) => boolean, fate: Fate): (request: ProxiedRequest) => Fate {
  let done = false;
  return (request) => {
    if (done || !fits(request)) return pass;
    done = true;
    return fate;
  };
}

function registerTests(store: S3TestServer): void {
  let proxy: S3Proxy;
  let driver: StorageDriver;
  let retrying: StorageDriver;

  before(async () => {
    proxy = await S3Proxy.start(store.endpoint);
    const bucket = await store.bucket();
    const more = { endpoint: proxy.endpoint, multipartAbove: 5 << 20, idleMs: 1500 };
    driver = await openS3Driver(store.options(bucket, more));
    retrying = withRetry(driver, { attempts: 12, baseMs: 5, clock: systemClock });
    await driver.put('there', [text('0123456789')], once);
  });

  after(async () => {
    await driver.close();
    await proxy.stop();
    store.stop();
  });

  const get = ({ method }: ProxiedRequest) => method === 'GET';
  const put = ({ method }: ProxiedRequest) => method === 'PUT';
  const cases: readonly [string, Fate][] = [
    ['a cut connection', { kind: 'cut' }],
    ['a cut answer', { kind: 'cut answer' }],
    ['a store that is busy', s3Refusal(503, 'SlowDown')],
    ['a failure inside the store', s3Refusal(500, 'InternalError')],
    ['a clock that is wrong', s3Refusal(403, 'RequestTimeTooSkewed')],
    ['a page of a proxy', { kind: 'answer', status: 404, body: '<html>not here</html>' }],
    ['a bucket that vanished', s3Refusal(404, 'NoSuchBucket')],
    ['a store that does not answer', { kind: 'delay', ms: 5000 }],
  ];
  for (const [what, fate] of cases) {
    test(`${what} – every call says that the store is away, none that the object is absent`, async () => {
      proxy.fate = () => fate;
      const away = hasCode('STORAGE_UNAVAILABLE');
      await assert.rejects(driver.get('there'), away);
      await assert.rejects(driver.get('none'), away);
      await assert.rejects(namesOf(driver, ''), away);
      await assert.rejects(driver.put(`new-${what.replaceAll(' ', '-')}`, [text('x')], once), away);
      // A HEAD has no body: what a refusal says is not heard.
      await assert.rejects(
        driver.head('there'),
        fate.kind === 'answer' && fate.status === 403 ? () => true : away,
      );
      proxy.fate = () => pass;
      assert.equal(Buffer.from(await driver.get('there')).toString(), '0123456789');
    });
  }

  test('wrong rights – STORAGE_DENIED, which no try repeats', async () => {
    let asked = 0;
    proxy.fate = () => {
      asked++;
      return s3Refusal(403, 'AccessDenied');
    };
    await assert.rejects(retrying.get('there'), hasCode('STORAGE_DENIED'));
    proxy.fate = () => pass;
    assert.equal(asked, 1);
  });

  test('an answer that ends early – an error, never fewer bytes; the next try has all', async () => {
    const bytes = patterned(3_000_000, 1);
    await driver.put('three', pieces(bytes, 100_000), once);
    proxy.fate = first(get, { kind: 'cut body', afterBytes: 1_000_000 });
    await assert.rejects(driver.get('three'), hasCode('STORAGE_UNAVAILABLE'));
    proxy.fate = first(get, { kind: 'cut body', afterBytes: 1_000_000 });
    assert.equal(Buffer.compare(await retrying.get('three'), bytes), 0);
  });

  test('a put whose answer got lost – the next try finds its own object', async () => {
    proxy.fate = first(put, { kind: 'cut answer' });
    await retrying.put('lost-answer', [text('mine')], once);
    proxy.fate = first(put, { kind: 'cut answer' });
    await assert.rejects(retrying.put('there', [text('other')], once), hasCode('STORAGE_EXISTS'));
    assert.equal(Buffer.from(await driver.get('there')).toString(), '0123456789');
  });

  test('parts that get lost – sent again, each by itself; the object is whole', async () => {
    const bytes = patterned(20 << 20, 2);
    let lost = 0;
    proxy.fate = ({ method, url }) => {
      if (method !== 'PUT' || !/partNumber=[13]/.test(url) || lost >= 3) return pass;
      lost++;
      return { kind: lost === 2 ? 'cut answer' : 'cut' };
    };
    await driver.put('parts', pieces(bytes, 1 << 20), once);
    proxy.fate = () => pass;
    assert.equal(lost, 3);
    assert.equal(Buffer.compare(await driver.get('parts'), bytes), 0);
  });

  test('requests broken at random – what was reported as stored is there, byte for byte', async () => {
    let state = 12345;
    const random = () => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return (state >>> 8) / (1 << 24);
    };
    proxy.fate = ({ method }) => {
      const dice = random();
      if (dice < 0.08) return { kind: 'cut' };
      if (dice < 0.14) return { kind: 'cut answer' };
      if (dice < 0.18) return s3Refusal(503, 'SlowDown');
      if (dice < 0.22 && method === 'GET') return { kind: 'cut body', afterBytes: 10 };
      return pass;
    };
    const stored: { name: string; bytes: Uint8Array }[] = [];
    for (let n = 0; n < 60; n++) {
      const name = `random/${n}`;
      const bytes = patterned(1000 + n * 5000, n);
      await retrying.put(name, pieces(bytes, 200_000), once);
      stored.push({ name, bytes });
      const [back] = stored.slice(Math.floor(random() * stored.length));
      assert.equal(Buffer.compare(await retrying.get(back!.name), back!.bytes), 0, back!.name);
    }
    assert.equal((await namesOf(retrying, 'random/')).length, 60);
    proxy.fate = () => pass;
    for (const { name, bytes } of stored)
      assert.equal(Buffer.compare(await driver.get(name), bytes), 0, name);
  });
}
