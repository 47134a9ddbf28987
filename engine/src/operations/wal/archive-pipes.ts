/**
 * The receiver's side of the archive client (archive-client.sh): named pipes in a folder, so that the client needs no more
 * than a shell, and the kernel tells each side when the other dies.
 *
 *     requests             a client writes its number here; a write fails when nobody listens
 *     clients/<n>/data     from the client: the file, after a line that says what it is (archive-exchange.ts)
 *     clients/<n>/reply    to the client: one line
 *
 * The folder decides who may use it: its owner, and the members of its group.
 */
import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { chmod, chown, lstat, mkdir, open, readdir, rm } from 'node:fs/promises';
import { Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import type { Clock } from '../../base/clock.ts';
import { asHelvinoError, HelvinoError, systemCode, targetCode } from '../../base/errors.ts';
import { Semaphore } from '../../streams/index.ts';
import { type ExchangeOptions, exchange, openPipe } from './archive-exchange.ts';

export interface PipesOptions extends ExchangeOptions {
  readonly folder: string;
  /** Whose members may hand over files, besides the owner. */
  readonly groupId?: number;
  readonly clock: Clock;
  /** Called when clients may come. */
  readonly onListening: () => void;
  readonly signal: AbortSignal;
}

/** Files in memory at a time; PostgreSQL hands over one after the other. */
const mostAtOnce = 2;
/** A client's folder of this age is left over. */
const leftOverMs = 3600_000;

/** Listens until the signal; then what is under way is finished. Throws REPOSITORY_BUSY, TARGET_DENIED, TARGET_TOO_SMALL, TARGET_IO. */
export async function servePipes(options: PipesOptions): Promise<void> {
  await prepareFolder(options);
  const requests = join(options.folder, 'requests');
  // For writing, too: so it has no end when the last client closes it.
  const fd = openPipe(requests, constants.O_RDWR);
  if (fd === undefined) throw new HelvinoError('TARGET_IO', `the pipe ${requests} went away`);
  const socket = new Socket({ fd, readable: true, writable: false });
  const permits = new Semaphore(mostAtOnce);
  const busy = new Map<string, Promise<void>>();
  onLines(socket, (number) => {
    if (options.signal.aborted || busy.has(number) || !/^[0-9.]{1,40}$/.test(number)) return;
    const work = permits.run(() => exchange(options, join(options.folder, 'clients', number)));
    busy.set(
      number,
      work.finally(() => busy.delete(number)),
    );
  });
  options.onListening();
  try {
    await new Promise<void>((resolve, reject) => {
      socket.on('error', reject);
      options.signal.addEventListener('abort', () => resolve(), { once: true });
      if (options.signal.aborted) resolve();
    });
    await Promise.all(busy.values());
  } finally {
    socket.destroy();
  }
}

function onLines(socket: Socket, take: (line: string) => void): void {
  let rest = '';
  socket.setEncoding('latin1');
  socket.on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    // What is longer than any number is rubbish.
    rest = lines.pop()!.slice(0, 100);
    for (const line of lines) take(line);
  });
}

async function prepareFolder({ folder, groupId, clock }: PipesOptions): Promise<void> {
  const clients = join(folder, 'clients');
  const requests = join(folder, 'requests');
  try {
    await mkdir(dirname(folder), { recursive: true });
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await checkOwn(folder);
    await mkdir(clients, { recursive: true, mode: 0o700 });
    if (await isRead(requests)) {
      throw new HelvinoError('REPOSITORY_BUSY', `another receiver listens in ${folder}`, {
        hint: 'one receiver is enough for a database; give another database a folder of its own with --folder',
      });
    }
    await rm(requests, { force: true });
    await promisify(execFile)('mkfifo', ['-m', groupId === undefined ? '600' : '660', requests]);
    if (groupId !== undefined) {
      for (const place of [folder, clients, requests]) await chown(place, -1, groupId);
      await chmod(folder, 0o750);
      // The set-group-id bit: what clients make belongs to the group, so that we may open it.
      await chmod(clients, 0o2770);
    }
    const now = clock.now().getTime();
    for (const name of await readdir(clients)) {
      const place = join(clients, name);
      const facts = await lstat(place).catch(() => undefined);
      if (facts && now - facts.mtimeMs > leftOverMs) await rm(place, { recursive: true, force: true });
    }
  } catch (thrown) {
    throw folderError(thrown, folder);
  }
}

/** Its rights are changed, so it must be no folder that is used for something else. */
async function checkOwn(folder: string): Promise<void> {
  const others = (await readdir(folder)).filter((name) => name !== 'clients' && name !== 'requests');
  if (others.length === 0) return;
  throw new HelvinoError('TARGET_NOT_EMPTY', `the folder ${folder} holds other things: ${others[0]}`, {
    hint: 'give the receiver a folder of its own with --folder',
  });
}

/** Whether someone holds the pipe open for reading. */
async function isRead(path: string): Promise<boolean> {
  try {
    const handle = await open(path, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
    await handle.close();
    return true;
  } catch (thrown) {
    if (['ENXIO', 'ENOENT'].includes(systemCode(thrown) ?? '')) return false;
    throw thrown;
  }
}

function folderError(thrown: unknown, folder: string): HelvinoError {
  if (thrown instanceof HelvinoError || systemCode(thrown) === undefined) return asHelvinoError(thrown);
  return new HelvinoError(
    targetCode(thrown),
    `the folder ${folder} cannot be set up: ${(thrown as Error).message}`,
    {
      cause: thrown,
      hint: 'choose a folder that this user may write, and where there is room, with --folder; for --group this user must be a member of the group',
    },
  );
}
