import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createIdentity, openIdentities, recipientOf } from '../../../repository/index.ts';
import { sealInto, writeExportFile } from './export-file.ts';

const secret = 'a name, an address and a telephone number\n';

async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'hv-sealed-'));
  try {
    await work(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

test('a sealed file – nothing of it in clear, each recipient opens it, nobody else does', () =>
  inFolder(async (folder) => {
    const [first, second, other] = await Promise.all([createIdentity(), createIdentity(), createIdentity()]);
    const recipients = await Promise.all([first, second].map(recipientOf));
    for (const lines of [0, 1, 10_000]) {
      const file = join(folder, `of-${lines}`);
      const { value } = await writeExportFile(file, recipients, async (write) => {
        for (let line = 0; line < lines; line++) await write(Buffer.from(secret));
        return 'done';
      });
      assert.equal(value, 'done');
      assert.equal((await stat(file)).mode & 0o777, 0o600);
      const stored = await readFile(file);
      assert.ok(!stored.includes('address'));
      for (const identity of [first, second]) {
        const opened = await (await openIdentities(identity, 'the test')).open(stored);
        assert.equal(Buffer.from(opened!).toString(), secret.repeat(lines));
      }
      assert.equal(await (await openIdentities(other, 'the test')).open(stored), undefined);
    }
  }));

test('a sealed file whose content cannot be had, or cannot be stored – the reason is thrown, and nothing waits for ever', () =>
  inFolder(async (folder) => {
    const recipients = [await recipientOf(await createIdentity())];
    const reason = new Error('the server is gone');
    await assert.rejects(
      writeExportFile(join(folder, 'a'), recipients, async (write) => {
        for (let line = 0; line < 5000; line++) await write(Buffer.from(secret));
        throw reason;
      }),
      reason,
    );
    const full = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
    let stored = 0;
    await assert.rejects(
      sealInto(
        async (bytes) => {
          stored += bytes.length;
          if (stored > 200_000) throw full;
        },
        recipients,
        async (write) => {
          for (let line = 0; line < 50_000; line++) await write(Buffer.from(secret));
        },
      ),
      full,
    );
    await assert.rejects(
      writeExportFile(join(folder, 'b'), ['age1nobody'], async () => undefined),
      {
        code: 'KEY_WRONG',
      },
    );
  }));
