import { after, before, describe, test } from 'node:test';
import {
  crashRestore,
  crashStore,
  makeGarbageTemplate,
  makeTemplate,
  type Template,
} from '../../test/crash-cases.ts';
import { CrashLab } from '../../test/crash-fixture.ts';
import { crashRetention } from '../../test/crash-retention.ts';

describe('kill -9 at every step of', { concurrency: 1 }, () => {
  let lab: CrashLab;
  let template: Template;
  before(async () => {
    lab = await CrashLab.open();
    template = await makeTemplate(lab);
  });
  after(() => lab[Symbol.asyncDispose]());

  test('a backup – earlier backups restore equal, the next works, garbage goes', async () => {
    await crashStore(lab, template, { action: 'backup', most: Number.POSITIVE_INFINITY });
  });

  test('a backup that reads the files of the server – the same', async () => {
    await crashStore(lab, template, { action: 'backup', read: 'files', most: Number.POSITIVE_INFINITY });
  });

  test('a collection – kept backups restore equal, the next collection finishes', async () => {
    const garbage = await makeGarbageTemplate(lab);
    await crashStore(lab, garbage, { action: 'collect', most: Number.POSITIVE_INFINITY });
  });

  test('retention – what is kept restores equal, WAL of the window is there, the next run finishes', async () => {
    await crashRetention(lab, { most: Number.POSITIVE_INFINITY });
  });

  // A restore has thousands of steps, most of them the same.
  test('a restore – run again it ends, equal to one that was not killed', async () => {
    await crashRestore(lab, template, { most: 150, ends: 6 });
    await crashRestore(lab, template, { most: 80, ends: 6, delta: true });
  });
});
