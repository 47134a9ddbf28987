/** Stores a stream in a repository in memory, commits it, and reads it back. */
import { silentProgress } from '../src/base/progress.ts';
import { openPool } from '../src/operations/backup/open-pool.ts';
import { commitStreams } from '../src/operations/logical/commit-streams.ts';
import { readStream, StoredStream, streamTarget } from '../src/operations/logical/stored-stream.ts';
import {
  createIdentity,
  createRepository,
  Lease,
  openIdentities,
  recipientOf,
  WorkIndex,
} from '../src/repository/index.ts';
import { openMemoryDriver } from '../src/storage/index.ts';
import { TestClock } from './repository-fixture.ts';

type Input = () => AsyncIterable<Uint8Array>;

/** The first of `names` is what is read back; all get the same bytes. */
export async function checkStream(
  input: Input,
  names: readonly string[] = ['the stream'],
): Promise<{ content: Buffer; paths: string[] }> {
  const pieces: Uint8Array[] = [];
  const paths = await throughRepository(input, {
    names,
    onPiece: (bytes) => pieces.push(Uint8Array.from(bytes)),
  });
  return { content: Buffer.concat(pieces), paths };
}

export async function throughRepository(
  input: Input,
  { names, onPiece }: { names: readonly string[]; onPiece: (bytes: Uint8Array) => void },
): Promise<string[]> {
  const clock = new TestClock();
  const driver = openMemoryDriver({ clock });
  const identity = await createIdentity();
  const recipients = [await recipientOf(identity)];
  const repository = await createRepository(driver, { recipients, clock });
  const lease = await Lease.acquire(driver, clock, { kind: 'backup', uses: [] });
  const index = new WorkIndex();
  const pool = await openPool({ repository, recipients, level: 1 });
  try {
    const target = streamTarget(pool, index, 0);
    for (const name of names) {
      const stream = new StoredStream(target, name);
      await stream.writeAll(input());
      await stream.end();
    }
    const manifest = await commitStreams({
      repository,
      database: 'main',
      id: '20260101T000000Z-00000000',
      started: clock.now(),
      notes: {},
      program: 'test',
      clock,
      progress: silentProgress,
      signal: new AbortController().signal,
      pool,
      index,
      target,
      lease,
      sections: {},
      facts: { method: 'logical' },
    } as Parameters<typeof commitStreams>[0]);
    const keys = await repository.dataKeys(manifest, await openIdentities(identity, 'the test'));
    for await (const bytes of readStream(repository, { manifest, keys, path: names[0]! })) onPiece(bytes);
    const paths: string[] = [];
    for await (const file of repository.files(manifest))
      if (file.path.startsWith(`${names[0]}/`)) paths.push(file.path);
    return paths;
  } finally {
    await pool.close();
    index.close();
    await lease.release();
  }
}
