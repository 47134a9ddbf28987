/**
 * `helvino backup --kind logical --to-folder`: one database as `helvino_backup_YYYYmmdd_HHMMSS.sql.gz` (UTC), or `.sql.gz.gpg`, that
 * gunzip, gpg and psql open without Helvino. The name appears only when the file is whole, durable and was read back.
 */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { link, mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import type { Clock } from '../../base/clock.ts';
import { HelvinoError, systemCode, targetCode } from '../../base/errors.ts';
import { randomHex } from '../../base/ids.ts';
import type { Progress } from '../../base/progress.ts';
import { syncPath } from '../../base/sync-path.ts';
import { majorOf } from '../../catalog/index.ts';
import {
  ClientRun,
  type ConnectionParams,
  connectSql,
  findClientPrograms,
  programEnvironment,
} from '../../postgres/index.ts';
import type { ChildProgram } from '../../streams/index.ts';
import { DumpEnds } from './dump-database.ts';
import { encryptFor, findRecipient } from './gpg.ts';
import { readLogicalSource } from './logical-source.ts';

export interface PlainFileOptions {
  readonly connection: ConnectionParams;
  readonly dbname: string;
  /** Absolute; made if it is not there. */
  readonly folder: string;
  /** Encrypt for this recipient of gpg. */
  readonly gpgRecipient?: string;
  /** Older files of ours in the folder are removed, once the new one is there. */
  readonly keepDays?: number;
  readonly binDirs: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export interface PlainFileResult {
  readonly file: string;
  readonly dbname: string;
  /** Bytes of the file, and of the SQL in it. */
  readonly bytes: number;
  readonly plainBytes: number;
  /** Of the file, hexadecimal. */
  readonly sha256: string;
  readonly server: string;
  readonly removed: readonly string[];
}

const finished = /^helvino_backup_\d{8}_\d{6}\.sql\.gz(\.gpg)?$/;
const partial = /^\.helvino_backup_.*\.partial$/;
const day = 86_400_000;
const namesTried = 60;

/** Throws BINARIES_NOT_FOUND, SERVER_*, TARGET_*, KEY_MISSING, PROTOCOL. Nothing is left when it does. */
export async function dumpToFile(options: PlainFileOptions): Promise<PlainFileResult> {
  const { folder, dbname, gpgRecipient, clock, connection, signal, progress } = options;
  progress.phase('connecting');
  const client = await connectSql(connection, { database: dbname, signal });
  const source = await readLogicalSource(client, [dbname]).finally(() => client.end());
  const programs = await findClientPrograms(majorOf(source.serverVersion), {
    env: options.env,
    extraDirs: options.binDirs,
  });
  const key = gpgRecipient === undefined ? undefined : await findRecipient(gpgRecipient, options);
  const begun = clock.now();
  const nameAt = (time: Date) => fileName(time, key !== undefined);
  const temporary = join(folder, `.${nameAt(begun)}-${randomHex(4)}.partial`);
  try {
    await mkdir(folder, { recursive: true, mode: 0o750 });
    const dump = new ClientRun('pg_dump', ['--format=plain', '--no-owner', '--no-acl', '--no-password'], {
      programs,
      env: programEnvironment(connection, dbname),
      signal,
    });
    progress.phase(`dumping ${dbname}`, undefined, 'bytes');
    const written = await writeFile(dump, temporary, { ...options, key });
    progress.phase('reading back');
    await readBack(temporary, { ...written, encrypted: key !== undefined });
    const name = await publish(temporary, folder, { begun, nameAt });
    const removed = options.keepDays === undefined ? [] : await removeOld(options, name);
    const { bytes, plainBytes, sha256 } = written;
    return {
      file: join(folder, name),
      dbname,
      bytes,
      plainBytes,
      sha256,
      server: source.serverVersionText,
      removed,
    };
  } catch (thrown) {
    throw fileError(thrown, folder);
  } finally {
    await rm(temporary, { force: true });
  }
}

function fileName(time: Date, encrypted: boolean): string {
  const stamp = time.toISOString().slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '_');
  return `helvino_backup_${stamp}.sql.gz${encrypted ? '.gpg' : ''}`;
}

interface Written {
  readonly bytes: number;
  readonly plainBytes: number;
  readonly sha256: string;
  readonly plainSha256: string;
}

async function writeFile(
  dump: ClientRun,
  path: string,
  options: PlainFileOptions & { readonly key: string | undefined },
): Promise<Written> {
  const { key, progress } = options;
  const ends = new DumpEnds('plain');
  const plain = new Counter((bytes) => {
    ends.saw(bytes);
    progress.advance(bytes.length);
  });
  const packed = new Counter();
  const out = createWriteStream(path, { flags: 'wx', mode: 0o600, flush: true });
  const gpg = key === undefined ? undefined : encryptFor(key, options);
  dump.stdin.end();
  try {
    if (gpg)
      await Promise.all([
        pipeline(dump.stdout, (input) => plain.pass(input), createGzip(), gpg.stdin),
        pipeline(gpg.stdout, (input) => packed.pass(input), out),
      ]);
    else
      await pipeline(
        dump.stdout,
        (input) => plain.pass(input),
        createGzip(),
        (input) => packed.pass(input),
        out,
      );
    await dump.ended;
    await gpg?.ended;
  } catch (thrown) {
    throw await realCause(thrown, [dump, gpg]);
  } finally {
    await dump.kill();
    await gpg?.kill();
  }
  ends.check();
  return {
    bytes: packed.bytes,
    plainBytes: plain.bytes,
    sha256: packed.digest(),
    plainSha256: plain.digest(),
  };
}

/** A pipe breaks because a program has ended: that one knows why. */
async function realCause(thrown: unknown, programs: readonly (ChildProgram | undefined)[]): Promise<unknown> {
  if (!['EPIPE', 'ERR_STREAM_PREMATURE_CLOSE', 'ECONNRESET'].includes(systemCode(thrown) ?? ''))
    return thrown;
  for (const program of programs) {
    const why = await program?.ended.then(
      () => undefined,
      (failure: unknown) => failure,
    );
    if (why !== undefined) return why;
  }
  return thrown;
}

class Counter {
  bytes = 0;
  readonly #hash = createHash('sha256');
  readonly #saw: ((bytes: Uint8Array) => void) | undefined;

  constructor(saw?: (bytes: Uint8Array) => void) {
    this.#saw = saw;
  }

  add(bytes: Uint8Array): void {
    this.bytes += bytes.length;
    this.#hash.update(bytes);
    this.#saw?.(bytes);
  }

  async *pass(input: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const bytes of input) {
      this.add(bytes);
      yield bytes;
    }
  }

  sink(): Writable {
    return new Writable({
      write: (bytes: Buffer, _, done) => {
        this.add(bytes);
        done();
      },
    });
  }

  digest(): string {
    return this.#hash.digest('hex');
  }
}

