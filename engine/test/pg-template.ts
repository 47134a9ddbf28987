/**
 * Data directories as initdb makes them, made once and copied: the copy takes a tenth of the time. Each copy is a cluster of
 * its own, with a system identifier that no other has.
 */
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chown, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32c } from '../src/postgres/wal/crc32c.ts';
import { madeOnce } from './made-once.ts';

export interface Account {
  readonly uid: number;
  readonly gid: number;
}

/** `dataDir` must not exist. */
export async function makeCluster(options: {
  /** Folder of the server's programs. */
  readonly binDir: string;
  readonly dataDir: string;
  readonly args: readonly string[];
  /** With the databases template0 and template1: two thirds of a cluster's files. */
  readonly templates: boolean;
  readonly user: Account | undefined;
}): Promise<void> {
  const { binDir, dataDir, templates, user } = options;
  const initdb = join(binDir, 'initdb');
  const args = ['-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--no-locale', '-N', ...options.args];
  // The same program in each checkout.
  const { size } = await stat(initdb);
  const what = createHash('sha256').update(
    JSON.stringify([size, args, templates || noTemplates, user ?? process.getuid?.()]),
  );
  const template = join(tmpdir(), `hv-pg-template-${what.digest('hex').slice(0, 16)}`);
  await madeOnce(template, async (half) => {
    if (user) await chown(half, user.uid, user.gid);
    await run(initdb, ['-D', half, ...args], user);
    if (templates) return;
    await run(join(binDir, 'postgres'), ['--single', '-D', half, 'postgres'], user, noTemplates);
    // It ends well, whatever its commands did.
    const left = await readdir(join(half, 'base'));
    if (left.length !== 1) throw new Error(`${half} has the databases ${left.join(', ')}`);
  });
  await run('cp', ['-R', '--preserve=mode', '--reflink=auto', '--sparse=always', template, dataDir], user);
  // Else statistics would be as old as the template.
  for (const name of await readdir(join(dataDir, 'pg_stat'))) await rm(join(dataDir, 'pg_stat', name));
  await giveSystemId(dataDir);
}

/**
 * It is in two places: https://www.postgresql.org/docs/current/storage-file-layout.html (global/pg_control), and the first page
 * of each segment of WAL (XLogLongPageHeaderData, src/include/access/xlog_internal.h), which has no checksum.
 */
async function giveSystemId(dataDir: string): Promise<void> {
  const id = randomBytes(8);
  // As a server's own: a positive number.
  id[7]! &= 0x7f;
  const path = join(dataDir, 'global/pg_control');
  const control = await readFile(path);
  const end = [288, 292].find((at) => control.readUInt32LE(at) === crc32c(control.subarray(0, at)));
  if (end === undefined) throw new Error(`${path}: no checksum where it is expected`);
  id.copy(control, 0);
  control.writeUInt32LE(crc32c(control.subarray(0, end)), end);
  await writeFile(path, control);
  const wal = join(dataDir, 'pg_wal');
  for (const name of await readdir(wal)) {
    if (!/^[0-9A-F]{24}$/.test(name)) continue;
    const segment = await open(join(wal, name), 'r+');
    await segment.write(id, 0, 8, 24);
    await segment.close();
  }
}

/** A command a line. */
const noTemplates = `update pg_database set datistemplate = false
drop database template0
drop database template1
`;

async function run(
  program: string,
  args: readonly string[],
  user: Account | undefined,
  input = '',
): Promise<void> {
  const child = spawn(program, args, {
    ...user,
    cwd: '/',
    env: { ...process.env, LC_ALL: 'C' },
    stdio: 'pipe',
  });
  child.stdin.end(input);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk));
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`${program} ended with status ${code}: ${output}`);
}
