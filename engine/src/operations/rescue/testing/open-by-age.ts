/** What a person without Helvino does with an encrypted export: `age -d`, file by file; the library where there is no such program. */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { openIdentities } from '../../../repository/index.ts';

const run = promisify(execFile);

/** `target` is made. Says whether the program did it. */
export async function openByAge(folder: string, target: string, identity: string): Promise<boolean> {
  const program = await run('age', ['--version']).then(
    () => true,
    () => false,
  );
  const keys = await mkdtemp(join(tmpdir(), 'hv-age-'));
  try {
    const file = join(keys, 'identity.txt');
    await writeFile(file, `${identity}\n`);
    await mkdir(join(target, 'data'), { recursive: true });
    for (const name of await readdir(folder, { recursive: true })) {
      if (!name.endsWith('.age')) continue;
      const opened = join(target, name.slice(0, -'.age'.length));
      if (program) await run('age', ['-d', '-i', file, '-o', opened, join(folder, name)]);
      else {
        const identities = await openIdentities(identity, 'the test');
        await writeFile(opened, (await identities.open(await readFile(join(folder, name))))!);
      }
    }
  } finally {
    await rm(keys, { recursive: true, force: true });
  }
  return program;
}