/** What is on the disk is what was sent to it, and unpacks to what pg_dump wrote; what is encrypted only the recipient opens. */
async function readBack(path: string, written: Written & { readonly encrypted: boolean }): Promise<void> {
  const packed = new Counter();
  const plain = new Counter();
  const pass = (input: AsyncIterable<Uint8Array>) => packed.pass(input);
  if (written.encrypted) await pipeline(createReadStream(path), pass, new Counter().sink());
  else await pipeline(createReadStream(path), pass, createGunzip(), plain.sink());
  const good =
    packed.digest() === written.sha256 && (written.encrypted || plain.digest() === written.plainSha256);
  if (!good)
    throw new HelvinoError('TARGET_IO', `${path} does not hold what was written to it`, {
      hint: 'check the disk; nothing was kept',
    });
}

/**
 * By a link, which never overwrites. A dump of another database may have begun in the same second, so that its name is taken: then
 * the next second that is free names this one. Returns the name.
 */
async function publish(
  temporary: string,
  folder: string,
  { begun, nameAt }: { begun: Date; nameAt(time: Date): string },
): Promise<string> {
  for (let later = 0; ; later++) {
    const name = nameAt(new Date(begun.getTime() + later * 1000));
    try {
      await link(temporary, join(folder, name));
    } catch (thrown) {
      if (systemCode(thrown) === 'EEXIST' && later < namesTried) continue;
      throw thrown;
    }
    await rm(temporary);
    await syncPath(folder);
    return name;
  }
}

/** Only files whose names are ours; and what runs that were killed have left. */
async function removeOld(
  { folder, keepDays, clock, progress }: PlainFileOptions,
  made: string,
): Promise<string[]> {
  const removed: string[] = [];
  for (const name of await readdir(folder)) {
    const keep = finished.test(name) ? keepDays! : partial.test(name) ? 1 : undefined;
    if (keep === undefined || name === made) continue;
    const path = join(folder, name);
    try {
      const { mtimeMs } = await stat(path);
      if (clock.now().getTime() - mtimeMs <= keep * day) continue;
      await rm(path);
      removed.push(path);
    } catch (thrown) {
      // The new file is there: that an old one stays is no failure.
      progress.note('warn', `${path} was not removed: ${(thrown as Error).message}`);
    }
  }
  return removed.sort();
}

function fileError(thrown: unknown, folder: string): unknown {
  const code = systemCode(thrown);
  if (thrown instanceof HelvinoError || code === undefined) return thrown;
  const kind = code === 'ENOTDIR' ? 'TARGET_DENIED' : targetCode(thrown);
  const full = kind === 'TARGET_TOO_SMALL';
  return new HelvinoError(kind, `no dump can be written into ${folder}: ${(thrown as Error).message}`, {
    cause: thrown,
    hint: full ? 'make room and run it again; nothing was left' : 'check the folder and who may write there',
  });
}
