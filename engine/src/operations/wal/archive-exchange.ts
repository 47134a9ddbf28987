/**
 * One file from one archive client (archive-client.sh), over the two pipes in the client's folder.
 *
 *     data     "helvino-wal 1 <bytes> <name> <first 8 bytes of global/pg_control in hexadecimal digits, or ->" line feed, the file
 *     reply    "stored", or "refused <exit status> <message>", line feed
 *
 * Invariants: "stored" is written only after `store` has resolved. Nothing that a client makes is trusted: only pipes are
 * opened, and not through a link.
 */
import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs';
import { lstat, rm } from 'node:fs/promises';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { asHelvinoError, HelvinoError } from '../../base/errors.ts';
import type { OfferedFile } from './archive-intake.ts';

export interface ExchangeOptions {
  /** Before the file is read; throws to refuse it. */
  readonly admit: (file: OfferedFile) => void;
  /** Resolves when the file is stored, durable and read back. */
  readonly store: (file: OfferedFile, bytes: Uint8Array) => Promise<void>;
  /** `name` is undefined when not even that came. */
  readonly onRefused: (name: string | undefined, error: HelvinoError) => void;
}

/** A client that sends nothing for so long has died. */
const patienceMs = 10_000;
const longestHead = 200;
/** To PostgreSQL, higher ones mean that the command crashed; 75: try again. */
const highestStatus = 125;
const tryAgain = 75;

/** Never rejects for what a client does. */
export async function exchange(options: ExchangeOptions, folder: string): Promise<void> {
  const facts = await lstat(folder).catch(() => undefined);
  if (!facts?.isDirectory()) return;
  // For reading, too: so opening it does not fail while the client has not yet opened its side.
  const reply = openPipe(join(folder, 'reply'), constants.O_RDWR);
  if (reply === undefined) return;
  try {
    const data = openPipe(join(folder, 'data'), constants.O_RDONLY);
    if (data === undefined) return;
    const answer = await answerTo(options, data);
    // The client opened its side of `reply` before it sent anything, so it sees this and then the end.
    if (answer !== undefined) writeSync(reply, `${answer}\n`);
    else await rm(folder, { recursive: true, force: true });
  } catch (thrown) {
    options.onRefused(undefined, asHelvinoError(thrown));
  } finally {
    closeSync(reply);
  }
}

/** Undefined when there is no pipe of this name, or not any more. */
export function openPipe(path: string, access: number): number | undefined {
  let fd: number;
  try {
    fd = openSync(path, access | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  } catch {
    return undefined;
  }
  if (fstatSync(fd).isFIFO()) return fd;
  closeSync(fd);
  return undefined;
}

/** Undefined when nobody sent anything. */
async function answerTo(options: ExchangeOptions, data: number): Promise<string | undefined> {
  const incoming = new IncomingFile(options.admit);
  try {
    await incoming.readFrom(data);
    const { file, bytes } = incoming.whole();
    await options.store(file, bytes);
    return 'stored';
  } catch (thrown) {
    if (incoming.silent) return undefined;
    const error = asHelvinoError(thrown);
    options.onRefused(incoming.file?.name, error);
    const status = error.exit <= highestStatus ? error.exit : tryAgain;
    const text = `${error.message}${error.hint ? ` (${error.hint})` : ''} [${error.code}]`;
    return `refused ${status} ${text.replace(/\s+/g, ' ')}`;
  }
}

class IncomingFile {
  readonly #admit: (file: OfferedFile) => void;
  #head = Buffer.alloc(0);
  #file: OfferedFile | undefined;
  #bytes = Buffer.alloc(0);
  #filled = 0;

  constructor(admit: (file: OfferedFile) => void) {
    this.#admit = admit;
  }

  get file(): OfferedFile | undefined {
    return this.#file;
  }

  get silent(): boolean {
    return this.#file === undefined && this.#head.length === 0;
  }

  async readFrom(fd: number): Promise<void> {
    const socket = new Socket({ fd, readable: true, writable: false });
    socket.setTimeout(patienceMs, () => {
      socket.destroy(new HelvinoError('PROTOCOL', `the client sent nothing for ${patienceMs / 1000} s`));
    });
    for await (const chunk of socket) this.#take(chunk as Buffer);
  }

  /** Throws PROTOCOL when it did not come whole. */
  whole(): { file: OfferedFile; bytes: Uint8Array } {
    if (!this.#file || this.#filled < this.#file.size) {
      throw new HelvinoError(
        'PROTOCOL',
        `${this.#filled} bytes came, not ${this.#file?.size ?? 'even the name of a file'}`,
        { hint: 'the client or the server was stopped, or the file cannot be read; nothing was stored' },
      );
    }
    return { file: this.#file, bytes: this.#bytes };
  }

  #take(chunk: Buffer): void {
    let rest = chunk;
    if (!this.#file) {
      this.#head = Buffer.concat([this.#head, chunk]);
      const end = this.#head.indexOf(10);
      if (end < 0 && this.#head.length <= longestHead) return;
      this.#file = parseHead(this.#head.toString('latin1', 0, Math.max(0, end)));
      this.#admit(this.#file);
      this.#bytes = Buffer.allocUnsafe(this.#file.size);
      rest = this.#head.subarray(end + 1);
    }
    if (this.#filled + rest.length > this.#file.size)
      throw new HelvinoError('PROTOCOL', `more than the ${this.#file.size} bytes came that were announced`);
    rest.copy(this.#bytes, this.#filled);
    this.#filled += rest.length;
  }
}

function parseHead(line: string): OfferedFile {
  const match = /^helvino-wal 1 ([0-9]{1,10}) ([0-9A-Za-z.]{1,64}) (-|[0-9a-f]{16})$/.exec(line);
  if (!match) {
    throw new HelvinoError('PROTOCOL', 'the client speaks another protocol than this receiver', {
      hint: 'make the client again with `helvino wal client`',
    });
  }
  const [, size, name = '', control = ''] = match;
  // The system identifier is the first field of ControlFileData (src/include/catalog/pg_control.h).
  const systemId = control === '-' ? undefined : String(Buffer.from(control, 'hex').readBigUInt64LE());
  return { name, size: Number(size), systemId };
}
