/** How long an application is waited for, and what is said when it does not answer. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ready } from '../../../test/ready-application.ts';

test('an application that takes the request and never answers – failed when its time is over', async () => {
  const begun = performance.now();
  const words = await ready(() => undefined, 500);
  assert.match(words, /^failed: \/health did not answer within 0\.5 s: no answer within 0\.5 s$/);
  assert.ok(performance.now() - begun < 5_000);
});

test('one that says why it is not ready, and then nothing – both are told', async () => {
  let asked = 0;
  const words = await ready((_, response) => {
    if (++asked === 1) response.writeHead(503).end();
  }, 900);
  assert.match(words, /^failed: .*: no answer within 0\.\d s; before that status 503$/);
});

test('one that redirects – is not ready', async () => {
  const words = await ready((_, response) => {
    response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end();
  }, 300);
  assert.match(words, /status 302$/);
});
