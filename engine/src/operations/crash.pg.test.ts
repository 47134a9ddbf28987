import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  crashCommit,
  crashRestore,
  crashStore,
  makeGarbageTemplate,
  makeTemplate,
  type Template,
} from '../../test/crash-cases.ts';
import { CrashLab } from '../../test/crash-fixture.ts';
import { crashRetention } from '../../test/crash-retention.ts';

// Evenly among all steps, to stay quick; crash.pg.slow.test.ts dies at each.
describe('kill -9 at the steps of', { concurrency: 1 }, () => {
  let lab: CrashLab;
  let template: Template;
  before(async () => {
    lab = await CrashLab.open();
    template = await makeTemplate(lab);
  });
  after(() => lab[Symbol.asyncDispose]());

  test('a backup – earlier backups restore equal, the next works, garbage goes', async () => {
    const hit = await crashStore(lab, template, { action: 'backup', most: 8 });
    assert.ok(hit.size >= 6, `it died at ${[...hit].join(', ')}`);
  });

  test('a backup at its manifest and its entry in the ledger – it is there, or it is not', async () => {
    await crashCommit(lab, template);
  });

  test('a collection – kept backups restore equal, the next collection finishes', async () => {
    const hit = await crashStore(lab, await makeGarbageTemplate(lab), { action: 'collect', most: 6 });
    assert.ok(hit.has('remove.unlink'), `it died at ${[...hit].join(', ')}`);
  });

  test('retention – what is kept restores equal, WAL of the window is there, the next run finishes', async () => {
    const hit = await crashRetention(lab, { most: 7 });
    assert.ok(hit.has('remove.unlink') && hit.has('remove.done'), `it died at ${[...hit].join(', ')}`);
  });

  test('a restore – run again it ends, equal to one that was not killed', async () => {
    const hit = await crashRestore(lab, template, { most: 3, ends: 2 });
    assert.ok(hit.size >= 3, `it died at ${[...hit].join(', ')}`);
  });

  test('a delta restore – run again it ends, equal to one that was not killed', async () => {
    const hit = await crashRestore(lab, template, { most: 3, ends: 2, delta: true });
    assert.ok(hit.size >= 3, `it died at ${[...hit].join(', ')}`);
  });
});
