import assert from 'node:assert/strict';
import { randomFillSync } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { alignedMemory, wasmMemoryOf } from '../base/aligned-memory.ts';
import { fetcher } from './fetch-file.ts';
import { pageChecksumIn } from './page-checksum-module.ts';
import { walkDataDirectory } from './walk-data-directory.ts';

const folder = () => mkdtempSync(join(tmpdir(), 'hv-fetch-'));

test('pages anywhere in a slot, with vectors or without – good ones pass, a bad one is named, never another failure', () => {
  const memory = alignedMemory(1 << 20);
  const wasm = wasmMemoryOf(memory);
  const home = folder();
  const path = join(home, '16384');
  try {
    for (const address of [0, 3, 8])
      for (const damaged of [false, true]) {
        const page = Buffer.from(memory, address, 8192);
        randomFillSync(page);
        page.writeUInt16LE(pageChecksumIn(wasm)!(address, 7), 8);
        page.writeBigUInt64LE(0n, 0);
        page.writeUInt16LE(pageChecksumIn(wasm)!(address, 7), 8);
        if (damaged) page[5000]! ^= 1;
        writeFileSync(path, page);
        for (const given of [wasm, undefined]) {
          const piece = { fd: undefined, path, owner: undefined, offset: 0, pages: { block: 7, since: 1n } };
          const reports = fetcher({ memory: given })({ bytes: page, address }, piece);
          assert.deepEqual(
            reports.map(({ kind }) => kind),
            damaged ? ['bad-page'] : [],
          );
        }
      }
  } finally {
    rmSync(home, { recursive: true });
  }
});

test('a tablespace whose folder is not to be seen here – SOURCE_UNREADABLE; one that came later is left to WAL', () => {
  const dataDir = folder();
  try {
    mkdirSync(join(dataDir, 'pg_tblspc'));
    symlinkSync('/nowhere-at-all', join(dataDir, 'pg_tblspc/16385'));
    symlinkSync('/nowhere-at-all', join(dataDir, 'pg_wal'));
    const walk = (...oids: string[]) => [
      ...walkDataDirectory({
        dataDir,
        versionFolder: 'PG_17_1',
        tablespaces: new Set(oids),
        warn: () => undefined,
      }),
    ];
    assert.throws(() => walk('16385'), { code: 'SOURCE_UNREADABLE' });
    assert.deepEqual(
      walk()
        .map(({ path }) => path)
        .sort(),
      ['pg_tblspc', 'pg_wal', 'pg_wal/archive_status'],
    );
  } finally {
    rmSync(dataDir, { recursive: true });
  }
});
