import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { hasCode, namesOf, patterned, pieces, type TestStore, text, withStore } from './contract-tools.ts';

const once = { ifAbsent: true };
const big = 40 << 20;

export function registerConcurrencyContract(open: () => Promise<TestStore>): void {
  registerReadersBesideWriters(open);
  registerWritersBesideWriters(open);
}

function registerReadersBesideWriters(open: () => Promise<TestStore>): void {
  test('a reader that polls during a put of 40 MiB – sees nothing, then the whole', () =>
    withStore(open, async (driver) => {
      const bytes = patterned(big, 3);
      let done = false;
      let polls = 0;
      const put = driver.put('big', pieces(bytes, 1 << 20), once).finally(() => {
        done = true;
      });
      while (!done) {
        const listed: number[] = [];
        for await (const object of driver.list('')) listed.push(object.size);
        assert.ok(listed.length === 0 || (listed.length === 1 && listed[0] === big), `${listed}`);
        const size = (await driver.head('big'))?.size;
        assert.ok(size === undefined || size === big, `${size}`);
        const tail = driver.get('big', { offset: big - 8, length: 8 });
        const got = await tail.catch(hasCode('STORAGE_NOT_FOUND'));
        if (got !== true) assert.deepEqual(Buffer.from(got as Uint8Array), Buffer.from(bytes.subarray(-8)));
        polls++;
        await turn();
      }
      await put;
      assert.ok(polls > 0);
      assert.equal(Buffer.compare(await driver.get('big'), bytes), 0);
    }));

  test('readers during replacements – get either the old or the new content, whole', () =>
    withStore(open, async (driver) => {
      const contents = [patterned(300_000, 1), patterned(300_000, 2)];
      await driver.put('x', [contents[0]!], once);
      let done = false;
      const writer = (async () => {
        for (let n = 1; n <= 20; n++)
          await driver.put('x', pieces(contents[n % 2]!, 10_000), { ifAbsent: false });
      })().finally(() => {
        done = true;
      });
      while (!done) {
        const got = await driver.get('x');
        assert.ok(contents.some((content) => Buffer.compare(got, content) === 0));
        await turn();
      }
      await writer;
    }));
}

function registerWritersBesideWriters(open: () => Promise<TestStore>): void {
  test('eight puts of one name with ifAbsent at once – exactly one wins, and its content is whole', () =>
    withStore(open, async (driver) => {
      for (let round = 0; round < 10; round++) {
        const contents = Array.from({ length: 8 }, (_, n) => patterned(100_000 + n, n));
        const name = `new-${round}/folder/x`;
        const puts = await Promise.allSettled(
          contents.map((content) => driver.put(name, pieces(content, 9999), once)),
        );
        const winners = puts.flatMap((put, n) => (put.status === 'fulfilled' ? [n] : []));
        assert.equal(winners.length, 1);
        for (const put of puts) if (put.status === 'rejected') hasCode('STORAGE_EXISTS')(put.reason);
        assert.equal(Buffer.compare(await driver.get(name), contents[winners[0]!]!), 0);
      }
      assert.equal((await namesOf(driver, '')).length, 10);
    }));

  test('puts and removes in the same new folders at once – every put that resolved is there', () =>
    withStore(open, async (driver) => {
      await Promise.all(
        Array.from({ length: 8 }, async (_, worker) => {
          for (let n = 0; n < 25; n++) {
            const name = `f/${n % 3}/g/${worker}`;
            await driver.put(name, [text(`${n}`)], once);
            assert.equal(Buffer.from(await driver.get(name)).toString(), `${n}`);
            await driver.remove(name);
          }
        }),
      );
      assert.deepEqual(await namesOf(driver, ''), []);
    }));
}
