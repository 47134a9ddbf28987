/** Takes base backups in tests: into memory, or onto the disk for a server to start from. */
import { chownSync, closeSync, mkdirSync, openSync, symlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { ReplicationConnection } from '../src/postgres/index.ts';
import { type TarEntry, TarReader } from '../src/tar/index.ts';
import { testServerUser } from './pg-server.ts';

type Options = Parameters<ReplicationConnection['baseBackup']>[0];
type Sink = Parameters<ReplicationConnection['baseBackup']>[1];
type Started = Parameters<Sink['started']>[0];

export interface ReceivedBackup {
  readonly result: Awaited<ReturnType<ReplicationConnection['baseBackup']>>;
  readonly started: Started;
  /** By path; those of a tablespace under `pg_tblspc/OID/`. */
  readonly entries: ReadonlyMap<string, { readonly header: TarEntry; readonly content: Buffer }>;
  readonly notices: readonly { severity: string; message: string; code: string }[];
}

const testBackup: Options = {
  label: "helvino's test",
  fast: true,
  verifyChecksums: true,
  progress: true,
  wal: false,
};

export async function receiveBackup(
  connection: ReplicationConnection,
  options: Partial<Options> = {},
  hooks: Partial<Pick<Sink, 'data' | 'ready'>> = {},
): Promise<ReceivedBackup> {
  const entries = new Map<string, { header: TarEntry; content: Buffer }>();
  const notices: ReceivedBackup['notices'][number][] = [];
  let started: Started | undefined;
  let tar: TarReader | undefined;
  let prefix = '';
  let parts: Buffer[] = [];
  let open: TarEntry | undefined;
  const handler = {
    entry: (header: TarEntry) => {
      open = header;
      parts = [];
    },
    data: (bytes: Uint8Array) => parts.push(Buffer.from(bytes)),
    entryEnd: () => entries.set(prefix + open!.path, { header: open!, content: Buffer.concat(parts) }),
  };
  const result = await connection.baseBackup(
    { ...testBackup, ...options },
    {
      started: (info) => (started = info),
      archive: ({ oid }) => {
        tar?.end();
        prefix = oid === undefined ? '' : `pg_tblspc/${oid}/`;
        tar = new TarReader(handler);
      },
      data: (bytes) => {
        tar!.push(bytes);
        hooks.data?.(bytes);
      },
      ready: () => hooks.ready?.(),
      notice: (severity, message, code) => notices.push({ severity, message, code }),
    },
  );
  tar?.end();
  return { result, started: started!, entries, notices };
}

/** Writes a backup (taken with `wal: true`) into an empty folder, as files of the server's account. */
export async function writeBackup({ entries }: ReceivedBackup, folder: string): Promise<void> {
  const user = await testServerUser();
  const own = (path: string) => user && chownSync(path, user.uid, user.gid);
  for (const [path, { header, content }] of entries) {
    const target = join(folder, path);
    if (header.type === 'directory') mkdirSync(target, { recursive: true, mode: 0o700 });
    else if (header.type === 'symlink') symlinkSync(header.linkTarget!, target);
    else {
      const file = openSync(target, 'w', 0o600);
      writeSync(file, content);
      closeSync(file);
    }
    if (header.type !== 'symlink') own(target);
  }
}
