import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import { freePort } from './network-access.ts';

test('a port that is taken – refused by its number; a free one is given', async () => {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  const { port } = taken.address() as AddressInfo;
  await assert.rejects(freePort(port), {
    code: 'LOCAL_SERVER',
    message: new RegExp(`^port ${port} of 127\\.0\\.0\\.1 cannot be used: .*EADDRINUSE`),
    hint: /another port/,
  });
  taken.close();
  await once(taken, 'close');
  assert.equal(await freePort(port), port);
  assert.ok((await freePort()) > 0);
});
