/** An application whose first answer takes longer than one request is given at first. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ready } from '../../../test/ready-application.ts';

test('a first answer that takes 15 s – waited for', async () => {
  let asked = 0;
  const words = await ready(async (_, response) => {
    if (++asked > 1) await sleep(15_000);
    else return;
    response.end('ok');
  }, 60_000);
  assert.match(words, /^passed: \/health answered after \d\d s/);
  assert.equal(asked, 2);
});
